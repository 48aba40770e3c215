"""Order: sorting, searching, sets.  A sorted array is a selection by an order that is constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.table import case, implements, kink
from nnad.autodiff.tensor import Tensor
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed, constant, known
from nnad.ops.index import take, take_along_axis

__all__ = [
    "argmax",
    "argmin",
    "argpartition",
    "argsort",
    "argwhere",
    "bincount",
    "digitize",
    "flatnonzero",
    "intersect1d",
    "isin",
    "lexsort",
    "nanargmax",
    "nanargmin",
    "nonzero",
    "partition",
    "searchsorted",
    "setdiff1d",
    "setxor1d",
    "sort",
    "sort_complex",
    "trim_zeros",
    "union1d",
    "unique",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]

_PLACES = "the results are places in an array"
_ORDER = "the result is an order of places"

# Places ---------------------------------------------------------------------------------------

argsort = constant(np.argsort, "a", reason=_ORDER)
argpartition = constant(np.argpartition, "a", reason=_ORDER)
lexsort = constant(np.lexsort, "keys", reason=_ORDER)
argmax = constant(np.argmax, "a", reason=_PLACES)
argmin = constant(np.argmin, "a", reason=_PLACES)
nanargmax = constant(np.nanargmax, "a", reason=_PLACES)
nanargmin = constant(np.nanargmin, "a", reason=_PLACES)
nonzero = constant(np.nonzero, "a", reason=_PLACES, counts=True)
flatnonzero = constant(np.flatnonzero, "a", reason=_PLACES, counts=True)
argwhere = constant(np.argwhere, "a", reason=_PLACES, counts=True)
searchsorted = constant(np.searchsorted, "a", "v", reason=_PLACES)
digitize = constant(np.digitize, "x", "bins", reason=_PLACES)
isin = constant(np.isin, "element", "test_elements", reason="the result is true or false")


# Sorting --------------------------------------------------------------------------------------


@composed(
    np.sort,
    formula="x in ascending order along an axis",
    samples=lambda rng: [
        case(rng.normal(size=4)),
        case(rng.normal(size=(3, 2)), axis=0),
        case(rng.normal(size=(2, 3)), axis=None),
    ],
    kinks=[
        kink(np.array([2.0, 1.0, 1.0]), np.ones(3), "equal elements keep their order"),
    ],
)
def sort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Any:
    """`a` in ascending order along an axis; see `numpy.sort`."""
    x = as_array(a)
    if not isinstance(x, Tensor):
        return np.sort(x, axis, kind, order, stable=stable)
    if axis is None:
        x, axis = s.ravel(x), 0
    if kind is None and stable is None:
        kind = "stable"
    return take_along_axis(x, argsort(x, axis, kind, stable=stable), axis)


@composed(
    np.partition,
    formula="x with the k-th smallest element in its place along an axis",
    samples=lambda rng: [
        case(rng.normal(size=5), 2),
        case(rng.normal(size=(4, 2)), (1, 2), axis=0),
    ],
)
def partition(
    a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """`a` with its k-th smallest element in its sorted place; see `numpy.partition`."""
    x = as_array(a)
    if axis is None:
        x, axis = s.ravel(x), 0
    return take_along_axis(x, argpartition(x, kth, axis, kind, order), axis)


@implements(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """`a` sorted by real, then imaginary part, as complex numbers; see `numpy.sort_complex`."""
    y = sort(a)
    if y.dtype.kind == "c":
        return y
    return s.astype(y, np.complex64 if y.dtype.char in "bhBHef" else np.result_type(y, 1j))


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """`filt` without the zeros at its ends; see `numpy.trim_zeros`."""
    x = as_array(filt)
    axes = range(x.ndim) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, x.ndim)
    places = np.nonzero(known(x, "np.trim_zeros"))
    key = [slice(None)] * x.ndim
    for a in axes:
        found = places[a]
        start = found.min() if found.size else x.shape[a]
        stop = found.max() + 1 if found.size else x.shape[a]
        front, back = "f" in trim.lower(), "b" in trim.lower()
        key[a] = slice(int(start) if front else None, int(stop) if back else None)
    return x[tuple(key)]


# Sets -----------------------------------------------------------------------------------------


@composed(
    np.unique,
    formula="the different values of x in ascending order",
    samples=lambda rng: [
        case(rng.normal(size=(2, 3))),
        case(np.array([2.0, 1.0, 2.0, 3.0])[:, None] + np.zeros(2), axis=0),
    ][:1],
    kinks=[
        kink(
            np.array([2.0, 1.0, 2.0]),
            np.array([1.0, 1.0, 0.0]),
            "of equal elements the first one is taken",
        )
    ],
)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The different values of `ar`, as a selection of their first places; see `numpy.unique`."""
    x = as_array(ar)
    _, first, inverse, counts = np.unique(
        known(x, "np.unique"), True, True, True, axis=axis, equal_nan=equal_nan
    )
    values = take(s.ravel(x) if axis is None else x, first, 0 if axis is None else axis)
    wanted = zip(
        (return_index, return_inverse, return_counts), (first, inverse, counts), strict=True
    )
    chosen = [result for wish, result in wanted if wish]
    return (values, *chosen) if chosen else values


