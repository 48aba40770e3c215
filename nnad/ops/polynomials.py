"""Polynomials as arrays of coefficients, the highest power first: `numpy.polyval` and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, implements
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, composed, refuse
from nnad.ops.elementwise import sqrt
from nnad.ops.joining import concatenate, stack
from nnad.ops.least_squares import lstsq
from nnad.ops.products import convolve
from nnad.ops.reduce import sum as sum_

__all__ = ["polyadd", "polyder", "polyfit", "polyint", "polymul", "polysub", "polyval", "vander"]


def _coefficients(p: Any) -> Any:
    """`p` as a vector of coefficients."""
    return s.ravel(as_array(p))


def _padded(p: Any, n: int) -> Any:
    """`p` with zeros for the powers it does not have."""
    return concatenate([np.zeros(n - p.shape[0], p.dtype), p])


def _two(rng: np.random.Generator) -> list[Any]:
    return [case(rng.normal(size=3), rng.normal(size=n)) for n in (3, 5)]


@composed(
    np.polyval,
    formula="x0[0] * x1**(n - 1) + ... + x0[n - 1]",
    samples=lambda rng: [
        case(rng.normal(size=4), rng.normal(size=shape)) for shape in [(3,), (2, 2), ()]
    ],
)
def polyval(p: Any, x: Any) -> Any:
    """Value of a polynomial, by Horner's scheme; see `numpy.polyval`."""
    p, x = _coefficients(p), as_array(x)
    y = s.zeros_like(x)
    for k in range(p.shape[0]):
        y = y * x + p[k]
    return y


@composed(np.polyadd, formula="x0 + x1, aligned at the constant term", samples=_two)
def polyadd(a1: Any, a2: Any) -> Any:
    """Sum of two polynomials; see `numpy.polyadd`."""
    a1, a2 = _coefficients(a1), _coefficients(a2)
    n = max(a1.shape[0], a2.shape[0])
    return _padded(a1, n) + _padded(a2, n)


@composed(np.polysub, formula="x0 - x1, aligned at the constant term", samples=_two)
def polysub(a1: Any, a2: Any) -> Any:
    """Difference of two polynomials; see `numpy.polysub`."""
    return polyadd(a1, -as_array(a2))


@composed(np.polymul, formula="convolution of x0 and x1", samples=_two)
def polymul(a1: Any, a2: Any) -> Any:
    """Product of two polynomials; see `numpy.polymul`.  Leading zeros are kept."""
    return convolve(_coefficients(a1), _coefficients(a2))


@composed(
    np.polyder,
    formula="coefficients times their powers, shifted",
    samples=lambda rng: [case(rng.normal(size=5)), case(rng.normal(size=5), m=2)],
)
def polyder(p: Any, m: int = 1) -> Any:
    """Coefficients of the m-th derivative; see `numpy.polyder`."""
    p = _coefficients(p)
    for _ in range(m):
        p = p[:-1] * np.arange(p.shape[0] - 1, 0, -1).astype(p.dtype)
    return p


@composed(
    np.polyint,
    formula="coefficients divided by their new powers, shifted",
    samples=lambda rng: [case(rng.normal(size=4)), case(rng.normal(size=4), m=2, k=[1.0, 2.0])],
)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """Coefficients of the m-th antiderivative with constants `k`; see `numpy.polyint`."""
    p = _coefficients(p)
    constants = np.zeros(m) if k is None else np.broadcast_to(np.ravel(k), (m,))
    for constant in constants:
        scaled = p / np.arange(p.shape[0], 0, -1).astype(p.dtype)
        p = concatenate([scaled, np.array([constant], p.dtype)])
    return p


@composed(
    np.vander,
    formula="y[i, j] = x[i]**(n - 1 - j)",
    samples=lambda rng: [case(rng.normal(size=3)), case(rng.normal(size=3), N=5, increasing=True)],
)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Vandermonde matrix: powers of x as columns; see `numpy.vander`."""
    x = as_array(x)
    powers = [s.zeros_like(x) + x.dtype.type(1)]
    for _ in range(1, x.shape[0] if N is None else N):
        powers.append(powers[-1] * x)
    return stack(powers if increasing else powers[::-1], axis=-1)


@implements(np.polyfit)
def polyfit(
    x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, w: Any = None, cov: Any = False
) -> Any:
    """Coefficients of the polynomial that fits best; see `numpy.polyfit`.

    `full=True` and `cov=True` are refused.
    """
    refuse("polyfit", "compute it from np.linalg.lstsq", full=full or None, cov=cov or None)
    x, y = as_array(x), as_array(y)
    columns, target = vander(x, deg + 1), y
    if w is not None:
        w = as_array(w)
        columns = columns * w[:, None]
        target = target * (w[:, None] if y.ndim == 2 else w)
    scale = sqrt(sum_(columns * columns, axis=0))
    rcond = x.shape[0] * np.finfo(x.dtype).eps if rcond is None else rcond
    solution = lstsq(columns / scale, target, rcond).solution
    return solution / (scale[:, None] if y.ndim == 2 else scale)
