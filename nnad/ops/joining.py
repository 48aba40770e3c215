"""Joining and splitting: concatenate, stack, block, split, tile, repeat, insert, delete."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements
from nnad.autodiff.tensor import value_of
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed, dummy, known, shape_of, store

__all__ = [
    "append",
    "array_split",
    "block",
    "column_stack",
    "concatenate",
    "delete",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "insert",
    "repeat",
    "resize",
    "split",
    "stack",
    "tile",
    "unstack",
    "vsplit",
    "vstack",
]


def _matrix(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(2, 3))


# Joining --------------------------------------------------------------------------------------


def _concatenate_vjp(g: Any, ans: Any, *xs: Any, axis: int = 0) -> tuple[Any, ...]:
    before = (slice(None),) * (axis % g.ndim)
    sizes = [shape_of(x)[axis] for x in xs]
    stops = itertools.accumulate(sizes)
    return tuple(g[(*before, slice(stop - n, stop))] for n, stop in zip(sizes, stops, strict=True))


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
    vjp=_concatenate_vjp,
    jvp=_concatenate_jvp,
    tangent="concatenate(v0, v1, ...)",
    formula="arrays joined along an axis",
    partials=("the part of g at the place of the argument",),
    samples=lambda rng: [
        case(_matrix(rng), _matrix(rng), axis=0),
        case(_matrix(rng), rng.normal(size=(2, 1)), axis=-1),
    ],
)


@implements(np.concatenate, np.concat)
def concatenate(
    arrays: Sequence[Any],
    /,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """Arrays joined along an axis (flattened first if it is None); see `numpy.concatenate`."""
    xs = [as_array(x) for x in arrays]
    if axis is None:
        xs, axis = [s.ravel(x) for x in xs], 0
    if dtype is not None:
        xs = [s.astype(x, dtype) for x in xs]
    return store(_concatenate(*xs, axis=axis), out, "concatenate")


def _stack_vjp(g: Any, ans: Any, *xs: Any, axis: int = 0) -> tuple[Any, ...]:
    before = (slice(None),) * (axis % g.ndim)
    return tuple(g[(*before, i)] for i in range(len(xs)))


_stack = explicit(
    "stack",
    lambda *xs, axis=0: np.stack(xs, axis=axis),
    vjp=_stack_vjp,
    jvp=lambda tangents, ans, *xs, axis=0: _stack(*_fill_in(tangents, xs), axis=axis),
    tangent="stack(v0, v1, ...)",
    formula="arrays joined along a new axis",
    partials=("the slice of g at the place of the argument",),
    samples=lambda rng: [
        case(_matrix(rng), _matrix(rng), axis=0),
        case(_matrix(rng), _matrix(rng), axis=-1),
    ],
)


@implements(np.stack)
def stack(
    arrays: Sequence[Any],
    axis: int = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """Arrays joined along a new axis; see `numpy.stack`."""
    xs = [as_array(x) if dtype is None else s.astype(as_array(x), dtype) for x in arrays]
    return store(_stack(*xs, axis=axis), out, "stack")


def _raised(function: Callable[..., Any], tup: Any) -> list[Any]:
    made = function(*tup)
    return list(made) if isinstance(made, tuple) else [made]


@implements(np.vstack)
def vstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays joined as rows; see `numpy.vstack`."""
    return concatenate(_raised(s.atleast_2d, tup), 0, dtype=dtype)


