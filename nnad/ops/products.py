"""Products of arrays: matmul, tensordot and what is made of them, Kronecker and cross products,
convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, implements, multilinear
from nnad.cores.team import matrix_product
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed, shape_of, store
from nnad.ops.elementwise import conj, multiply
from nnad.ops.joining import concatenate, stack
from nnad.ops.reduce import sum as sum_
from nnad.ops.shape import moveaxis

__all__ = [
    "convolve",
    "correlate",
    "cross",
    "dot",
    "inner",
    "kron",
    "matmul",
    "matvec",
    "multi_dot",
    "outer",
    "tensordot",
    "vdot",
    "vecdot",
    "vecmat",
]


def conjugate(x: Any) -> Any:
    """The complex conjugate; real arrays are returned as they are."""
    return conj(x) if x.dtype.kind == "c" else x


def hermitian(x: Any) -> Any:
    """The conjugate transpose of matrices."""
    return conjugate(s.matrix_transpose(x))


def named(*names: str, module: Any = np) -> tuple[Any, ...]:
    """Those of NumPy's functions `names` that this NumPy version has."""
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


def _pairs(*shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    """Samples of two arrays of given shapes."""
    return lambda rng: [case(rng.normal(size=a), rng.normal(size=b)) for a, b in shapes]


# Matrix products ------------------------------------------------------------------------------


def _matmul_vjp_0(g: Any, ans: Any, x: Any, y: Any) -> Any:
    x, y = as_array(x), as_array(y)
    if y.ndim == 1:
        return g[..., None] * y if x.ndim > 1 else g * y
    if x.ndim == 1:
        return matmul(y, g[..., None])[..., 0]
    return matmul(g, s.matrix_transpose(y))


def _matmul_vjp_1(g: Any, ans: Any, x: Any, y: Any) -> Any:
    x, y = as_array(x), as_array(y)
    if x.ndim == 1:
        return x[:, None] * g[..., None, :] if y.ndim > 1 else g * x
    if y.ndim == 1:
        return matmul(s.matrix_transpose(x), g[..., None])[..., 0]
    return matmul(s.matrix_transpose(x), g)


matmul = multilinear(
    "matmul",
    matrix_product,
    _matmul_vjp_0,
    _matmul_vjp_1,
    broadcasts=True,
    implements=(np.matmul, *named("matmul", module=np.linalg)),
    formula="x0 @ x1",
    partials=("g @ x1.T", "x0.T @ g"),
    samples=lambda rng: [
        case(rng.normal(size=a), rng.normal(size=b))
        for a, b in [
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((5, 2, 3), (3, 4)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((3,), (4, 3, 2)),
            ((4, 2, 3), (3,)),
        ]
    ],
)


def _tensordot_vjp(first: bool) -> Any:
    """The cotangent contracted with the other factor's free axes, axes back in their order."""

    def vjp(g: Any, ans: Any, a: Any, b: Any, *, axes: Any) -> Any:
        x, y = (a, b) if first else (b, a)
        x_axes, y_axes = axes if first else axes[::-1]
        x_free = [i for i in range(x.ndim) if i not in x_axes]
        y_free = tuple(i for i in range(y.ndim) if i not in y_axes)
        start = len(x_free) if first else 0
        g_axes = tuple(range(start, start + len(y_free)))
        ct = _tensordot(g, y, axes=(g_axes, y_free))
        order = x_free + [x_axes[k] for k in np.argsort(y_axes)]
        return s._transpose(ct, axes=tuple(np.argsort(order).tolist()))

    return vjp


_tensordot = multilinear(
    "tensordot",
    lambda a, b, *, axes: np.tensordot(a, b, axes),
    _tensordot_vjp(True),
    _tensordot_vjp(False),
    formula="sum of x0 * x1 over pairs of axes",
    partials=("g contracted with x1", "g contracted with x0"),
    samples=lambda rng: [
        case(rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 5)), axes=((2,), (0,))),
        case(rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 4, 2)), axes=((0, 2), (2, 1))),
        case(rng.normal(size=(2, 3)), rng.normal(size=(4,)), axes=((), ())),
        case(rng.normal(size=(2, 3)), rng.normal(size=(3, 2)), axes=((0, 1), (1, 0))),
    ],
)


