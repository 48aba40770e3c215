"""Linear algebra, batched where NumPy is: inverses, linear systems, determinants, least squares.

Norms are in `nnad.ops.norms`, decompositions in `nnad.ops.decompositions`, products in
`nnad.ops.products`.  The rules are those of Giles, "Collected matrix derivative results for forward
and reverse mode algorithmic differentiation" (2008), also for complex matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.table import case, explicit, implements
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed, constant
from nnad.ops.elementwise import imag, real
from nnad.ops.products import matmul, named
from nnad.ops.reduce import sum as sum_

__all__ = [
    "SlogdetResult",
    "cofactor",
    "det",
    "inv",
    "matrix_power",
    "matrix_rank",
    "slogdet",
    "solve",
    "tensorinv",
    "tensorsolve",
]

transpose = s.matrix_transpose


def well_conditioned(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A random square matrix, or a batch, with singular values not far from each other."""
    return rng.normal(size=shape) + 3 * np.eye(shape[-1])


def _square_samples(rng: np.random.Generator) -> list[Any]:
    return [case(well_conditioned(rng, *shape)) for shape in [(3, 3), (2, 3, 3), (1, 1)]]


def _as_matrix(scalars: Any) -> Any:
    """Numbers, one a matrix, in a shape that broadcasts against the matrices."""
    return scalars[..., None, None]


# Inverse and determinant ----------------------------------------------------------------------

inv = explicit(
    "inv",
    np.linalg.inv,
    vjps=(lambda g, ans, a: -matmul(transpose(ans), matmul(g, transpose(ans))),),
    jvps=(lambda v, ans, a: -matmul(ans, matmul(v, ans)),),
    implements=np.linalg.inv,
    tangent="-y @ v @ y",
    formula="inverse of x",
    partials=("-y.T @ g @ y.T",),
    samples=_square_samples,
)


def _cofactor_forward(a: Any) -> Any:
    """By the inverse where that is accurate, else by the singular value decomposition."""
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return _singular_cofactor(a)
    with np.errstate(over="ignore", invalid="ignore"):
        worst = np.linalg.matrix_norm(a) * np.linalg.matrix_norm(inverse)
    if not np.all(worst < 1e6):
        return _singular_cofactor(a)
    return np.linalg.det(a)[..., None, None] * np.swapaxes(inverse, -1, -2)


