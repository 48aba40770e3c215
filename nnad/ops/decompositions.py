"""Decompositions of matrices, batched: Cholesky, QR, singular values.

Eigenvalues are in `nnad.ops.eigen`.  Where values coincide, their vectors are not differentiable:
the terms that would be infinite (1 / (difference of two values)) are left out, so that every
derivative is finite.  Complex vectors are fixed up to a phase; derivatives are right for functions
that do not depend on it.

Sources: Giles (2008); Townsend, "Differentiating the singular value decomposition" (2016); Walter
and Lehmann, "Algorithmic differentiation of linear algebra functions" (2010), for QR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.table import case, explicit, implements, linear
from nnad.ops import reduce as r
from nnad.ops import shape as s
from nnad.ops.arguments import as_array
from nnad.ops.elementwise import absolute, greater, imag, real, reciprocal_or_zero, where
from nnad.ops.joining import concatenate
from nnad.ops.linalg import inv, solve, well_conditioned
from nnad.ops.products import conjugate, hermitian, matmul

__all__ = [
    "QRResult",
    "SVDResult",
    "cholesky",
    "from_triangle",
    "qr",
    "svd",
    "svdvals",
]

transpose = s.matrix_transpose


# Parts of matrices ----------------------------------------------------------------------------


def _masks(n: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ones below the diagonal, ones on it; in the real dtype that belongs to `dtype`."""
    kind = np.real(np.empty(0, dtype)).dtype
    return np.tri(n, k=-1, dtype=kind), np.eye(n, dtype=kind)


def _lower(x: Any) -> Any:
    """What is below the diagonal."""
    return x * _masks(x.shape[-1], x.dtype)[0]


def diagonal_of(x: Any) -> Any:
    """The diagonals of square matrices, as rows."""
    return r.sum(x * _masks(x.shape[-1], x.dtype)[1], axis=-1)


def on_diagonal(v: Any) -> Any:
    """Diagonal matrices made of rows."""
    return v[..., None] * _masks(v.shape[-1], v.dtype)[1]


def real_part(x: Any) -> Any:
    """The real part, of complex arrays alone."""
    return real(x) if x.dtype.kind == "c" else x


def _turn(x: Any) -> Any:
    """The imaginary part as an imaginary number; 0 of real numbers."""
    return 1j * imag(x)


def _triangle_masks(x: Any, uplo: str) -> tuple[np.ndarray, np.ndarray]:
    below, diagonal = _masks(x.shape[-1], x.dtype)
    return (below if uplo == "L" else below.T), diagonal


def _from_triangle(x: Any, *, uplo: str = "L") -> Any:
    strict, diagonal = _triangle_masks(x, uplo)
    half = x * strict
    return half + np.conj(np.swapaxes(half, -1, -2)) + np.real(x) * diagonal


def _fold_triangle(x: Any, *, uplo: str = "L") -> Any:
    strict, diagonal = _triangle_masks(x, uplo)
    return (x + np.conj(np.swapaxes(x, -1, -2))) * strict + np.real(x) * diagonal


def _triangle_samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(3, 3)), uplo="L"),
        case(rng.normal(size=(2, 3, 3)), uplo="U"),
        case(rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2)), uplo="L"),
    ]


# The Hermitian matrix that LAPACK means when it reads one triangle, and the transpose of that map.
from_triangle = linear(
    "from_triangle",
    _from_triangle,
    lambda g, ans, x, *, uplo="L": fold_triangle(g, uplo=uplo),
    formula="Hermitian matrix with the lower (or upper) triangle of x",
    partials=("fold_triangle(g)",),
    samples=_triangle_samples,
)
fold_triangle = linear(
    "fold_triangle",
    _fold_triangle,
    lambda g, ans, x, *, uplo="L": from_triangle(g, uplo=uplo),
    formula="lower (or upper) triangle of x plus the conjugate of the other one",
    partials=("from_triangle(g)",),
    samples=_triangle_samples,
)


# Cholesky -------------------------------------------------------------------------------------


