"""Shape and order: reshape, transpose, broadcast, cast; no element is changed.

Public functions have NumPy's signatures; the entries below them take arrays positionally and
metadata by keyword.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, implements, linear
from nnad.autodiff.tensor import Tensor, value_of, wrap
from nnad.autodiff.walk import unbroadcast
from nnad.ops.arguments import as_array, axis_of, composed, dummy, shape_of

__all__ = [
    "astype",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "copy",
    "empty_like",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "full",
    "full_like",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "ones_like",
    "ravel",
    "reshape",
    "roll",
    "rollaxis",
    "rot90",
    "squeeze",
    "swapaxes",
    "transpose",
    "zeros_like",
]


def _matrix(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(2, 3))


def _cube(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(2, 3, 4))


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
    partials=("g in the dtype of x",),
    samples=lambda rng: [case(_matrix(rng), dtype=np.dtype("float64"))],
)


def astype(x: Any, dtype: Any) -> Any:
    """`x` in another dtype, or itself.  To integers or booleans it is a constant."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "fc" and isinstance(x, Tensor):
        x = x.detach()
    return _astype(x, dtype=dtype)


def converted(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """`x` in another dtype, in new memory unless `copy` is false; see `numpy.astype`."""
    y = astype(x, dtype)
    return _copy(y) if copy and value_of(y) is value_of(x) else y


if hasattr(np, "astype"):  # since NumPy 2.1
    implements(np.astype)(converted)


def _constant_like(x: Any, function: Callable[..., Any], *options: Any) -> Any:
    made = function(value_of(x), *options)
    return wrap(made, None) if isinstance(x, Tensor) else made


@implements(np.zeros_like)
def zeros_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Zeros in the shape and dtype of `a`: a constant; see `numpy.zeros_like`."""
    return _constant_like(a, np.zeros_like, dtype, order, subok, shape)


@implements(np.ones_like)
def ones_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Ones in the shape and dtype of `a`: a constant; see `numpy.ones_like`."""
    return _constant_like(a, np.ones_like, dtype, order, subok, shape)


@implements(np.empty_like)
def empty_like(
    prototype: Any,
    /,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """An array to be assigned into, in shape and dtype of `prototype`; see `numpy.empty_like`."""
    return _constant_like(prototype, np.empty_like, dtype, order, subok, shape)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """A new array of `shape` with `fill_value` in every element; see `numpy.full`."""
    x = as_array(fill_value)
    return _broadcast_to(x if dtype is None else astype(x, dtype), shape=_as_shape(shape))


@implements(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """`fill_value` in the shape and dtype of `a`; differentiable by the value."""
    dtype = value_of(as_array(a)).dtype if dtype is None else dtype
    if not isinstance(fill_value, Tensor):
        made = np.full_like(value_of(a), fill_value, dtype, order, subok, shape)
        return wrap(made, None) if isinstance(a, Tensor) else made
    return full(shape_of(a) if shape is None else shape, fill_value, dtype)


_copy = linear(
    "copy",
    lambda x: np.array(x),
    lambda g, ans, x: g,
    formula="x in new memory",
    partials=("1",),
    samples=lambda rng: [case(_matrix(rng))],
)


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """A copy that may be assigned into; see `numpy.copy`."""
    return _copy(as_array(a))


def _as_shape(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(map(int, shape))


# Reshaping ------------------------------------------------------------------------------------

_reshape = linear(
    "reshape",
    lambda x, *, shape, order="C": x.reshape(shape, order=order),
    lambda g, ans, x, *, shape, order="C": _reshape(g, shape=x.shape, order=order),
    formula="x in another shape",
    partials=("g in the shape of x",),
    samples=lambda rng: [
        case(_matrix(rng), shape=(3, 2)),
        case(_matrix(rng), shape=(6,), order="F"),
        case(_matrix(rng), shape=(-1, 1)),
    ],
)


def _fixed_order(x: Any, order: str) -> str:
    """Order "A" as the "C" or "F" that it stands for, given how `x` lies in memory."""
    if order != "A":
        return order
    flags = value_of(x).flags
    return "F" if flags.f_contiguous and not flags.c_contiguous else "C"


@implements(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """`a` in another shape; see `numpy.reshape`."""
    x = as_array(a)
    y = _reshape(x, shape=shape, order=_fixed_order(x, order))
    if copy is None:
        return y
    shared = np.may_share_memory(value_of(x), value_of(y))
    if not copy and not shared:
        raise ValueError(
            f"reshape(copy=False): shape {x.shape} to {y.shape} needs a copy, as the elements do "
            "not lie in order; leave copy out"
        )
    return _copy(y) if copy and shared else y


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """`a` as a vector; see `numpy.ravel`."""
    x = as_array(a)
    if order == "K":
        strides = np.abs(value_of(x).strides)
        x, order = _transpose(x, axes=tuple(np.argsort(-strides, kind="stable").tolist())), "C"
    return _reshape(x, shape=-1, order=_fixed_order(x, order))


_transpose = linear(
    "transpose",
    lambda x, *, axes=None: x.transpose(axes),
    lambda g, ans, x, *, axes=None: _transpose(
        g, axes=None if axes is None else tuple(np.argsort([a % x.ndim for a in axes]).tolist())
    ),
    formula="x with its axes permuted",
    partials=("g with the axes put back",),
    samples=lambda rng: [
        case(_matrix(rng)),
        case(_cube(rng), axes=(1, 2, 0)),
        case(_cube(rng), axes=(-1, 0, 1)),
    ],
)


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    """`a` with its axes permuted (reversed if `axes` is None); see `numpy.transpose`."""
    x = as_array(a)
    return _transpose(x) if axes is None else _transpose(x, axes=tuple(axes))


def _permuted(function: Callable[..., Any], x: Any, *options: Any) -> Any:
    """What `function`, which only permutes axes, makes of `x`."""
    x = as_array(x)
    marked = function(dummy(range(x.ndim)), *options)  # an axis's length tells where it was
    return _transpose(x, axes=marked.shape)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """`a` with two axes exchanged; see `numpy.swapaxes`."""
    x = as_array(a)
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return _transpose(x, axes=tuple(axes))


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """`a` with axes moved to other places; see `numpy.moveaxis`."""
    return _permuted(np.moveaxis, a, source, destination)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """`a` with an axis moved before another; see `numpy.rollaxis`."""
    return _permuted(np.rollaxis, a, axis, start)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """`x` with its last two axes exchanged."""
    if len(shape_of(x)) < 2:
        raise ValueError(f"matrix_transpose: expected 2 or more axes, got shape {shape_of(x)}")
    return swapaxes(x, -1, -2)


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """`a` without axes of length one; see `numpy.squeeze`."""
    x = as_array(a)
    return _reshape(x, shape=np.squeeze(dummy(x.shape), axis).shape)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """`a` with axes of length one inserted; see `numpy.expand_dims`."""
    x = as_array(a)
    return _reshape(x, shape=np.expand_dims(dummy(x.shape), axis).shape)


def _at_least(function: Callable[..., Any]) -> Callable[..., Any]:
    def padded(*arys: Any) -> Any:
        xs = [as_array(x) for x in arys]
        made = tuple(_reshape(x, shape=function(dummy(x.shape)).shape) for x in xs)
        return made[0] if len(made) == 1 else made

    padded.__name__ = function.__name__
    padded.__doc__ = f"See `numpy.{function.__name__}`."
    return implements(function)(padded)


atleast_1d = _at_least(np.atleast_1d)
atleast_2d = _at_least(np.atleast_2d)
atleast_3d = _at_least(np.atleast_3d)


# Broadcasting ---------------------------------------------------------------------------------


def _spread(x: Any, *, shape: tuple[int, ...]) -> Any:
    """`np.broadcast_to`; a single number, the usual case, five times faster."""
    if not isinstance(x, (np.ndarray, np.generic)) or x.ndim or 0 in shape:
        return np.broadcast_to(x, shape)
    spread: np.ndarray = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    spread.flags.writeable = False
    return spread


_broadcast_to = linear(
    "broadcast_to",
    _spread,
    lambda g, ans, x, *, shape: unbroadcast(g, x.shape),
    formula="x repeated along new or stretched axes",
    partials=("sum of g over those axes",),
    samples=lambda rng: [
        case(rng.normal(size=(3,)), shape=(2, 3)),
        case(rng.normal(size=(2, 1)), shape=(4, 2, 3)),
        case(np.asarray(rng.normal()), shape=(2,)),
    ],
)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """`array` repeated to `shape`; see `numpy.broadcast_to`."""
    return _broadcast_to(as_array(array), shape=_as_shape(shape))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """All arrays repeated to their common shape; see `numpy.broadcast_arrays`."""
    xs = [as_array(x) for x in args]
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    return tuple(_broadcast_to(x, shape=shape) for x in xs)


@composed(
    np.meshgrid,
    formula="grids of coordinates from vectors",
    samples=lambda rng: [
        case(rng.normal(size=3), rng.normal(size=2)),
        case(rng.normal(size=3), rng.normal(size=2), np.asarray(rng.normal()), indexing="ij"),
        case(rng.normal(size=3), rng.normal(size=2), sparse=True),
    ],
)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """Coordinate grids of vectors; see `numpy.meshgrid`."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f'np.meshgrid: indexing is "xy" or "ij", got {indexing!r}')
    n = len(xi)
    grids = [
        _reshape(as_array(x), shape=(1,) * i + (-1,) + (1,) * (n - i - 1)) for i, x in enumerate(xi)
    ]
    if indexing == "xy" and n > 1:
        grids = [swapaxes(x, 0, 1) for x in grids]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


# Turning around -------------------------------------------------------------------------------

_flip = linear(
    "flip",
    lambda x, *, axis=None: np.flip(x, axis),
    lambda g, ans, x, *, axis=None: _flip(g, axis=axis),
    formula="x in reverse order along axes",
    partials=("g in reverse order along the same axes",),
    samples=lambda rng: [
        case(_matrix(rng)),
        case(_matrix(rng), axis=-1),
        case(_cube(rng), axis=(0, 2)),
    ],
)


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """`m` in reverse order along axes; see `numpy.flip`."""
    return _flip(as_array(m), axis=axis_of(axis))


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    """`m` in reverse order along its second axis; see `numpy.fliplr`."""
    return flip(m, 1)


@implements(np.flipud)
def flipud(m: Any) -> Any:
    """`m` in reverse order along its first axis; see `numpy.flipud`."""
    return flip(m, 0)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """`m` turned by quarters in the plane of two axes; see `numpy.rot90`."""
    x, (first, second) = as_array(m), axes
    np.rot90(dummy(x.shape), k, axes)  # says what is wrong with the axes
    if k % 4 == 2:
        return flip(x, (first, second))
    if k % 4 == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second) if k % 4 else x


_roll = linear(
    "roll",
    lambda x, *, shift, axis=None: np.roll(x, shift, axis),
    lambda g, ans, x, *, shift, axis=None: _roll(
        g, shift=tuple(-n for n in shift) if isinstance(shift, tuple) else -shift, axis=axis
    ),
    formula="x shifted along axes, around the end",
    partials=("g shifted back",),
    samples=lambda rng: [
        case(_matrix(rng), shift=2),
        case(_matrix(rng), shift=-1, axis=1),
        case(_cube(rng), shift=(1, 2), axis=(0, -1)),
    ],
)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """`a` shifted along axes, around the end; see `numpy.roll`."""
    if not isinstance(shift, (int, np.integer)):
        shift = tuple(np.asarray(shift).tolist()) if np.ndim(shift) else int(shift)
    return _roll(as_array(a), shift=shift, axis=axis_of(axis))
