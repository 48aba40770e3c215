"""Along one axis: running sums and products, differences, numerical derivatives and integrals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements, linear
from nnad.autodiff.tensor import value_of
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, axes_of, composed, shape_of, store
from nnad.ops.index import take_along_axis
from nnad.ops.joining import concatenate

__all__ = [
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "ediff1d",
    "gradient",
    "recurrence",
    "running_max",
    "running_min",
    "trapezoid",
    "unwrap",
]


def _samples(rng: np.random.Generator) -> list[Any]:
    return [case(rng.normal(size=4), axis=0), case(rng.normal(size=(2, 3)), axis=-1)]


def part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """`x[start:stop]` along `axis`."""
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, stop),)]


def _shifted(x: Any, axis: int, first: float) -> Any:
    """`x` moved one place along `axis`: the last element dropped, `first` put in front."""
    edge = np.full_like(value_of(part(x, axis, 0, 1)), first)
    return concatenate([edge, part(x, axis, None, -1)], axis)


# Running sums and products --------------------------------------------------------------------

_cumsum = linear(
    "cumsum",
    lambda x, *, axis: np.cumsum(x, axis=axis),
    lambda g, ans, x, *, axis: s.flip(_cumsum(s.flip(g, axis), axis=axis), axis),
    formula="running sum of x along an axis",
    partials=("1 up to the place, then 0",),
    samples=_samples,
)


def _recurrence_forward(a: Any, c: Any, *, axis: int = -1) -> Any:
    """y[k] = a[k] * y[k-1] + c[k], in log2(n) steps of whole arrays.

    Two neighbouring steps y -> a y + c are one such step; combining each with the one 1, 2, 4, ...
    places before it leaves y (Hillis and Steele's scan).
    """
    shape = np.broadcast_shapes(np.shape(a), np.shape(c))
    dtype = np.result_type(a, c)
    a = np.moveaxis(np.array(np.broadcast_to(a, shape), dtype), axis, -1)
    y = np.moveaxis(np.array(np.broadcast_to(c, shape), dtype), axis, -1)
    reach = 1
    while reach < y.shape[-1]:
        y[..., reach:] += a[..., reach:] * y[..., :-reach]
        a[..., reach:] *= a[..., :-reach].copy()
        reach *= 2
    return np.moveaxis(y, -1, axis)


def _backwards(g: Any, a: Any, axis: int) -> Any:
    """The cotangents of c: b[k] = g[k] + a[k+1] * b[k+1]."""
    a = _shifted(s.flip(a, axis), axis, 0)
    return s.flip(recurrence(a, s.flip(g, axis), axis=axis), axis)


recurrence = explicit(
    "recurrence",
    _recurrence_forward,
    vjps=(
        lambda g, ans, a, c, *, axis=-1: _backwards(g, a, axis) * _shifted(ans, axis, 0),
        lambda g, ans, a, c, *, axis=-1: _backwards(g, a, axis),
    ),
    jvps=(
        lambda v, ans, a, c, *, axis=-1: recurrence(a, v * _shifted(ans, axis, 0), axis=axis),
        lambda v, ans, a, c, *, axis=-1: recurrence(a, v, axis=axis),
    ),
    tangent="d[k] = v0[k] * y[k-1] + x0[k] * d[k-1] + v1[k]",
    formula="y[k] = x0[k] * y[k-1] + x1[k] along an axis",
    partials=("b[k] * y[k-1]", "b[k] = g[k] + x0[k+1] * b[k+1]"),
    samples=lambda rng: [
        case(rng.normal(size=5), rng.normal(size=5), axis=0),
        case(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), axis=-1),
        case(rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), axis=0),
    ],
)

_cumprod = explicit(
    "cumprod",
    lambda x, *, axis: np.cumprod(x, axis=axis),
    vjps=(lambda g, ans, x, *, axis: _shifted(ans, axis, 1) * _backwards(g, x, axis),),
    jvps=(lambda v, ans, x, *, axis: recurrence(x, v * _shifted(ans, axis, 1), axis=axis),),
    tangent="d[k] = v[k] * y[k-1] + x[k] * d[k-1]",
    formula="running product of x along an axis",
    partials=("product of the others up to the place",),
    samples=lambda rng: [
        *_samples(rng),
        case(np.array([2.0, 0.0, 3.0, 0.0, 1.5]), axis=0),
    ],
)


def exclusive_cumprod(x: Any) -> Any:
    """Along the last axis, the product of all elements before each."""
    if x.shape[-1] == 0:
        return x
    return _shifted(_cumprod(x, axis=-1), -1, 1)


def _running(entry: Any, a: Any, axis: int | None, dtype: Any) -> Any:
    x = as_array(a) if dtype is None else s.astype(as_array(a), dtype)
    if axis is None or x.ndim == 0:
        x, axis = s.ravel(x), 0
    y = entry(x, axis=axis)
    return y if dtype is None else s.astype(y, dtype)  # small integers add up in a larger one


_running_places = explicit(
    "running_places",
    lambda x, *, axis, ufunc: _latest(np.equal(x, ufunc.accumulate(x, axis)) | np.isnan(x), axis),
    nondifferentiable="the result is made of places",
)


def _latest(hits: Any, axis: int) -> Any:
    """For each place along an axis the last one up to it where `hits` is true."""
    places = np.arange(hits.shape[axis]).reshape((-1,) + (1,) * (hits.ndim - 1 - axis % hits.ndim))
    return np.maximum.accumulate(np.where(hits, places, 0), axis)


def _running_extreme(ufunc: Any, name: str) -> Any:
    @composed(
        ufunc.accumulate,
        name=name,
        formula=f"running {ufunc.__name__} of x along an axis",
        samples=_samples,
    )
    def running(array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """The extreme so far along an axis; the latest of several takes the derivative."""
        x = as_array(array)
        return store(
            take_along_axis(x, _running_places(x, axis=axis, ufunc=ufunc), axis), out, name
        )

    return running


running_max = _running_extreme(np.maximum, "running_max")
running_min = _running_extreme(np.minimum, "running_min")


@implements(np.cumsum)
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Running sum along an axis; see `numpy.cumsum`."""
    return store(_running(_cumsum, a, axis, dtype), out, "cumsum")


@implements(np.cumprod)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Running product along an axis, differentiable also at zeros; see `numpy.cumprod`."""
    return store(_running(_cumprod, a, axis, dtype), out, "cumprod")


def _cumulative(function: Any, first: float, name: str) -> Any:
    def cumulative(
        x: Any,
        /,
        *,
        axis: int | None = None,
        dtype: Any = None,
        out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        x = s.atleast_1d(x)
        if axis is None:
            if x.ndim != 1:
                raise ValueError(
                    f"np.{name}: axis= is needed for an array of {x.ndim} axes, shape {x.shape}"
                )
            axis = 0
        y = function(x, axis, dtype)
        if include_initial:
            shape = tuple(1 if i == axis % y.ndim else n for i, n in enumerate(y.shape))
            y = concatenate([np.full(shape, first, y.dtype), y], axis)
        return store(y, out, name)

    cumulative.__name__ = name
    cumulative.__doc__ = f"See `numpy.{name}`."
    if hasattr(np, name):  # since NumPy 2.1
        implements(getattr(np, name))(cumulative)
    return cumulative


cumulative_sum = _cumulative(cumsum, 0, "cumulative_sum")
cumulative_prod = _cumulative(cumprod, 1, "cumulative_prod")


# Differences ----------------------------------------------------------------------------------


def _edge(value: Any, x: Any, axis: int) -> Any:
    """`value` as a slice to put before or after `x`: a number fills it."""
    edge = as_array(value)
    if edge.ndim == 0:
        shape = tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape))
        edge = s._broadcast_to(edge, shape=shape)
    return edge


@composed(
    np.diff,
    formula="x[k+1] - x[k] along an axis, n times",
    samples=lambda rng: [
        case(rng.normal(size=4)),
        case(rng.normal(size=(2, 5)), n=2),
        case(rng.normal(size=(3, 2)), axis=0, prepend=0.5, append=rng.normal(size=(2, 2))),
        case(rng.normal(size=4), 0),
    ],
)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along an axis, `n` times; see `numpy.diff`."""
    x = as_array(a)
    if n == 0:
        return x
    if n < 0 or x.ndim == 0:
        raise ValueError(
            f"np.diff: expected n >= 0 and an array of 1 or more axes, got n={n}, shape {x.shape}"
        )
    ends = [_edge(prepend, x, axis)] if prepend is not None else []
    tail = [_edge(append, x, axis)] if append is not None else []
    x = concatenate([*ends, x, *tail], axis) if ends or tail else x
    for _ in range(n):
        later, earlier = part(x, axis, 1, None), part(x, axis, None, -1)
        x = later != earlier if x.dtype == np.bool_ else later - earlier
    return x


@composed(
    np.ediff1d,
    formula="x[k+1] - x[k] of the flattened x",
    samples=lambda rng: [
        case(rng.normal(size=(2, 2))),
        case(rng.normal(size=3), to_end=rng.normal(size=2), to_begin=0.5),
    ],
)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours of the flattened array; see `numpy.ediff1d`."""
    y = diff(s.ravel(ary))
    before = [] if to_begin is None else [s.astype(s.ravel(to_begin), y.dtype)]
    after = [] if to_end is None else [s.astype(s.ravel(to_end), y.dtype)]
    return concatenate([*before, y, *after])


def _spacings(f: Any, varargs: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    """Per axis the distance of its points: a number, or the differences of coordinates."""
    if len(varargs) not in (0, 1, len(axes)):
        raise TypeError(
            f"np.gradient: got {len(varargs)} spacings for {len(axes)} axes; give none, one for "
            "all, or one an axis"
        )
    given = [as_array(v) for v in varargs] or [1.0]
    given = given * len(axes) if len(given) < len(axes) else given
    made = []
    for spacing, axis in zip(given, axes, strict=True):
        if len(shape_of(spacing)) == 0:
            made.append(spacing)
        elif shape_of(spacing) == (f.shape[axis],):
            shape = [1] * f.ndim
            shape[axis] = -1
            made.append(s._reshape(diff(spacing), shape=tuple(shape)))
        else:
            raise ValueError(
                f"np.gradient: coordinates of shape {shape_of(spacing)} for an axis of length "
                f"{f.shape[axis]}; give a number or a vector of that length"
            )
    return made


def _slope(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """The numerical derivative along one axis: second order inside, `edge_order` at the ends."""

    def at(start: int | None, stop: int | None) -> Any:
        return part(f, axis, start, stop)

    if len(shape_of(h)) == 0:
        inside = (at(2, None) - at(None, -2)) / (2.0 * h)
        first = last = pair = [h, h]
    else:

        def step(i: int, j: int) -> list[Any]:
            return [part(h, axis, i, i + 1), part(h, axis, j, j + 1 or None)]

        before, after = part(h, axis, None, -1), part(h, axis, 1, None)
        inside = (
            -after / (before * (before + after)) * at(None, -2)
            + (after - before) / (before * after) * at(1, -1)
            + before / (after * (before + after)) * at(2, None)
        )
        n = h.shape[axis]
        first = pair = step(0, min(1, n - 1))
        last = step(n - 1, max(n - 2, 0))
    if edge_order == 1:
        start = (at(1, 2) - at(0, 1)) / first[0]
        end = (at(-1, None) - at(-2, -1)) / last[0]
    else:
        (h1, h2), (k1, k2) = pair, last
        start = _three_points([at(0, 1), at(1, 2), at(2, 3)], h1, h2)
        end = -_three_points([at(-1, None), at(-2, -1), at(-3, -2)], k1, k2)
    return concatenate([start, inside, end], axis)


def _three_points(f: Sequence[Any], h1: Any, h2: Any) -> Any:
    """The derivative at the first of three points, h1 and h2 apart, to second order."""
    return (
        -(2.0 * h1 + h2) / (h1 * (h1 + h2)) * f[0]
        + (h1 + h2) / (h1 * h2) * f[1]
        - h1 / (h2 * (h1 + h2)) * f[2]
    )


@composed(
    np.gradient,
    formula="numerical derivative along axes by central differences",
    samples=lambda rng: [
        case(rng.normal(size=5)),
        case(rng.normal(size=(3, 4)), np.asarray(0.5), edge_order=2),
        case(rng.normal(size=(4, 3)), np.cumsum(rng.uniform(0.5, 1, 4)), axis=0),
        case(rng.normal(size=(4, 3)), 2.0, np.cumsum(rng.uniform(0.5, 1, 3)), edge_order=2),
    ],
)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Numerical derivative of sampled values along axes; see `numpy.gradient`."""
    x = as_array(f)
    if x.dtype.kind not in "fc":
        x = s.astype(x, np.float64)
    axes = axes_of(axis, x.ndim)
    if edge_order not in (1, 2):
        raise ValueError(f"np.gradient: edge_order is 1 or 2, got {edge_order}")
    short = [a for a in axes if x.shape[a] < edge_order + 1]
    if short:
        raise ValueError(
            f"np.gradient: axis {short[0]} of length {x.shape[short[0]]} is too short; "
            f"edge_order={edge_order} needs {edge_order + 1} points"
        )
    slopes = tuple(
        _slope(x, h, a, edge_order) for h, a in zip(_spacings(x, varargs, axes), axes, strict=True)
    )
    return slopes[0] if len(slopes) == 1 else slopes


@composed(
    np.trapezoid,
    formula="sum of (x[k+1] - x[k]) * (y[k+1] + y[k]) / 2",
    samples=lambda rng: [
        case(rng.normal(size=4)),
        case(rng.normal(size=(2, 3)), dx=0.5, axis=0),
        case(rng.normal(size=(2, 3)), rng.normal(size=3)),
        case(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), axis=0),
    ],
)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integral by the trapezoidal rule along an axis; see `numpy.trapezoid`."""
    from nnad.ops.reduce import sum

    y = as_array(y)
    step = dx
    if x is not None:
        x = as_array(x)
        step = diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            shape = [1] * y.ndim
            shape[axis] = -1
            step = s._reshape(step, shape=tuple(shape))
    return sum(step * (part(y, axis, 1, None) + part(y, axis, None, -1)) / 2.0, axis=axis)


_unwrap = explicit(
    "unwrap",
    lambda x, *, discont=None, axis=-1, period=2 * np.pi: np.unwrap(
        x, discont, axis, period=period
    ),
    vjps=(lambda g, ans, x, **options: g,),
    jvps=(lambda v, ans, x, **options: v,),
    tangent="v",
    formula="x with whole periods added so that no jump exceeds half of one",
    partials=("1",),
    samples=lambda rng: [
        case(np.array([0.3, 2.9, -2.8, -0.2])),
        case(rng.uniform(0, 5, (3, 2)), axis=0, period=4.0),
    ],
)


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    """Angles without jumps of whole periods; see `numpy.unwrap`."""
    return _unwrap(as_array(p), discont=discont, axis=axis, period=period)
