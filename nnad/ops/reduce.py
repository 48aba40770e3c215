"""Reductions over any axes: sums, products, means, spreads, extremes.

Public functions have NumPy's signatures.  `where=` and `initial=` are rewritten into the plain
reduction of masked values; the entries of the table know only `axis` and `keepdims`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements, kink, linear
from nnad.autodiff.tensor import Tensor, apply, value_of
from nnad.ops import elementwise as e
from nnad.ops import shape as s
from nnad.ops.arguments import (
    Axis,
    as_array,
    axes_of,
    axis_of,
    composed,
    constant,
    dummy,
    shape_of,
    store,
)

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "count_nonzero",
    "max",
    "mean",
    "min",
    "prod",
    "ptp",
    "std",
    "sum",
    "var",
]


def kept(x: Any, axis: Axis) -> tuple[int, ...]:
    """The shape of `x` with the axes in `axis` kept as ones."""
    shape = shape_of(x)
    axes = axes_of(axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def expand(r: Any, x: Any, axis: Axis) -> Any:
    """A reduced array `r` with its axes back as ones, so that it broadcasts against `x`."""
    if r.ndim == 0:
        return r
    shape = kept(x, axis)
    return r if shape_of(r) == shape else s._reshape(r, shape=shape)


def count(x: Any, axis: Axis) -> int:
    """How many elements of `x` go into one element of the reduction."""
    shape = shape_of(x)
    return math.prod(shape[a] for a in axes_of(axis, len(shape)))


def _samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(2, 3))),
        case(rng.normal(size=(2, 3)), axis=0),
        case(rng.normal(size=(2, 3, 4)), axis=(0, -1), keepdims=True),
        case(rng.normal(size=(3,)), axis=-1),
        case(np.asarray(rng.normal())),
    ]


def _prepared(a: Any, dtype: Any, where: Any, fill: Any) -> Any:
    """`a` in `dtype`, with `fill` where `where` is false."""
    x = as_array(a)
    if dtype is not None:
        x = s.astype(x, dtype)
    return x if where is None or where is True else e.where(where, x, fill)


def _asked(y: Any, dtype: Any) -> Any:
    """`y` in the dtype that was asked for: small integers are added up in a larger one."""
    return y if dtype is None else s.astype(y, dtype)


# Sums and means -------------------------------------------------------------------------------

_sum = linear(
    "sum",
    lambda x, *, axis=None, keepdims=False, out=None: np.add.reduce(
        x, axis=axis, out=out, keepdims=keepdims
    ),
    lambda g, ans, x, *, axis=None, keepdims=False: s._broadcast_to(
        expand(g, x, axis), shape=x.shape
    ),
    formula="sum of x over axes",
    partials=("1",),
    samples=_samples,
)


@implements(np.sum)
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Sum over axes; see `numpy.sum`."""
    if isinstance(a, Tensor) and dtype is out is initial is where is None:
        return apply(_sum, (a,), {"axis": axis_of(axis), "keepdims": keepdims})
    x = _prepared(a, dtype, where, 0)
    y = _asked(_sum(x, axis=axis_of(axis), keepdims=keepdims), dtype)
    return store(y if initial is None else y + initial, out, "sum")


def _mean_forward(x: Any, *, axis: Any = None, keepdims: Any = False, out: Any = None) -> Any:
    """np.mean without its overhead where the accumulator has the dtype of x."""
    n = count(x, axis)
    if n == 0 or x.dtype.char not in "fdgFDG":
        return np.mean(x, axis=axis, keepdims=keepdims, out=out)
    return np.divide(np.add.reduce(x, axis=axis, keepdims=keepdims, out=out), n, out=out)


_mean = linear(
    "mean",
    _mean_forward,
    lambda g, ans, x, *, axis=None, keepdims=False: s._broadcast_to(
        expand(g, x, axis) / count(x, axis), shape=x.shape
    ),
    formula="mean of x over axes",
    partials=("1 / n",),
    samples=_samples,
)


@implements(np.mean)
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """Mean over axes; see `numpy.mean`."""
    axis = axis_of(axis)
    if where is None or where is True:
        y = _mean(_prepared(a, dtype, None, 0), axis=axis, keepdims=keepdims)
    else:
        total = _sum(_prepared(a, dtype, where, 0), axis=axis, keepdims=keepdims)
        y = total / _counts(a, axis, where, keepdims, total)
    return store(y, out, "mean")


def _counts(a: Any, axis: Axis, where: Any, keepdims: bool, like: Any) -> Any:
    """How many elements of `a` each mean or variance runs over, in the dtype of `like`."""
    if where is None or where is True:
        return count(as_array(a), axis)
    hits = s._broadcast_to(as_array(where), shape=shape_of(a))
    return s.astype(count_nonzero(hits, axis=axis, keepdims=keepdims), _real_dtype(like))


