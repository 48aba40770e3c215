"""Several runs side by side: as a table on the terminal, as a page."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TextIO

from nnad import charts
from nnad.charts import Line, document, figure, legend, line_chart, style
from nnad.errors import UserError
from nnad.training.config.loading import text_of
from nnad.training.config.locations import flat
from nnad.training.config.writing import flow
from nnad.training.forgery import believing, read_history, read_summary
from nnad.training.history import column_groups
from nnad.training.report import number, table
from nnad.training.run_folder import RunFolder, writing
from nnad.training.yaml_reader import read_yaml

__all__ = ["Record", "compare_page", "compare_table", "curves", "read_record", "read_records",
           "write_page"]  # fmt: skip

SHOWN_KEYS = 6  # on the terminal
MOST_CURVES = 10
NOT_COMPARED = ("output.name", "output.dir")

Opener = Callable[[Path], AbstractContextManager[TextIO]]


@dataclass(frozen=True)
class Record:
    """What a run has written down.

    Attributes:
        name: its folder's path.
        config: its configuration, one entry for each dotted key.
        history: columns of ``metrics.csv``.
        summary: ``summary.json``; empty before its end.
    """

    name: str
    config: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    summary: Mapping[str, Any]

    @property
    def scores(self) -> dict[str, float | None]:
        """The scores of the test and validation parts, and what they cost, by name."""
        found = {
            f"{part} {name}": value
            for part in ("test", "validation")
            for name, value in (self.summary.get(part) or {}).items()
        }
        if "fit_seconds" in self.summary:
            found["seconds"] = self.summary["fit_seconds"]
            found["parameters"] = self.summary["parameters"]
        return {"epochs": float(len(self.history.get("epoch", ()))), **found}


def read_records(paths: Iterable[str]) -> list[Record]:
    """The runs in these folders; what is no run is left out with a warning.

    Raises:
        UserError: none of them is a run.
    """
    records, problems = [], []
    for path in paths:
        try:
            records.append(read_record(path))
        except UserError as error:
            problems += error.problems
    if not records:
        raise UserError(problems)
    for problem in problems:
        warnings.warn(f"{problem}; left out", stacklevel=2)
    return records


def read_record(path: str | Path) -> Record:
    """What the run in a folder has written down.

    Raises:
        UserError: there is no run, or its files hold something else than a run writes.
    """
    folder = RunFolder(path)
    folder.require()
    with believing(folder.config):
        config = dict(flat(read_yaml(text_of(folder.config)).value))
    history, summary = read_history(folder.metrics), read_summary(folder.summary)
    return Record(str(folder.path), config, history, summary)


def differing(records: Sequence[Record]) -> list[str]:
    """The keys whose values are not the same in all runs."""
    keys = {key: None for record in records for key in record.config}
    values = {key: {repr(record.config.get(key)) for record in records} for key in keys}
    return [key for key, found in values.items() if len(found) > 1 and key not in NOT_COMPARED]


def cells(records: Sequence[Record], keys: Sequence[str]) -> list[list[str]]:
    """Head and rows of the table: name, scores, settings."""
    columns = {name: None for record in records for name in record.scores}
    head = ["run", *columns, *keys]
    rows = [
        [
            record.name,
            *(counted(name, record.scores.get(name)) for name in columns),
            *(setting(record, key) for key in keys),
        ]
        for record in records
    ]
    return [head, *rows]


def setting(record: Record, key: str) -> str:
    """A setting of a run as its YAML has it; nothing where the run has none of that name."""
    return flow(record.config[key]) if key in record.config else ""


def counted(name: str, value: float | None) -> str:
    """A score, or a count without decimals."""
    if value is not None and name in ("epochs", "parameters"):
        return f"{value:,.0f}"
    return number(value)


def compare_table(records: Sequence[Record], page: str | None = None) -> str:
    """The runs as plain text; all that differs stands in `page`."""
    keys = differing(records)
    more = len(keys) - SHOWN_KEYS
    text = table(cells(records, keys[:SHOWN_KEYS]))
    return (
        f"{text}\n{more} more settings differ: see {page or '--output PAGE.html'}"
        if more > 0
        else text
    )


def compare_page(records: Sequence[Record]) -> str:
    """The runs as a page: curves over each other, scores, what differs."""
    head, *rows = cells(records, [])
    scores = charts.table(head, [list(map(escape, row)) for row in rows], "Scores")
    settings = charts.table(
        ["setting", *(record.name for record in records)],
        [
            [escape(text) for text in (key, *(setting(r, key) for r in records))]
            for key in differing(records)
        ],
        "Settings that differ",
    )
    body = (
        f"<header><h1>{len(records)} runs</h1></header>\n"
        f"<section><h2>Results</h2>{scores}</section>\n"
        f"<section><h2>Learning</h2>{curves(records)}</section>\n"
        f"<section><h2>Settings</h2>{settings}</section>\n"
    )
    return document(f"{len(records)} runs", body, style(), style("report"))


def curves(records: Sequence[Record]) -> str:
    """A chart for each column, a curve for each of the first runs."""
    shown = records[:MOST_CURVES]
    columns = {name: None for r in shown for names in column_groups(r.history).values()
               for name in names}  # fmt: skip
    found = "".join(curve_figure(shown, column) for column in columns)
    left_out = len(records) - len(shown)
    note = f'<p class="note">Curves of the first {len(shown)} runs.</p>' if left_out else ""
    return f'<div class="figures">{found}</div>{note}'


def curve_figure(records: Sequence[Record], column: str) -> str:
    """A column of the histories of all runs that have it."""
    lines = [
        Line(Path(r.name).name, r.history["epoch"], r.history[column], number=i)
        for i, r in enumerate(records)
        if column in r.history
    ]
    return figure(
        column,
        line_chart(f"{column} by epoch", lines, x_label="epoch"),
        legend([line.name for line in lines], numbers=[line.number or 0 for line in lines]),
    )


def write_page(file: Path, text: str, opened: Opener = writing) -> None:
    """Write a page where the user wants it.

    Raises:
        UserError: it cannot be written.
    """
    from nnad.training.checkpoint import describe_os_error

    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}; make it first")
    try:
        with opened(file) as stream:
            stream.write(text)
    except OSError as error:
        raise UserError(f"{file}: {describe_os_error(error)}") from error