@implements(np.hstack)
def hstack(tup: Sequence[Any], *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays joined along the second axis, vectors end to end; see `numpy.hstack`."""
    xs = _raised(s.atleast_1d, tup)
    return concatenate(xs, 0 if xs and xs[0].ndim == 1 else 1, dtype=dtype)


@implements(np.dstack)
def dstack(tup: Sequence[Any]) -> Any:
    """Arrays joined along the third axis; see `numpy.dstack`."""
    return concatenate(_raised(s.atleast_3d, tup), 2)


@implements(np.column_stack)
def column_stack(tup: Sequence[Any]) -> Any:
    """Vectors as the columns of a matrix; see `numpy.column_stack`."""
    xs = [as_array(x) for x in tup]
    return concatenate([x if x.ndim > 1 else s._reshape(x, shape=(-1, 1)) for x in xs], 1)


@composed(
    np.block,
    formula="an array put together from nested lists of blocks",
    samples=lambda rng: [
        case([[_matrix(rng), rng.normal(size=(2, 1))], [rng.normal(size=(1, 4))]]),
        case([rng.normal(size=3), np.asarray(1.5)]),
        case(_matrix(rng)),
    ],
)
def block(arrays: Any) -> Any:
    """An array put together from nested lists of blocks; see `numpy.block`."""

    def depth_of(part: Any) -> int:
        return 1 + max(map(depth_of, part)) if isinstance(part, list) else 0

    def ndim_of(part: Any) -> int:
        return max(map(ndim_of, part)) if isinstance(part, list) else len(shape_of(part))

    depth = depth_of(arrays)
    ndim = max(depth, ndim_of(arrays))

    def join(part: Any, level: int) -> Any:
        if isinstance(part, list):
            return concatenate([join(x, level + 1) for x in part], ndim - depth + level)
        x = as_array(part)
        return s._reshape(x, shape=(1,) * (ndim - x.ndim) + tuple(x.shape))

    return join(arrays, 0)


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """`values` after the end of `arr`; see `numpy.append`."""
    return concatenate([arr, values], axis)


# Splitting ------------------------------------------------------------------------------------


def _slices(x: Any, bounds: Sequence[int], axis: int) -> list[Any]:
    """`x` cut at `bounds` along an axis."""
    before = (slice(None),) * (axis % x.ndim)
    edges = [None, *bounds], [*bounds, None]
    return [x[(*before, slice(i, j))] for i, j in zip(*edges, strict=True)]


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts of `ary` along an axis, of equal length or nearly so; see `numpy.array_split`."""
    x = as_array(ary)
    if np.ndim(indices_or_sections):
        return _slices(x, [int(i) for i in indices_or_sections], axis)
    parts = np.array_split(dummy((x.shape[axis],)), indices_or_sections)
    return _slices(x, np.cumsum([len(part) for part in parts])[:-1].tolist(), axis)


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Parts of `ary` along an axis, of equal length; see `numpy.split`."""
    if not np.ndim(indices_or_sections) and shape_of(ary)[axis] % indices_or_sections:
        raise ValueError(
            f"np.split: an axis of length {shape_of(ary)[axis]} does not divide into "
            f"{indices_or_sections} equal parts; np.array_split allows unequal ones"
        )
    return array_split(ary, indices_or_sections, axis)


@implements(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts of `ary` along its first axis; see `numpy.vsplit`."""
    _needs("vsplit", ary, 2)
    return split(ary, indices_or_sections, 0)


@implements(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts of `ary` along its second axis, of a vector its only one; see `numpy.hsplit`."""
    _needs("hsplit", ary, 1)
    return split(ary, indices_or_sections, min(len(shape_of(ary)) - 1, 1))


@implements(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Parts of `ary` along its third axis; see `numpy.dsplit`."""
    _needs("dsplit", ary, 3)
    return split(ary, indices_or_sections, 2)


def _needs(name: str, x: Any, ndim: int) -> None:
    if len(shape_of(x)) < ndim:
        raise ValueError(f"np.{name} works on {ndim} or more axes, got shape {shape_of(x)}")


_unstack = explicit(
    "unstack",
    lambda x, *, axis: tuple(np.moveaxis(x, axis, 0)),
    vjp=lambda g, ans, x, *, axis: (_stack(*g, axis=axis) if g else np.zeros_like(value_of(x)),),
    jvp=lambda tangents, ans, x, *, axis: _unstack(tangents[0], axis=axis),
    formula="the parts of x along an axis",
    partials=("stack(g)",),
    samples=lambda rng: [
        case(_matrix(rng), axis=0),
        case(rng.normal(size=(2, 3, 2)), axis=-2),
        case(rng.normal(size=3), axis=0),
    ],
)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The parts of `x` along an axis, without that axis; see `numpy.unstack`."""
    _needs("unstack", x, 1)
    return _unstack(as_array(x), axis=axis)


if hasattr(np, "unstack"):  # since NumPy 2.1
    implements(np.unstack)(unstack)


# Repeating ------------------------------------------------------------------------------------


@composed(
    np.tile,
    formula="x repeated as a whole along axes",
    samples=lambda rng: [
        case(rng.normal(size=3), 2),
        case(_matrix(rng), (2, 1, 3)),
        case(rng.normal(size=(2, 1, 2)), (2, 2)),
    ],
)
def tile(A: Any, reps: Any) -> Any:
    """`A` repeated as a whole along axes; see `numpy.tile`."""
    x = as_array(A)
    reps = (int(reps),) if np.ndim(reps) == 0 else tuple(map(int, reps))
    ndim = max(x.ndim, len(reps))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - x.ndim) + tuple(x.shape)
    pairs = [part for n in shape for part in (1, n)]
    stretched = [part for k, n in zip(reps, shape, strict=True) for part in (k, n)]
    wide = s._broadcast_to(s._reshape(x, shape=tuple(pairs)), shape=tuple(stretched))
    return s._reshape(wide, shape=tuple(k * n for k, n in zip(reps, shape, strict=True)))


@composed(
    np.repeat,
    formula="each element of x repeated along an axis",
    samples=lambda rng: [
        case(rng.normal(size=(2, 2)), 2),
        case(_matrix(rng), 3, axis=0),
        case(_matrix(rng), np.array([1, 0, 2]), axis=-1),
    ],
)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element of `a` repeated along an axis; see `numpy.repeat`."""
    from nnad.ops.index import take

    x = as_array(a)
    if axis is None:
        x, axis = s.ravel(x), 0
    n, axis = x.shape[axis], axis % x.ndim
    if np.size(repeats) != 1:
        return take(x, np.repeat(np.arange(n), known(repeats, "np.repeat")), axis)
    k = int(np.asarray(known(repeats, "np.repeat")).item())
    before, after = tuple(x.shape[:axis]), tuple(x.shape[axis + 1 :])
    column = s._reshape(x, shape=(*before, n, 1, *after))
    wide = s._broadcast_to(column, shape=(*before, n, k, *after))
    return s._reshape(wide, shape=(*before, n * k, *after))


@composed(
    np.resize,
    formula="x repeated or cut to another shape",
    samples=lambda rng: [case(_matrix(rng), (2, 4)), case(_matrix(rng), (2, 2))],
)
def resize(a: Any, new_shape: Any) -> Any:
    """`a` repeated or cut until it fills another shape; see `numpy.resize`."""
    x = s.ravel(a)
    shape = np.empty(new_shape, np.bool_).shape
    size = int(np.prod(shape, dtype=int))
    if x.shape[0] == 0 and size:
        return s.zeros_like(x, shape=shape)
    if size > x.shape[0]:
        x = tile(x, -(-size // x.shape[0]))
    return s._reshape(x[:size], shape=shape)


# Inserting and deleting -----------------------------------------------------------------------


@composed(
    np.insert,
    formula="x with values put before given places",
    samples=lambda rng: [
        case(rng.normal(size=4), 1, rng.normal(size=2)),
        case(_matrix(rng), 1, np.asarray(rng.normal()), axis=1),
        case(_matrix(rng), 0, rng.normal(size=(2, 2)), axis=1),
        case(_matrix(rng), [2, 0], rng.normal(size=(2, 2)), axis=1),
        case(rng.normal(size=4), slice(1, 4, 2), rng.normal(size=2)),
    ],
)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """`arr` with `values` put before the places `obj` along an axis; see `numpy.insert`."""
    from nnad.ops.index import take

    x, v = as_array(arr), as_array(values)
    if axis is None:
        x, axis = s.ravel(x), 0
    axis %= x.ndim
    obj = known(obj, "np.insert")
    places = np.arange(x.shape[axis])[obj] if isinstance(obj, slice) else np.asarray(obj)
    number = np.count_nonzero(places) if places.dtype == bool else places.size
    if number == 1:  # one place: the whole of `values` goes there
        v = s._reshape(v, shape=(1,) * (x.ndim - v.ndim) + tuple(v.shape))
        v = s.moveaxis(v, 0, axis) if places.ndim == 0 else v
        number = v.shape[axis]
    shape = (*x.shape[:axis], number, *x.shape[axis + 1 :])
    joined = _concatenate(x, s.astype(s._broadcast_to(v, shape=shape), x.dtype), axis=axis)
    n = x.shape[axis]
    return take(joined, np.insert(np.arange(n), obj, np.arange(n, n + number)), axis)


@composed(
    np.delete,
    formula="x without the elements at given places",
    samples=lambda rng: [
        case(rng.normal(size=4), 1),
        case(_matrix(rng), [0, -1], axis=1),
        case(_matrix(rng), slice(0, 1), 0),
    ],
)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """`arr` without the places `obj` along an axis; see `numpy.delete`."""
    from nnad.ops.index import take

    x = as_array(arr)
    if axis is None:
        x, axis = s.ravel(x), 0
    return take(x, np.delete(np.arange(x.shape[axis]), known(obj, "np.delete")), axis)
