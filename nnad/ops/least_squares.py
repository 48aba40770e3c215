"""Pseudo-inverse and least squares, differentiated with the rank held fixed.

Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
whose variables separate" (1973).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.table import case, explicit, implements
from nnad.autodiff.tensor import value_of
from nnad.ops import shape as s
from nnad.ops.arguments import as_array
from nnad.ops.decompositions import from_triangle, svdvals
from nnad.ops.linalg import matrix_rank
from nnad.ops.norms import vector_norm
from nnad.ops.products import conjugate, hermitian, matmul

__all__ = ["LstsqResult", "lstsq", "pinv"]

transpose = s.matrix_transpose
_NOT_GIVEN: Any = object()  # NumPy's pinv tells it from None


def _pinv_vjp(g: Any, ans: Any, a: Any, **metadata: Any) -> Any:
    left, right = matmul(ans, hermitian(ans)), matmul(hermitian(ans), ans)
    g_t = transpose(g)
    gap = g_t - matmul(matmul(a, ans), g_t)
    rest = g_t - matmul(g_t, matmul(ans, a))
    return conjugate(matmul(gap, left) + matmul(right, rest)) - matmul(
        transpose(ans), matmul(g, transpose(ans))
    )


def _pinv_jvp(v: Any, ans: Any, a: Any, **metadata: Any) -> Any:
    left, right = matmul(ans, hermitian(ans)), matmul(hermitian(ans), ans)
    v_h = hermitian(v)
    gap = v_h - matmul(v_h, matmul(a, ans))
    rest = v_h - matmul(matmul(ans, a), v_h)
    return matmul(left, gap) + matmul(rest, right) - matmul(ans, matmul(v, ans))


_pinv = explicit(
    "pinv",
    lambda a, *, rcond=None: np.linalg.pinv(a, rcond),
    vjps=(_pinv_vjp,),
    jvps=(_pinv_jvp,),
    tangent="-y @ v @ y + terms of the null spaces",
    formula="pseudo-inverse of x",
    partials=("-y.T @ g @ y.T + terms of the null spaces",),
    samples=lambda rng: [case(rng.normal(size=shape)) for shape in [(3, 3), (4, 2), (2, 2, 3)]],
)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = _NOT_GIVEN) -> Any:
    """Moore-Penrose pseudo-inverse; see `numpy.linalg.pinv`.  The rank is taken as fixed."""
    a = as_array(a)
    if rcond is None and rtol is not _NOT_GIVEN:
        rcond = _cutoff(a, value_of(rtol))
    return _pinv(from_triangle(a) if hermitian else a, rcond=rcond)


def _cutoff(a: Any, given: Any) -> Any:
    """What counts as zero beside the largest singular value."""
    if given is not None:
        return given
    return np.finfo(np.result_type(a.dtype, np.float32)).eps * max(a.shape[-2:])


class LstsqResult(NamedTuple):
    """What `numpy.linalg.lstsq` returns."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


def _lstsq_parts(ans: Any, a: Any, b: Any, rcond: Any) -> tuple[Any, Any, Any]:
    """The pseudo-inverse P, the residual b - a x, and P^H x."""
    p = _pinv(a, rcond=_cutoff(a, rcond))
    return p, b - matmul(a, ans), matmul(hermitian(p), ans)


def _lstsq_vjp(g: Any, ans: Any, a: Any, b: Any, *, rcond: Any = None) -> tuple[Any, Any]:
    p, residual, y = _lstsq_parts(ans, a, b, rcond)
    ct = matmul(transpose(p), g)
    null = g - matmul(transpose(a), ct)
    outside = matmul(residual, transpose(matmul(conjugate(p), ct))) + matmul(y, transpose(null))
    return conjugate(outside) - matmul(ct, transpose(ans)), ct


def _lstsq_jvp(tangents: Sequence[Any], ans: Any, a: Any, b: Any, *, rcond: Any = None) -> Any:
    da, db = tangents
    p, residual, y = _lstsq_parts(ans, a, b, rcond)
    v: Any = 0.0 if db is None else matmul(p, db)
    if da is None:
        return v
    towards, da_h = matmul(da, ans), hermitian(da)
    null = matmul(da_h, y)
    normal = matmul(hermitian(p), matmul(da_h, residual))
    return v + matmul(p, normal - towards) + null - matmul(p, matmul(a, null))


_lstsq = explicit(
    "lstsq",
    lambda a, b, *, rcond=None: np.linalg.lstsq(a, b, rcond)[0],
    vjp=_lstsq_vjp,
    jvp=_lstsq_jvp,
    tangent="that of pinv(x0) @ x1",
    formula="the shortest y with the smallest |x0 @ y - x1|",
    partials=("derivative of pinv(x0) @ x1", "pinv(x0).T @ g"),
    samples=lambda rng: [
        case(rng.normal(size=a), rng.normal(size=(a[0], 2))) for a in [(4, 2), (3, 3), (2, 4)]
    ],
)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> LstsqResult:
    """Least-squares solution of a x = b; see `numpy.linalg.lstsq`.

    The rank is taken as fixed.  Sums of squared residuals are given wherever `a` has more rows than
    columns (NumPy leaves them out where the rank is deficient).
    """
    a, b = as_array(a), as_array(b)
    is_vector = b.ndim == 1
    columns = b[:, None] if is_vector else b
    x = _lstsq(a, columns, rcond=rcond)
    residuals: Any = np.empty(0, np.real(np.empty(0, x.dtype)).dtype)
    if a.shape[0] > a.shape[1]:
        residuals = vector_norm(columns - matmul(a, x), axis=0) ** 2
    rank = matrix_rank(a, rtol=_cutoff(a, rcond))
    return LstsqResult(x[..., 0] if is_vector else x, residuals, rank, svdvals(a))
