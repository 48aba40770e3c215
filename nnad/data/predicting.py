"""Reading new rows for a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnad.data.array_files import as_features
from nnad.data.cells import Problems
from nnad.data.dataset import Meta
from nnad.data.preprocessing import Preprocessor
from nnad.data.sources.npz import read_arrays
from nnad.data.sources.time_series import windows_of
from nnad.data.table import Table, read_csv
from nnad.errors import DataError, did_you_mean

__all__ = ["read_rows"]


def read_rows(
    path: str | Path, meta: Meta, *, delimiter: str | None = None, decimal: str = "."
) -> np.ndarray:
    """Read rows to predict and prepare them as the training rows were.

    Args:
        path: a CSV file, whose columns are matched by name (others, such as the target, are passed
            over), or an NPZ file with an array ``x``. For a model of a time series, each row from
            the first full window on is a moment to predict from.
        meta: of the trained run.
        delimiter, decimal: of the CSV; the delimiter is found out if None.

    Returns:
        (rows, ...) inputs for the model.

    Raises:
        DataError: for missing columns, empty cells that the run does not fill, text where numbers
            belong, and everything that makes a file unreadable.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    preprocessor = meta.preprocessor
    if path.suffix == ".npz":
        return _from_arrays(path, meta)
    names = preprocessor.numeric_names + preprocessor.categorical_names
    table = read_csv(
        path,
        delimiter=delimiter,
        decimal=decimal,
        numeric=preprocessor.numeric_names,
        categorical=preprocessor.categorical_names,
        wanted=lambda header: names,
    )
    _check_columns(table, names)
    _check_cells(table, preprocessor)
    features = table.features(names)
    shape = preprocessor.raw_shape
    if "window" in meta.extras:
        features.numeric = windows_of(features.numeric[:], meta.extras["window"])
    elif len(shape) > 1:
        features.numeric = features.numeric[:].reshape(len(table), *shape)
    return preprocessor.transform(features)


def _from_arrays(path: Path, meta: Meta) -> np.ndarray:
    arrays = read_arrays(path)
    if "x" not in arrays:
        raise DataError(f"{path}: no array 'x' (arrays: {', '.join(arrays)})")
    features = as_features(arrays["x"], f"{path}: x")
    expected, got = tuple(meta.preprocessor.raw_shape), features.numeric.shape[1:]
    if got != expected:
        raise DataError(f"{path}: x has rows of shape {got}; the model was trained on {expected}")
    if not np.isfinite(features.numeric[:]).all() and meta.preprocessor.fill is None:
        raise DataError(f"{path}: x is not finite everywhere")
    return meta.preprocessor.transform(features)


def _check_columns(table: Table, names: list[str]) -> None:
    problems = Problems()
    for name in names:
        if name not in table.columns:
            hint = did_you_mean(name, table.header) or f"; it has {_some(table.header)}"
            problems.add("missing columns", f"{table.label}: no column {name!r}{hint}")
    problems.raise_any()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _check_cells(table: Table, preprocessor: Preprocessor) -> None:
    problems = Problems()
    filled = {
        True: preprocessor.fill is not None,
        False: preprocessor.fill_categorical is not None,
    }
    for column in table.columns.values():
        if filled[column.numeric]:
            continue
        column.refuse_gaps(
            "empty cells",
            "has no value, and the model was trained with data.missing: refuse",
            problems,
        )
    problems.raise_any()
