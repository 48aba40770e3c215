"""Gamma and beta functions and their relatives, by scipy.special, loaded on first use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnad.autodiff.table import case, composite, elementwise
from nnad.ops.arguments import as_array
from nnad.ops.elementwise import (
    exp,
    log,
    log1p,
)
from nnad.ops.scipy_special import orders, scipy_ufunc, special, unknown

__all__ = [
    "beta",
    "betainc",
    "betaincinv",
    "betaln",
    "binom",
    "digamma",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaincinv",
    "gammaln",
    "loggamma",
    "multigammaln",
    "poch",
    "polygamma",
    "psi",
    "rgamma",
]


def _polygamma_forward(n: Any, x: Any) -> Any:
    y = scipy_ufunc("polygamma")(n, x)
    kind = np.asarray(x).dtype
    return y.astype(kind if kind.kind == "f" else y.dtype, copy=False)[()]


digamma = special(
    "psi",
    lambda ans, x: polygamma(1, x),
    formula="derivative of log(gamma(x))",
    partials=("polygamma(1, x)",),
    domain=(0.5, 3.0),
)
psi = digamma
polygamma = elementwise(
    _polygamma_forward,
    unknown("polygamma", "n"),
    lambda ans, n, x: polygamma(n + 1, x),
    name="polygamma",
    formula="derivative of order x0 + 1 of log(gamma(x1))",
    partials=("unknown", "polygamma(x0 + 1, x1)"),
    samples=orders(0.5, 3.0, 0, 1, 3),
)
gamma = special(
    "gamma",
    lambda ans, x: ans * digamma(x),
    formula="integral of t**(x - 1) * exp(-t) from 0 to infinity",
    partials=("y * digamma(x)",),
    domain=(0.5, 3.0),
)
gammaln = special(
    "gammaln",
    lambda ans, x: digamma(x),
    formula="log |gamma(x)|",
    partials=("digamma(x)",),
    domain=(0.5, 3.0),
)
loggamma = special(
    "loggamma",
    lambda ans, x: digamma(x),
    formula="log(gamma(x)), also of complex numbers",
    partials=("digamma(x)",),
    domain=(0.5, 3.0),
)
rgamma = special(
    "rgamma",
    lambda ans, x: -ans * digamma(x),
    formula="1 / gamma(x)",
    partials=("-y * digamma(x)",),
    domain=(0.5, 3.0),
)
beta = special(
    "beta",
    lambda ans, a, b: ans * (digamma(a) - digamma(a + b)),
    lambda ans, a, b: ans * (digamma(b) - digamma(a + b)),
    formula="gamma(x0) * gamma(x1) / gamma(x0 + x1)",
    partials=("y * (digamma(x0) - digamma(x0 + x1))", "y * (digamma(x1) - digamma(x0 + x1))"),
    domain=(0.5, 3.0),
)
betaln = special(
    "betaln",
    lambda ans, a, b: digamma(a) - digamma(a + b),
    lambda ans, a, b: digamma(b) - digamma(a + b),
    formula="log(beta(x0, x1))",
    partials=("digamma(x0) - digamma(x0 + x1)", "digamma(x1) - digamma(x0 + x1)"),
    domain=(0.5, 3.0),
)
poch = special(
    "poch",
    lambda ans, z, m: ans * (digamma(z + m) - digamma(z)),
    lambda ans, z, m: ans * digamma(z + m),
    formula="gamma(x0 + x1) / gamma(x0)",
    partials=("y * (digamma(x0 + x1) - digamma(x0))", "y * digamma(x0 + x1)"),
    domain=(0.5, 3.0),
)
binom = special(
    "binom",
    lambda ans, n, k: ans * (digamma(n + 1.0) - digamma(n - k + 1.0)),
    lambda ans, n, k: ans * (digamma(n - k + 1.0) - digamma(k + 1.0)),
    formula="binomial coefficient x0 over x1",
    partials=(
        "y * (digamma(x0 + 1) - digamma(x0 - x1 + 1))",
        "y * (digamma(x0 - x1 + 1) - digamma(x1 + 1))",
    ),
    domain=((3.0, 5.0), (0.5, 2.5)),
)


def _gamma_density(a: Any, x: Any) -> Any:
    return exp((a - 1.0) * log(x) - x - gammaln(a))


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return exp((a - 1.0) * log(x) + (b - 1.0) * log1p(-x) - betaln(a, b))


gammainc = special(
    "gammainc",
    unknown("gammainc", "a"),
    lambda ans, a, x: _gamma_density(a, x),
    formula="regularised lower incomplete gamma function",
    partials=("unknown", "x1**(x0 - 1) * exp(-x1) / gamma(x0)"),
    samples=orders(0.5, 3.0, 1, 2, 3),
)
gammaincc = special(
    "gammaincc",
    unknown("gammaincc", "a"),
    lambda ans, a, x: -_gamma_density(a, x),
    formula="1 - gammainc(x0, x1)",
    partials=("unknown", "-x1**(x0 - 1) * exp(-x1) / gamma(x0)"),
    samples=orders(0.5, 3.0, 1, 2, 3),
)
gammaincinv = special(
    "gammaincinv",
    unknown("gammaincinv", "a"),
    lambda ans, a, x: 1.0 / _gamma_density(a, ans),
    formula="inverse of gammainc in x1",
    partials=("unknown", "gamma(x0) * exp(y) / y**(x0 - 1)"),
    samples=orders(0.2, 0.8, 1, 2, 3),
)
betainc = special(
    "betainc",
    unknown("betainc", "a"),
    unknown("betainc", "b"),
    lambda ans, a, b, x: _beta_density(a, b, x),
    formula="regularised incomplete beta function",
    partials=("unknown", "unknown", "x2**(x0 - 1) * (1 - x2)**(x1 - 1) / beta(x0, x1)"),
    samples=orders(0.2, 0.8, (1, 2), (2, 2), (3, 1)),
)
betaincinv = special(
    "betaincinv",
    unknown("betaincinv", "a"),
    unknown("betaincinv", "b"),
    lambda ans, a, b, x: 1.0 / _beta_density(a, b, ans),
    formula="inverse of betainc in x2",
    partials=("unknown", "unknown", "beta(x0, x1) / (y**(x0 - 1) * (1 - y)**(x1 - 1))"),
    samples=orders(0.2, 0.8, (1, 2), (2, 2), (3, 1)),
)


def multigammaln(a: Any, d: int) -> Any:
    """Logarithm of the multivariate gamma function; see `scipy.special.multigammaln`."""
    a = as_array(a)
    total = 0.25 * d * (d - 1) * math.log(math.pi)
    for j in range(d):
        total = total + gammaln(a - 0.5 * j)
    return total


composite(
    "multigammaln",
    multigammaln,
    formula="log of the multivariate gamma function",
    samples=lambda rng: [case(rng.uniform(2, 4, (3,)), d=3)],
)
