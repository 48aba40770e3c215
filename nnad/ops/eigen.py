"""Eigenvalues and eigenvectors, batched, of Hermitian and of general matrices.

What `nnad.ops.decompositions` says of equal values and of complex vectors holds here too.  Source:
Boeddeker et al., "On the computation of complex-valued gradients" (2017).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.table import case, explicit, implements
from nnad.ops import reduce as r
from nnad.ops import shape as s
from nnad.ops.arguments import as_array
from nnad.ops.decompositions import (
    diagonal_of,
    fold_triangle,
    from_triangle,
    inverse_gaps,
    on_diagonal,
    positive_definite,
    real_part,
)
from nnad.ops.linalg import solve
from nnad.ops.products import conjugate, hermitian, matmul

__all__ = ["EigResult", "EighResult", "eig", "eigh", "eigvals", "eigvalsh"]

transpose = s.matrix_transpose


# Eigenvalues of Hermitian matrices ------------------------------------------------------------


def _eigh_vjp(g: Any, ans: Any, a: Any, *, uplo: str) -> Any:
    (g_w, g_v), (w, v) = g, ans
    inner = inverse_gaps(w) * matmul(transpose(v), g_v) + on_diagonal(g_w)
    return fold_triangle(matmul(conjugate(v), matmul(inner, transpose(v))), uplo=uplo)


def _eigh_jvp(tangent: Any, ans: Any, a: Any, *, uplo: str) -> Any:
    w, v = ans
    inner = matmul(hermitian(v), matmul(from_triangle(tangent, uplo=uplo), v))
    return real_part(diagonal_of(inner)), matmul(v, inverse_gaps(w) * inner)


def _symmetric_samples(rng: np.random.Generator) -> list[Any]:
    shapes = [(3, 3), (2, 3, 3)]
    return [case(rng.normal(size=n), uplo=uplo) for n in shapes for uplo in "LU"]


_eigh = explicit(
    "eigh",
    lambda a, *, uplo: tuple(np.linalg.eigh(a, uplo)),
    vjps=(_eigh_vjp,),
    jvps=(_eigh_jvp,),
    outputs=2,
    tangent="diagonal(p), u @ (p / (w[j] - w[i])), p = u.T @ v @ u, u the eigenvectors",
    formula="eigenvalues and eigenvectors of a Hermitian matrix",
    partials=("v @ (v.T @ g[1] / (w[j] - w[i]) + diag(g[0])) @ v.T, folded into the triangle",),
    samples=_symmetric_samples,
)


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues and eigenvectors of Hermitian matrices; see `numpy.linalg.eigh`.

    Like NumPy it reads one triangle of `a`: the derivative with respect to the other one is 0.
    """
    return EighResult(*_eigh(as_array(a), uplo=UPLO.upper()))


def _eigvalsh_vjp(g: Any, ans: Any, a: Any, *, uplo: str) -> Any:
    _, v = _eigh(a, uplo=uplo)
    return fold_triangle(matmul(conjugate(v) * g[..., None, :], transpose(v)), uplo=uplo)


def _eigvalsh_jvp(tangent: Any, ans: Any, a: Any, *, uplo: str) -> Any:
    _, v = _eigh(a, uplo=uplo)
    moved = matmul(from_triangle(tangent, uplo=uplo), v)
    return real_part(r.sum(conjugate(v) * moved, axis=-2))


_eigvalsh = explicit(
    "eigvalsh",
    lambda a, *, uplo: np.linalg.eigvalsh(a, uplo),
    vjps=(_eigvalsh_vjp,),
    jvps=(_eigvalsh_jvp,),
    tangent="diagonal(u.T @ v @ u), u the eigenvectors",
    formula="eigenvalues of a Hermitian matrix",
    partials=("v @ diag(g) @ v.T, folded into the triangle",),
    samples=_symmetric_samples,
)


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Eigenvalues of Hermitian matrices, ascending; see `numpy.linalg.eigvalsh`."""
    return _eigvalsh(as_array(a), uplo=UPLO.upper())


# Eigenvalues of general matrices --------------------------------------------------------------


def _eig_vjp(g: Any, ans: Any, a: Any) -> Any:
    (g_w, g_v), (w, v) = g, ans
    v_t = transpose(v)
    length = real_part(r.sum(v * g_v, axis=-2))
    g_v = g_v - conjugate(v) * length[..., None, :]
    inner = inverse_gaps(w) * matmul(v_t, g_v) + on_diagonal(g_w)
    return solve(v_t, matmul(inner, v_t))


def _eig_jvp(tangent: Any, ans: Any, a: Any) -> Any:
    w, v = ans
    inner = solve(v, matmul(tangent, v))
    turned = matmul(v, inverse_gaps(w) * inner)
    length = real_part(r.sum(conjugate(v) * turned, axis=-2))
    return diagonal_of(inner), turned - v * length[..., None, :]


_eig = explicit(
    "eig",
    lambda a: tuple(np.linalg.eig(a)),
    vjps=(_eig_vjp,),
    jvps=(_eig_jvp,),
    outputs=2,
    tangent="diagonal(p), u @ (p / (w[j] - w[i])), p = inv(u) @ v @ u, u the eigenvectors",
    formula="eigenvalues and eigenvectors of a square matrix",
    partials=("inv(v).T @ (v.T @ g[1] / (w[j] - w[i]) + diag(g[0])) @ v.T",),
    samples=lambda rng: [
        case(positive_definite(rng, 3, 3) @ np.diag([1.0, 2.0, 3.0])),
        case(positive_definite(rng, 2, 2, 2) @ np.diag([1.0, 3.0])),
    ],
)


class EigResult(NamedTuple):
    """Eigenvalues, and eigenvectors of length 1 as columns."""

    eigenvalues: Any
    eigenvectors: Any


@implements(np.linalg.eig)
def eig(a: Any) -> EigResult:
    """Eigenvalues and eigenvectors of square matrices; see `numpy.linalg.eig`."""
    return EigResult(*_eig(as_array(a)))


@implements(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """Eigenvalues of square matrices; see `numpy.linalg.eigvals`."""
    return _eig(as_array(a))[0]
