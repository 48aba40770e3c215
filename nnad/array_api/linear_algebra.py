"""Linear algebra of the main namespace; the decompositions are in the extension `linalg`."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = ["matmul", "matrix_transpose", "tensordot", "vecdot"]


@returns_tensors
def matmul(x1: Any, x2: Any, /) -> Any:
    """The matrix product, over stacks of matrices."""
    return np.matmul(x1, x2)


@returns_tensors
def matrix_transpose(x: Any, /) -> Any:
    """Each matrix of a stack transposed."""
    return np.matrix_transpose(x)


@returns_tensors
def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """The sum of products over pairs of axes."""
    return np.tensordot(x1, x2, axes)


@returns_tensors
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """sum(conj(x1) * x2) along an axis."""
    return np.linalg.vecdot(x1, x2, axis=axis)  # type: ignore[call-overload]
