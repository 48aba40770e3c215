"""What a sweep found: a table, and a page that stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from nnad import charts
from nnad.charts import Points, document, figure, point_chart, style
from nnad.charts.scales import text
from nnad.training.crew.trials import Trial, name_of, ranked
from nnad.training.report import number, table
from nnad.training.reporting.compare import curves, read_record
from nnad.training.sweep.settings import Sweep

__all__ = ["sweep_page", "sweep_table"]

SHOWN = 20  # rows on the terminal


def sweep_table(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """The best trials, and how many of them came to no good end."""
    best = ranked(trials, sweep.maximize)
    lines = [table(rows_of(sweep, best[:SHOWN]))]
    if len(best) > SHOWN:
        lines.append(f"... and {len(best) - SHOWN} more")
    for status in ("failed", "lost"):
        found = [str(trial.number) for trial in trials if trial.status == status]
        if found:
            again = "; --resume tries again" if status == "lost" else ""
            what = "trial" if len(found) == 1 else "trials"
            lines.append(f"{len(found)} {status}: {what} {', '.join(found)}{again}")
    return "\n".join(lines)


def rows_of(sweep: Sweep, trials: Sequence[Trial]) -> list[list[str]]:
    """Head and rows of the table."""
    head = ["trial", sweep.settings.objective, "epochs", "state", *sweep.space]
    rows = [
        [
            str(trial.number),
            number(trial.objective),
            str(trial.epochs),
            trial.status,
            *(text(v) if isinstance(v, float) else str(v) for v in trial.values.values()),
        ]
        for trial in trials
    ]
    return [head, *rows]


def sweep_page(sweep: Sweep, folder: Path, trials: Sequence[Trial]) -> str:
    """The page: objective by setting, curves of the best trials, all trials, what failed."""
    best = ranked(trials, sweep.maximize)
    head, *rows = rows_of(sweep, best)
    whole = charts.table(head, [list(map(escape, row)) for row in rows], "Trials, best first")
    runs = [folder / "trials" / name_of(t) for t in best if t.objective is not None]
    records = [read_record(run) for run in runs if (run / "config.yaml").exists()]
    figures = "".join(parameter_figures(sweep, trials))
    failures = "".join(
        f"<li class='is-warning'>Trial {t.number} {t.status}: {escape(t.message)}</li>"
        for t in trials
        if t.status in ("failed", "lost")
    )
    settings = sweep.settings
    body = (
        f'<header><h1>{escape(settings.name)}</h1><p class="lead">{len(trials)} trials by '
        f"{settings.method}; {escape(settings.objective)}, "
        f"{'larger' if sweep.maximize else 'smaller'} is better.</p></header>\n"
        + (f'<ul class="advice">{failures}</ul>\n' if failures else "")
        + f'<section><h2>Settings</h2><div class="figures">{figures}</div></section>\n'
        f"<section><h2>Trials</h2>{whole}</section>\n"
        + (f"<section><h2>Learning</h2>{curves(records)}</section>\n" if records else "")
        + f"<details><summary>The job</summary><pre>{escape(sweep.base_text())}</pre></details>\n"
    )
    return document(f"{settings.name}: sweep", body, style(), style("report"))


def parameter_figures(sweep: Sweep, trials: Sequence[Trial]) -> Iterator[str]:
    """The objective by each setting that is a number."""
    scored = [trial for trial in trials if trial.objective is not None]
    for key, part in sweep.space.items():
        if not all(is_number(trial.values[key]) for trial in trials):
            continue
        cloud = Points(
            key,
            [trial.values[key] for trial in scored],
            [trial.objective for trial in scored],
            [f"trial {t.number}: {text(t.values[key])}, {text(t.objective or 0)}" for t in scored],
        )
        objective = sweep.settings.objective
        yield figure(
            key, point_chart(f"{objective} by {key}", [cloud], x_label=key, y_label=objective,
                             log_x=part.log)
        )  # fmt: skip


def is_number(value: Any) -> bool:
    """Whether a value has a place on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
