"""Reductions that skip NaN: the ordinary ones with NaN left out by a condition.

What is left out is replaced before anything is computed from it, so that no NaN reaches a
derivative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, kink
from nnad.ops import elementwise as e
from nnad.ops import reduce as r
from nnad.ops.arguments import as_array, composed, store
from nnad.ops.cumulative import cumprod, cumsum

__all__ = [
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
]


def _samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(2, 3))),
        case(rng.normal(size=(2, 3)), axis=0),
        case(rng.normal(size=(2, 3, 4)), axis=(0, -1), keepdims=True),
    ]


def _hole(partial: Any) -> Any:
    """A point with a NaN: its derivative is 0, that of the others as if it were not there."""
    return [kink(np.array([1.0, np.nan, 3.0]), np.array(partial), "NaN is skipped")]


def _present(a: Any, where: Any = None) -> tuple[Any, Any]:
    """`a` as an array, and where it counts."""
    x = as_array(a)
    number = e.logical_not(e.isnan(x))
    return x, number if where is None or where is True else e.logical_and(number, where)


@composed(
    np.nansum, formula="sum of x over axes, NaN as 0", samples=_samples, kinks=_hole([1, 0, 1])
)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Sum of what is not NaN; see `numpy.nansum`."""
    x, present = _present(a, where)
    return r.sum(x, axis, dtype, out, keepdims, initial, present)


@composed(
    np.nanprod, formula="product of x over axes, NaN as 1", samples=_samples, kinks=_hole([3, 0, 1])
)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Product of what is not NaN; see `numpy.nanprod`."""
    x, present = _present(a, where)
    return r.prod(x, axis, dtype, out, keepdims, initial, present)


@composed(
    np.nanmean,
    formula="mean of what is not NaN over axes",
    samples=_samples,
    kinks=_hole([0.5, 0, 0.5]),
)
def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """Mean of what is not NaN; see `numpy.nanmean`."""
    x, present = _present(a, where)
    return r.mean(x, axis, dtype, out, keepdims, where=present)


@composed(
    np.nanvar,
    formula="variance of what is not NaN over axes",
    samples=_samples,
    kinks=_hole([-1.0, 0, 1.0]),
)
def nanvar(
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
    """Variance of what is not NaN; see `numpy.nanvar`."""
    x, present = _present(a, where)
    return r.var(
        x, axis, dtype, out, ddof, keepdims, where=present, mean=mean, correction=correction
    )


@composed(
    np.nanstd,
    formula="standard deviation of what is not NaN over axes",
    samples=_samples,
    kinks=_hole([-0.5, 0, 0.5]),
)
def nanstd(
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
    """Standard deviation of what is not NaN; see `numpy.nanstd`."""
    x, present = _present(a, where)
    return r.std(
        x, axis, dtype, out, ddof, keepdims, where=present, mean=mean, correction=correction
    )


def _extreme(entry: Any, worst: float, options: Any) -> Any:
    """max or min of what is not NaN; NaN where nothing is left."""
    a, axis, keepdims, initial, where = options
    x, present = _present(a, where)
    limit = worst if initial is None else initial
    y = entry(x, axis, None, keepdims, limit, present)
    if initial is not None or x.dtype.kind != "f":
        return y
    empty = e.logical_not(r.any(present, axis=axis, keepdims=keepdims))
    return e.where(empty, np.nan, y)


@composed(
    np.nanmax,
    formula="max of what is not NaN over axes",
    samples=_samples,
    kinks=_hole([0, 0, 1]),
)
def nanmax(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Maximum of what is not NaN; see `numpy.nanmax`."""
    y = _extreme(r.max, -np.inf, (a, axis, keepdims, initial, where))
    return store(y, out, "nanmax")


@composed(
    np.nanmin,
    formula="min of what is not NaN over axes",
    samples=_samples,
    kinks=_hole([1, 0, 0]),
)
def nanmin(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Minimum of what is not NaN; see `numpy.nanmin`."""
    y = _extreme(r.min, np.inf, (a, axis, keepdims, initial, where))
    return store(y, out, "nanmin")


def _running_samples(rng: np.random.Generator) -> list[Any]:
    return [case(rng.normal(size=(2, 3))), case(rng.normal(size=(2, 3)), axis=0)]


@composed(
    np.nancumsum,
    formula="running sum of x along an axis, NaN as 0",
    samples=_running_samples,
    kinks=_hole([3, 0, 1]),
)
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Running sum, NaN as 0; see `numpy.nancumsum`."""
    x, present = _present(a)
    return cumsum(e.where(present, x, 0), axis, dtype, out)


@composed(
    np.nancumprod,
    formula="running product of x along an axis, NaN as 1",
    samples=_running_samples,
    kinks=_hole([5, 0, 1]),
)
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Running product, NaN as 1; see `numpy.nancumprod`."""
    x, present = _present(a)
    return cumprod(e.where(present, x, 1), axis, dtype, out)
