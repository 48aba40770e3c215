"""Weighted means."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case
from nnad.ops import shape as s
from nnad.ops.arguments import Axis, as_array, axes_of, axis_of, composed, shape_of
from nnad.ops.reduce import _sum, count, mean

__all__ = ["average"]


def _aligned_weights(weights: Any, a: Any, axis: Axis) -> Any:
    """`weights` in a shape that broadcasts against `a`."""
    if shape_of(weights) == shape_of(a):
        return weights
    if axis is None:
        raise TypeError(
            f"np.average: weights of shape {shape_of(weights)} and a of shape {shape_of(a)} "
            "differ, so axis= must say which axes the weights belong to"
        )
    axes = axes_of(axis, len(shape_of(a)))
    if shape_of(weights) != tuple(shape_of(a)[i] for i in axes):
        raise ValueError(
            f"np.average: weights have shape {shape_of(weights)}, expected "
            f"{tuple(shape_of(a)[i] for i in axes)}: that of a along axis {axis}"
        )
    order = tuple(np.argsort(axes).tolist())
    shape = tuple(n if i in axes else 1 for i, n in enumerate(shape_of(a)))
    return s._reshape(s._transpose(weights, axes=order), shape=shape)


@composed(
    np.average,
    formula="sum(x * weights) / sum(weights) over axes",
    samples=lambda rng: [
        case(rng.normal(size=(2, 3))),
        case(rng.normal(size=(2, 3)), axis=0, weights=np.array([1.0, 3.0])),
        case(rng.normal(size=(2, 3)), -1, rng.uniform(0.5, 1.0, (2, 3)), keepdims=True),
        case(rng.normal(size=(2, 3, 4)), (2, 0), rng.uniform(0.5, 1.0, (4, 2)), True),
    ],
)
def average(
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """Weighted mean over axes; see `numpy.average`."""
    a, axis = as_array(a), axis_of(axis)
    if weights is None:
        y = mean(a, axis, keepdims=keepdims)
        total = s.full_like(y, count(a, axis))
    else:
        w = _aligned_weights(as_array(weights), a, axis)
        w = s._broadcast_to(w, shape=shape_of(a))
        total = _sum(w, axis=axis, keepdims=keepdims)
        y = _sum(a * w, axis=axis, keepdims=keepdims) / total
    return (y, total) if returned else y
