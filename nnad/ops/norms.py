"""Norms of vectors and matrices, with derivative 0 where the norm is 0, and condition numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements, kink
from nnad.ops import reduce as r
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed
from nnad.ops.decompositions import svdvals
from nnad.ops.elementwise import absolute, equal, not_equal, real, reciprocal_or_zero, where
from nnad.ops.linalg import inv, well_conditioned
from nnad.ops.products import conjugate
from nnad.ops.shape import moveaxis

__all__ = ["cond", "matrix_norm", "norm", "vector_norm"]

Axis = int | tuple[int, ...] | None


def _vector_norm_forward(
    x: Any, *, ord: float = 2, axis: Any = None, keepdims: bool = False
) -> Any:
    return np.linalg.vector_norm(x, ord=ord, axis=axis, keepdims=keepdims)


def _slope(ans: Any, x: Any, ord: float, axis: Axis) -> Any:
    """The derivative of (sum |x|^p)^(1/p): |x / y|^(p - 1) sign(x), and 0 where x is 0."""
    scale = reciprocal_or_zero(r.expand(ans, x, axis))
    if ord == 2:
        return conjugate(x) * scale
    magnitude = absolute(x)
    ratio = magnitude * scale
    at_zero = equal(ratio, 0)
    power = where(at_zero, 0.0, where(at_zero, 1.0, ratio) ** (ord - 1.0))
    return power * conjugate(x) * reciprocal_or_zero(magnitude)


def _vector_norm_vjp(
    g: Any, ans: Any, x: Any, *, ord: float = 2, axis: Axis = None, keepdims: bool = False
) -> Any:
    return r.expand(g, x, axis) * _slope(ans, x, ord, axis)


def _vector_norm_jvp(
    v: Any, ans: Any, x: Any, *, ord: float = 2, axis: Axis = None, keepdims: bool = False
) -> Any:
    v = v * _slope(ans, x, ord, axis)
    return r.sum(real(v) if v.dtype.kind == "c" else v, axis=axis, keepdims=keepdims)


_vector_norm = explicit(
    "norm",
    _vector_norm_forward,
    vjps=(_vector_norm_vjp,),
    jvps=(_vector_norm_jvp,),
    tangent="sum of v * sign(x) * |x / y|**(p - 1)",
    formula="(sum |x|**p)**(1 / p)",
    partials=("sign(x) * |x / y|**(p - 1)",),
    samples=lambda rng: [
        case(rng.normal(size=(3,))),
        case(rng.normal(size=(2, 3)), axis=0),
        case(rng.normal(size=(2, 3)), axis=-1, ord=3, keepdims=True),
        case(rng.normal(size=(2, 3, 2)), axis=(0, 2), ord=1.5),
        case(rng.normal(size=(3,)), ord=-2),
        case(rng.normal(size=(3,)), ord=0.5),
    ],
    kinks=[
        kink(np.zeros(2), np.zeros(2), "the middle of all slopes of the cone"),
        kink(np.array([3.0, 0.0]), np.array([1.0, 0.0]), "smooth: only x = 0 is a tip", ord=2),
        kink(np.array([4.0, 0.0]), np.array([1.0, 0.0]), "infinite slope; 0 is returned", ord=0.5),
    ],
)


def _p_norm(x: Any, p: float, axis: Axis, keepdims: bool) -> Any:
    """The vector norm of order `p` over any axes."""
    if p == np.inf:
        return r.max(absolute(x), axis=axis, keepdims=keepdims)
    if p == -np.inf:
        return r.min(absolute(x), axis=axis, keepdims=keepdims)
    if p == 0:
        kind = np.real(np.empty(0, x.dtype)).dtype
        return r.sum(s.astype(not_equal(x, 0), kind), axis=axis, keepdims=keepdims)
    if p == 1:
        return r.sum(absolute(x), axis=axis, keepdims=keepdims)
    return _vector_norm(x, ord=float(p), axis=axis, keepdims=keepdims)


def _inexact(x: Any) -> Any:
    x = as_array(x)
    return x if x.dtype.kind in "fc" else s.astype(x, float)


def _vectors(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(2, 3)), ord=p, axis=1)
        for p in (np.inf, -np.inf, 1, 2, 3, 0.5, -1, None)
    ]


def _matrices(rng: np.random.Generator) -> list[Any]:
    orders = (None, "fro", "nuc", np.inf, -np.inf, 1, -1, 2, -2)
    return [case(rng.normal(size=(2, 3, 4)), ord=p, axis=(2, 0)) for p in orders]


@composed(
    np.linalg.norm,
    name="linalg.norm",
    formula="norm of a vector or a matrix",
    samples=lambda rng: [case(rng.normal(size=(2, 3))), *_vectors(rng), *_matrices(rng)],
)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norm of vectors or matrices of every order; see `numpy.linalg.norm`.

    The derivative is 0 where the norm is 0.

    >>> norm(np.array([3.0, 4.0]))
    np.float64(5.0)
    """
    x = _inexact(x)
    if axis is None:
        if ord is None:
            return _vector_norm(x, axis=None, keepdims=keepdims)
        axis = tuple(range(x.ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if len(axes) == 1 and not isinstance(ord, str):
        return _p_norm(x, 2 if ord is None else ord, axes[0], keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError(
        f"norm: got ord={ord!r} over {len(axes)} axes, expected 1 axis (a vector norm, of any "
        "number) or 2 (a matrix norm)"
    )


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    row, column = (a % x.ndim for a in axes)
    if row == column:
        raise ValueError(f"norm: got axis={axes}, expected two different axes")
    if ord in (None, "fro", "f"):
        return _vector_norm(x, axis=axes, keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        return _spectral_norm(x, ord, (row, column), keepdims)
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError(
            f"norm: got order {ord!r} for a matrix, expected None, 'fro', 'nuc', 1, -1, 2, -2, "
            "inf or -inf"
        )
    summed, searched = (row, column) if abs(ord) == 1 else (column, row)
    sums = r.sum(absolute(x), axis=summed, keepdims=True)
    extreme = (r.max if ord > 0 else r.min)(sums, axis=searched, keepdims=True)
    return extreme if keepdims else r.sum(extreme, axis=axes)


def _spectral_norm(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    """Norms made of singular values; |s| has slope 0 at 0, so that these norms do too."""
    matrices = moveaxis(x, axes, (-2, -1))
    reduction = {"nuc": r.sum, 2: r.max, -2: r.min}[ord]
    y = reduction(absolute(svdvals(matrices)), axis=-1)
    if not keepdims:
        return y
    return s.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    """Norm over any axes, of the whole array if `axis` is None; see `numpy.linalg.vector_norm`."""
    return _p_norm(_inexact(x), ord, axis, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norm of the matrices in the last two axes; see `numpy.linalg.matrix_norm`."""
    return norm(x, ord, axis=(-2, -1), keepdims=keepdims)


@composed(
    np.linalg.cond,
    formula="norm(x) * norm(inv(x))",
    samples=lambda rng: [
        *(case(well_conditioned(rng, 3, 3), p=p) for p in (None, -2, "fro", 1, np.inf)),
        case(rng.normal(size=(2, 4, 3))),
    ],
)
def cond(x: Any, p: Any = None) -> Any:
    """Condition number of matrices; see `numpy.linalg.cond`."""
    x = as_array(x)
    if p in (None, 2, -2):
        values = svdvals(x)
        largest, smallest = values[..., 0], values[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    return norm(x, p, axis=(-2, -1)) * norm(inv(x), p, axis=(-2, -1))
