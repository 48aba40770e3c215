"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, implements, linear
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, constant
from nnad.ops.reduce import sum as sum_

__all__ = [
    "diag",
    "diag_indices_from",
    "diagflat",
    "diagonal",
    "trace",
    "tril",
    "tril_indices_from",
    "triu",
    "triu_indices_from",
]


def _samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(3, 3))),
        case(rng.normal(size=(2, 4)), offset=1),
        case(rng.normal(size=(4, 2)), offset=-1, axis1=1, axis2=0),
        case(rng.normal(size=(2, 3, 4)), axis1=0, axis2=2),
        case(rng.normal(size=(2, 3, 3)), axis1=-2, axis2=-1),
    ]


def _put_diagonal(
    d: Any, *, shape: tuple[int, ...], offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Any:
    """Zeros of `shape` with `d` on a diagonal."""
    full = np.zeros(shape, d.dtype)
    view = np.moveaxis(full, (axis1, axis2), (-2, -1))
    i = np.arange(d.shape[-1])
    view[..., i + max(-offset, 0), i + max(offset, 0)] = d
    return full


_diagonal = linear(
    "diagonal",
    lambda x, *, offset=0, axis1=0, axis2=1: np.diagonal(x, offset, axis1, axis2),
    lambda g, ans, x, **options: _from_diagonal(g, shape=x.shape, **options),
    formula="x[i, i + offset]",
    partials=("1 on the diagonal",),
    samples=_samples,
)
_from_diagonal = linear(
    "from_diagonal",
    _put_diagonal,
    lambda g, ans, x, *, shape, **options: _diagonal(g, **options),
    formula="zeros with x on a diagonal",
    partials=("1",),
    samples=lambda rng: [
        case(rng.normal(size=3), shape=(3, 4), offset=1),
        case(rng.normal(size=(2, 3)), shape=(3, 2, 4), axis1=0, axis2=2),
    ],
)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A diagonal of `a`, as its last axis; see `numpy.diagonal`."""
    return _diagonal(as_array(a), offset=offset, axis1=axis1, axis2=axis2)


@implements(np.linalg.diagonal)
def _matrix_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """A diagonal of the matrices in the last two axes; see `numpy.linalg.diagonal`."""
    return diagonal(x, offset, -2, -1)


@implements(np.trace)
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """Sum along a diagonal; see `numpy.trace`."""
    return sum_(diagonal(a, offset, axis1, axis2), -1, dtype, out)


@implements(np.linalg.trace)
def _matrix_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Sum along a diagonal of the matrices in the last two axes; see `numpy.linalg.trace`."""
    return trace(x, offset, -2, -1, dtype)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """The diagonal of a matrix, or a matrix with a vector as its diagonal; see `numpy.diag`."""
    x = as_array(v)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"np.diag: expected 1 or 2 axes, got shape {x.shape}")
    n = x.shape[0] + abs(k)
    return _from_diagonal(x, shape=(n, n), offset=k)


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """A matrix with the flattened `v` as its diagonal; see `numpy.diagflat`."""
    return diag(s.ravel(v), k)


def _triangle(name: str, function: Any, formula: str) -> Any:
    entry = linear(
        name,
        lambda x, *, k=0: function(x, k),
        lambda g, ans, x, *, k=0: entry(g, k=k),
        formula=formula,
        partials=("1 in the triangle, else 0",),
        samples=lambda rng: [
            case(rng.normal(size=(3, 3))),
            case(rng.normal(size=(2, 4)), k=1),
            case(rng.normal(size=(2, 3, 3)), k=-1),
        ],
    )
    return entry


_tril = _triangle("tril", np.tril, "x with zeros above a diagonal")
_triu = _triangle("triu", np.triu, "x with zeros below a diagonal")


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """Lower triangle; see `numpy.tril`."""
    return _tril(s.broadcast_to(m, (len(m),) * 2) if np.ndim(m) == 1 else as_array(m), k=k)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """Upper triangle; see `numpy.triu`."""
    return _triu(s.broadcast_to(m, (len(m),) * 2) if np.ndim(m) == 1 else as_array(m), k=k)


_INDICES = "the results are places in a matrix"
diag_indices_from = constant(np.diag_indices_from, "arr", reason=_INDICES)
tril_indices_from = constant(np.tril_indices_from, "arr", reason=_INDICES)
triu_indices_from = constant(np.triu_indices_from, "arr", reason=_INDICES)
