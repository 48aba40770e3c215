"""SciPy's special functions.

The entries stand in the table from the start, under SciPy's names, and `scipy.special.erf(t)` finds
them; SciPy itself is imported when the first of them computes something.

Derivatives: Abramowitz and Stegun, "Handbook of mathematical functions", and the NIST Digital
Library of Mathematical Functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nnad.autodiff.table import LATE, TABLE, case, elementwise, kink
from nnad.errors import MissingRuleError
from nnad.ops.activations import log_sigmoid, sigmoid
from nnad.ops.elementwise import (
    absolute,
    equal,
    exp,
    greater,
    log,
    log1p,
    maximum,
    minimum,
    reciprocal_or_zero,
    sqrt,
    square,
    where,
)
from nnad.ops.trigonometry import sin

__all__ = [
    "cosdg",
    "cosm1",
    "dawsn",
    "ellipe",
    "ellipk",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfi",
    "erfinv",
    "exp1",
    "exp10",
    "expi",
    "expit",
    "expn",
    "huber",
    "kl_div",
    "log_expit",
    "log_ndtr",
    "logit",
    "ndtr",
    "ndtri",
    "ndtri_exp",
    "pseudo_huber",
    "rel_entr",
    "sindg",
    "spence",
    "xlog1py",
    "xlogy",
]

Slope = Callable[..., Any]

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
HALF_SQRT_PI = math.sqrt(math.pi) / 2
SQRT_2PI = math.sqrt(2 * math.pi)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
DEGREE = math.pi / 180


@cache
def scipy_ufunc(name: str) -> Any:
    import scipy.special

    return getattr(scipy.special, name)


def _computed_by_scipy(name: str) -> Callable[..., Any]:
    def forward(*args: Any, out: Any = None) -> Any:
        return scipy_ufunc(name)(*args, out=out)

    forward.__doc__ = f"See `scipy.special.{name}`."
    return forward


def special(name: str, *derivatives: Any, implements: Any = (), **options: Any) -> Any:
    """An entry for the ufunc `scipy.special.name`."""
    return elementwise(
        _computed_by_scipy(name),
        *derivatives,
        name=name,
        implements=(f"scipy.special.{name}", *implements),
        **options,
    )


def unknown(name: str, argument: str) -> Slope:
    """The derivative by an argument for which there is no formula: raises."""

    def slope(ans: Any, *args: Any) -> Any:
        raise MissingRuleError(
            f"{name} has no derivative with respect to its argument {argument}; hold it constant "
            "with nnad.stop_gradient or pass it as a plain number"
        )

    return slope


def orders(low: float, high: float, *parameters: Any) -> Any:
    """Samples of a function of integer parameters and one variable."""

    def samples(rng: np.random.Generator) -> Any:
        for parameter in parameters:
            fixed = parameter if isinstance(parameter, tuple) else (parameter,)
            yield case(*(np.asarray(p) for p in fixed), rng.uniform(low, high, (3,)))

    return samples


# Error function and normal distribution -------------------------------------------------------

erf = special(
    "erf",
    lambda ans, x: TWO_OVER_SQRT_PI * exp(-square(x)),
    formula="2 / sqrt(pi) * integral of exp(-t**2) from 0 to x",
    partials=("2 / sqrt(pi) * exp(-x**2)",),
)
erfc = special(
    "erfc",
    lambda ans, x: -TWO_OVER_SQRT_PI * exp(-square(x)),
    formula="1 - erf(x)",
    partials=("-2 / sqrt(pi) * exp(-x**2)",),
)
erfcx = special(
    "erfcx",
    lambda ans, x: 2.0 * x * ans - TWO_OVER_SQRT_PI,
    formula="exp(x**2) * erfc(x)",
    partials=("2 * x * y - 2 / sqrt(pi)",),
)
erfi = special(
    "erfi",
    lambda ans, x: TWO_OVER_SQRT_PI * exp(square(x)),
    formula="-1j * erf(1j * x)",
    partials=("2 / sqrt(pi) * exp(x**2)",),
)
erfinv = special(
    "erfinv",
    lambda ans, x: HALF_SQRT_PI * exp(square(ans)),
    formula="inverse of erf",
    partials=("sqrt(pi) / 2 * exp(y**2)",),
    domain=(-0.9, 0.9),
)
erfcinv = special(
    "erfcinv",
    lambda ans, x: -HALF_SQRT_PI * exp(square(ans)),
    formula="inverse of erfc",
    partials=("-sqrt(pi) / 2 * exp(y**2)",),
    domain=(0.1, 1.9),
)
dawsn = special(
    "dawsn",
    lambda ans, x: 1.0 - 2.0 * x * ans,
    formula="exp(-x**2) * integral of exp(t**2) from 0 to x",
    partials=("1 - 2 * x * y",),
)
ndtr = special(
    "ndtr",
    lambda ans, x: exp(-0.5 * square(x)) / SQRT_2PI,
    formula="(1 + erf(x / sqrt(2))) / 2",
    partials=("exp(-x**2 / 2) / sqrt(2 * pi)",),
)
log_ndtr = special(
    "log_ndtr",
    lambda ans, x: SQRT_2_OVER_PI / erfcx(-math.sqrt(0.5) * x),
    formula="log(ndtr(x))",
    partials=("sqrt(2 / pi) / erfcx(-x / sqrt(2))",),
)
ndtri = special(
    "ndtri",
    lambda ans, x: SQRT_2PI * exp(0.5 * square(ans)),
    formula="inverse of ndtr",
    partials=("sqrt(2 * pi) * exp(y**2 / 2)",),
    domain=(0.1, 0.9),
)
ndtri_exp = special(
    "ndtri_exp",
    lambda ans, x: SQRT_2PI * exp(x + 0.5 * square(ans)),
    formula="inverse of log_ndtr",
    partials=("sqrt(2 * pi) * exp(x + y**2 / 2)",),
    domain=(-3.0, -0.1),
)


# Logistic function and entropies --------------------------------------------------------------

expit = sigmoid
log_expit = log_sigmoid
logit = special(
    "logit",
    lambda ans, x: 1.0 / (x * (1.0 - x)),
    formula="log(x / (1 - x))",
    partials=("1 / (x * (1 - x))",),
    domain=(0.1, 0.9),
)


def _log_or_zero(x: Any) -> Any:
    """Log x, and 0 where x = 0."""
    return log(where(equal(x, 0), 1.0, x))


_NO_LOG = "log(0) is replaced by 0"

xlogy = special(
    "xlogy",
    lambda ans, x, y: _log_or_zero(y),
    lambda ans, x, y: x * reciprocal_or_zero(y),
    formula="x0 * log(x1) if x0 != 0 else 0",
    partials=("log(x1)", "x0 / x1"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, 0.0), (0.0, 0.0), _NO_LOG)],
)
xlog1py = special(
    "xlog1py",
    lambda ans, x, y: log1p(where(equal(y, -1), 0.0, y)),
    lambda ans, x, y: x * reciprocal_or_zero(1.0 + y),
    formula="x0 * log(1 + x1) if x0 != 0 else 0",
    partials=("log(1 + x1)", "x0 / (1 + x1)"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, -1.0), (0.0, 0.0), _NO_LOG)],
)
entr = special(
    "entr",
    lambda ans, x: where(greater(x, 0), -1.0 - log(where(greater(x, 0), x, 1.0)), 0.0),
    formula="-x * log(x) if x != 0 else 0",
    partials=("-1 - log(x)",),
    domain=(0.3, 2.0),
    kinks=[kink(0.0, 0.0, "infinite slope; 0 is returned")],
)


def _log_ratio(x: Any, y: Any, shift: float) -> Any:
    """log(x / y) + shift where both are positive, else 0."""
    inside = greater(minimum(x, y), 0)
    ratio = where(inside, x, 1.0) / where(inside, y, 1.0)
    return where(inside, log(ratio) + shift, 0.0)


rel_entr = special(
    "rel_entr",
    lambda ans, x, y: _log_ratio(x, y, 1.0),
    lambda ans, x, y: -x * reciprocal_or_zero(y),
    formula="x0 * log(x0 / x1)",
    partials=("log(x0 / x1) + 1", "-x0 / x1"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, 1.0), (0.0, 0.0), "infinite slope in x0; 0 is returned")],
)
kl_div = special(
    "kl_div",
    lambda ans, x, y: _log_ratio(x, y, 0.0),
    lambda ans, x, y: 1.0 - x * reciprocal_or_zero(y),
    formula="x0 * log(x0 / x1) - x0 + x1",
    partials=("log(x0 / x1)", "1 - x0 / x1"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, 1.0), (0.0, 1.0), "infinite slope in x0; 0 is returned")],
)
huber = special(
    "huber",
    lambda ans, delta, r: maximum(absolute(r) - delta, 0.0),
    lambda ans, delta, r: maximum(minimum(r, delta), -delta),
    formula="x1**2 / 2 if |x1| < x0 else x0 * (|x1| - x0 / 2)",
    partials=("max(|x1| - x0, 0)", "clip(x1, -x0, x0)"),
    domain=((0.3, 0.6), (-2.0, 2.0)),
)
pseudo_huber = special(
    "pseudo_huber",
    lambda ans, delta, r: 2.0 * ans / delta - _pseudo_huber_slope(delta, r) * r / delta,
    lambda ans, delta, r: _pseudo_huber_slope(delta, r),
    formula="x0**2 * (sqrt(1 + (x1 / x0)**2) - 1)",
    partials=("2 * y / x0 - x1**2 / (x0 * sqrt(1 + (x1 / x0)**2))", "x1 / sqrt(1 + (x1 / x0)**2)"),
    domain=(0.3, 2.0),
)


def _pseudo_huber_slope(delta: Any, r: Any) -> Any:
    return r / sqrt(1.0 + square(r / delta))


# Integrals and angles -------------------------------------------------------------------------

exp1 = special(
    "exp1",
    lambda ans, x: -exp(-x) / x,
    formula="integral of exp(-t) / t from x to infinity",
    partials=("-exp(-x) / x",),
    domain=(0.5, 3.0),
)
expi = special(
    "expi",
    lambda ans, x: exp(x) / x,
    formula="integral of exp(t) / t up to x",
    partials=("exp(x) / x",),
    domain=(0.5, 3.0),
)
expn = special(
    "expn",
    unknown("expn", "n"),
    lambda ans, n, x: -where(equal(n, 0), ans * (1.0 + 1.0 / x), expn(maximum(n - 1, 0), x)),
    formula="integral of exp(-x1 * t) / t**x0 from 1 to infinity",
    partials=("unknown", "-y * (1 + 1 / x1) if x0 == 0 else -expn(x0 - 1, x1)"),
    samples=orders(0.5, 3.0, 0, 1, 2, 3),
)
ellipk = special(
    "ellipk",
    lambda ans, m: (ellipe(m) / (1.0 - m) - ans) / (2.0 * m),
    formula="integral of 1 / sqrt(1 - x * sin(t)**2) from 0 to pi / 2",
    partials=("(ellipe(x) / (1 - x) - y) / (2 * x)",),
    domain=(0.2, 0.8),
)
ellipe = special(
    "ellipe",
    lambda ans, m: (ans - ellipk(m)) / (2.0 * m),
    formula="integral of sqrt(1 - x * sin(t)**2) from 0 to pi / 2",
    partials=("(y - ellipk(x)) / (2 * x)",),
    domain=(0.2, 0.8),
)
spence = special(
    "spence",
    lambda ans, x: where(equal(x, 1), -1.0, _log_or_zero(x) / where(equal(x, 1), 1.0, 1.0 - x)),
    formula="integral of log(t) / (1 - t) from 1 to x",
    partials=("log(x) / (1 - x)",),
    domain=(0.3, 0.9),
)
exp10 = special(
    "exp10",
    lambda ans, x: math.log(10) * ans,
    formula="10**x",
    partials=("log(10) * y",),
)
cosm1 = special("cosm1", lambda ans, x: -sin(x), formula="cos(x) - 1", partials=("-sin(x)",))
sindg = special(
    "sindg",
    lambda ans, x: DEGREE * cosdg(x),
    formula="sin of x degrees",
    partials=("pi / 180 * cosdg(x)",),
)
cosdg = special(
    "cosdg",
    lambda ans, x: -DEGREE * sindg(x),
    formula="cos of x degrees",
    partials=("-pi / 180 * sindg(x)",),
)

# SciPy's own ufuncs for what the table has already.
for _name, _entry in {
    "expit": sigmoid,
    "log_expit": log_sigmoid,
    **{name: TABLE[name] for name in ("exp2", "expm1", "log1p", "cbrt", "sinc")},
}.items():
    LATE[f"scipy.special.{_name}"] = _entry
