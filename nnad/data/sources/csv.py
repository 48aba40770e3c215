"""Tables in CSV files."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnad.data.dataset import Features, Raw
from nnad.data.options import Option, Options, source
from nnad.data.table import Column, Problems, Table, read_csv
from nnad.errors import did_you_mean

NAMES = str | list[str] | None


def as_list(names: str | list[str] | None) -> list[str]:
    """One name or several or none, as a list."""
    return [] if names is None else [names] if isinstance(names, str) else list(names)


@source(
    "csv",
    Option("path", str, doc="the file"),
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
    """A table in a CSV file with a header line."""
    path = options.locate()
    targets, weights = as_list(options.target), as_list(options.weight_column)
    problems = Problems()
    table = read_csv(
        path,
        delimiter=options.delimiter,
        decimal=options.decimal,
        numeric=as_list(options.numeric_columns) + weights,
        categorical=as_list(options.categorical_columns),
        problems=problems,
    )
    if not targets and options.task != "autoencoder":
        columns = ", ".join(table.columns)
        problems.add("target", f"data.target: missing: name the target column (one of {columns})")
    _check_names(options, table, problems)
    inputs = _inputs(options, table, {*targets, *weights})
    if not inputs and not options.features:
        problems.add("inputs", f"{path}: no input columns beside {', '.join(targets + weights)}")
    refused = [*targets, *weights, *(inputs if options.missing == "refuse" else [])]
    for name in filter(table.columns.__contains__, refused):
        _refuse_missing(table, table.columns[name], name in inputs, problems)
    problems.raise_any()
    return Raw(
        features_of(table, inputs),
        _target(table, targets) if targets else None,
        weight=table.columns[weights[0]].values if weights else None,
        target_names=targets,
        files=[path],
        label=str(path),
        encoding=options.categorical,
        impute=options.impute if options.missing == "impute" else None,
    )


def features_of(table: Table, inputs: list[str]) -> Features:
    """The named columns as inputs: numbers in one array, categories in another."""
    numeric = [table.columns[name] for name in inputs if table.columns[name].numeric]
    categorical = [table.columns[name] for name in inputs if not table.columns[name].numeric]
    return Features(
        np.column_stack([c.values for c in numeric]) if numeric else np.empty((len(table), 0)),
        np.column_stack([c.values for c in categorical]) if categorical else None,
        [column.levels for column in categorical],
        [column.name for column in numeric],
        [column.name for column in categorical],
    )


def _target(table: Table, names: list[str]) -> np.ndarray:
    columns = [table.columns[name] for name in names]
    cells = [column.values if column.numeric else column.texts() for column in columns]
    return cells[0] if len(cells) == 1 else np.column_stack(cells)


def _inputs(options: Options, table: Table, others: set[str]) -> list[str]:
    chosen = as_list(options.features) or list(table.columns)
    left_out = others | set(as_list(options.drop))
    return [name for name in chosen if name in table.columns and name not in left_out]


def _check_names(options: Options, table: Table, problems: Problems) -> None:
    """Every column that the configuration names must be in the file."""
    keys = (
        "target",
        "weight_column",
        "features",
        "drop",
        "numeric_columns",
        "categorical_columns",
    )
    for key in keys:
        for name in as_list(getattr(options, key)):
            if name not in table.columns:
                hint = did_you_mean(name, table.columns)
                known = "" if hint else f" (columns: {', '.join(table.columns)})"
                problems.add(key, f"data.{key}: {table.path} has no column {name!r}{hint}{known}")


def _refuse_missing(table: Table, column: Column, is_input: bool, problems: Problems) -> None:
    remedy = "; fill it, or set data.missing: impute" if is_input else ""
    for row in np.flatnonzero(column.missing):
        where = table.where(int(row))
        problems.add("empty cells", f"{where}: column {column.name!r} has no value{remedy}")
