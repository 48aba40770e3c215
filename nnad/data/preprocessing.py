"""Turning raw columns into the array that a model sees: filled, scaled, encoded, shaped.

All of it is fitted to the training part only. Medians and quartiles are found by scikit-learn's
SimpleImputer and RobustScaler. Means, standard deviations and categories are found as its
StandardScaler and OneHotEncoder define them, but block by block, so that the rows may be more than
memory holds. What is kept are plain arrays and texts: a saved run needs neither pickle nor
scikit-learn to predict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nnad.data.dataset import Features
from nnad.data.lazy import LazyRows
from nnad.errors import DataError, ShapeError

__all__ = ["Preprocessor"]

SAMPLE_BYTES = 32 * 2**20  # of float64, for medians and quartiles of arrays larger than memory
BLOCK_BYTES = 8 * 2**20  # read at once
SMOOTH_CLIP = 3.0
UNKNOWN = 0  # the code of categories that the training part does not have

_ARRAYS = ("fill", "center", "scale", "target_center", "target_scale")


@dataclass
class Preprocessor:
    """Fitted preprocessing of inputs, and of the target of a regression.

    Numbers come first, then categories, one 0/1 column each (``one_hot``) or one column of codes 1,
    2, ... (``codes``); a category that the training part does not have is all 0, or code 0.

    Attributes:
        numeric_names, categorical_names: the raw columns by name.
        categories: the known texts of each categorical column, in the order of their codes.
        fill, fill_categorical: what replaces missing cells; None where those are refused.
        center, scale: numbers x become ``(x - center) / scale``, per column (or channel).
        smooth_clip: whether scaled numbers are then squashed to ``x / sqrt(1 + (x / 3)**2)``.
        raw_shape: shape of the numbers of a row as they come.
        row_shape: shape given to each row at the end; None leaves it.
        target_center, target_scale: the model is trained on ``(y - center) / scale``.
    """

    numeric_names: list[str] = field(default_factory=list)
    categorical_names: list[str] = field(default_factory=list)
    categories: list[list[str]] = field(default_factory=list)
    encoding: str = "one_hot"
    fill_categorical: list[str] | None = None
    smooth_clip: bool = False
    raw_shape: tuple[int, ...] = ()
    row_shape: tuple[int, ...] | None = None
    dtype: str = "float32"
    fill: np.ndarray | None = None
    center: np.ndarray | None = None
    scale: np.ndarray | None = None
    target_center: np.ndarray | None = None
    target_scale: np.ndarray | None = None

    @classmethod
    def fit(
        cls,
        train: Features,
        *,
        standardize: bool | Literal["robust"] = False,
        smooth_clip: bool = False,
        encoding: str = "one_hot",
        impute: str | None = None,
        unit: float = 1.0,
        row_shape: tuple[int, ...] | None = None,
        dtype: str = "float32",
    ) -> Preprocessor:
        """Learn from the rows of the training part.

        Args:
            train: the training rows.
            standardize: True for mean and standard deviation, ``robust`` for median and quartiles.
            smooth_clip: squash outliers after scaling.
            encoding: ``one_hot`` or ``codes``.
            impute: ``mean``, ``median``, ``most_frequent``, or None to refuse missing cells.
            unit: divides numbers that are not standardised.
            row_shape: shape of a row of x; None to leave it.
            dtype: of x.

        Raises:
            DataError: if a column has no value at all in the training part.
        """
        self = cls(
            list(train.numeric_names),
            list(train.categorical_names),
            encoding=encoding,
            smooth_clip=smooth_clip,
            raw_shape=tuple(train.numeric.shape[1:]),
            row_shape=row_shape,
            dtype=dtype,
        )
        channels = train.numeric.shape[-1]
        if impute and channels:
            sampled = _sample(train.numeric).reshape(-1, channels)
            self.fill = _fit_fill(sampled, impute, train.numeric_names)
        if standardize == "robust" and channels:
            sampled = self._filled(_sample(train.numeric).reshape(-1, channels))
            self.center, self.scale = _median_quartiles(sampled)
        elif standardize and channels:
            blocks = (block.astype(np.float64) for block in _blocks(train.numeric))
            self.center, self.scale = _mean_std(
                self._filled(block.reshape(-1, channels)) for block in blocks
            )
        if not standardize and unit != 1:
            self.center, self.scale = np.zeros(channels), np.full(channels, unit)
        if train.codes is not None:
            self._fit_categories(train, train.codes, impute)
        return self

    def _filled(self, x: np.ndarray) -> np.ndarray:
        """`x` with what replaces missing numbers."""
        return x if self.fill is None else np.where(np.isnan(x), self.fill, x)

    def _fit_categories(
        self, train: Features, codes: np.ndarray | LazyRows, impute: str | None
    ) -> None:
        """Take the texts that occur, in order, and the most frequent one, of equals the first."""
        counts = [np.zeros(len(levels) + 1, np.int64) for levels in train.levels]
        for block in _blocks(codes):
            for found, column in zip(counts, block.T, strict=True):
                found += np.bincount(column + 1, minlength=len(found))
        fills = []
        for name, levels, found in zip(train.categorical_names, train.levels, counts, strict=True):
            present = {text: n for text, n in zip(levels, found[1:].tolist(), strict=True) if n}
            if not present:
                raise DataError(f"column {name!r} has no value in the training part; drop it")
            self.categories.append(sorted(present))
            fills.append(min(present, key=lambda text: (-present[text], text)))
        self.fill_categorical = fills if impute else None

    def fit_target(self, y: np.ndarray) -> None:
        """Learn the mean and standard deviation of the training targets."""
        center, scale = _mean_std(iter([y.reshape(len(y), -1).astype(np.float64)]))
        self.target_center = center.reshape(y.shape[1:])
        self.target_scale = scale.reshape(y.shape[1:])

    def transform(self, features: Features) -> np.ndarray:
        """Rows as the model sees them.

        Raises:
            ShapeError: if the number of columns is not that of the training rows.
        """
        x = self.transform_numeric(features.numeric[:])
        if features.codes is not None:
            encoded = [
                self._encode(i, codes, levels)
                for i, (codes, levels) in enumerate(
                    zip(features.codes[:].T, features.levels, strict=True)
                )
            ]
            x = np.concatenate([x, *encoded], axis=1)
        return x if self.row_shape is None else x.reshape(len(x), *self.row_shape)

    def transform_numeric(self, x: np.ndarray) -> np.ndarray:
        """Fill, scale and squash numbers; float64 is worked in as it is, others as ``dtype``."""
        x = x if x.dtype == np.float64 else x.astype(self.dtype)
        x = self._filled(x)
        if self.center is not None and self.scale is not None:
            if x.shape[-1] != len(self.center):
                raise ShapeError(f"rows of {x.shape[-1]} numbers; expected {len(self.center)}")
            x = (x - self.center.astype(x.dtype)) / self.scale.astype(x.dtype)
        if self.smooth_clip:
            x = x / np.sqrt(1 + (x / SMOOTH_CLIP) ** 2)
        return x.astype(self.dtype, copy=False)

    def inverse_numeric(self, x: np.ndarray) -> np.ndarray:
        """Undo the scaling of the columns (or channels) that hold numbers; others stay.

        Args:
            x: (rows, ...) as `transform` returned it.
        """
        if self.center is None or self.scale is None:
            return x
        count = len(self.center)
        found = np.array(x if self.row_shape is None else x.reshape(len(x), -1), np.float64)
        numbers = found[..., :count]
        if self.smooth_clip:
            numbers = numbers / np.sqrt(np.maximum(1 - (numbers / SMOOTH_CLIP) ** 2, 1e-12))
        numbers = numbers * self.scale + self.center
        rounding = 4 * np.finfo(self.dtype).eps * (np.abs(self.center) + self.scale)
        found[..., :count] = np.where(np.abs(numbers) < rounding, 0.0, numbers)
        return found.reshape(x.shape)

    def transform_lazily(self, features: Features, index: np.ndarray | slice) -> LazyRows:
        """Some rows as the model sees them, transformed when a batch is read."""
        if features.together is not None:
            return LazyRows(features.together, index, self.transform)

        def rows(x: np.ndarray) -> np.ndarray:
            x = self.transform_numeric(x)
            return x if self.row_shape is None else x.reshape(len(x), *self.row_shape)

        return LazyRows(LazyRows(features.numeric, index), transform=rows)

    def _encode(self, position: int, codes: np.ndarray, levels: list[str]) -> np.ndarray:
        """One categorical column as 0/1 columns or as a column of codes."""
        known = {text: i for i, text in enumerate(self.categories[position], 1)}
        missing = UNKNOWN
        if self.fill_categorical is not None:
            missing = known[self.fill_categorical[position]]
        table = np.array([*(known.get(text, UNKNOWN) for text in levels), missing])
        own = table[codes]
        if self.encoding == "codes":
            return own[:, None].astype(self.dtype)
        columns = np.zeros((len(own), len(known)), self.dtype)
        rows = np.flatnonzero(own != UNKNOWN)
        columns[rows, own[rows] - 1] = 1
        return columns

    def scale_target(self, y: np.ndarray) -> np.ndarray:
        """Targets as the model is trained on them."""
        if self.target_center is None or self.target_scale is None:
            return y
        return (y - self.target_center) / self.target_scale

    def inverse_target(self, prediction: np.ndarray) -> np.ndarray:
        """Predictions of a regression in the target's own units."""
        if self.target_center is None or self.target_scale is None:
            return prediction
        return prediction * self.target_scale + self.target_center

    def output_names(self) -> list[str]:
        """A name for each column of x: ``column`` or, one-hot, ``column=category``."""
        if self.encoding == "codes":
            return self.numeric_names + self.categorical_names
        pairs = zip(self.categorical_names, self.categories, strict=True)
        return self.numeric_names + [f"{name}={text}" for name, texts in pairs for text in texts]

    def code_columns(self) -> list[dict[str, Any]]:
        """Where the columns of codes are in x, and how many codes each has (with 0, unknown)."""
        if self.encoding != "codes":
            return []
        first = len(self.numeric_names)
        return [
            {"name": name, "column": first + i, "cardinality": len(texts) + 1}
            for i, (name, texts) in enumerate(
                zip(self.categorical_names, self.categories, strict=True)
            )
        ]

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return everything learned as (plain JSON values, arrays by name)."""
        plain = {key: value for key, value in vars(self).items() if key not in _ARRAYS}
        arrays = {
            f"preprocessor.{key}": np.asarray(getattr(self, key))
            for key in _ARRAYS
            if getattr(self, key) is not None
        }
        shapes = {"raw_shape": list(self.raw_shape), "row_shape": _listed(self.row_shape)}
        return {**plain, **shapes}, arrays

    @classmethod
    def from_state(cls, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Preprocessor:
        """Rebuild from what `to_state` returned."""
        self = cls(**{**plain, **{k: arrays.get(f"preprocessor.{k}") for k in _ARRAYS}})
        self.raw_shape = tuple(self.raw_shape)
        self.row_shape = None if self.row_shape is None else tuple(self.row_shape)
        return self


def _listed(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)


def _sample(numeric: np.ndarray | LazyRows) -> np.ndarray:
    """All rows, or evenly spaced ones of an array that is read on demand, in float64."""
    if isinstance(numeric, LazyRows):
        rows = max(1, SAMPLE_BYTES // (8 * int(np.prod(numeric.shape[1:]))))
        if rows < len(numeric):
            return numeric[np.linspace(0, len(numeric) - 1, rows).astype(np.int64)].astype(float)
    return numeric[:].astype(np.float64)


def _blocks(rows: np.ndarray | LazyRows) -> Iterator[np.ndarray]:
    """All rows: at once where they are in memory."""
    return rows.blocks(BLOCK_BYTES) if isinstance(rows, LazyRows) else iter([rows])


def _fit_fill(numeric: np.ndarray, strategy: str, names: list[str]) -> np.ndarray:
    from sklearn.impute import SimpleImputer

    empty = [name for name, gone in zip(names, np.isnan(numeric).all(axis=0), strict=True) if gone]
    if empty:
        raise DataError(f"column {n!r} has no value in the training part; drop it" for n in empty)
    return SimpleImputer(strategy=strategy).fit(numeric).statistics_


def _mean_std(blocks: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per column, 1 for constant ones, as StandardScaler has them.

    Those of several blocks of rows are put together as by Chan, Golub and LeVeque (1983).
    """
    with np.errstate(over="ignore", invalid="ignore"):  # too large: told once all is scaled
        first = next(blocks)
        count, mean, variance = len(first), first.mean(axis=0), first.var(axis=0)
        for block in blocks:
            total = count + len(block)
            share, step = len(block) / total, block.mean(axis=0) - mean
            variance = (1 - share) * (variance + share * step**2) + share * block.var(axis=0)
            mean = mean + share * step
            count = total
    eps = count * np.finfo(np.float64).eps
    constant = variance <= eps * variance + (eps * mean) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _median_quartiles(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and distance of the quartiles per column, 1 where they coincide."""
    from sklearn.preprocessing import RobustScaler

    fitted = RobustScaler().fit(x)
    return fitted.center_, fitted.scale_