def _half_lower(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    below, diagonal = _masks(x.shape[-1], x.dtype)
    return x * (below + 0.5 * diagonal)


def _cholesky_vjp(g: Any, ans: Any, a: Any) -> Any:
    inverse = inv(ans)
    inner = _half_lower(matmul(transpose(ans), g))
    return fold_triangle(matmul(transpose(inverse), matmul(inner, conjugate(inverse))))


def _cholesky_jvp(v: Any, ans: Any, a: Any) -> Any:
    inverse = inv(ans)
    inner = matmul(inverse, matmul(from_triangle(v), hermitian(inverse)))
    return matmul(ans, _half_lower(inner))


def positive_definite(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A random symmetric positive definite matrix, or a stack of them."""
    x = rng.normal(size=shape)
    return np.matmul(x, np.swapaxes(x, -1, -2)) + np.eye(shape[-1])


_cholesky = explicit(
    "cholesky",
    np.linalg.cholesky,
    vjps=(_cholesky_vjp,),
    jvps=(_cholesky_jvp,),
    tangent="y @ half_lower(inv(y) @ v @ inv(y).T)",
    formula="lower triangular y with y @ y.T = x",
    partials=("inv(y).T @ half_lower(y.T @ g) @ inv(y), folded into the lower triangle",),
    samples=lambda rng: [case(positive_definite(rng, *n)) for n in [(3, 3), (2, 2, 2)]],
)


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Cholesky factor; see `numpy.linalg.cholesky`.

    Like NumPy it reads the lower triangle of `a` (the upper one if `upper`), so the derivative with
    respect to the other triangle is 0.
    """
    a = as_array(a)
    return hermitian(_cholesky(hermitian(a))) if upper else _cholesky(a)


# Singular values ------------------------------------------------------------------------------


def inverse_gaps(w: Any) -> Any:
    """1 / (w[j] - w[i]), and 0 where the two are equal up to rounding."""
    gaps = w[..., None, :] - w[..., :, None]
    scale = r.max(absolute(w), axis=-1, keepdims=True)[..., None]
    eps = np.finfo(w.dtype).eps * w.shape[-1]
    return reciprocal_or_zero(where(greater(absolute(gaps), eps * scale), gaps, 0.0))


def _svd_gaps(values: Any) -> Any:
    """1 / (s[j]**2 - s[i]**2), and 0 where the two are equal up to rounding."""
    sums = values[..., None, :] + values[..., :, None]
    return inverse_gaps(values) * reciprocal_or_zero(sums)


def _outside(basis: Any, x: Any) -> Any:
    """`x` without its part in the span of the orthonormal columns of `basis`."""
    return x - matmul(basis, matmul(hermitian(basis), x))


def _fold_completion(q: Any, g: Any, k: int) -> Any:
    """The cotangent of the first k columns, with that of the columns which complete the basis.

    These turn as little as they can: d(rest) = -first @ d(first)^H @ rest.
    """
    first, rest = q[..., :k], q[..., k:]
    g_rest = g[..., k:]
    turned = matmul(conjugate(rest), matmul(hermitian(g_rest), conjugate(first)))
    return g[..., :k] - turned


def _completed(q: Any, v: Any) -> Any:
    """The tangent of a full basis, given that of its first columns."""
    k = v.shape[-1]
    first, rest = q[..., :k], q[..., k:]
    return concatenate([v, -matmul(first, matmul(hermitian(v), rest))], axis=-1)


def _svd_forward(a: Any, *, full_matrices: bool, hermitian_input: bool = False) -> tuple[Any, ...]:
    return tuple(np.linalg.svd(a, full_matrices, hermitian=hermitian_input))


def _svd_vjp(
    g: Any, ans: Any, a: Any, *, full_matrices: bool, hermitian_input: bool = False
) -> Any:
    g_u, g_s, g_vh = g
    u, values, vh = ans
    k = values.shape[-1]
    v, g_v = hermitian(vh), hermitian(g_vh)
    if full_matrices:
        g_u, g_v = _fold_completion(u, g_u, k), _fold_completion(v, g_v, k)
        u, v = u[..., :k], v[..., :k]
    gaps, row = _svd_gaps(values), values[..., None, :]
    left, right = matmul(transpose(u), g_u), matmul(transpose(v), g_v)
    e_left, e_right = gaps * left, gaps * right
    inverse = reciprocal_or_zero(values)
    inner = (e_left + hermitian(e_left)) * row + (e_right + hermitian(e_right)) * values[..., None]
    diagonal = g_s
    if a.dtype.kind == "c":
        diagonal = g_s + _turn(diagonal_of(left)) * inverse
    u_c, v_t = conjugate(u), transpose(v)
    ct = matmul(u_c, matmul(inner + on_diagonal(diagonal), v_t))
    scaled_u = _outside(u_c, g_u) * inverse[..., None, :]
    scaled_v = _outside(conjugate(v), g_v) * inverse[..., None, :]
    return ct + matmul(scaled_u, v_t) + matmul(u_c, hermitian(scaled_v))


def _svd_jvp(
    tangent: Any, ans: Any, a: Any, *, full_matrices: bool, hermitian_input: bool = False
) -> Any:
    u_full, values, vh_full = ans
    k = values.shape[-1]
    v_full = hermitian(vh_full)
    u, v = u_full[..., :k], v_full[..., :k]
    inner = matmul(hermitian(u), matmul(tangent, v))
    inner_h = hermitian(inner)
    gaps, row, column = _svd_gaps(values), values[..., None, :], values[..., None]
    inverse = reciprocal_or_zero(values)
    turn_u = gaps * (inner * row + column * inner_h)
    turn_v = gaps * (column * inner + inner_h * row)
    if tangent.dtype.kind == "c":
        turn_u = turn_u + on_diagonal(_turn(diagonal_of(inner)) * inverse)
    du = matmul(u, turn_u) + _outside(u, matmul(tangent, v)) * inverse[..., None, :]
    dv = matmul(v, turn_v) + _outside(v, matmul(hermitian(tangent), u)) * inverse[..., None, :]
    if full_matrices:
        du, dv = _completed(u_full, du), _completed(v_full, dv)
    return du, real_part(diagonal_of(inner)), hermitian(dv)


_svd = explicit(
    "svd",
    _svd_forward,
    vjps=(_svd_vjp,),
    jvps=(_svd_jvp,),
    outputs=3,
    tangent="that of the equation (u * s) @ v = x, solved for u, s and v",
    formula="u, s, v with (u * s) @ v = x",
    partials=("u @ (symmetric parts of u.T @ g[0] and g[2] @ v.T, and diag(g[1])) @ v",),
    samples=lambda rng: [
        case(rng.normal(size=shape), full_matrices=full)
        for shape, full in [
            ((3, 3), True),
            ((4, 2), False),
            ((2, 4), False),
            ((3, 2), True),
            ((2, 2, 3), True),
        ]
    ],
)


class SVDResult(NamedTuple):
    """Left vectors as columns, singular values descending, conjugated right vectors as rows."""

    U: Any
    S: Any
    Vh: Any


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular value decomposition; see `numpy.linalg.svd`.

    With `full_matrices` the vectors that complete a basis are taken to turn as little as they can.
    """
    a = as_array(a)
    if hermitian:
        a = from_triangle(a)
    if not compute_uv:
        return _svdvals(a)
    return SVDResult(*_svd(a, full_matrices=full_matrices, hermitian_input=hermitian))


_svdvals = explicit(
    "svdvals",
    lambda a: np.linalg.svd(a, compute_uv=False),
    vjps=(lambda g, ans, a: _svdvals_vjp(g, a),),
    jvps=(lambda v, ans, a: _svdvals_jvp(v, a),),
    tangent="diagonal(u.T @ v @ vh.T), u and vh those of svd(x)",
    formula="singular values of x",
    partials=("u @ diag(g) @ v",),
    samples=lambda rng: [case(rng.normal(size=shape)) for shape in [(3, 3), (2, 4), (2, 3, 2)]],
)


def _svdvals_vjp(g: Any, a: Any) -> Any:
    u, _, vh = _svd(a, full_matrices=False)
    return matmul(conjugate(u) * g[..., None, :], conjugate(vh))


def _svdvals_jvp(v: Any, a: Any) -> Any:
    u, _, vh = _svd(a, full_matrices=False)
    return real_part(r.sum(conjugate(u) * matmul(v, hermitian(vh)), axis=-2))


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """Singular values, descending; see `numpy.linalg.svdvals`."""
    return _svdvals(as_array(x))


# QR -------------------------------------------------------------------------------------------


def _skew(x: Any) -> Any:
    """The anti-Hermitian matrix with the lower triangle of `x`."""
    below = _lower(x)
    skew = below - hermitian(below)
    return skew + on_diagonal(_turn(diagonal_of(x))) if x.dtype.kind == "c" else skew


def _skew_transpose(x: Any) -> Any:
    below = _lower(x - hermitian(x))
    return below + on_diagonal(_turn(diagonal_of(x))) if x.dtype.kind == "c" else below


def _qr_vjp(g: Any, ans: Any, a: Any, *, complete: bool) -> Any:
    (g_q, g_r), (q, upper) = g, ans
    n = a.shape[-1]
    if complete:
        g_q, g_r = _fold_completion(q, g_q, n), g_r[..., :n, :]
        q, upper = q[..., :n], upper[..., :n, :]
    pulled = matmul(g_r, transpose(upper))
    turn = matmul(transpose(q), g_q) - pulled
    ct = g_q + matmul(conjugate(q), _skew_transpose(turn) - turn)
    return transpose(solve(upper, transpose(ct)))


def _qr_jvp(tangent: Any, ans: Any, a: Any, *, complete: bool) -> Any:
    q_full, upper_full = ans
    n = a.shape[-1]
    q, upper = q_full[..., :n], upper_full[..., :n, :]
    moved = transpose(solve(transpose(upper), transpose(tangent)))
    inner = matmul(hermitian(q), moved)
    turn = _skew(inner)
    dq = matmul(q, turn - inner) + moved
    dr = matmul(inner - turn, upper)
    if not complete:
        return dq, dr
    zeros = np.zeros((*dr.shape[:-2], a.shape[-2] - n, n), dr.dtype)
    return _completed(q_full, dq), concatenate([dr, zeros], axis=-2)


# Of matrices with at least as many rows as columns, of full rank.
_qr = explicit(
    "qr",
    lambda a, *, complete: tuple(np.linalg.qr(a, "complete" if complete else "reduced")),
    vjps=(_qr_vjp,),
    jvps=(_qr_jvp,),
    outputs=2,
    tangent="that of the equation q @ r = x, solved for q and r",
    formula="orthonormal q and upper triangular r with q @ r = x",
    partials=("(g[0] + q @ (skew part of r @ g[1].T - g[0].T @ q)) @ inv(r).T",),
    samples=lambda rng: [
        case(well_conditioned(rng, 3, 3), complete=False),
        case(rng.normal(size=(2, 4, 2)), complete=False),
        case(rng.normal(size=(3, 2)), complete=True),
    ],
)


class QRResult(NamedTuple):
    """Orthonormal columns, and an upper triangular matrix."""

    Q: Any
    R: Any


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """QR decomposition of matrices of full rank; see `numpy.linalg.qr`.

    Args:
        mode: "reduced", "complete", or "r" for the triangular factor alone.
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(
            f'qr: got mode={mode!r}, but derivatives are known for "reduced", "complete" and "r"'
        )
    a = as_array(a)
    rows = a.shape[-2]
    q, upper = _qr(a[..., :rows], complete=mode == "complete" and rows > a.shape[-1])
    if a.shape[-1] > rows:
        rest = matmul(hermitian(q), a[..., rows:])
        upper = concatenate([upper, rest], axis=-1)
    return upper if mode == "r" else QRResult(q, upper)
