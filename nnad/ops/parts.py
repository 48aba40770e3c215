"""Numbers taken apart: quotient and remainder, whole part and fraction, mantissa and exponent,
modulus and phase.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, elementwise, explicit
from nnad.autodiff.tensor import value_of
from nnad.ops import elementwise as e
from nnad.ops.arguments import as_array, composed

__all__ = ["divmod", "frexp", "ldexp", "modf", "phase"]


@composed(
    np.divmod,
    formula="floor(x0 / x1), x0 - x1 * floor(x0 / x1)",
    samples=lambda rng: [case(rng.uniform(2, 3, (2, 3)), rng.uniform(0.6, 0.9, 3))],
)
def divmod(x: Any, y: Any) -> tuple[Any, Any]:
    """Quotient and remainder; see `numpy.divmod`."""
    return e.floor_divide(x, y), e.remainder(x, y)


@composed(
    np.modf,
    formula="x - trunc(x), trunc(x)",
    samples=lambda rng: [case(rng.uniform(-1.9, -1.1, (2, 3))), case(np.array([0.3, -2.6]))],
)
def modf(x: Any) -> tuple[Any, Any]:
    """Fraction and whole part; see `numpy.modf`."""
    x = as_array(x)
    finite = e.where(e.isinf(x), np.zeros((), x.dtype), x)
    return finite - e.trunc(finite), e.trunc(x)


ldexp = elementwise(
    np.ldexp,
    lambda ans, x, n: np.ldexp(np.ones((), value_of(ans).dtype), n),
    None,
    formula="x0 * 2.0**x1",
    partials=("2.0**x1", "none: x1 holds integers"),
    samples=lambda rng: [
        case(rng.normal(size=(2, 3)), np.array([-1, 0, 2])),
        case(rng.normal(size=2), np.array(1)),
    ],
)
_exponent = explicit(
    "exponent",
    lambda x: np.frexp(x)[1],
    nondifferentiable="the derivative is zero wherever it exists",
)


@composed(
    np.frexp,
    formula="x / 2**n, n with 1/2 <= |x / 2**n| < 1",
    samples=lambda rng: [case(rng.uniform(2.2, 3.8, (2, 3))), case(np.array([0.3, -7.0]))],
)
def frexp(x: Any) -> tuple[Any, Any]:
    """Mantissa and exponent to base 2; see `numpy.frexp`."""
    exponent = _exponent(x)
    return ldexp(x, -exponent), exponent


@composed(
    np.sign,
    formula="x / |x|",
    samples=lambda rng: [case(rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3)))],
)
def phase(x: Any) -> Any:
    """x / |x|, and 0 of 0; of real numbers a step without derivative; see `numpy.sign`."""
    x = as_array(x)
    return x * e.reciprocal_or_zero(e.absolute(x)) if x.dtype.kind == "c" else e.sign(x)
