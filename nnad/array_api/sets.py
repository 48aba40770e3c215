"""Set functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = ["isin", "unique_all", "unique_counts", "unique_inverse", "unique_values"]


@returns_tensors
def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Any:
    """Whether each element of `x1` occurs in `x2`."""
    return np.isin(x1, x2, invert=invert)


@returns_tensors
def unique_all(x: Any, /) -> Any:
    """The different values, their first places, the way back to `x`, and their counts."""
    return np.unique_all(x)


@returns_tensors
def unique_counts(x: Any, /) -> Any:
    """The different values and their counts."""
    return np.unique_counts(x)


@returns_tensors
def unique_inverse(x: Any, /) -> Any:
    """The different values and for each element of `x` the place of its value."""
    return np.unique_inverse(x)


@returns_tensors
def unique_values(x: Any, /) -> Any:
    """The different values; every NaN is one of its own."""
    return np.unique_values(x)
