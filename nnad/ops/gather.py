"""Rows of a table by number: embeddings and their gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnad.autodiff.table import case, multilinear
from nnad.autodiff.tensor import value_of
from nnad.ops.places import FRESH

__all__ = ["add_rows", "take_rows"]

ONE_HOT_LIMIT = 65536  # elements of a one-hot matrix up to which a product adds rows as fast as any


def _take_rows(table: Any, indices: Any, *, out: Any = None) -> Any:
    check_range(indices, len(table))
    return np.take(table, indices, axis=0, out=out, mode="clip")


def check_range(indices: Any, size: int) -> None:
    """Raise IndexError unless all `indices` are in 0 .. size - 1."""
    if indices.dtype.kind not in "iu":
        raise IndexError(
            f"indices must be integers, got {indices.dtype}; convert with x.astype('int64')"
        )
    if not indices.size:
        return
    low, high = indices.min(), indices.max()
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise IndexError(f"index {wrong} is out of range; expected 0 to {size - 1} ({size} rows)")


def _add_rows(rows: Any, indices: Any, *, size: int, place: Any = FRESH) -> Any:
    """Zeros of `size` rows with `rows[i]` added at row `indices[i]`."""
    width = rows.shape[indices.ndim :]
    flat = rows.reshape(indices.size, math.prod(width))
    numbers = indices.reshape(-1)
    if numbers.size * size <= ONE_HOT_LIMIT:
        one_hot = place(np.empty, (size, numbers.size), rows.dtype)
        one_hot[...] = 0
        one_hot[numbers, np.arange(numbers.size)] = 1
        total = place(np.matmul, one_hot, flat)
    else:
        total = place(np.empty, (size, flat.shape[1]), rows.dtype)
        total[...] = _sparse_product(flat, numbers, size)
    return total.reshape(size, *width)


def _sparse_product(flat: Any, numbers: Any, size: int) -> Any:
    """The same as a sparse one-hot matrix times `flat`: one pass, in the order of the rows."""
    from scipy.sparse import csr_array

    n = numbers.size
    ones = np.ones(n, flat.dtype)
    one_hot = csr_array((ones, numbers, np.arange(n + 1)), shape=(n, size))
    return one_hot.T @ flat


def _samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(4, 3)), np.array([0, 2, 2])),
        case(rng.normal(size=(4, 3)), np.array([[3, 1], [1, 1]])),
        case(rng.normal(size=(4,)), np.array([[3, 1], [1, 1]])),
    ]


# table[indices] along the first axis: the rows of an embedding.
take_rows = multilinear(
    "take_rows",
    _take_rows,
    lambda g, ans, table, indices: add_rows(g, indices, size=len(value_of(table))),
    None,
    formula="x0[x1]",
    partials=("zeros with g added at rows x1", ""),
    samples=_samples,
)
add_rows = multilinear(
    "add_rows",
    _add_rows,
    lambda g, ans, rows, indices, *, size: take_rows(g, indices),
    None,
    formula="zeros with x0 added at rows x1",
    partials=("g[x1]", ""),
    samples=lambda rng: [
        case(rng.normal(size=(3, 2)), np.array([0, 2, 2]), size=4),
        case(rng.normal(size=(2, 2, 3)), np.array([[3, 1], [1, 1]]), size=4),
        case(rng.normal(size=(200, 2)), rng.integers(0, 100, 200), size=100),
    ],
)
