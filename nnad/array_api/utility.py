"""Utility functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = ["all", "any", "diff"]


@returns_tensors
def all(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether every element differs from zero."""
    return np.all(x, axis, keepdims=keepdims)


@returns_tensors
def any(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether some element differs from zero."""
    return np.any(x, axis, keepdims=keepdims)


@returns_tensors
def diff(x: Any, /, n: int = 1, *, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences between neighbours, `n` times (scikit-learn gives that by position)."""
    ends = {"prepend": prepend, "append": append}
    return np.diff(x, n, axis, **{side: end for side, end in ends.items() if end is not None})
