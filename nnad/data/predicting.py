"""Reading new rows for trained models, some at a time: a file may be larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnad.data import array_files
from nnad.data.array_files import as_features, open_array
from nnad.data.cells import CsvReader, Problems
from nnad.data.dataset import Features, Meta
from nnad.data.lazy import FileRows, require_finite
from nnad.data.preprocessing import Preprocessor
from nnad.data.sources.npz import missing_array, read_arrays
from nnad.data.sources.time_series import windows_of
from nnad.data.table import Column, tables_of
from nnad.errors import DataError, did_you_mean

__all__ = ["BATCH_ROWS", "read_pieces", "read_rows"]

PIECE_ROWS, PIECE_CELLS = 2**16, 2**23  # of a file at once
SOME = 8  # names in a message
BATCH_ROWS = 512  # of a prediction, at least; a piece is a multiple, so where it ends changes none


def read_rows(
    path: str | Path, meta: Meta, *, delimiter: str | None = None, decimal: str = "."
) -> np.ndarray:
    """Read rows to predict and prepare them as the training rows were.

    Args:
        path: a CSV file, whose columns are matched by name (others, such as the target, are passed
            over), an NPZ file with an array ``x``, or an NPY file. For a model of a time series,
            each row from the first full window on is a moment to predict from.
        meta: of the trained run.
        delimiter, decimal: of the CSV; the delimiter is found out if None.

    Returns:
        (rows, ...) inputs for the model.

    Raises:
        DataError: for missing columns, empty cells that the run does not fill, text where numbers
            belong, and everything that makes a file unreadable.
    """
    pieces = [x for (x,) in read_pieces(path, [meta], delimiter=delimiter, decimal=decimal)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def read_pieces(
    path: str | Path,
    metas: Sequence[Meta],
    *,
    delimiter: str | None = None,
    decimal: str = ".",
) -> Iterator[list[np.ndarray]]:
    """The same for several models that take the same columns, and some rows after the other.

    Args:
        metas: of the trained runs.
        path, delimiter, decimal: as for `read_rows`.

    Yields:
        For each model its inputs.

    Raises:
        DataError: as `read_rows`; what is wrong with cells when all rows have been read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.suffix in (".npy", ".npz"):
        yield from _pieces_of_array(path, metas)
        return
    preparations = [_Preparation(meta) for meta in metas]
    for features in _features_of(path, metas[0].preprocessor, delimiter, decimal):
        inputs = [preparation.inputs(features) for preparation in preparations]
        if len(inputs[0]):
            yield inputs
    for preparation in preparations:
        preparation.conclude(path)


class _Preparation:
    """Turns the columns of new rows, which come in order, into the inputs of a model."""

    def __init__(self, meta: Meta) -> None:
        self.preprocessor = meta.preprocessor
        self.window: int | None = meta.extras.get("window")
        self.tail: np.ndarray | None = None  # rows that the next windows begin with
        self.rows = 0

    def inputs(self, features: Features) -> np.ndarray:
        numbers = features.numeric[:]
        self.rows += len(numbers)
        shape = self.preprocessor.raw_shape
        if self.window is not None:
            series = numbers if self.tail is None else np.concatenate([self.tail, numbers])
            self.tail = series[max(0, len(series) - self.window + 1) :]
            numbers = windows_of(series, self.window)
        elif len(shape) > 1:
            numbers = numbers.reshape(len(numbers), *shape)
        return self.preprocessor.transform(replace(features, numeric=numbers))

    def conclude(self, path: Path) -> None:
        """Raise a DataError if all rows together were too few for a window."""
        if self.window is not None and self.rows < self.window:
            raise DataError(
                f"{path}: {self.rows} rows, but the model looks back over {self.window}"
            )


def _pieces_of_array(path: Path, metas: Sequence[Meta]) -> Iterator[list[np.ndarray]]:
    filled = all(meta.preprocessor.fill is not None for meta in metas)
    label = f"{path}: x" if path.suffix == ".npz" else str(path)
    features = as_features(_array_of(path, by_rows=not filled), label)
    if not len(features):
        raise DataError(f"{label} has no rows")
    got = features.numeric.shape[1:]
    for meta in metas:
        if got != (expected := tuple(meta.preprocessor.raw_shape)):
            raise DataError(f"{label} has rows of shape {got}; the model was trained on {expected}")
    most = _piece_of(math.prod(got))
    for start in range(0, len(features), most):
        key = slice(start, start + most)
        numeric = features.numeric[key]
        if not filled:
            require_finite(numeric, label, key, len(features))
        piece = replace(features, numeric=numeric)
        yield [meta.preprocessor.transform(piece) for meta in metas]


def _array_of(path: Path, by_rows: bool) -> np.ndarray | FileRows:
    """The inputs in a file; `by_rows`: those that are large, and finite, are read by rows."""
    room = array_files.IN_MEMORY if by_rows else path.stat().st_size
    if path.suffix == ".npy":
        return open_array(path, room=room)
    arrays = read_arrays(path, ["x"], keep_on_disk="x", room=room)
    if "x" not in arrays:
        raise DataError(missing_array(path, "x"))
    return arrays["x"]


def _piece_of(cells: int) -> int:
    """How many rows of so many cells are read at once."""
    most = min(PIECE_ROWS, PIECE_CELLS // max(1, cells)) // BATCH_ROWS * BATCH_ROWS
    return max(most, BATCH_ROWS)


def _features_of(
    path: Path, preprocessor: Preprocessor, delimiter: str | None, decimal: str
) -> Iterator[Features]:
    """The columns that a model takes, as long as all is well."""
    names = preprocessor.numeric_names + preprocessor.categorical_names

    def wanted(header: Sequence[str]) -> list[str]:
        _require_columns(path, header, names)
        return names

    problems = Problems()
    reader = CsvReader(
        [path],
        problems,
        delimiter=delimiter,
        decimal=decimal,
        numeric=preprocessor.numeric_names,
        categorical=preprocessor.categorical_names,
        wanted=wanted,
    )
    for table in tables_of(reader, _piece_of(len(names))):
        if not problems and not _unfilled(table.columns, preprocessor):
            yield table.features(names)
    problems.raise_any()
    columns = {builder.name: Column.of(builder) for builder in reader.builders.values()}
    for column in _unfilled(columns, preprocessor):
        what = "has no value, and the model was trained with data.missing: refuse"
        column.refuse_gaps("empty cells", what, problems)
    problems.raise_any()


def _require_columns(path: Path, header: Sequence[str], names: Sequence[str]) -> None:
    problems = Problems()
    if len(names) > SOME and not set(names) & set(header):
        raise DataError(
            f"{path}: none of the {len(names)} columns that the model takes: {_some(names)}; "
            f"it has {_some(header)}"
        )
    for name in names:
        if name not in header:
            hint = did_you_mean(name, header) or f"; it has {_some(header)}"
            problems.add("missing columns", f"{path}: no column {name!r}{hint}")
    problems.raise_any()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SOME]) + (", ..." if len(names) > SOME else "")


def _unfilled(columns: dict[str, Column], preprocessor: Preprocessor) -> list[Column]:
    """The columns with empty cells that are not filled."""
    filled = {
        True: preprocessor.fill is not None,
        False: preprocessor.fill_categorical is not None,
    }
    return [c for c in columns.values() if c.gap_count and not filled[c.numeric]]
