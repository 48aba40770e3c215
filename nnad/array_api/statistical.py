"""Statistical functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors
from nnad.ops import cumulative

__all__ = [
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]


@returns_tensors
def cumulative_prod(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Products of the first 1, 2, ... elements, or with `include_initial` of the first 0, 1, ..."""
    return cumulative.cumulative_prod(x, axis=axis, dtype=dtype, include_initial=include_initial)


@returns_tensors
def cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Sums of the first 1, 2, ... elements, or with `include_initial` of the first 0, 1, ..."""
    return cumulative.cumulative_sum(x, axis=axis, dtype=dtype, include_initial=include_initial)


@returns_tensors
def max(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element; ties share its gradient."""
    return np.max(x, axis, keepdims=keepdims)


@returns_tensors
def mean(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The arithmetic mean."""
    return np.mean(x, axis, keepdims=keepdims)


@returns_tensors
def min(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element; ties share its gradient."""
    return np.min(x, axis, keepdims=keepdims)


@returns_tensors
def prod(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The product; small integers are multiplied in the default integer type."""
    return np.prod(x, axis, dtype, keepdims=keepdims)


@returns_tensors
def std(x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """The root of the variance."""
    return np.std(x, axis, ddof=correction, keepdims=keepdims)


@returns_tensors
def sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The sum; small integers are added in the default integer type."""
    return np.sum(x, axis, dtype, keepdims=keepdims)


@returns_tensors
def var(x: Any, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """sum((x - mean)**2) / (n - correction)."""
    return np.var(x, axis, ddof=correction, keepdims=keepdims)
