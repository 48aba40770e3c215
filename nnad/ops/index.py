"""Selection: indexing of every kind, take, and assignment into an intermediate value.

An index `x[key]` is taken apart: the arrays in it become arguments of the operation (they may be
computed, and a program replays them), and `Slot(i)` stands in the key for the i-th of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements, linear
from nnad.autodiff.tensor import Tensor, state, value_of
from nnad.autodiff.walk import unbroadcast
from nnad.ops import elementwise as e
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed, known, shape_of, store
from nnad.ops.places import FRESH

__all__ = [
    "choose",
    "compress",
    "copyto",
    "extract",
    "fill_diagonal",
    "getitem",
    "place",
    "put",
    "put_along_axis",
    "putmask",
    "setitem",
    "take",
    "take_along_axis",
]


# Keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """The place of the i-th index array in a key."""

    i: int


def _is_basic(part: Any) -> bool:
    """Whether a part of a key selects without an array: None, `...`, a slice, an integer."""
    return (
        type(part) is int
        or type(part) is slice
        or part is None
        or part is Ellipsis
        or isinstance(part, np.integer)
    )


def split_key(key: Any) -> tuple[Any, tuple[Any, ...]]:
    """A key with slots in place of its arrays, and those arrays.

    >>> split_key((slice(None), [0, 2]))
    ((slice(None, None, None), Slot(i=0)), (array([0, 2]),))
    """
    if type(key) is not tuple:
        return (key, ()) if _is_basic(key) else (Slot(0), (_index_array(key),))
    arrays: list[Any] = []
    parts: list[Any] = []
    for part in key:
        if _is_basic(part):
            parts.append(part)
        else:
            parts.append(Slot(len(arrays)))
            arrays.append(_index_array(part))
    return tuple(parts), tuple(arrays)


def _index_array(part: Any) -> Any:
    x = as_array(part)
    if x.dtype.kind in "iub":
        return x
    if x.size == 0 and isinstance(part, (list, tuple)):
        return x.astype(np.intp)
    raise IndexError(
        f"an index is made of integers, slices, `...`, None, and arrays of integers or booleans; "
        f"got {type(part).__name__} of dtype {x.dtype}"
    )


def _filled(key: Any, arrays: Sequence[Any]) -> Any:
    """The key with its arrays back in their slots."""
    if not arrays:
        return key
    if type(key) is tuple:
        return tuple(arrays[k.i] if type(k) is Slot else k for k in key)
    return arrays[0]


# Reading --------------------------------------------------------------------------------------


def _samples(rng: np.random.Generator) -> list[Any]:
    x, i = rng.normal(size=(3, 4)), np.array([0, 2, 2])
    rows = slice(None)
    return [
        case(x, key=1),
        case(x, key=(slice(None, None, -1), 2)),
        case(x, key=(Ellipsis, None)),
        case(x, i, key=Slot(0)),
        case(x, i, key=(Slot(0), slice(1, 3))),
        case(x, i, key=(rows, Slot(0))),
        case(x, np.array([[0, 1], [1, 0]]), key=Slot(0)),
        case(x, i, np.array([1, 3, 3]), key=(Slot(0), Slot(1))),
        case(x, i, np.array([[-1], [3]]), key=(None, Slot(0), Ellipsis, Slot(1))),
        case(rng.normal(size=(2, 3, 4)), i[:2], np.array(1), key=(Slot(1), rows, Slot(0))),
        case(rng.normal(size=3), np.array([True, False, True]), key=Slot(0)),
        case(x, np.array([True, False, True]), key=(Slot(0), slice(1, 3))),
        case(x, rng.uniform(size=(3, 4)) > 0.5, key=Slot(0)),
    ]


def _masks(indices: Sequence[Any]) -> list[Any]:
    return [i for i in indices if i.dtype == bool]


_getitem = linear(
    "getitem",
    lambda x, *indices, key: x[_filled(key, indices)],
    lambda g, ans, x, *indices, key: _scatter(g, *indices, key=key, shape=x.shape),
    formula="x[key]",
    partials=("1 where selected",),
    adds=lambda total, g, x, *indices, key: _add_at(total, g, indices, key),
    samples=_samples,
    shaped_by=lambda x, *indices, key: _masks(indices),
)


def getitem(x: Any, key: Any) -> Any:
    """`x[key]` for every key that NumPy takes; indices may repeat.

    >>> getitem(np.arange(3.0), [2, 2, 0])
    array([2., 2., 0.])
    """
    template, arrays = split_key(key)
    for part in arrays:
        if part.dtype == bool:
            known(part, "x[mask]")  # how many elements that selects
    return _getitem(x, *arrays, key=template)


def _scatter_forward(
    x: Any, *indices: Any, key: Any, shape: tuple[int, ...], place: Any = FRESH
) -> Any:
    """Zeros of `shape` with `x` added at the key; what repeated indices select adds up."""
    full = place(np.empty, shape, x.dtype)
    full[...] = 0
    if _selects_once(indices):
        full[_filled(key, indices)] = x
    else:
        _add_repeated(full, x, indices, key)
    return full


def _selects_once(indices: Sequence[Any]) -> bool:
    """Whether no element can be selected twice: slices, whole numbers and masks do not."""
    return all(i.dtype == bool for i in indices)


def _add_at(total: np.ndarray, x: Any, indices: Sequence[Any], key: Any) -> None:
    """`total[key] += x`, where what repeated indices select adds up."""
    if _selects_once(indices):
        total[_filled(key, indices)] += x
    elif total.flags.c_contiguous:
        _add_repeated(total, x, indices, key)
    else:
        np.add.at(total, _filled(key, indices), x)


def _add_repeated(total: np.ndarray, x: Any, indices: Sequence[Any], key: Any) -> None:
    """`total[key] += x` for a contiguous array, through its flat view: several times as fast."""
    positions = _positions(total.shape, key, indices)
    values = np.broadcast_to(x, positions.shape)
    np.add.at(total.reshape(-1), positions.reshape(-1), values.reshape(-1))


def _positions(shape: tuple[int, ...], key: Any, indices: Sequence[Any]) -> np.ndarray:
    """The places, counted in memory order, of the elements that an integer key selects."""
    if type(key) is Slot:  # rows
        width = math.prod(shape[1:])
        rows = _wrapped(indices[0], shape[0]) * width
        columns = np.arange(width).reshape(shape[1:])
        return rows.reshape(rows.shape + (1,) * columns.ndim) + columns
    if type(key) is tuple and len(key) == len(shape) == len(indices):  # element by element
        total: Any = 0
        for n, i in zip(shape, indices, strict=True):
            if i.dtype == bool:
                break
            total = total * n + _wrapped(i, n)
        else:
            return total
    return np.arange(math.prod(shape)).reshape(shape)[_filled(key, indices)]


def _wrapped(i: Any, n: int) -> Any:
    """Indices as places from 0: negative ones count from the end."""
    i = i.astype(np.intp, copy=False)
    return np.where(i < 0, i + n, i)


_scatter = linear(
    "scatter",
    _scatter_forward,
    lambda g, ans, x, *indices, key, shape: _getitem(g, *indices, key=key),
    broadcasts=True,
    formula="zeros with x added at key",
    partials=("g[key]",),
    samples=lambda rng: [
        case(rng.normal(size=(3,)), np.array([0, 2, -2]), key=Slot(0), shape=(4,)),
        case(rng.normal(size=(2, 2, 3)), np.array([[0, 2], [2, 2]]), key=Slot(0), shape=(4, 3)),
        case(rng.normal(size=(2,)), key=slice(1, 3), shape=(4,)),
    ],
)


# Writing --------------------------------------------------------------------------------------


def _setitem_forward(x: Any, value: Any, *indices: Any, key: Any) -> Any:
    copy = np.array(x)
    copy[_filled(key, indices)] = value
    return copy


def _blank(g: Any, indices: Sequence[Any], key: Any) -> Any:
    """`g` with zeros at the key: what assignment leaves of the old value."""
    return _setitem(g, np.zeros((), g.dtype), *indices, key=key)


def _is_last(*indices: Any, key: Any, shape: tuple[int, ...]) -> Any:
    """Of the elements an assignment writes, those that no later one of it overwrites."""
    positions = np.arange(math.prod(shape)).reshape(shape)[_filled(key, indices)]
    numbers = np.arange(positions.size).reshape(positions.shape)
    winner = np.empty(math.prod(shape), np.intp)
    winner[positions] = numbers
    return winner[positions] == numbers


is_last = explicit(
    "is_last", _is_last, nondifferentiable="it tells places apart, not values of them"
)


def _value_vjp(g: Any, ans: Any, x: Any, value: Any, *indices: Any, key: Any) -> Any:
    ct = _getitem(g, *indices, key=key)
    if any(i.dtype != bool for i in indices):
        ct = e.where(is_last(*indices, key=key, shape=tuple(ans.shape)), ct, 0)
    shape = shape_of(value)
    if len(shape) > ct.ndim:  # leading axes of length one, which assignment drops
        return s._reshape(unbroadcast(ct, shape[len(shape) - ct.ndim :]), shape=shape)
    return unbroadcast(ct, shape)


_setitem = explicit(
    "setitem",
    _setitem_forward,
    vjps=(
        lambda g, ans, x, value, *indices, key: _blank(g, indices, key),
        _value_vjp,
    ),
    jvp=lambda tangents, ans, x, value, *indices, key: _setitem_jvp(
        tangents[0], tangents[1], ans, indices, key
    ),
    tangent="v0 with v0[key] replaced by v1",
    formula="x0 with x0[key] replaced by x1",
    shaped_by=lambda x, value, *indices, key: _masks(indices) if np.size(value) > 1 else (),
    partials=("1, and 0 at key", "1 at key"),
    samples=lambda rng: [
        case(rng.normal(size=(3, 4)), rng.normal(size=(4,)), key=1),
        case(rng.normal(size=(3, 4)), rng.normal(size=(2,)), key=(slice(None), slice(0, 2))),
        case(rng.normal(size=3), np.asarray(rng.normal()), np.array([0, 2]), key=Slot(0)),
        case(rng.normal(size=3), rng.normal(size=3), np.array([0, 2, 2]), key=Slot(0)),
        case(rng.normal(size=3), rng.normal(size=(1, 2)), np.array([0, -1]), key=Slot(0)),
        case(rng.normal(size=3), rng.normal(size=2), np.array([True, False, True]), key=Slot(0)),
    ],
)


def _setitem_jvp(v: Any, value: Any, ans: Any, indices: Sequence[Any], key: Any) -> Any:
    if v is None:
        v = np.zeros_like(value_of(ans))
    if value is None:
        return _blank(v, indices, key)
    return _setitem(v, value, *indices, key=key)


def setitem(x: Any, key: Any, value: Any) -> Any:
    """A copy of `x` with `x[key]` replaced by `value`.

    >>> setitem(np.zeros(3), 1, 5.0)
    array([0., 5., 0.])
    """
    template, arrays = split_key(key)
    return _setitem(x, as_array(value), *arrays, key=template)


def assign(self: Tensor, key: Any, value: Any) -> None:
    """`Tensor.__setitem__`: recorded on an intermediate value, refused on an input."""
    self.become(setitem(self, key, value), "x[i] = ...")


# Taking ---------------------------------------------------------------------------------------


def _take_vjp(
    g: Any, ans: Any, x: Any, indices: Any, *, axis: int | None = None, mode: str = "raise"
) -> Any:
    n = math.prod(x.shape) if axis is None else x.shape[axis]
    if mode == "clip":
        indices = e.minimum(e.maximum(indices, 0), n - 1)
    elif mode == "wrap":
        indices = e.remainder(indices, n)
    if axis is None:
        flat = _scatter(g, indices, key=Slot(0), shape=(n,))
        return s._reshape(flat, shape=x.shape)
    key = Slot(0) if axis % x.ndim == 0 else (slice(None),) * (axis % x.ndim) + (Slot(0),)
    return _scatter(g, indices, key=key, shape=x.shape)


_take = linear(
    "take",
    lambda x, indices, *, axis=None, mode="raise": np.take(x, indices, axis, mode=mode),
    _take_vjp,
    formula="elements or slices of x0 at places x1",
    partials=("1 where taken",),
    samples=lambda rng: [
        case(rng.normal(size=(2, 3)), np.array([0, 5, 5])),
        case(rng.normal(size=(4, 3)), np.array([0, -1, -1]), axis=0),
        case(rng.normal(size=(2, 3)), np.array([[0, 2], [2, 2]]), axis=1),
        case(rng.normal(size=(2, 3)), np.array(1), axis=-1),
        case(rng.normal(size=3), np.array([-7, 1, 9]), axis=0, mode="clip"),
        case(rng.normal(size=3), np.array([-7, 1, 9]), axis=0, mode="wrap"),
    ],
)


@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """Elements of `a` along an axis, at `indices` that may repeat; see `numpy.take`."""
    places = as_array(indices)
    if places.size == 0 and isinstance(indices, (list, tuple)):
        places = places.astype(np.intp)  # an empty list is an array of floats to NumPy
    y = _take(as_array(a), places, axis=axis, mode=mode)
    return store(y, out, "take")


def _along(shape: Sequence[int], indices: Any, axis: int) -> tuple[Any, ...]:
    """The key that pairs `indices` along an axis with every place on the other axes."""
    n = len(shape)
    if indices.ndim != n:
        raise ValueError(
            f"indices have {indices.ndim} axes, expected {n}: as many as the array they select from"
        )
    return tuple(
        indices if k == axis % n else np.arange(size).reshape((-1,) + (1,) * (n - k - 1))
        for k, size in enumerate(shape)
    )


@composed(
    np.take_along_axis,
    formula="x[..., indices[..., j], ...] along an axis",
    samples=lambda rng: [
        case(rng.normal(size=(2, 3)), np.array([[0, 2], [1, 1]]), axis=1),
        case(rng.normal(size=(2, 3)), np.array([[1, 0, 1]]), axis=0),
        case(rng.normal(size=(2, 3)), np.array([5, 0, 0]), axis=None),
    ],
)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Elements of `arr` along an axis, other places for each line; see `numpy.take_along_axis`."""
    x, indices = as_array(arr), as_array(indices)
    if axis is None:
        x, axis = s.ravel(x), 0
    return getitem(x, _along(x.shape, indices, axis))


