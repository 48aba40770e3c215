"""What sources hand over, and what training receives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.errors import DataError, ShapeError

if TYPE_CHECKING:
    from nnad.data.lazy import LazyRows
    from nnad.data.preprocessing import Preprocessor

__all__ = ["MOST_NUMBERS", "DataSplits", "Features", "Meta", "Raw", "Split", "names_of"]

MOST_NUMBERS = 2**24  # in a row: a network for less is made
MOST_NAMES = 2**20

Rows = slice | np.ndarray


def names_of(shape: Sequence[int], label: str) -> list[str]:
    """Names of the numbers in a row of that shape: none where they would fill memory.

    Raises:
        DataError: it has none, or more than a network is made for.

    >>> names_of((2, 2), "x.npy")
    ['x0', 'x1', 'x2', 'x3']
    """
    count = math.prod(shape)
    if not 0 < count <= MOST_NUMBERS:
        raise DataError(
            f"{label}: rows of shape {tuple(shape)}, {count:,} numbers; expected 1 to "
            f"{MOST_NUMBERS:,}"
        )
    return [f"x{i}" for i in range(count)] if count <= MOST_NAMES else []


@dataclass
class Features:
    """Input columns before preprocessing.

    Attributes:
        numeric: (rows, ...) numbers, NaN where a cell is missing.
        codes: (rows, columns) integers into ``levels``, -1 where a cell is missing, or None.
        levels: for each categorical column, the texts that occur.
        numeric_names, categorical_names: the column names.
        together: where rows are read on demand, what gives numbers and codes in one go.
        extremes: (2, columns) the least and the largest of each column of numbers, if known.
    """

    numeric: np.ndarray | LazyRows
    codes: np.ndarray | LazyRows | None = None
    levels: list[list[str]] = field(default_factory=list)
    numeric_names: list[str] = field(default_factory=list)
    categorical_names: list[str] = field(default_factory=list)
    together: Any = None
    extremes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.numeric)

    def rows(self, index: Rows) -> Features:
        """The same columns with some of the rows."""
        from nnad.data.lazy import LazyRows

        def some(rows: Any) -> Any:
            return LazyRows(rows, index) if isinstance(rows, LazyRows) else rows[index]

        codes = None if self.codes is None else some(self.codes)
        names = self.numeric_names, self.categorical_names
        return Features(some(self.numeric), codes, self.levels, *names)


@dataclass
class Raw:
    """What a source returns: all rows it has, not yet split or scaled.

    Attributes:
        x: the inputs.
        y: (rows,) or (rows, outputs) targets: numbers, or text for classes; None if there is none.
        weight: (rows,) weights, or None.
        task: what is learned, if the source knows.
        class_names: the names of classes 0, 1, ... if the source knows.
        target_names: a name for each output.
        parts: rows of ``train``, ``validation`` and ``test``, where the source itself says so.
        files: what was read, for the fingerprint.
        label: where the data is from, to begin messages.
        encoding: of categories: ``one_hot`` or ``codes``.
        impute: what fills missing numbers: ``mean``, ``median`` or ``most_frequent``; None refuses.
        unit: what a 1 is to the model (255 for pixels), unless inputs are standardised.
        extras: anything else that predictions need, as plain JSON values (such as a vocabulary).
    """

    x: Features
    y: np.ndarray | None
    weight: np.ndarray | None = None
    task: str | None = None
    class_names: list[str] | None = None
    target_names: list[str] = field(default_factory=list)
    parts: dict[str, Rows] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    label: str = "data"
    encoding: str = "one_hot"
    impute: str | None = None
    unit: float = 1.0
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """One part of the data, ready for a model.

    Attributes:
        x: (rows, ...) inputs: an array, or `LazyRows` where rows are read or scaled on demand.
        y: (rows, ...) targets: int64 classes, or floats.
        weight: (rows,) weights of the rows, or None if all count the same.
    """

    x: Any
    y: np.ndarray
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = [len(a) for a in (self.x, self.y, self.weight) if a is not None]
        if len(set(lengths)) > 1:
            raise ShapeError(f"x, y and weight have {lengths} rows; they must have the same number")

    def __len__(self) -> int:
        return len(self.y)


@dataclass
class Meta:
    """What is known about the data beside its numbers; saved with a run, so that it predicts alone.

    Attributes:
        task: ``classification``, ``regression``, ``multi_label``, ``autoencoder`` or
            ``language_model``.
        input_shape: shape of one row of x.
        n_features: the last entry of ``input_shape`` (its channels, for images).
        n_outputs: how many numbers the model must return for a row.
        class_names: names of classes 0, 1, ..., or of the labels of multi_label.
        feature_names: the columns of x, for tables.
        target_names: one name per target column.
        categorical: for each column of codes in x: its name, its ``column`` in x and its
            ``cardinality``, which counts the code 0 for unknown values.
        preprocessor: turns new rows into x and predictions into original units.
        fingerprint: digest of each file read.
        extras: what a source adds, such as the state of a tokenizer.
    """

    task: str
    input_shape: tuple[int, ...]
    n_outputs: int
    class_names: list[str] | None
    feature_names: list[str]
    target_names: list[str]
    preprocessor: Preprocessor
    categorical: list[dict[str, Any]] = field(default_factory=list)
    fingerprint: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """Number of features (channels) of a row."""
        return self.input_shape[-1] if self.input_shape else 1

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return everything as (plain JSON values, arrays by name)."""
        plain, arrays = self.preprocessor.to_state()
        return {
            "task": self.task,
            "input_shape": list(self.input_shape),
            "n_outputs": self.n_outputs,
            "class_names": self.class_names,
            "feature_names": self.feature_names,
            "target_names": self.target_names,
            "categorical": self.categorical,
            "fingerprint": self.fingerprint,
            "extras": self.extras,
            "preprocessor": plain,
        }, arrays

    @classmethod
    def from_state(cls, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Meta:
        """Rebuild from what `to_state` returned."""
        from nnad.data.preprocessing import Preprocessor

        values = dict(plain)
        values["preprocessor"] = Preprocessor.from_state(values["preprocessor"], arrays)
        values["input_shape"] = tuple(values["input_shape"])
        return cls(**values)


@dataclass(frozen=True)
class DataSplits:
    """The training part, the validation and test parts if there are any, and what is known."""

    train: Split
    validation: Split | None
    test: Split | None
    meta: Meta
