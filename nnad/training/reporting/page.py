"""The page of a report: its sections, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnad.charts import document, style
from nnad.training.forgery import believing
from nnad.training.report import number
from nnad.training.reporting.advice import advise
from nnad.training.reporting.classes import class_figures, class_table
from nnad.training.reporting.compare import write_page
from nnad.training.reporting.evidence import Evidence, gather
from nnad.training.reporting.internals import activity_table, internal_figures, norm_table
from nnad.training.reporting.learning import learning_figures
from nnad.training.reporting.numbers import number_figures
from nnad.training.reporting.worst import worst_table
from nnad.training.run_folder import replacing
from nnad.training.watch import Watch

if TYPE_CHECKING:
    from nnad.data.dataset import DataSplits
    from nnad.training.config import Config
    from nnad.training.run_folder import RunFolder

__all__ = ["page", "report_run", "write_report"]

NO_NORMS = (
    "The history of weights, gradients and updates is recorded where the configuration says "
    "output: {report: true}."
)


def report_run(path: str, output: str | None = None) -> Path:
    """Write the report of a run that is there, whether it is finished or not.

    Args:
        path: the run's folder.
        output: the file; by default ``report.html`` in the folder.

    Returns:
        The file.

    Raises:
        UserError: there is no such run, or it has no usable checkpoint, or the file cannot be made.
    """
    from nnad.training import checkpoint
    from nnad.training.build import build
    from nnad.training.inference import best_weights, open_run, take_weights
    from nnad.training.job import load_data, make_trainer, require_state_of
    from nnad.training.network import no_larger_than

    folder, config = open_run(path)
    state = checkpoint.load_newest(folder.last)
    data = load_data(config)
    weights = best_weights(folder)
    with no_larger_than(weights, folder.best):
        job = build(config, data)
    with believing(folder.last, f"the checkpoint does not fit {folder.config}"):
        require_state_of(make_trainer(config, job, data, [Watch(job.model)]), data, state)
    take_weights(job.model, weights, folder)
    history = {name: column.tolist() for name, column in state["history"].items()}
    watched = state.get("callbacks", {}).get("Watch")
    return write_report(folder, config, job.model, data, history, watched, output)


def write_report(
    folder: RunFolder,
    config: Config,
    model: Any,
    data: DataSplits,
    history: Mapping[str, Sequence[float]],
    watched: Mapping[str, Any] | None,
    output: str | None = None,
) -> Path:
    """Write the report of a run; arguments as of `gather`, and where to; returns the file."""
    text = page(gather(folder, config, model, data, history, watched))
    if output is None:
        write_page(folder.report, text, replacing)
        return folder.report
    write_page(Path(output), text)
    return Path(output)


def page(evidence: Evidence) -> str:
    """The whole document."""
    sections = [
        ("What stands out", advice_list),
        ("Learning", lambda e: grid(learning_figures(e))),
        ("Predictions", lambda e: grid([*class_figures(e), *number_figures(e)]) + class_table(e)),
        ("Worst predictions", worst_table),
        ("Inside the network", inside),
        ("Configuration and environment", sources),
    ]
    body = header(evidence) + "".join(section(title, made(evidence)) for title, made in sections)
    return document(f"{evidence.name}: report", body, style(), style("report"))


def section(title: str, content: str) -> str:
    """A part of the page under its heading; nothing if it is empty."""
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>\n" if content else ""


def grid(figures: Iterable[str]) -> str:
    """Figures beside each other where there is room."""
    found = "\n".join(figures)
    return f'<div class="figures">{found}</div>\n' if found else ""


def header(evidence: Evidence) -> str:
    """The name of the run, and its most important numbers."""
    items = "".join(f"<li><b>{escape(v)}</b><span>{escape(k)}</span></li>" for k, v in
                    key_numbers(evidence))  # fmt: skip
    config = evidence.config
    what = f"{config.data.name}, {config.loss.name}, {config.optimizer.name}"
    return (
        f"<header><h1>{escape(evidence.name)}</h1>"
        f'<p class="lead">{escape(what)}; looked at: {len(evidence.split):,} rows of the '
        f'{evidence.part} part.</p><ul class="cards">{items}</ul></header>\n'
    )


def key_numbers(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What and how much, for the top of the page."""
    summary = evidence.summary
    part = "test" if summary.get("test") else "validation"
    for name, value in (summary.get(part) or {}).items():
        yield f"{part} {name}", number(value)
    baseline = summary.get("baseline") or {}
    for name, value in (baseline.get("test") or {}).items():
        yield f"{baseline['estimator']} {name}", number(value)
    if "parameters" in summary:
        yield "parameters", f"{summary['parameters']:,}"
    if evidence.history.get("epoch"):
        yield "epochs", f"{len(evidence.history['epoch']):,}"
    if "fit_seconds" in summary:
        yield "seconds of training", f"{summary['fit_seconds']:.2f}"
    if not summary:
        yield "state", "not finished"


def advice_list(evidence: Evidence) -> str:
    """The advice, as a list."""
    items = "".join(f'<li class="is-{a.kind}">{escape(a.text)}</li>\n' for a in advise(evidence))
    return f'<ul class="advice">{items}</ul>'


def inside(evidence: Evidence) -> str:
    """What went on in the layers."""
    norms = evidence.norms
    if norms is None:
        return f'<p class="note">{NO_NORMS}</p>{activity_table(evidence)}'
    return grid(internal_figures(norms)) + activity_table(evidence) + norm_table(norms)


def sources(evidence: Evidence) -> str:
    """What one needs to make the run again."""
    texts: dict[str, Callable[[], str]] = {
        "Configuration": lambda: evidence.config_text,
        "Environment": lambda: json.dumps(evidence.environment, indent=2),
        "Summary": lambda: json.dumps(evidence.summary, indent=2),
    }
    return "".join(
        f"<details><summary>{name}</summary><pre>{escape(text())}</pre></details>\n"
        for name, text in texts.items()
    )
