"""Ranges of numbers, differentiable by their ends: linspace, logspace, geomspace."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case
from nnad.autodiff.tensor import value_of
from nnad.ops import elementwise as e
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed

__all__ = ["geomspace", "linspace", "logspace"]


def _floating(x: Any) -> Any:
    x = as_array(x)
    return x if x.dtype.kind in "fc" else s.astype(x, np.float64)


def _ends(rng: np.random.Generator) -> list[Any]:
    return [
        case(np.asarray(rng.uniform(0.5, 1)), np.asarray(rng.uniform(2, 3)), 4),
        case(rng.uniform(0.5, 1, 2), rng.uniform(2, 3, (3, 2)), 3, endpoint=False, axis=-1),
        case(np.asarray(0.5), np.asarray(2.0), 1),
    ]


@composed(np.linspace, formula="x0 + (x1 - x0) * k / (num - 1), k = 0 .. num-1", samples=_ends)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """Evenly spaced numbers; see `numpy.linspace`."""
    start, stop = s.broadcast_arrays(_floating(start), _floating(stop))
    if num < 0:
        raise ValueError(f"np.linspace: num must not be negative, got {num}")
    parts = num - 1 if endpoint else num
    k = np.arange(num, dtype=start.dtype).reshape((-1,) + (1,) * start.ndim)
    share = k / max(parts, 1)
    y = start * (1 - share) + stop * share  # both ends exact
    y = s.moveaxis(y, 0, axis) if axis else y
    y = y if dtype is None else s.astype(y, dtype)
    return (y, (stop - start) / parts if parts else np.nan) if retstep else y


@composed(np.logspace, formula="base ** linspace(x0, x1)", samples=_ends)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Numbers spaced evenly on a logarithmic scale; see `numpy.logspace`."""
    y = linspace(start, stop, num, endpoint, axis=axis)
    if np.ndim(value_of(base)):
        base = s.expand_dims(base, axis)
    y = e.power(base, y)
    return y if dtype is None else s.astype(y, dtype)


@composed(np.geomspace, formula="x0 * (x1 / x0) ** (k / (num - 1)), k = 0 .. num-1", samples=_ends)
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Numbers in geometric progression; see `numpy.geomspace`."""
    start, stop = s.broadcast_arrays(_floating(start), _floating(stop))
    ratio = e.log(stop / start)
    y = start * e.exp(linspace(s.zeros_like(ratio), ratio, num, endpoint))
    y = s.moveaxis(y, 0, axis) if axis else y
    return y if dtype is None else s.astype(y, dtype)