@composed(
    np.compress,
    formula="slices of x where a condition is true",
    samples=lambda rng: [
        case([True, False, True], rng.normal(size=(3, 2)), axis=0),
        case([False, True], rng.normal(size=(3, 2)), axis=1),
        case([False, True, True], rng.normal(size=(3, 2))),
    ],
)
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    """Slices of `a` where `condition` is true; see `numpy.compress`."""
    (places,) = np.nonzero(np.asarray(known(condition, "np.compress")))
    return store(take(a, places, axis), out, "compress")


@composed(
    np.extract,
    formula="elements of x where a condition is true",
    samples=lambda rng: [case(rng.uniform(size=(2, 3)) > 0.4, rng.normal(size=(2, 3)))],
)
def extract(condition: Any, arr: Any) -> Any:
    """Elements of `arr` where `condition` is true; see `numpy.extract`."""
    return compress(np.ravel(known(condition, "np.extract")), s.ravel(arr))


@composed(
    np.choose,
    formula="choices[x0[i]][i], element by element",
    samples=lambda rng: [
        case(np.array([0, 2, 1]), [rng.normal(size=3), rng.normal(size=3), np.asarray(0.5)]),
        case(np.array([[0, 4], [-1, 1]]), [rng.normal(size=2), rng.normal(size=2)], mode="clip"),
    ],
)
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """From each element's choices the one `a` names; see `numpy.choose`."""
    from nnad.ops.joining import stack

    arrays = s.broadcast_arrays(a, *choices)
    indices, options = arrays[0], stack(arrays[1:])
    n = options.shape[0]
    if mode == "clip":
        indices = e.minimum(e.maximum(indices, 0), n - 1)
    elif mode == "wrap":
        indices = e.remainder(indices, n)
    elif (values := known(indices, 'np.choose, but for mode="clip",')).size and not (
        0 <= values.min() <= values.max() < n
    ):
        raise ValueError(f"np.choose: a must hold numbers from 0 to {n - 1}, one for each choice")
    return store(take_along_axis(options, indices[None], 0)[0], out, "choose")