class UniqueAll(NamedTuple):
    """Result of `unique_all`."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """Result of `unique_counts`."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """Result of `unique_inverse`."""

    values: Any
    inverse_indices: Any


@implements(np.unique_all)
def unique_all(x: Any) -> UniqueAll:
    """Different values, their first places, the way back and their counts."""
    return UniqueAll(*unique(x, True, True, True, equal_nan=False))


@implements(np.unique_counts)
def unique_counts(x: Any) -> UniqueCounts:
    """Different values and how often each occurs."""
    return UniqueCounts(*unique(x, return_counts=True, equal_nan=False))


@implements(np.unique_inverse)
def unique_inverse(x: Any) -> UniqueInverse:
    """Different values and, for each element, the place of its value among them."""
    return UniqueInverse(*unique(x, return_inverse=True, equal_nan=False))


@implements(np.unique_values)
def unique_values(x: Any) -> Any:
    """Different values."""
    return unique(x, equal_nan=False)


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    """The different values of both arrays; see `numpy.union1d`."""
    from nnad.ops.joining import concatenate

    return unique(concatenate([ar1, ar2], None))


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The values of `ar1` that are not in `ar2`; see `numpy.setdiff1d`."""
    x = s.ravel(ar1) if assume_unique else unique(ar1)
    return x[isin(x, ar2, invert=True)]


@implements(np.intersect1d)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """The values that both arrays have, taken from `ar1`; see `numpy.intersect1d`."""
    x, y = known((ar1, ar2), "np.intersect1d")
    _, first, second = np.intersect1d(x, y, assume_unique, True)
    values = take(s.ravel(ar1), first, 0)
    return (values, first, second) if return_indices else values


@implements(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """The values that only one of the arrays has; see `numpy.setxor1d`."""
    from nnad.ops.joining import concatenate

    parts: Sequence[Any] = (setdiff1d(ar1, ar2), setdiff1d(ar2, ar1))
    return sort(concatenate(parts))


# Counting -------------------------------------------------------------------------------------


@composed(
    np.bincount,
    formula="for each k the sum of weights where x = k",
    samples=lambda rng: [case(np.array([0, 3, 3, 1]), rng.normal(size=4), 6)],
)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Counts, or sums of `weights`, of the numbers 0, 1, 2, ... in `x`; see `numpy.bincount`."""
    places = known(x, "np.bincount")
    if not isinstance(weights, Tensor):
        return np.bincount(places, weights, minlength)
    from nnad.ops.index import Slot, _scatter

    counts = np.bincount(places, None, minlength)
    values = s.astype(weights, np.float64)
    return _scatter(values, np.asarray(places), key=Slot(0), shape=counts.shape)