def _real_dtype(x: Any) -> np.dtype:
    return np.empty(0, value_of(x).dtype).real.dtype


# Spread ---------------------------------------------------------------------------------------


def _spread(name: str, forward: Any, weight: Any, formula: str, partial: str) -> Any:
    """var or std; `weight(ans, freedom)` times conj(x - mean) is the derivative."""

    def slope(ans: Any, x: Any, axis: Axis, ddof: float) -> Any:
        freedom = count(x, axis) - ddof
        deviation = x - _mean(x, axis=axis, keepdims=True)
        if deviation.dtype.kind == "c":
            deviation = e.conj(deviation)
        return deviation * weight(expand(ans, x, axis), freedom if freedom > 0 else np.nan)

    def vjp(
        g: Any, ans: Any, x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
    ) -> Any:
        return expand(g, x, axis) * slope(ans, x, axis, ddof)

    def jvp(
        v: Any, ans: Any, x: Any, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False
    ) -> Any:
        v = v * slope(ans, x, axis, ddof)
        return _sum(e.real(v) if v.dtype.kind == "c" else v, axis=axis, keepdims=keepdims)

    return explicit(
        name,
        lambda x, *, axis=None, ddof=0, keepdims=False, out=None: forward(
            x, axis=axis, ddof=ddof, keepdims=keepdims, out=out
        ),
        vjps=(vjp,),
        jvps=(jvp,),
        tangent=f"sum of v * {partial}",
        formula=formula,
        partials=(partial,),
        samples=lambda rng: [
            case(rng.normal(size=(2, 3))),
            case(rng.normal(size=(2, 3)), axis=0, keepdims=True),
            case(rng.normal(size=(2, 3, 4)), axis=(0, -1), ddof=1),
            case(rng.normal(size=(4,)) + 1j * rng.normal(size=(4,))),
        ],
        kinks=[]
        if name == "var"
        else [kink(np.ones(3), np.zeros(3), "std of equal numbers: the middle of all slopes")],
    )


_var = _spread(
    "var",
    np.var,
    lambda ans, freedom: 2.0 / freedom,
    "mean of |x - mean(x)|**2 over axes",
    "2 * (x - mean(x)) / n",
)
_std = _spread(
    "std",
    np.std,
    lambda ans, freedom: e.reciprocal_or_zero(ans) / freedom,
    "square root of var(x)",
    "(x - mean(x)) / (n * y)",
)


