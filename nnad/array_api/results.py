"""Every function of the standard returns Tensors, constants included."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Tensor, wrap


def as_tensors(result: Any) -> Any:
    """`result` with its arrays as Tensors, inside tuples too; a list becomes a tuple."""
    if isinstance(result, Tensor):
        return result
    if isinstance(result, (np.ndarray, np.generic)):
        return wrap(result, None)
    if isinstance(result, (tuple, list)):
        parts = [as_tensors(part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    return result


def returns_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: arrays among the results become Tensors."""

    @wraps(function)
    def operation(*args: Any, **kwargs: Any) -> Any:
        return as_tensors(function(*args, **kwargs))

    return operation
