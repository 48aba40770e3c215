"""Softmax, its logarithm, the logarithm of a sum of exponentials, and sinc, without SciPy.

Exponentials are taken with the largest element out first, so that nothing overflows.  SciPy's
special functions are in `nnad.ops.scipy_special`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from nnad.autodiff.table import case, elementwise, explicit
from nnad.ops import reduce as r
from nnad.ops.arguments import as_array, axis_of
from nnad.ops.elementwise import absolute, equal, exp, isfinite, log, sign, where

__all__ = ["log_softmax", "logsumexp", "sinc", "softmax"]

Axis = int | tuple[int, ...] | None


def _samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(3,))),
        case(rng.normal(size=(2, 3)), axis=0),
        case(rng.normal(size=(2, 3, 4)), axis=(0, -1)),
        case(rng.normal(size=(2, 3)), axis=None),
    ]


def _shifted(x: Any, axis: Axis, out: Any = None) -> Any:
    """A new floating-point array: `x` minus its maximum over `axis`."""
    x = np.asarray(x)
    y = np.subtract(x, x.max(axis=axis, keepdims=True), out=out)
    return np.asarray(y if y.dtype.kind == "f" else y.astype(float))


def _softmax_forward(x: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    y = _shifted(x, axis, out)
    np.exp(y, out=y)
    y /= np.add.reduce(y, axis=axis, keepdims=True)
    return y


def _softmax_derivative(g: Any, ans: Any, x: Any, *, axis: Axis = -1) -> Any:
    """The Jacobian diag(y) - y y^T is symmetric: one rule for both modes."""
    weighted = g * ans
    return weighted - ans * r._sum(weighted, axis=axis, keepdims=True)


_softmax = explicit(
    "softmax",
    _softmax_forward,
    vjps=(_softmax_derivative,),
    jvps=(_softmax_derivative,),
    tangent="y * (v - sum(y * v))",
    formula="exp(x) / sum(exp(x))",
    partials=("y * (g - sum(g * y))",),
    samples=_samples,
)


def softmax(x: Any, axis: Axis = -1) -> Any:
    """exp(x) / sum(exp(x)) over `axis` (None: over all elements).

    >>> softmax(np.array([0.0, 0.0, np.log(2.0)]))
    array([0.25, 0.25, 0.5 ])
    """
    return _softmax(x, axis=axis)


def _log_softmax_forward(x: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    y = _shifted(x, axis, out)
    y -= np.log(np.add.reduce(np.exp(y), axis=axis, keepdims=True))
    return y


_log_softmax = explicit(
    "log_softmax",
    _log_softmax_forward,
    vjps=(lambda g, ans, x, *, axis=-1: g - exp(ans) * r._sum(g, axis=axis, keepdims=True),),
    jvps=(lambda v, ans, x, *, axis=-1: v - r._sum(exp(ans) * v, axis=axis, keepdims=True),),
    tangent="v - sum(exp(y) * v)",
    formula="x - log(sum(exp(x)))",
    partials=("g - exp(y) * sum(g)",),
    samples=_samples,
)


def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """x - log(sum(exp(x))) over `axis` (None: over all elements).

    >>> log_softmax(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """
    return _log_softmax(x, axis=axis)


def _logsumexp_forward(x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """As log1p of what the largest elements leave, which keeps precision where the result is 0."""
    x = np.asarray(x)
    x = x if x.dtype.kind in "fc" else x.astype(float)
    high = np.real(x).max(axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(high), high, 0).astype(np.real(x).dtype, copy=False)
    terms = np.exp(x - shift)
    with np.errstate(divide="ignore"):
        if x.dtype.kind == "c":
            y = np.log(np.add.reduce(terms, axis=axis, keepdims=True)) + shift
        else:
            at_top = x == high
            ties = np.add.reduce(at_top, axis=axis, keepdims=True, dtype=terms.dtype)
            terms *= ~at_top
            rest = np.add.reduce(terms, axis=axis, keepdims=True)
            y = np.log1p(rest / ties) + np.log(ties) + high
    return y if keepdims else y.squeeze(axis)[()]


def _weights(ans: Any, x: Any, axis: Axis) -> Any:
    """exp(x - y), and 0 where all elements are minus infinity."""
    y = r.expand(ans, x, axis)
    return exp(x - where(isfinite(y), y, 0))


_logsumexp = explicit(
    "logsumexp",
    _logsumexp_forward,
    vjps=(
        lambda g, ans, x, *, axis=None, keepdims=False: (
            r.expand(g, x, axis) * _weights(ans, x, axis)
        ),
    ),
    jvps=(
        lambda v, ans, x, *, axis=None, keepdims=False: r._sum(
            v * _weights(ans, x, axis), axis=axis, keepdims=keepdims
        ),
    ),
    tangent="sum(exp(x - y) * v)",
    formula="log(sum(exp(x)))",
    partials=("exp(x - y)",),
    samples=_samples,
)


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log(sum(b * exp(a))) over `axis`; see `scipy.special.logsumexp`.

    Args:
        b: factors, broadcast against a; where the sum is negative the result is NaN.
        return_sign: return (log of the sum's magnitude, its sign) instead.

    >>> logsumexp(np.array([0.0, np.log(3.0)]))
    np.float64(1.3862943611198908)
    """
    axis = axis_of(axis)
    if b is None:
        y = _logsumexp(a, axis=axis, keepdims=keepdims)
        return (y, np.ones_like(y)) if return_sign else y
    b = as_array(b)
    a = where(equal(b, 0), -np.inf, a)
    scale = _logsumexp(a, axis=axis, keepdims=True)
    scale = where(isfinite(scale), scale, 0.0)
    total = r.sum(b * exp(a - scale), axis=axis, keepdims=keepdims)
    scale = r.sum(scale, axis=axis, keepdims=keepdims)  # drops axes of length one
    empty = equal(total, 0)
    magnitude = where(empty, 1.0, absolute(total) if return_sign else total)
    y = where(empty, -np.inf, scale + log(magnitude))
    return (y, sign(total)) if return_sign else y


# Sinc -----------------------------------------------------------------------------------------


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre for integrals from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    return (nodes + 1) / 2, weights / 2


def _turned_cosine(z: Any, k: int) -> Any:
    """cos(z + k pi / 2)."""
    return (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin)[k % 4](z)


def _sinc_derivative_forward(x: Any, *, order: int) -> Any:
    """By quadrature near 0, by a recurrence far from it.

    sin(z) / z is the integral of cos(z t) over t from 0 to 1, so its k-th derivative is that of
    t**k * cos(z t + k pi / 2): no division by z, and no case of its own at z = 0.
    """
    nodes, weights = _quadrature()
    x = np.asarray(x)
    z = np.pi * x
    far = np.abs(z) > 12 + 2 * order
    near_z = np.where(far, 0, z)[..., None]
    y = _turned_cosine(near_z * nodes, order) @ (weights * nodes**order)
    if far.any():
        y = np.where(far, _far_sinc_derivative(np.where(far, z, 1), order), y)
    return (np.pi**order * y).astype(z.dtype)[()]


def _far_sinc_derivative(z: Any, order: int) -> Any:
    """By the recurrence z h[k] + k h[k-1] = sin(z + k pi / 2), stable where z is large."""
    h = np.sin(z) / z
    for k in range(1, order + 1):
        h = (_turned_cosine(z, k - 1) - k * h) / z
    return h


sinc_derivative = elementwise(
    _sinc_derivative_forward,
    lambda ans, x, *, order: sinc_derivative(x, order=order + 1),
    name="sinc_derivative",
    formula="derivative of sinc of a given order",
    partials=("derivative of the next order",),
    samples=lambda rng: [
        case(np.array([-0.7, 0.0, 1e-3, 2.0]), order=1),
        case(np.array([-9.3, 0.4, 5.0]), order=2),
    ],
)
sinc = elementwise(
    np.sinc,
    lambda ans, x: sinc_derivative(x, order=1),
    name="sinc",
    implements=np.sinc,
    formula="sin(pi * x) / (pi * x) if x != 0 else 1",
    partials=("(cos(pi * x) - y) / x",),
)
