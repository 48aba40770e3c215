"""Indexing functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = ["take", "take_along_axis"]


@returns_tensors
def take(x: Any, indices: Any, /, *, axis: Any = None) -> Any:
    """Slices of `x` along an axis, which may be left out where there is only one."""
    if axis is None and x.ndim != 1:
        raise ValueError(f"take: an array of {x.ndim} axes needs axis=")
    return np.take(x, indices, 0 if axis is None else axis)


@returns_tensors
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
    """Elements of each line along an axis, at places of its own."""
    return np.take_along_axis(x, indices, axis)