def _normal_axes(a: Any, b: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`axes` of `numpy.tensordot` as two tuples of non-negative integers."""
    if isinstance(axes, (int, np.integer)):
        return tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    pair = (
        (int(x),) if isinstance(x, (int, np.integer)) else tuple(int(i) for i in x) for x in axes
    )
    first, second = (
        tuple(i % x.ndim for i in group) for x, group in zip((a, b), pair, strict=True)
    )
    return first, second


@implements(np.tensordot, *named("tensordot", module=np.linalg))
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum of products over pairs of axes; see `numpy.tensordot`."""
    a, b = as_array(a), as_array(b)
    return _tensordot(a, b, axes=_normal_axes(a, b, axes))


@composed(
    np.dot,
    formula="x0 @ x1",
    samples=_pairs(((2, 3), (3, 2)), ((3,), (2, 3, 4)), ((), (3,)), ((2, 3), (4, 3, 2))),
)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Product over the last axis of `a` and the last but one of `b`; see `numpy.dot`."""
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return store(multiply(a, b), out, "dot")
    if b.ndim <= 2:
        return store(matmul(a, b), out, "dot")
    return store(_tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,))), out, "dot")


@composed(
    np.inner,
    formula="sum of x0 * x1 over the last axes",
    samples=_pairs(((3,), (3,)), ((2, 3), (4, 3)), ((), (2,))),
)
def inner(a: Any, b: Any) -> Any:
    """Sum of products over the last axes; see `numpy.inner`."""
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    return _tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


@composed(
    np.vdot,
    formula="sum of conj(x0) * x1",
    samples=_pairs(((3,), (3,)), ((2, 3), (3, 2))),
)
def vdot(a: Any, b: Any) -> Any:
    """Sum of conj(a) * b over all elements; see `numpy.vdot`."""
    a, b = as_array(a), as_array(b)
    return matmul(conjugate(s.ravel(a)), s.ravel(b))


@composed(
    np.outer,
    formula="y[i, j] = x0[i] * x1[j]",
    samples=_pairs(((3,), (2,)), ((2, 2), (3,))),
)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    """All products of an element of `a` and one of `b`: a matrix; see `numpy.outer`."""
    a, b = as_array(a), as_array(b)
    return store(s.ravel(a)[:, None] * s.ravel(b), out, "outer")


@implements(*named("outer", module=np.linalg))
def outer_of_vectors(x1: Any, x2: Any, /) -> Any:
    """`outer`, but of two vectors alone; see `numpy.linalg.outer`."""
    for x in (x1, x2):
        if len(shape_of(x)) != 1:
            raise ValueError(
                f"np.linalg.outer takes two one-dimensional arrays, got shapes {shape_of(x1)} and "
                f"{shape_of(x2)}; np.outer flattens them first"
            )
    return outer(x1, x2)


@composed(
    *named("vecdot"),
    *named("vecdot", module=np.linalg),
    formula="sum of conj(x0) * x1 along an axis",
    samples=_pairs(((2, 3), (3,)), ((3,), (3,))),
)
def vecdot(x1: Any, x2: Any, *, axis: int = -1) -> Any:
    """Sum of conj(x1) * x2 along an axis, batched; see `numpy.vecdot`."""
    products = conjugate(as_array(x1)) * as_array(x2)
    return sum_(products, axis=axis, dtype=products.dtype)  # integers stay as they are


@composed(
    *named("matvec"),
    formula="x0 @ x1",
    samples=_pairs(((2, 3), (3,)), ((4, 2, 3), (4, 3))),
)
def matvec(x1: Any, x2: Any) -> Any:
    """Matrices times vectors, batched; see `numpy.matvec`."""
    return matmul(x1, as_array(x2)[..., None])[..., 0]


@composed(
    *named("vecmat"),
    formula="conj(x0) @ x1",
    samples=_pairs(((3,), (3, 2)), ((4, 3), (4, 3, 2))),
)
def vecmat(x1: Any, x2: Any) -> Any:
    """Conjugated vectors times matrices, batched; see `numpy.vecmat`."""
    return matmul(conjugate(as_array(x1))[..., None, :], x2)[..., 0, :]


@composed(
    np.kron,
    formula="x1 scaled by each element of x0",
    samples=_pairs(((2, 3), (3, 2)), ((2,), (3, 2)), ((3,), (2,))),
)
def kron(a: Any, b: Any) -> Any:
    """Kronecker product: `b` scaled by each element of `a`; see `numpy.kron`."""
    a, b = as_array(a), as_array(b)
    ndim = max(a.ndim, b.ndim)
    a_shape = (1,) * (ndim - a.ndim) + a.shape
    b_shape = (1,) * (ndim - b.ndim) + b.shape
    a = s.reshape(a, tuple(n for size in a_shape for n in (size, 1)))
    b = s.reshape(b, tuple(n for size in b_shape for n in (1, size)))
    return s.reshape(a * b, tuple(m * n for m, n in zip(a_shape, b_shape, strict=True)))


@composed(
    np.cross,
    formula="x0 × x1",
    samples=lambda rng: [
        case(rng.normal(size=(3,)), rng.normal(size=(3,))),
        case(rng.normal(size=(2, 3)), rng.normal(size=(3,))),
        case(rng.normal(size=(3, 2)), rng.normal(size=(2, 3)), axisa=0, axisb=1, axisc=0),
    ],
)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """Cross product of vectors of length 3 along an axis; see `numpy.cross`."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a = moveaxis(as_array(a), axisa, -1)
    b = moveaxis(as_array(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(
            f"cross: got vectors of length {a.shape[-1]} and {b.shape[-1]}, expected 3; vectors of "
            "the plane have the product a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]"
        )
    a0, a1, a2 = (a[..., i] for i in range(3))
    b0, b1, b2 = (b[..., i] for i in range(3))
    parts = (a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0)
    return moveaxis(stack(parts, axis=-1), -1, axisc)


@implements(*named("cross", module=np.linalg))
def _linalg_cross(x1: Any, x2: Any, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


# Chains of matrices ---------------------------------------------------------------------------


def _chains(rng: np.random.Generator) -> list[Any]:
    ends = [((2, 5), (3, 4)), ((5,), (3,))]
    return [
        case([rng.normal(size=a), rng.normal(size=(5, 3)), rng.normal(size=b)]) for a, b in ends
    ]


@composed(np.linalg.multi_dot, formula="x0 @ x1 @ x2 @ ...", samples=_chains)
def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    """Product of several matrices in the cheapest order; see `numpy.linalg.multi_dot`.

    The first and the last may be vectors.
    """
    factors = [as_array(x) for x in arrays]
    if len(factors) < 2:
        raise ValueError(f"multi_dot: got {len(factors)} array(s), expected at least 2")
    first, last = factors[0].ndim, factors[-1].ndim
    if first == 1:
        factors[0] = factors[0][None, :]
    if last == 1:
        factors[-1] = factors[-1][:, None]
    if any(x.ndim != 2 for x in factors):
        raise ValueError(
            f"multi_dot: got arrays of shapes {[x.shape for x in factors]}, expected matrices "
            "(the first and the last may be vectors)"
        )
    product = _chain(factors, _cheapest_splits([x.shape for x in factors]), 0, len(factors) - 1)
    rows = product[0] if first == 1 else product
    return store(rows[..., 0] if last == 1 else rows, out, "linalg.multi_dot")


def _cheapest_splits(shapes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For each stretch of the chain where to split it (Cormen et al., matrix-chain order)."""
    sizes = [shape[0] for shape in shapes] + [shapes[-1][1]]
    cost = {(i, i): 0 for i in range(len(shapes))}
    splits: dict[tuple[int, int], int] = {}
    for length in range(1, len(shapes)):
        for i in range(len(shapes) - length):
            j = i + length
            cost[i, j], splits[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return splits


def _chain(factors: Sequence[Any], splits: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return factors[i]
    k = splits[i, j]
    return matmul(_chain(factors, splits, i, k), _chain(factors, splits, k + 1, j))


# Convolution ----------------------------------------------------------------------------------


def _sequences(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=n), rng.normal(size=m), mode=mode)
        for n, m in [(5, 3), (4, 2), (2, 5), (2, 4)]
        for mode in ["full", "same", "valid"]
    ]


def _full_gradient(g: Any, a: Any, v: Any, mode: str) -> Any:
    """The cotangent of the full convolution, given that of the part which `mode` keeps."""
    n, m = a.shape[0], v.shape[0]
    if mode == "full":
        return g
    short = min(n, m)
    start = (short - 1) // 2 if mode == "same" else short - 1
    before, after = np.zeros(start, g.dtype), np.zeros(n + m - 1 - start - g.shape[0], g.dtype)
    return concatenate([before, g, after])


_convolve = multilinear(
    "convolve",
    lambda a, v, *, mode: np.convolve(a, v, mode),
    lambda g, ans, a, v, *, mode: _convolve(_full_gradient(g, a, v, mode), v[::-1], mode="valid"),
    lambda g, ans, a, v, *, mode: _convolve(_full_gradient(g, a, v, mode), a[::-1], mode="valid"),
    formula="y[k] = sum over i of x0[i] * x1[k - i]",
    partials=("g correlated with x1", "g correlated with x0"),
    samples=_sequences,
)


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Discrete convolution of two sequences; see `numpy.convolve`."""
    return _convolve(_sequence(a), _sequence(v), mode=mode)


def _sequence(x: Any) -> Any:
    x = as_array(x)
    return s.reshape(x, (1,)) if x.ndim == 0 else x


@composed(
    np.correlate,
    formula="y[k] = sum of x0[n + k] * conj(x1[n])",
    samples=_sequences,
)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Cross-correlation of two sequences: y[k] = sum of a[n + k] * conj(v[n]).

    See `numpy.correlate`.
    """
    a, v = _sequence(a), _sequence(v)
    n, m = a.shape[0], v.shape[0]
    full = _convolve(a, conjugate(v)[::-1], mode="full")
    if mode == "full":
        return full
    short, long = min(n, m), max(n, m)
    if mode == "valid":
        return full[short - 1 : long]
    start = (short - 1) // 2 if m <= n else short - 1 - (short - 1) // 2
    return full[start : start + long]
