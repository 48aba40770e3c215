"""The linalg extension."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.linear_algebra import matmul, matrix_transpose, tensordot, vecdot
from nnad.array_api.results import returns_tensors

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


@returns_tensors
def cholesky(x: Any, /, *, upper: bool = False) -> Any:
    """L with L @ L^H = x, or with `upper` U with U^H @ U = x."""
    return np.linalg.cholesky(x, upper=upper)


@returns_tensors
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """The cross product of vectors of three elements."""
    return np.linalg.cross(x1, x2, axis=axis)


@returns_tensors
def det(x: Any, /) -> Any:
    """The determinant of each matrix."""
    return np.linalg.det(x)


@returns_tensors
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """A diagonal of each matrix."""
    return np.linalg.diagonal(x, offset=offset)


@returns_tensors
def eig(x: Any, /) -> Any:
    """Eigenvalues and eigenvectors of any square matrix: complex numbers always."""
    found = np.linalg.eig(x)
    return type(found)(*map(_as_complex, found))


@returns_tensors
def eigvals(x: Any, /) -> Any:
    """Eigenvalues of any square matrix: complex numbers always."""
    return _as_complex(np.linalg.eigvals(x))


def _as_complex(x: Any) -> Any:
    return x.astype(np.result_type(x.dtype, np.complex64))


@returns_tensors
def eigh(x: Any, /) -> Any:
    """Eigenvalues and eigenvectors of a symmetric or Hermitian matrix."""
    return np.linalg.eigh(x)


@returns_tensors
def eigvalsh(x: Any, /) -> Any:
    """Eigenvalues of a symmetric or Hermitian matrix."""
    return np.linalg.eigvalsh(x)


@returns_tensors
def inv(x: Any, /) -> Any:
    """The inverse of each matrix."""
    return np.linalg.inv(x)


@returns_tensors
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """A norm of each matrix: "fro", "nuc", 1, 2, -1, -2, inf, -inf."""
    return np.linalg.matrix_norm(x, keepdims=keepdims, ord=ord)


@returns_tensors
def matrix_power(x: Any, n: int, /) -> Any:
    """Each matrix multiplied n times with itself, or its inverse -n times."""
    return np.linalg.matrix_power(x, n)


@returns_tensors
def matrix_rank(x: Any, /, *, rtol: Any = None) -> Any:
    """How many singular values exceed `rtol` times the largest."""
    return np.linalg.matrix_rank(x, rtol=rtol)


@returns_tensors
def outer(x1: Any, x2: Any, /) -> Any:
    """The products of all pairs of elements of two vectors."""
    return np.linalg.outer(x1, x2)


@returns_tensors
def pinv(x: Any, /, *, rtol: Any = None) -> Any:
    """The Moore-Penrose inverse; singular values below `rtol` times the largest count as zero."""
    return np.linalg.pinv(x, rtol=rtol)


@returns_tensors
def qr(x: Any, /, *, mode: Any = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular with Q @ R = x."""
    return np.linalg.qr(x, mode)


@returns_tensors
def slogdet(x: Any, /) -> Any:
    """Sign and logarithm of the absolute value of the determinant."""
    return np.linalg.slogdet(x)


@returns_tensors
def solve(x1: Any, x2: Any, /) -> Any:
    """x with x1 @ x = x2; `x2` is one vector if it has one axis, else a stack of matrices."""
    return np.linalg.solve(x1, x2)


@returns_tensors
def svd(x: Any, /, *, full_matrices: bool = True) -> Any:
    """U, S, Vh with (U * S) @ Vh = x, or with `full_matrices` both U and Vh square."""
    return np.linalg.svd(x, full_matrices=full_matrices)


@returns_tensors
def svdvals(x: Any, /) -> Any:
    """Singular values, the largest first."""
    return np.linalg.svdvals(x)


@returns_tensors
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sum of a diagonal of each matrix."""
    return np.linalg.trace(x, offset=offset, dtype=dtype)


@returns_tensors
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """(sum |x|**ord)**(1/ord) over an axis, axes, or all elements."""
    return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
