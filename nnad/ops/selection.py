"""Choice by condition or value: where, select, piecewise, clip, interp, nan_to_num."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, elementwise, implements, kink
from nnad.ops import elementwise as e
from nnad.ops import shape as s
from nnad.ops.arguments import (
    as_array,
    axes_of,
    composed,
    known,
    refuse,
    scalar,
    shape_of,
    store,
)
from nnad.ops.index import setitem, take
from nnad.ops.joining import concatenate, stack
from nnad.ops.ordering import argsort, nonzero, searchsorted

__all__ = [
    "apply_along_axis",
    "apply_over_axes",
    "clip",
    "interp",
    "nan_to_num",
    "piecewise",
    "select",
    "sliding_window_view",
    "where",
]


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """`x` where the condition is true, else `y`; alone, the places where it is true."""
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("np.where takes a condition alone, or a condition and both x and y")
    return e.where(as_array(condition), _number_or_array(x), _number_or_array(y))


def _number_or_array(x: Any) -> Any:
    """Plain numbers stay as they are: they do not widen a dtype."""
    return x if isinstance(x, (int, float, complex)) else as_array(x)


@composed(
    np.select,
    formula="the first choice whose condition is true",
    samples=lambda rng: [
        case(
            [np.array([True, False, False]), np.array([True, True, False])],
            [rng.normal(size=3), rng.normal(size=3)],
            0.5,
        ),
        case([rng.uniform(size=(2, 3)) > 0.5], [rng.normal(size=3)]),
    ],
)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """For each element the first choice whose condition is true; see `numpy.select`."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"np.select: got {len(condlist)} conditions and {len(choicelist)} choices; expected as "
            "many choices as conditions, and at least one"
        )
    result = _number_or_array(default)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = e.where(as_array(condition), _number_or_array(choice), result)
    return result


