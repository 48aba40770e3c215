"""Sorting functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = ["argsort", "sort"]


@returns_tensors
def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The places of the elements in sorted order; of equal ones, the first comes first."""
    if not descending:
        return np.argsort(x, axis, stable=True)
    reverse = np.argsort(np.flip(x, axis), axis, stable=True)
    return x.shape[axis] - 1 - np.flip(reverse, axis)


@returns_tensors
def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The elements in order along an axis."""
    y = np.sort(x, axis, stable=stable)
    return np.flip(y, axis) if descending else y
