"""Shape and order: reshape, transpose, broadcast, join, cast.

Public functions have NumPy's signatures; the entries below them take arrays positionally and
metadata by keyword.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements, linear
from nnad.autodiff.tensor import Tensor, value_of, wrap
from nnad.autodiff.walk import unbroadcast

__all__ = [
    "astype",
    "broadcast_to",
    "concatenate",
    "empty_like",
    "expand_dims",
    "matrix_transpose",
    "ones_like",
    "ravel",
    "reshape",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
    "zeros_like",
]


def _matrix(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(2, 3))


# Casting and constants ------------------------------------------------------------------------

_astype = linear(
    "astype",
    lambda x, *, dtype: (
        np.asarray(x).astype(dtype, copy=False)[()]
        if np.ndim(x) == 0
        else x.astype(dtype, copy=False)
    ),
    lambda g, ans, x, *, dtype: g,
    formula="x in another dtype",
    samples=lambda rng: [case(_matrix(rng), dtype=np.dtype("float64"))],
)


def astype(x: Any, dtype: Any, **options: Any) -> Any:
    """`x` in another dtype.  To integers or booleans it is a constant."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "fc" and isinstance(x, Tensor):
        x = x.detach()
    return _astype(x, dtype=dtype)


def _constant_like(function: Any) -> Any:
    def like(x: Any, dtype: Any = None, **options: Any) -> Any:
        made = function(value_of(x), dtype=dtype, **options)
        return wrap(made, None) if isinstance(x, Tensor) else made

    like.__name__ = function.__name__
    like.__doc__ = f"{function.__name__} of the values of x: a constant."
    return implements(function)(like)


zeros_like = _constant_like(np.zeros_like)
ones_like = _constant_like(np.ones_like)
empty_like = _constant_like(np.empty_like)


# Reshaping ------------------------------------------------------------------------------------

_reshape = linear(
    "reshape",
    lambda x, *, shape, order="C": np.reshape(x, shape, order=order),
    lambda g, ans, x, *, shape, order="C": _reshape(g, shape=x.shape, order=order),
    formula="x in another shape",
    samples=lambda rng: [
        case(_matrix(rng), shape=(3, 2)),
        case(_matrix(rng), shape=(6,), order="F"),
        case(_matrix(rng), shape=(-1, 1)),
    ],
)


@implements(np.reshape)
def reshape(x: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """`x` in another shape; see `numpy.reshape`."""
    return _reshape(x, shape=shape, order=order)


@implements(np.ravel)
def ravel(x: Any, order: str = "C") -> Any:
    """`x` as a vector; see `numpy.ravel`."""
    return _reshape(x, shape=-1, order=order)


_transpose = linear(
    "transpose",
    lambda x, *, axes=None: np.transpose(x, axes),
    lambda g, ans, x, *, axes=None: _transpose(
        g, axes=None if axes is None else tuple(np.argsort([a % x.ndim for a in axes]).tolist())
    ),
    formula="x with its axes permuted",
    samples=lambda rng: [
        case(_matrix(rng)),
        case(rng.normal(size=(2, 3, 4)), axes=(1, 2, 0)),
        case(rng.normal(size=(2, 3, 4)), axes=(-1, 0, 1)),
    ],
)


@implements(np.transpose, np.permute_dims)
def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """`x` with its axes permuted (reversed if `axes` is None); see `numpy.transpose`."""
    return _transpose(x) if axes is None else _transpose(x, axes=tuple(axes))


@implements(np.swapaxes)
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """`x` with two axes exchanged; see `numpy.swapaxes`."""
    axes = list(range(value_of(x).ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return _transpose(x, axes=tuple(axes))


@implements(np.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    """`x` with its last two axes exchanged."""
    return swapaxes(x, -1, -2)


@implements(np.squeeze)
def squeeze(x: Any, axis: Any = None) -> Any:
    """`x` without axes of length one; see `numpy.squeeze`."""
    return _reshape(x, shape=np.squeeze(np.asarray(value_of(x)), axis).shape)


@implements(np.expand_dims)
def expand_dims(x: Any, axis: Any) -> Any:
    """`x` with axes of length one inserted; see `numpy.expand_dims`."""
    return _reshape(x, shape=np.expand_dims(np.asarray(value_of(x)), axis).shape)


_broadcast_to = linear(
    "broadcast_to",
    lambda x, *, shape: np.broadcast_to(x, shape),
    lambda g, ans, x, *, shape: unbroadcast(g, x.shape),
    formula="x repeated along new or stretched axes",
    samples=lambda rng: [
        case(rng.normal(size=(3,)), shape=(2, 3)),
        case(rng.normal(size=(2, 1)), shape=(4, 2, 3)),
        case(np.asarray(rng.normal()), shape=(2,)),
    ],
)


@implements(np.broadcast_to)
def broadcast_to(x: Any, shape: Any, subok: bool = False) -> Any:
    """`x` repeated to `shape`; see `numpy.broadcast_to`."""
    return _broadcast_to(x, shape=(shape,) if isinstance(shape, int) else tuple(shape))


# Joining --------------------------------------------------------------------------------------


def _concatenate_vjp(i: int, g: Any, ans: Any, *xs: Any, axis: int = 0) -> Any:
    sizes = [np.shape(value_of(x))[axis] for x in xs]
    start = sum(sizes[:i])
    index = (slice(None),) * (axis % g.ndim) + (slice(start, start + sizes[i]),)
    return g[index]


def _concatenate_jvp(tangents: Sequence[Any], ans: Any, *xs: Any, axis: int = 0) -> Any:
    return _concatenate(*_fill_in(tangents, xs), axis=axis)


def _fill_in(tangents: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
    """Tangents with zeros of the arguments' shapes where there are none."""
    return [
        np.zeros_like(value_of(x)) if v is None else v for v, x in zip(tangents, xs, strict=True)
    ]


_concatenate = explicit(
    "concatenate",
    lambda *xs, axis=0: np.concatenate(xs, axis=axis),
    vjps=_concatenate_vjp,
    jvp=_concatenate_jvp,
    variadic=True,
    formula="arrays joined along an axis",
    samples=lambda rng: [
        case(_matrix(rng), _matrix(rng), axis=0),
        case(_matrix(rng), rng.normal(size=(2, 1)), axis=-1),
    ],
)


@implements(np.concatenate, np.concat)
def concatenate(arrays: Sequence[Any], axis: int | None = 0, out: Any = None) -> Any:
    """Arrays joined along an axis (flattened first if it is None); see `numpy.concatenate`."""
    arrays = list(arrays)
    if axis is None:
        arrays, axis = [ravel(x) for x in arrays], 0
    return _concatenate(*arrays, axis=axis)


def _stack_vjp(i: int, g: Any, ans: Any, *xs: Any, axis: int = 0) -> Any:
    return g[(slice(None),) * (axis % g.ndim) + (i,)]


_stack = explicit(
    "stack",
    lambda *xs, axis=0: np.stack(xs, axis=axis),
    vjps=_stack_vjp,
    jvp=lambda tangents, ans, *xs, axis=0: _stack(*_fill_in(tangents, xs), axis=axis),
    variadic=True,
    formula="arrays joined along a new axis",
    samples=lambda rng: [
        case(_matrix(rng), _matrix(rng), axis=0),
        case(_matrix(rng), _matrix(rng), axis=-1),
    ],
)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, out: Any = None) -> Any:
    """Arrays joined along a new axis; see `numpy.stack`."""
    return _stack(*arrays, axis=axis)
