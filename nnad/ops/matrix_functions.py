"""Functions of matrices and triangular systems, computed by SciPy, with SciPy's signatures.

`scipy.linalg` does not pass Tensors on, so these are called as `nnad.ops.expm(a)`.  SciPy is
imported when the first of them computes something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed
from nnad.ops.decompositions import cholesky
from nnad.ops.joining import concatenate
from nnad.ops.linalg import well_conditioned
from nnad.ops.products import conjugate, hermitian, matmul

__all__ = ["cho_factor", "cho_solve", "expm", "solve_sylvester", "solve_triangular", "sqrtm"]

transpose = s.matrix_transpose


# Exponential and square root ------------------------------------------------------------------


def _expm_forward(a: Any) -> Any:
    from scipy.linalg import expm

    return expm(a)


def _expm_derivative(a: Any, direction: Any) -> Any:
    """The derivative along `direction`: a block of a larger exponential (Van Loan 1978)."""
    n = a.shape[-1]
    above = concatenate([a, direction], axis=-1)
    below = concatenate([s.zeros_like(a), a], axis=-1)
    return _expm(concatenate([above, below], axis=-2))[..., :n, n:]


_expm = explicit(
    "expm",
    _expm_forward,
    vjps=(lambda g, ans, a: _expm_derivative(transpose(a), g),),
    jvps=(lambda v, ans, a: _expm_derivative(a, v),),
    tangent="derivative of expm at x along v",
    formula="sum of x @ ... @ x / k!",
    partials=("derivative of expm at x.T along g",),
    samples=lambda rng: [case(rng.normal(size=shape)) for shape in [(3, 3), (2, 2, 2)]],
)


def expm(A: Any) -> Any:
    """Matrix exponential, batched; see `scipy.linalg.expm`."""
    return _expm(as_array(A))


def _sylvester_forward(a: Any, b: Any, q: Any) -> Any:
    from scipy.linalg import solve_sylvester

    return solve_sylvester(a, b, q)


def _sylvester_vjp(g: Any, ans: Any, a: Any, b: Any, q: Any) -> tuple[Any, Any, Any]:
    ct = _sylvester(transpose(a), transpose(b), g)
    return -matmul(ct, transpose(ans)), -matmul(transpose(ans), ct), ct


def _sylvester_jvp(tangents: Sequence[Any], ans: Any, a: Any, b: Any, q: Any) -> Any:
    da, db, dq = tangents
    rhs = s.zeros_like(ans) if dq is None else dq
    if da is not None:
        rhs = rhs - matmul(da, ans)
    if db is not None:
        rhs = rhs - matmul(ans, db)
    return _sylvester(a, b, rhs)


_sylvester = explicit(
    "solve_sylvester",
    _sylvester_forward,
    vjp=_sylvester_vjp,
    jvp=_sylvester_jvp,
    tangent="w with x0 @ w + w @ x1 = v2 - v0 @ y - y @ v1",
    formula="y with x0 @ y + y @ x1 = x2",
    partials=("-w @ y.T", "-y.T @ w", "w with x0.T @ w + w @ x1.T = g"),
    samples=lambda rng: [
        case(well_conditioned(rng, 3, 3), well_conditioned(rng, 2, 2), rng.normal(size=(3, 2)))
    ],
)


def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """Solution x of a x + x b = q; see `scipy.linalg.solve_sylvester`."""
    return _sylvester(as_array(a), as_array(b), as_array(q))


def _sqrtm_forward(a: Any) -> Any:
    from scipy.linalg import sqrtm

    return sqrtm(a)


_sqrtm = explicit(
    "sqrtm",
    _sqrtm_forward,
    vjps=(lambda g, ans, a: _sylvester(transpose(ans), transpose(ans), g),),
    jvps=(lambda v, ans, a: _sylvester(ans, ans, v),),
    tangent="w with y @ w + w @ y = v",
    formula="y with y @ y = x",
    partials=("w with y.T @ w + w @ y.T = g",),
    samples=lambda rng: [case(well_conditioned(rng, 3, 3))],
)


def sqrtm(A: Any) -> Any:
    """Principal square root of a matrix; see `scipy.linalg.sqrtm`."""
    return _sqrtm(as_array(A))


# Triangular systems ---------------------------------------------------------------------------


def _triangular_forward(
    a: Any, b: Any, *, trans: int = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    from scipy.linalg import solve_triangular

    return solve_triangular(a, b, trans=trans, lower=lower, unit_diagonal=unit_diagonal)


def _triangle(x: Any, lower: bool, unit_diagonal: bool) -> Any:
    """The part of `x` that the solver reads."""
    mask = np.tri(x.shape[-1], k=-1 if unit_diagonal else 0, dtype=bool)
    return x * (mask if lower else mask.T).astype(np.real(np.empty(0, x.dtype)).dtype)


def _triangular_vjp(
    g: Any, ans: Any, a: Any, b: Any, *, trans: int = 0, **how: Any
) -> tuple[Any, Any]:
    if trans == 2:
        ct = conjugate(_triangular(a, conjugate(g), trans=0, **how))
        ct_a = conjugate(matmul(ans, transpose(ct)))
    else:
        ct = _triangular(a, g, trans=1 - trans, **how)
        pair = (ans, ct) if trans else (ct, ans)
        ct_a = matmul(pair[0], transpose(pair[1]))
    return -_triangle(ct_a, how.get("lower", False), how.get("unit_diagonal", False)), ct


def _triangular_jvp(
    tangents: Sequence[Any], ans: Any, a: Any, b: Any, *, trans: int = 0, **how: Any
) -> Any:
    da, db = tangents
    rhs = s.zeros_like(b) if db is None else db
    if da is not None:
        turn = (lambda x: x, transpose, hermitian)[trans]
        part = _triangle(da, how.get("lower", False), how.get("unit_diagonal", False))
        rhs = rhs - matmul(turn(part), ans)
    return _triangular(a, rhs, trans=trans, **how)


def _triangular_samples(rng: np.random.Generator) -> list[Any]:
    options: list[dict[str, Any]] = [
        {},
        {"lower": True},
        {"lower": True, "trans": 1},
        {"trans": 2, "unit_diagonal": True},
    ]
    return [case(well_conditioned(rng, 3, 3), rng.normal(size=(3, 2)), **how) for how in options]


_triangular = explicit(
    "solve_triangular",
    _triangular_forward,
    vjp=_triangular_vjp,
    jvp=_triangular_jvp,
    tangent="inv(x0) @ (v1 - v0 @ y), the triangle of v0",
    formula="inv(triangle of x0) @ x1",
    partials=("-w @ y.T, its triangle", "w = inv(x0).T @ g"),
    samples=_triangular_samples,
)


def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """Solve a triangular system; see `scipy.linalg.solve_triangular`.

    Only the triangle that is read has a derivative.
    """
    a, b = as_array(a), as_array(b)
    columns = b[:, None] if b.ndim == 1 else b
    code = {"N": 0, "T": 1, "C": 2}.get(trans, trans) if isinstance(trans, str) else trans
    x = _triangular(a, columns, trans=code, lower=lower, unit_diagonal=unit_diagonal)
    return x[:, 0] if b.ndim == 1 else x


@composed(
    name="cho_factor",
    formula="triangular y with y @ y.T = x (lower) or y.T @ y = x",
    samples=lambda rng: [
        case(np.diag([2.0, 3.0, 4.0]) + 0.1 * rng.normal(size=(3, 3)), lower=lower)
        for lower in (False, True)
    ],
)
def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Any, bool]:
    """Cholesky factor for `cho_solve`; see `scipy.linalg.cho_factor`.

    The other triangle of the factor is 0 (SciPy leaves arbitrary numbers there).
    """
    return cholesky(a, upper=not lower), lower


def cho_solve(
    c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """Solve a x = b, given the factor of a by `cho_factor`; see `scipy.linalg.cho_solve`."""
    c, lower = c_and_lower
    first, second = (0, 2) if lower else (2, 0)
    return solve_triangular(
        c, solve_triangular(c, b, trans=first, lower=lower), trans=second, lower=lower
    )