@implements(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """Variance over axes; see `numpy.var`."""
    ddof, axis = _freedom("var", ddof, correction), axis_of(axis)
    x = _prepared(a, dtype, None, 0)
    if mean is None and (where is None or where is True):
        y = _var(x, axis=axis, ddof=ddof, keepdims=keepdims)
    else:
        y = _masked_var(x, axis, ddof, keepdims, where, mean)
    return store(y, out, "var")


@implements(np.std)
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """Standard deviation over axes, with derivative 0 where it is 0; see `numpy.std`."""
    ddof, axis = _freedom("std", ddof, correction), axis_of(axis)
    x = _prepared(a, dtype, None, 0)
    if mean is None and (where is None or where is True):
        y = _std(x, axis=axis, ddof=ddof, keepdims=keepdims)
    else:
        y = e.sqrt(_masked_var(x, axis, ddof, keepdims, where, mean))
    return store(y, out, "std")


def _freedom(name: str, ddof: float, correction: Any) -> float:
    if correction is None:
        return ddof
    if ddof != 0:
        raise ValueError(f"np.{name}: got ddof={ddof} and correction={correction}; give one")
    return correction


def _masked_var(x: Any, axis: Axis, ddof: float, keepdims: bool, where: Any, center: Any) -> Any:
    """The variance of the elements at `where`, about `center` (their mean if None)."""
    x = _prepared(x, None, where, 0)  # so that what is left out cannot reach the derivative
    if center is None:
        center = mean(x, axis=axis, keepdims=True, where=where)
    deviation = x - center
    power = deviation * deviation
    if value_of(deviation).dtype.kind == "c":
        power = e.square(e.real(deviation)) + e.square(e.imag(deviation))
    power = _prepared(power, None, where, 0)
    freedom = _counts(x, axis, where, keepdims, power) - ddof
    return _sum(power, axis=axis, keepdims=keepdims) / e.maximum(freedom, 0)


# Products -------------------------------------------------------------------------------------


def _others(x: Any, axis: Axis) -> Any:
    """For each element of `x` the product of the others that are reduced with it.

    Made of products of those before and those after: no division, so zeros do no harm, and
    neither do derivatives of it.
    """
    from nnad.ops.cumulative import exclusive_cumprod

    axes = axes_of(axis, x.ndim)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    moved = s._transpose(x, axes=rest + axes)
    lines = s._reshape(moved, shape=(*(x.shape[i] for i in rest), count(x, axis)))
    others = exclusive_cumprod(lines) * s.flip(exclusive_cumprod(s.flip(lines, -1)), -1)
    back = np.argsort(rest + axes).tolist()
    return s._transpose(s._reshape(others, shape=moved.shape), axes=tuple(back))


_prod = explicit(
    "prod",
    lambda x, *, axis=None, keepdims=False, out=None: np.multiply.reduce(
        x, axis=axis, keepdims=keepdims, out=out
    ),
    vjps=(lambda g, ans, x, *, axis=None, keepdims=False: expand(g, x, axis) * _others(x, axis),),
    jvps=(
        lambda v, ans, x, *, axis=None, keepdims=False: _sum(
            v * _others(x, axis), axis=axis, keepdims=keepdims
        ),
    ),
    tangent="sum of v * (product of the other elements)",
    formula="product of x over axes",
    partials=("product of the other elements",),
    samples=lambda rng: [
        *_samples(rng),
        case(np.array([0.0, 2.0, 3.0])),
        case(np.array([[0.0, 2.0, 0.0], [1.0, 2.0, 3.0]]), axis=1),
    ],
)


@implements(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Product over axes, differentiable also where elements are zero; see `numpy.prod`."""
    x = _prepared(a, dtype, where, 1)
    y = _asked(_prod(x, axis=axis_of(axis), keepdims=keepdims), dtype)
    return store(y if initial is None else y * initial, out, "prod")


# Extremes -------------------------------------------------------------------------------------


def _share_of_ties(ans: Any, x: Any, axis: Axis) -> Any:
    """1 at the extreme elements, divided by how many of them tie."""
    hits = s.astype(e.equal(x, expand(ans, x, axis)), value_of(x).dtype)
    return hits / _sum(hits, axis=axis, keepdims=True)


def _extreme(name: str, forward: Any) -> Any:
    return explicit(
        name,
        lambda x, *, axis=None, keepdims=False, out=None: forward(
            x, axis=axis, keepdims=keepdims, out=out
        ),
        vjps=(
            lambda g, ans, x, *, axis=None, keepdims=False: (
                expand(g, x, axis) * _share_of_ties(ans, x, axis)
            ),
        ),
        jvps=(
            lambda v, ans, x, *, axis=None, keepdims=False: _sum(
                v * _share_of_ties(ans, x, axis), axis=axis, keepdims=keepdims
            ),
        ),
        tangent="mean of v over the ties",
        formula=f"{name} of x over axes",
        partials=("1 / number of ties where x = y, else 0",),
        samples=_samples,
        kinks=[
            kink(
                np.array([1.0, 1.0, 0.0] if name == "max" else [1.0, 1.0, 2.0]),
                np.array([0.5, 0.5, 0.0]),
                "ties share the gradient",
            )
        ],
    )


_max = _extreme("max", np.maximum.reduce)
_min = _extreme("min", np.minimum.reduce)


def _limited(entry: Any, pair: Any, worst: float, options: Any) -> Any:
    """max or min among the elements at `where` and `initial`."""
    a, axis, keepdims, initial, where = options
    if initial is None:
        if where is not None and where is not True:
            raise ValueError(
                f"np.{entry.name}(..., where=mask) needs initial=, the result of an empty mask"
            )
        return entry(a, axis=axis, keepdims=keepdims)
    if count(a, axis) == 0:
        empty = np.add.reduce(dummy(a.shape), axis=axis, keepdims=keepdims)
        return s.full_like(empty, initial, dtype=a.dtype)
    fill = worst if value_of(a).dtype.kind == "f" else value_of(initial)
    return pair(entry(_prepared(a, None, where, fill), axis=axis, keepdims=keepdims), initial)


@implements(np.max, np.amax)
def max(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Maximum over axes; ties share the gradient; see `numpy.max`."""
    options = as_array(a), axis_of(axis), keepdims, initial, where
    return store(_limited(_max, e.maximum, -np.inf, options), out, "max")


@implements(np.min, np.amin)
def min(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Minimum over axes; ties share the gradient; see `numpy.min`."""
    options = as_array(a), axis_of(axis), keepdims, initial, where
    return store(_limited(_min, e.minimum, np.inf, options), out, "min")


amax, amin = max, min


@composed(np.ptp, formula="max(x) - min(x) over axes", samples=_samples)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Range of values over axes; see `numpy.ptp`."""
    high, low = max(a, axis, keepdims=keepdims), min(a, axis, keepdims=keepdims)
    return store(high - low, out, "ptp")


# Truths and counts ----------------------------------------------------------------------------

all = constant(np.all, "a", reason="the result is true or false")
any = constant(np.any, "a", reason="the result is true or false")
count_nonzero = constant(np.count_nonzero, "a", reason="the result is a count")
