"""The Gaussian error linear unit, exact and approximated by tanh (Hendrycks and Gimpel 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.autodiff.table import elementwise
from nnad.ops.elementwise import exp, square, tanh
from nnad.ops.places import FRESH
from nnad.ops.reference import kernel

__all__ = ["gelu", "normal_cdf"]

BLOCK = 32768  # elements worked on at a time: the temporary arrays stay in the first caches
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
CUBIC = 0.044715

# (1 + erf(x / sqrt(2))) / 2 = 1/2 + x P(x²) / Q(x²) on |x| < 4 sqrt(2) to the last bits of a
# float32, from the coefficients for erf that Eigen and XLA use, the highest power first.
ERF_P = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
ERF_Q = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def _rescaled(coefficients: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """Coefficients of the polynomial in x² / 2, times `factor`, as one in x²."""
    top = len(coefficients) - 1
    return tuple(factor * c / 2.0 ** (top - i) for i, c in enumerate(coefficients))


CDF_P = _rescaled(ERF_P, 0.5 * math.sqrt(0.5))
CDF_Q = _rescaled(ERF_Q, 1.0)
CDF_LIMIT = 4 * math.sqrt(2)
HIGH = np.full(BLOCK, CDF_LIMIT, np.float32)  # against an array minimum is 3 times as fast
LOW = -HIGH


def _cdf_block(y: np.ndarray, x: np.ndarray, p: np.ndarray, square: np.ndarray) -> None:
    """The normal distribution function of a float32 block `x`; `p`, `square` are scratch."""
    np.maximum(x, LOW[: x.size], out=y)
    np.minimum(y, HIGH[: x.size], out=y)
    np.multiply(y, y, out=square)
    _polynomial(CDF_P, square, p)
    np.multiply(p, y, out=y)
    _polynomial(CDF_Q, square, p)
    np.divide(y, p, out=y)
    y += 0.5


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray, out: np.ndarray) -> None:
    """Horner's scheme, the highest power first."""
    np.multiply(x, coefficients[0], out=out)
    for c in coefficients[1:-1]:
        out += c
        out *= x
    out += coefficients[-1]


def _in_blocks(
    block: Callable[..., None], place: Any, out: np.ndarray, *arrays: np.ndarray
) -> np.ndarray:
    """Run `block(out, *arrays, scratch, scratch)` on stretches short enough for the caches."""
    flat = [np.ascontiguousarray(a).reshape(-1) for a in arrays]
    result = out.reshape(-1)
    scratch = place(np.empty, (2, min(BLOCK, result.size)), out.dtype)
    for start in range(0, result.size, BLOCK):
        part = slice(start, start + BLOCK)
        target = result[part]
        block(target, *(a[part] for a in flat), *scratch[:, : target.size])
    return out


def _normal_cdf(x: Any, *, place: Any = FRESH) -> Any:
    """(1 + erf(x / sqrt(2))) / 2: a polynomial for float32, SciPy otherwise."""
    x = np.asarray(x)
    if x.dtype != np.float32:
        from scipy.special import ndtr

        return place(ndtr, x if x.dtype.kind == "f" else x.astype(np.float64))
    y = _in_blocks(_cdf_block, place, place(np.empty, x.shape, x.dtype), x)
    return y if y.ndim else y[()]


normal_cdf = elementwise(
    _normal_cdf,
    lambda ans, x: INV_SQRT_2PI * exp(-0.5 * square(x)),
    name="normal_cdf",
    formula="(1 + erf(x / sqrt(2))) / 2",
    partials=("exp(-x**2 / 2) / sqrt(2 * pi)",),
)


def _exact_slope_block(out: Any, x: Any, cdf: Any, *scratch: Any) -> None:
    np.multiply(x, x, out=out)
    out *= -0.5
    np.exp(out, out=out)
    out *= INV_SQRT_2PI
    out *= x
    out += cdf


def _tanh_slope_block(out: Any, x: Any, t: Any, scratch: Any, unused: Any) -> None:
    np.multiply(x, x, out=out)
    out *= 3 * CUBIC * SQRT_2_OVER_PI
    out += SQRT_2_OVER_PI
    out *= x
    np.multiply(t, t, out=scratch)
    np.subtract(1, scratch, out=scratch)
    out *= scratch
    out += t
    out += 1
    out *= 0.5


def _slope(x: Any, inner: Any, *, approximate: str, place: Any = FRESH) -> Any:
    x = np.asarray(x)
    block = _tanh_slope_block if approximate == "tanh" else _exact_slope_block
    return _in_blocks(block, place, place(np.empty, x.shape, x.dtype), x, np.asarray(inner))


_slope_kernel = kernel("gelu_slope", _slope)


def _tanh_argument(x: Any) -> Any:
    return SQRT_2_OVER_PI * (x + CUBIC * (x * x * x))


def _inner(x: Any, approximate: str) -> Any:
    """What the derivative is made of: the normal distribution function, or the tanh."""
    if approximate == "tanh":
        return tanh(_tanh_argument(x))
    return normal_cdf(x)


def _gelu_forward(x: Any, *, approximate: str = "none", place: Any = FRESH) -> Any:
    if approximate != "tanh":
        inner = _normal_cdf(x, place=place)
        return place(np.multiply, x, inner), (inner,)
    if not np.ndim(x):
        inner = np.tanh(_tanh_argument(x))
        return (inner + 1) * x * 0.5, (inner,)
    if x.dtype.kind not in "fc":
        x = x.astype(np.float64)
    inner = place(np.multiply, x, x)
    inner *= x
    inner *= CUBIC
    inner += x
    inner *= SQRT_2_OVER_PI
    np.tanh(inner, out=inner)
    y = place(np.multiply, place(np.add, inner, 1), x)
    y *= 0.5
    return y, (inner,)


def _gelu_slope(ans: Any, x: Any, *, approximate: str = "none", saved: Any = None) -> Any:
    if saved is not None:
        return _slope_kernel(x, *saved, approximate=approximate)
    inner = _inner(x, approximate)
    if approximate == "tanh":
        gradient = SQRT_2_OVER_PI * (1.0 + 3 * CUBIC * (x * x))
        return 0.5 * (1.0 + inner + x * (1.0 - inner * inner) * gradient)
    return inner + x * (INV_SQRT_2PI * exp(-0.5 * (x * x)))


_gelu = elementwise(
    _gelu_forward,
    _gelu_slope,
    name="gelu",
    residuals=True,
    formula="x * (1 + erf(x / sqrt(2))) / 2",
    partials=("normal_cdf(x) + x * exp(-x**2 / 2) / sqrt(2 * pi)",),
)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x times the normal distribution function of x.

    Args:
        x: array.
        approximate: "none" for the function itself, "tanh" for
            x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2.

    >>> gelu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate is "none" or "tanh", got {approximate!r}')
    return _gelu(x, approximate=approximate)