def _singular_cofactor(a: Any) -> Any:
    """cof(U S V) = cof(U) cof(S) cof(V), and cof(S) is the product of the other values."""
    u, s_, vh = np.linalg.svd(a)
    one = np.ones_like(s_[..., :1])
    before = np.cumprod(np.concatenate([one, s_[..., :-1]], axis=-1), axis=-1)
    after = np.cumprod(np.concatenate([one, s_[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return sign[..., None, None] * np.matmul(
        np.conj(u) * (before * after)[..., None, :], np.conj(vh)
    )


def _cofactor_vjp(g: Any, ans: Any, a: Any) -> Any:
    b = transpose(inv(a))
    scale = sum_(g * ans, axis=(-2, -1))
    return _as_matrix(scale) * b - matmul(b, matmul(transpose(g), ans))


def _cofactor_jvp(v: Any, ans: Any, a: Any) -> Any:
    b = transpose(inv(a))
    scale = sum_(v * b, axis=(-2, -1))
    return _as_matrix(scale) * ans - matmul(ans, matmul(transpose(v), b))


# The gradient of det.  It exists where the inverse does not; its own derivative needs the inverse.
cofactor = explicit(
    "cofactor",
    _cofactor_forward,
    vjps=(_cofactor_vjp,),
    jvps=(_cofactor_jvp,),
    tangent="sum(y * v) * inv(x).T - inv(x).T @ v.T @ y",
    formula="det(x) * inv(x).T",
    partials=("sum(g * y) * inv(x).T - inv(x).T @ g.T @ y",),
    samples=_square_samples,
)
det = explicit(
    "det",
    np.linalg.det,
    vjps=(lambda g, ans, a: _as_matrix(g) * cofactor(a),),
    jvps=(lambda v, ans, a: sum_(cofactor(a) * v, axis=(-2, -1)),),
    implements=np.linalg.det,
    tangent="sum(cofactor(x) * v)",
    formula="determinant of x",
    partials=("g * cofactor(x)",),
    samples=_square_samples,
)


class SlogdetResult(NamedTuple):
    """Sign (a number of modulus 1) of a determinant and logarithm of its magnitude."""

    sign: Any
    logabsdet: Any


def _slogdet_vjp(g: Any, ans: Any, a: Any) -> Any:
    g_sign, g_log = g
    if a.dtype.kind == "c":
        g_log = g_log - 1j * real(1j * g_sign * ans[0])
    return _as_matrix(g_log) * transpose(inv(a))


def _slogdet_jvp(v: Any, ans: Any, a: Any) -> Any:
    trace = sum_(transpose(inv(a)) * v, axis=(-2, -1))
    if a.dtype.kind == "c":
        return 1j * imag(trace) * ans[0], real(trace)
    return 0.0 * trace, trace


_slogdet = explicit(
    "slogdet",
    lambda a: tuple(np.linalg.slogdet(a)),
    vjps=(_slogdet_vjp,),
    jvps=(_slogdet_jvp,),
    outputs=2,
    tangent="0, sum(inv(x).T * v)",
    formula="sign of det(x), log of |det(x)|",
    partials=("g[1] * inv(x).T",),
    samples=_square_samples,
)


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """Sign and logarithm of the magnitude of the determinant; see `numpy.linalg.slogdet`."""
    return SlogdetResult(*_slogdet(as_array(a)))


# Linear systems -------------------------------------------------------------------------------


def _columns(b: Any, is_vector: bool) -> Any:
    """A right-hand side as columns of a matrix."""
    return b[..., None] if is_vector else b


def _solve_vjp(g: Any, ans: Any, a: Any, b: Any) -> tuple[Any, Any]:
    is_vector = b.ndim == 1
    ct = solve(transpose(a), _columns(g, is_vector))
    ct_a = -matmul(ct, transpose(_columns(ans, is_vector)))
    return ct_a, ct[..., 0] if is_vector else ct


def _solve_jvp(tangents: Sequence[Any], ans: Any, a: Any, b: Any) -> Any:
    da, db = tangents
    is_vector = b.ndim == 1
    rhs: Any = 0.0 if db is None else _columns(db, is_vector)
    if da is not None:
        rhs = rhs - matmul(da, _columns(ans, is_vector))
    v = solve(a, rhs)
    return v[..., 0] if is_vector else v


solve = explicit(
    "solve",
    np.linalg.solve,
    vjp=_solve_vjp,
    jvp=_solve_jvp,
    broadcasts=True,
    implements=np.linalg.solve,
    tangent="inv(x0) @ (v1 - v0 @ y)",
    formula="inv(x0) @ x1",
    partials=("-inv(x0).T @ g @ y.T", "inv(x0).T @ g"),
    samples=lambda rng: [
        case(well_conditioned(rng, *a), rng.normal(size=b))
        for a, b in [
            ((3, 3), (3,)),
            ((3, 3), (3, 2)),
            ((2, 3, 3), (3,)),
            ((2, 3, 3), (3, 2)),
            ((3, 3), (2, 3, 1)),
        ]
    ],
)


matrix_rank = constant(np.linalg.matrix_rank, "A", reason="the result is an integer")


# Powers and tensors ---------------------------------------------------------------------------


@composed(
    np.linalg.matrix_power,
    formula="x @ x @ ... @ x",
    samples=lambda rng: [case(well_conditioned(rng, 3, 3), n=n) for n in (0, 1, 2, 3, 7, -2)],
)
def matrix_power(a: Any, n: int) -> Any:
    """A square matrix to an integer power; see `numpy.linalg.matrix_power`."""
    a = as_array(a)
    if n == 0:
        return s.zeros_like(a) + np.eye(a.shape[-1], dtype=a.dtype)
    if n < 0:
        a, n = inv(a), -n
    power, result = a, None
    while n:
        n, bit = divmod(n, 2)
        if bit:
            result = power if result is None else matmul(result, power)
        if n:
            power = matmul(power, power)
    return result


@composed(
    np.linalg.tensorinv,
    formula="inverse of x as a linear map of arrays",
    samples=lambda rng: [case(well_conditioned(rng, 6, 6).reshape(2, 3, 6), ind=2)],
)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """Inverse for `numpy.tensordot`; see `numpy.linalg.tensorinv`."""
    if ind <= 0:
        raise ValueError(f"tensorinv: got ind={ind}, expected a positive number of axes")
    a = as_array(a)
    rows, columns = a.shape[:ind], a.shape[ind:]
    flat = s.reshape(a, (int(np.prod(rows)), -1))
    return s.reshape(inv(flat), (*columns, *rows))


@composed(
    np.linalg.tensorsolve,
    formula="y with tensordot(x0, y) = x1",
    samples=lambda rng: [
        case(well_conditioned(rng, 6, 6).reshape(2, 3, 6), rng.normal(size=(2, 3))),
        case(well_conditioned(rng, 6, 6).reshape(2, 6, 3), rng.normal(size=(2, 3)), axes=(1,)),
    ],
)
def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Any:
    """Solve tensordot(a, x) = b for x; see `numpy.linalg.tensorsolve`."""
    a, b = as_array(a), as_array(b)
    if axes is not None:
        last = [i % a.ndim for i in axes]
        a = s.transpose(a, [i for i in range(a.ndim) if i not in last] + last)
    shape = a.shape[b.ndim :]
    flat = s.reshape(a, (-1, int(np.prod(shape))))
    return s.reshape(solve(flat, s.ravel(b)), shape)


@implements(*named("diagonal", module=np.linalg))
def _diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, axis1=-2, axis2=-1)


@implements(*named("trace", module=np.linalg))
def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.trace(x, offset, axis1=-2, axis2=-1, dtype=dtype)
