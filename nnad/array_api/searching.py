"""Searching functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = ["argmax", "argmin", "count_nonzero", "nonzero", "searchsorted", "where"]


@returns_tensors
def argmax(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The place of the first largest element."""
    return np.argmax(x, axis, keepdims=keepdims)


@returns_tensors
def argmin(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The place of the first smallest element."""
    return np.argmin(x, axis, keepdims=keepdims)


@returns_tensors
def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements differ from zero."""
    return np.sum(np.not_equal(x, 0), axis, keepdims=keepdims)


@returns_tensors
def nonzero(x: Any, /) -> Any:
    """Per axis the places of the elements that differ from zero."""
    if x.ndim == 0:
        raise ValueError("nonzero: an array without axes has no places; reshape it to (1,) first")
    return np.nonzero(x)


@returns_tensors
def searchsorted(x1: Any, x2: Any, /, *, side: Any = "left", sorter: Any = None) -> Any:
    """The places in the sorted vector `x1` before which elements of `x2` keep it sorted."""
    return np.searchsorted(x1, x2, side, sorter)


@returns_tensors
def where(condition: Any, x1: Any = None, x2: Any = None, /) -> Any:
    """`x1` where the condition holds, else `x2`; alone, as scikit-learn writes it, `nonzero`."""
    return np.nonzero(condition) if x1 is None and x2 is None else np.where(condition, x1, x2)
