"""Vectors learned for numbers of a list: Embedding, EmbeddingBag, ColumnEmbedding; and periodic
embeddings of real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import Tensor, stop_gradient, value_of
from nnad.initializers import initializer, normal, uniform
from nnad.layers.diagnosis import check_sizes
from nnad.layers.module import Module, ModuleList
from nnad.layers.parameter import Parameter
from nnad.ops import any as any_along
from nnad.ops import (
    astype,
    concatenate,
    cos,
    logical_and,
    matmul,
    maximum,
    multiply,
    relu,
    reshape,
    sin,
    where,
)
from nnad.ops import max as maximum_along
from nnad.ops import sum as sum_along
from nnad.ops.gather import take_rows
from nnad.random import Rng, as_generator

__all__ = ["ColumnEmbedding", "Embedding", "EmbeddingBag", "PeriodicEmbedding"]


def _as_indices(x: Any) -> Any:
    """Tensors as they are, so that a program can follow them; lists as arrays."""
    return x if isinstance(x, Tensor) else np.asarray(x)


class Embedding(Module):
    """Row x of a table: integers of any shape (...) to vectors (..., embedding_dim).

    Args:
        num_embeddings: rows of the table; inputs are 0 .. num_embeddings - 1.
        embedding_dim: length of a row.
        padding_idx: a row that starts at zero and gets no gradient.
        weight_init: see `nnad.initializers`; standard normal by default.
        rng: generator or seed of the initial values.
        dtype: of the table.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        weight_init: Any = "normal",
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        shape = (num_embeddings, embedding_dim)
        initial = initializer(weight_init)(shape, rng=as_generator(rng), dtype=dtype)
        if padding_idx is not None:
            initial[padding_idx] = 0
        self.weight = Parameter(initial)

    def forward(self, x: Any) -> Any:
        """(...) integers -> (..., embedding_dim)."""
        indices = _as_indices(x)
        rows = take_rows(self.weight, indices)
        if self.padding_idx is None:
            return rows
        return where((indices != self.padding_idx)[..., None], rows, stop_gradient(rows))

    def extra_repr(self) -> str:
        """The arguments."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class EmbeddingBag(Module):
    """Sum, mean or maximum of the rows of each bag of integers.

    Args:
        num_embeddings, embedding_dim: shape of the table.
        mode: "mean", "sum" or "max".
        padding_idx: an integer that stands for nothing in a bag.
        weight_init, rng, dtype: see `Embedding`.

    Call with (batch, length) integers, every row a bag; or with a vector of integers and `offsets`,
    the position each bag begins at.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        mode: str = "mean",
        padding_idx: int | None = None,
        *,
        weight_init: Any = "normal",
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        if mode not in ("mean", "sum", "max"):
            raise ValueError(f'EmbeddingBag: mode is "mean", "sum" or "max", got {mode!r}')
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.mode = mode
        self.padding_idx = padding_idx
        shape = (num_embeddings, embedding_dim)
        self.weight = Parameter(initializer(weight_init)(shape, rng=as_generator(rng), dtype=dtype))

    def forward(self, x: Any, offsets: Any = None) -> Any:
        """(batch, length), or (n,) and offsets (batch,) -> (batch, embedding_dim)."""
        indices = _as_indices(x)
        if (indices.ndim, offsets is None) not in ((2, True), (1, False)):
            raise ValueError(
                f"got shape {indices.shape} and offsets={'None' if offsets is None else 'given'}, "
                "expected (batch, length) integers, or a vector of them with offsets"
            )
        if offsets is None:
            return self._reduce(indices, np.ones(indices.shape, bool))
        return self._reduce(*self._padded(np.asarray(indices), np.asarray(offsets)))

    @staticmethod
    def _padded(x: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bags of unequal lengths as rows of a matrix, and which of its elements are real."""
        lengths = np.diff(np.append(offsets, len(x)))
        if len(offsets) == 0 or offsets[0] != 0 or (lengths < 0).any():
            raise ValueError(f"offsets begin with 0 and rise, up to {len(x)}, got {offsets}")
        place = np.arange(max(int(lengths.max()), 1))
        real = place < lengths[:, None]
        if not len(x):
            return np.zeros(real.shape, np.int64), real
        return x[np.where(real, offsets[:, None] + place, 0)], real

    def _reduce(self, indices: Any, real: Any) -> Any:
        """Sum, mean or maximum over the real rows of each bag; 0 for an empty bag."""
        if self.padding_idx is not None:
            real = logical_and(real, indices != self.padding_idx)
        rows = take_rows(self.weight, indices)
        if self.mode == "max":
            top = maximum_along(where(real[..., None], rows, -np.inf), axis=1)
            return where(any_along(real, axis=1)[:, None], top, 0.0)
        weights = astype(real, self.weight.dtype)
        if self.mode == "mean":
            weights = weights / maximum(sum_along(weights, axis=1, keepdims=True), 1.0)
        return matmul(weights[:, None, :], rows)[:, 0]

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}"


class ColumnEmbedding(Module):
    """For tables: embeds the last columns, which hold category codes, and keeps the others.

    (batch, numbers + k) -> (batch, numbers + sum of embedding dimensions), the k-th last columns
    being integers of the given cardinalities, whatever dtype the array has.

    Args:
        cardinalities: number of categories of each code column, in order.
        embedding_dim: length of the vectors: one number, one per column, or None for
            min(50, (cardinality + 1) // 2).
        in_features: columns of the input, checked if given.
        rng, dtype: see `Embedding`.
    """

    input_sizes: ClassVar[dict[str, int]] = {"in_features": -1}

    def __init__(
        self,
        cardinalities: Sequence[int],
        embedding_dim: int | Sequence[int] | None = None,
        in_features: int | None = None,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        rng = as_generator(rng)
        self.cardinalities = tuple(cardinalities)
        self.in_features = in_features
        dims = _embedding_dims(self.cardinalities, embedding_dim)
        pairs = zip(self.cardinalities, dims, strict=True)
        self.embeddings = ModuleList(Embedding(n, d, rng=rng, dtype=dtype) for n, d in pairs)
        self.extra_features = sum(dims) - len(dims)

    def forward(self, x: Any) -> Any:
        """(batch, in_features) -> (batch, in_features + extra_features)."""
        x = _as_indices(x)
        codes = len(self.cardinalities)
        width = value_of(x).shape[-1]
        if width < codes or self.in_features not in (None, width):
            raise ValueError(
                f"got an input of shape {value_of(x).shape}, expected {self.in_features or codes} "
                f"columns{'' if self.in_features else ' or more'}, the last {codes} of them codes"
            )
        numbers = x[..., : width - codes]
        last = astype(x[..., width - codes :], np.int64)
        vectors = [embed(last[..., i]) for i, embed in enumerate(self.embeddings)]
        return concatenate([numbers, *vectors], axis=-1)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"cardinalities={self.cardinalities}"


def _embedding_dims(
    cardinalities: Sequence[int], embedding_dim: int | Sequence[int] | None
) -> list[int]:
    if embedding_dim is None:
        return [min(50, (n + 1) // 2) for n in cardinalities]
    if isinstance(embedding_dim, int):
        return [embedding_dim] * len(cardinalities)
    if len(embedding_dim) != len(cardinalities):
        raise ValueError(
            f"ColumnEmbedding: {len(embedding_dim)} embedding dimensions for "
            f"{len(cardinalities)} columns"
        )
    return list(embedding_dim)


class PeriodicEmbedding(Module):
    """Each number as a small vector of sines and cosines of learned frequencies.

    With c = 2π frequencies[i] x_i: "plr" gives relu(Linear_i([cos c, sin c])) (Gorishniy et al.
    2022), "pbld" gives [x_i, Linear_i(cos(c + phases[i]))], its densely connected form with learned
    phases (Holzmüller et al. 2024).

    (..., in_features) -> (..., numeric_features * embedding_dim + the other columns).

    Args:
        in_features: columns of a row.
        numeric_features: how many of them, the first, are embedded; the others are kept as they
            are (0/1 columns of categories). None: all.
        embedding_dim: length of the vector of each number.
        n_frequencies: frequencies per number.
        sigma: standard deviation of the initial frequencies.
        kind: "pbld" or "plr".
        rng, dtype: see `Linear`.
    """

    input_sizes: ClassVar[dict[str, int]] = {"in_features": -1}

    def __init__(
        self,
        in_features: int,
        embedding_dim: int = 4,
        n_frequencies: int = 16,
        sigma: float = 0.1,
        kind: str = "pbld",
        numeric_features: int | None = None,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        if kind not in ("pbld", "plr"):
            raise ValueError(f'PeriodicEmbedding: kind is "pbld" or "plr", got {kind!r}')
        rng = as_generator(rng)
        self.in_features = in_features
        self.numeric_features = in_features if numeric_features is None else numeric_features
        if not 1 <= self.numeric_features <= in_features:
            raise ValueError(
                f"PeriodicEmbedding: numeric_features is 1 to in_features={in_features}, got "
                f"{numeric_features}"
            )
        self.embedding_dim = embedding_dim
        self.kind = kind
        waves = n_frequencies if kind == "pbld" else 2 * n_frequencies
        width = embedding_dim - 1 if kind == "pbld" else embedding_dim
        limit = 1 / math.sqrt(waves)
        between: dict[str, Any] = {"low": -limit, "high": limit, "rng": rng, "dtype": dtype}
        shape = (self.numeric_features, n_frequencies)
        self.frequencies = Parameter(normal(shape, std=sigma, rng=rng, dtype=dtype))
        if kind == "pbld":
            self.phases = Parameter(
                uniform(shape, low=-math.pi, high=math.pi, rng=rng, dtype=dtype)
            )
        self.weight = Parameter(uniform((self.numeric_features, waves, width), **between))
        self.bias = Parameter(uniform((self.numeric_features, width), **between))

    def forward(self, x: Any) -> Any:
        """(..., in_features) -> (..., numeric_features * embedding_dim + others)."""
        shape = value_of(x).shape
        if shape[-1] != self.in_features:
            raise ValueError(f"got an input of shape {shape}, expected (..., {self.in_features})")
        count = self.numeric_features
        if count == self.in_features:
            return self._embed(x)
        return concatenate([self._embed(x[..., :count]), x[..., count:]], axis=-1)

    def _embed(self, x: Any) -> Any:
        """(..., numeric_features) -> (..., numeric_features * embedding_dim)."""
        shape = value_of(x).shape
        numbers = reshape(x, (*shape, 1))
        angles = numbers * multiply(self.frequencies, 2 * math.pi)
        if self.kind == "pbld":
            waves = cos(angles + self.phases)
        else:
            waves = concatenate([cos(angles), sin(angles)], axis=-1)
        mapped = matmul(waves[..., None, :], self.weight)[..., 0, :] + self.bias
        if self.kind == "pbld":
            vectors = concatenate([numbers, mapped], axis=-1)
        else:
            vectors = relu(mapped)
        return reshape(vectors, (*shape[:-1], self.numeric_features * self.embedding_dim))

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """One per weight and row."""
        rows = int(np.prod(value_of(inputs[0]).shape[:-1]))
        return rows * self.weight.size

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.in_features}, {self.embedding_dim}, kind={self.kind!r}"