# NumPy's functions that assign into their first argument ---------------------------------------


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """Assign along an axis, recorded; see `numpy.put_along_axis`."""
    if axis is None:
        put(arr, indices, values)
    else:
        arr[_along(arr.shape, as_array(indices), axis)] = values


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Assign to elements counted in C order, recorded; see `numpy.put`."""
    n = math.prod(a.shape)
    places = np.asarray(known(ind, "np.put")).ravel()
    places = np.clip(places, 0, n - 1) if mode == "clip" else places
    places = places % n if mode == "wrap" else places
    from nnad.ops.joining import resize

    _become(a, setitem(s.ravel(a), places, resize(v, places.shape)), "put")


@implements(np.putmask)
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """Assign elements of `values` in the same places where `mask` is true, recorded."""
    from nnad.ops.joining import resize

    _become(a, e.where(as_array(mask), resize(values, a.shape), a), "putmask")


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Assign elements of `vals`, one after the other, where `mask` is true; see `numpy.place`."""
    from nnad.ops.joining import resize

    mask = np.asarray(known(mask, "np.place, where a mask says how many are taken,"), bool)
    values = resize(vals, (np.count_nonzero(mask),))
    _become(arr, setitem(arr, mask.reshape(arr.shape), values), "place")


@implements(np.add.at)
def add_at(a: Any, indices: Any, b: Any, /) -> None:
    """Add `b` at indices, which may repeat, recorded; see `numpy.ufunc.at`."""
    template, arrays = split_key(indices)
    values = s.broadcast_to(b, shape_of(value_of(a)[_filled(template, arrays)]))
    _become(a, a + _scatter(values, *arrays, key=template, shape=a.shape), "add.at")


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Assign `src` where `where` is true, recorded; see `numpy.copyto`."""
    values = s.broadcast_to(src, dst.shape)
    _become(dst, e.where(as_array(where), values, dst), "copyto")


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Assign to the main diagonal, recorded; see `numpy.fill_diagonal`."""
    numbers = np.full(a.shape, -1)
    np.fill_diagonal(numbers, 0, wrap=wrap)
    put(a, np.flatnonzero(numbers == 0), val)


def _become(target: Any, result: Any, name: str) -> None:
    """Make `result` the new value of `target`, in its shape and dtype."""
    if not isinstance(target, Tensor):
        if isinstance(result, Tensor) and (result.requires_grad or state.capture is not None):
            raise TypeError(
                f"np.{name}: an ndarray cannot hold a recorded result; assign into a Tensor, for "
                "example np.zeros_like(t), or use np.where"
            )
        target[...] = value_of(result).reshape(target.shape)
        return
    shaped = s._reshape(result, shape=tuple(target.shape))
    target.become(s.astype(shaped, target.dtype), f"np.{name}(x, ...)")
