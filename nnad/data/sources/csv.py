"""Tables in CSV files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from nnad.data import array_files
from nnad.data.cells import Problems
from nnad.data.dataset import Raw
from nnad.data.options import Option, Options, source
from nnad.data.stored import StoredTable, stored_csv
from nnad.data.table import Column, Table, read_csv
from nnad.errors import did_you_mean

NAMES = str | list[str] | None


def as_list(names: str | list[str] | None) -> list[str]:
    """One name or several or none, as a list."""
    return [] if names is None else [names] if isinstance(names, str) else list(names)


@source(
    "csv",
    Option(
        "path",
        str | list[str],
        doc="the file, a pattern such as part-*.csv, or a list of files; all have the same header",
    ),
    Option("target", NAMES, None, "name of the target column, or a list of several"),
    Option("features", NAMES, None, "input columns (left out: all that are not named otherwise)"),
    Option("drop", NAMES, None, "columns that are not inputs"),
    Option("weight_column", str | None, None, "column with the weight of each row"),
    Option("numeric_columns", NAMES, None, "columns of numbers (left out: found out)"),
    Option("categorical_columns", NAMES, None, "columns of categories (left out: found out)"),
    Option(
        "categorical",
        Literal["one_hot", "codes"],
        "one_hot",
        "categories as a 0/1 column each, or as one column of codes (0: unknown), placed last",
    ),
    Option("missing", Literal["refuse", "impute"], "refuse", "what to do about empty cells"),
    Option(
        "impute",
        Literal["mean", "median", "most_frequent"],
        "median",
        "what fills empty cells of numbers (categories: the most frequent)",
    ),
    Option("delimiter", str | None, None, "sign between cells (left out: found out)"),
    Option("decimal", Literal[".", ","], ".", "decimal sign"),
)
def load_csv(options: Options) -> Raw:
    """Tables in CSV files with a header line; over 64 MiB they are read from disk, by rows.

    Several files hold a part of the rows each; they follow in the order of their names.
    """
    paths = options.locate_all()
    targets, weights = as_list(options.target), as_list(options.weight_column)
    problems = Problems()
    table = _read(options, paths, problems)
    if not targets and options.task != "autoencoder":
        columns = ", ".join(table.header)
        problems.add("target", f"data.target: missing: name the target column (one of {columns})")
    _check_names(options, table, problems)
    inputs = _inputs(options, table, {*targets, *weights})
    if not inputs and not options.features:
        label = table.label
        problems.add("inputs", f"{label}: no input columns beside {', '.join(targets + weights)}")
    refused = [*targets, *weights, *(inputs if options.missing == "refuse" else [])]
    for name in filter(table.columns.__contains__, refused):
        remedy = "; fill it, or set data.missing: impute" if name in inputs else ""
        table.columns[name].refuse_gaps("empty cells", f"has no value{remedy}", problems)
    problems.raise_any()
    y, classes = _target(table, targets, options.task)
    return Raw(
        table.features(inputs),
        y,
        weight=table.values(weights[0]) if weights else None,
        task="classification" if classes else None,
        class_names=classes,
        target_names=targets,
        files=paths,
        label=table.label,
        encoding=options.categorical,
        impute=options.impute if options.missing == "impute" else None,
    )


def _read(options: Options, paths: list[Path], problems: Problems) -> Table | StoredTable:
    """The columns that are asked for, in memory if the files are small."""
    reading = {
        "delimiter": options.delimiter,
        "decimal": options.decimal,
        "numeric": as_list(options.numeric_columns) + as_list(options.weight_column),
        "categorical": as_list(options.categorical_columns),
    }
    named = [*as_list(options.target), *as_list(options.weight_column)]
    features, left_out = as_list(options.features), set(as_list(options.drop))

    def wanted(header: Sequence[str]) -> set[str]:
        return {*(set(features or header) - left_out), *named}

    if array_files.bytes_of(paths) <= array_files.IN_MEMORY:
        return read_csv(paths, problems=problems, wanted=wanted, **reading)
    key = json.dumps([reading, sorted(named), sorted(features), sorted(left_out)])
    return stored_csv(paths, problems, key, wanted=wanted, **reading)


def _target(
    table: Table | StoredTable, names: list[str], task: str | None
) -> tuple[np.ndarray | None, list[str] | None]:
    """The target, and the names of the classes where it is texts in a file of many rows."""
    columns = [table.columns[name] for name in names]
    if len(columns) == 1 and not columns[0].numeric and isinstance(table, StoredTable):
        classes = sorted(columns[0].levels)
        if len(classes) > 1 and task in (None, "classification"):
            places = np.array([classes.index(text) for text in columns[0].levels])
            return places[table.values(names[0])], classes
    cells = [
        table.values(column.name) if column.numeric else texts(column, table.values(column.name))
        for column in columns
    ]
    return (None if not cells else cells[0] if len(cells) == 1 else np.column_stack(cells)), None


def texts(column: Column, codes: np.ndarray) -> np.ndarray:
    """The cells of a column of texts; missing ones are empty."""
    return np.array([*column.levels, ""], dtype=object)[codes]


def _inputs(options: Options, table: Table | StoredTable, others: set[str]) -> list[str]:
    chosen = as_list(options.features) or table.header
    left_out = others | set(as_list(options.drop))
    return [name for name in chosen if name in table.columns and name not in left_out]


def _check_names(options: Options, table: Table | StoredTable, problems: Problems) -> None:
    """Every column that the configuration names must be in the file, and named once a list."""
    keys = (
        "target",
        "weight_column",
        "features",
        "drop",
        "numeric_columns",
        "categorical_columns",
    )
    for key in keys:
        names = as_list(getattr(options, key))
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                problems.add(key, f"data.{key}: names column {name!r} more than once: name it once")
            if name not in table.header:
                hint = did_you_mean(name, table.header)
                known = "" if hint else f" (columns: {', '.join(table.header)})"
                problems.add(key, f"data.{key}: {table.label} has no column {name!r}{hint}{known}")