@composed(
    np.piecewise,
    formula="the function of the condition that holds, of x",
    samples=lambda rng: [
        case(
            np.array([-1.0, 0.5, 2.0]),
            [np.array([True, False, False]), np.array([False, True, False])],
            [np.exp, 3.0, np.sin],
        )
    ],
)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Each function applied where its condition holds, and only there; see `numpy.piecewise`."""
    x = as_array(x)
    conditions = np.asarray(known(condlist, "np.piecewise"), bool)
    if (conditions.ndim in (0, 1) and x.ndim != 0) or conditions.ndim == 0:
        conditions = conditions[None]
    if len(funclist) == len(conditions) + 1:
        conditions = np.concatenate([conditions, ~conditions.any(axis=0, keepdims=True)])
    if len(funclist) != len(conditions):
        raise ValueError(
            f"np.piecewise: {len(conditions)} conditions need as many functions or one more, got "
            f"{len(funclist)}"
        )
    y = s.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        if not callable(function):
            y = setitem(y, condition, function)
        elif condition.any():
            y = setitem(y, condition, function(x[condition], *args, **kw))
    return y


# Limits ---------------------------------------------------------------------------------------


def _inside(x: Any, low: Any, high: Any) -> Any:
    """1 between the limits, half of it at one of them, else 0."""
    return e._larger(x, low) * e._larger(high, e.maximum(x, low))


_clip = elementwise(
    np.clip,
    lambda ans, x, low, high: _inside(x, low, high),
    lambda ans, x, low, high: e._larger(low, x) * e._larger(high, e.maximum(x, low)),
    lambda ans, x, low, high: e._larger(e.maximum(x, low), high),
    name="clip",
    formula="min(max(x0, x1), x2)",
    partials=("1 if x1 < x0 < x2 else 0", "1 if x0 < x1 else 0", "1 if x0 > x2 else 0"),
    domain=((-2.0, 2.0), (-1.0, -0.5), (0.5, 1.0)),
    kinks=[
        kink((1.0, 1.0, 2.0), (0.5, 0.5, 0.0), "at a limit both share the gradient"),
        kink((2.0, 1.0, 2.0), (0.5, 0.0, 0.5), "at a limit both share the gradient"),
    ],
)


@implements(np.clip)
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    **kwargs: Any,
) -> Any:
    """`a` limited to an interval; see `numpy.clip`."""
    refuse("clip", "apply np.where or .astype to the result", **kwargs)
    low = a_min if min is None else min
    high = a_max if max is None else max
    x, low, high = as_array(a), _limit(low), _limit(high)
    if low is None and high is None:
        y = e.positive(x)
    elif high is None:
        y = e.maximum(x, low)
    else:
        y = e.minimum(x, high) if low is None else _clip(x, low, high)
    return store(y, out, "clip")


def _limit(x: Any) -> Any:
    return None if x is None else _number_or_array(x)


def _nan_to_num(x: Any, *, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


_finite = elementwise(
    _nan_to_num,
    lambda ans, x, **replacements: e.isfinite(x),
    name="nan_to_num",
    implements=(),
    formula="x where finite, else numbers in place of NaN and infinity",
    partials=("1 if isfinite(x) else 0",),
    kinks=[kink(np.array([np.nan, np.inf, 1.0]), np.array([0.0, 0.0, 1.0]), "replaced")],
)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """`x` with numbers in place of NaN and infinities; see `numpy.nan_to_num`."""
    return _finite(as_array(x), nan=nan, posinf=posinf, neginf=neginf)


# Interpolation --------------------------------------------------------------------------------


def _periodic(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """Points folded into one period, with one more point beyond each end."""
    period = abs(period)
    x, xp = e.remainder(x, period), e.remainder(xp, period)
    order = argsort(xp)
    xp, fp = take(xp, order, 0), take(fp, order, 0)
    xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, concatenate([fp[-1:], fp, fp[:1]])


@composed(
    np.interp,
    formula="the line through the points (x1, x2) around x0, at x0",
    samples=lambda rng: [
        case(np.array([0.3, 1.7, 2.2]), np.array([0.0, 1.0, 2.0, 3.0]), rng.normal(size=4)),
        case(np.array([[-1.0, 5.0]]), np.array([0.0, 1.5, 3.0]), rng.normal(size=3)),
        case(np.array([-1.0, 0.5, 5.0]), np.array([0.0, 3.0]), rng.normal(size=2), -7.0, 8.0),
        case(np.array([-0.5, 4.1]), np.array([0.2, 2.0, 1.3]), rng.normal(size=3), period=3.0),
        case(np.asarray(0.4), np.array([0.0, 1.0]), rng.normal(size=2)),
    ],
    kinks=[
        kink(
            (np.array(1.0), np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 0.0])),
            (-1.0, np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0])),
            "at a point the line to its right counts",
        )
    ],
)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Linear interpolation, differentiable by x, xp and fp; see `numpy.interp`."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if xp.ndim != 1 or shape_of(fp) != shape_of(xp) or xp.shape[0] == 0:
        raise ValueError(
            f"np.interp: xp and fp must be vectors of one length, got {shape_of(xp)} and "
            f"{shape_of(fp)}"
        )
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, period)
        left = right = None
    last = xp.shape[0] - 1
    if last == 0:
        y = s._broadcast_to(fp[0], shape=shape_of(x))
    else:
        k = e.maximum(e.minimum(searchsorted(xp, x, "right") - 1, last - 1), 0)
        x0, f0 = take(xp, k), take(fp, k)
        slope = (take(fp, k + 1) - f0) / (take(xp, k + 1) - x0)
        y = f0 + slope * (x - x0)
    y = e.where(e.less(x, xp[0]), fp[0] if left is None else left, y)
    above = e.greater(x, xp[-1])
    return scalar(e.where(above, fp[-1] if right is None else right, y))


# Functions applied to parts ---------------------------------------------------------------------


@composed(
    np.lib.stride_tricks.sliding_window_view,
    formula="all windows of x along axes, their elements along new last axes",
    samples=lambda rng: [
        case(rng.normal(size=5), 2),
        case(rng.normal(size=(3, 4)), (2, 3)),
        case(rng.normal(size=(3, 4)), 2, axis=-1),
    ],
)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """Windows along axes; see `numpy.lib.stride_tricks.sliding_window_view`."""
    x = as_array(x)
    window = tuple(np.atleast_1d(window_shape).tolist())
    axes = axes_of(axis, x.ndim)
    if len(window) != len(axes) or any(not 0 < n <= x.shape[i] for n, i in zip(window, axes)):  # noqa: B905
        raise ValueError(
            f"sliding_window_view: windows of {window} along axes {axes} of shape {x.shape}; "
            "expected one size per axis, from 1 to that of the axis"
        )
    for n, i in zip(window, axes, strict=True):
        starts = np.arange(x.shape[i] - n + 1)
        x = s.moveaxis(take(x, starts[:, None] + np.arange(n), i), i + 1, -1)
    return x


@composed(
    np.apply_along_axis,
    formula="func1d of every line of x",
    samples=lambda rng: [
        case(lambda line: line[::2] ** 2, 1, rng.normal(size=(2, 3))),
        case(np.prod, 0, rng.normal(size=(2, 3))),
    ],
)
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """`func1d` of every line along an axis; see `numpy.apply_along_axis`."""
    x = as_array(arr)
    axis %= x.ndim
    lines = s.moveaxis(x, axis, -1)
    outer = tuple(lines.shape[:-1])
    results = [as_array(func1d(lines[i], *args, **kwargs)) for i in np.ndindex(*outer)]
    if not results:
        raise ValueError(
            "np.apply_along_axis: no lines to apply the function to (an axis has size 0)"
        )
    inner = shape_of(results[0])
    whole = s._reshape(stack(results), shape=outer + inner)
    places = tuple(range(len(outer), len(outer) + len(inner)))
    return s.moveaxis(whole, places, tuple(range(axis, axis + len(inner))))


@composed(
    np.apply_over_axes,
    formula="func over one axis after the other",
    samples=lambda rng: [case(np.sum, rng.normal(size=(2, 3, 2)), [0, 2])],
)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """`func(x, axis)` over one axis after the other; see `numpy.apply_over_axes`."""
    x = as_array(a)
    ndim = x.ndim
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        y = as_array(func(x, axis))
        x = y if y.ndim == ndim else s.expand_dims(y, axis)
    return x
