"""Bessel functions, computed by SciPy (see `nnad.ops.scipy_special`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import LATE, TABLE
from nnad.ops.elementwise import sign
from nnad.ops.scipy_special import Slope, orders, special, unknown

__all__ = [
    "hankel1",
    "hankel2",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "iv",
    "ive",
    "j0",
    "j1",
    "jn",
    "jv",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kn",
    "kv",
    "kve",
    "y0",
    "y1",
    "yn",
    "yv",
]

_SMALL_ORDERS = orders(0.5, 3.0, 0, 1, 2)


def _half_difference(name: str) -> Slope:
    """J, Y and the Hankel functions: f' = (f of order v - 1, less f of order v + 1) / 2."""
    return lambda ans, v, x: 0.5 * (TABLE[name](v - 1, x) - TABLE[name](v + 1, x))


def _half_sum(name: str, factor: float) -> Slope:
    """I and, with the other sign, K."""
    return lambda ans, v, x: factor * (TABLE[name](v - 1, x) + TABLE[name](v + 1, x))


def _of_order(name: str, slope: Slope, formula: str, partial: str) -> Any:
    return special(
        name,
        unknown(name, "v"),
        slope,
        formula=formula,
        partials=("unknown", partial),
        samples=_SMALL_ORDERS,
    )


_DIFFERENCE = "(f(x0 - 1, x1) - f(x0 + 1, x1)) / 2"
_SUM = "(f(x0 - 1, x1) + f(x0 + 1, x1)) / 2"

jv = _of_order("jv", _half_difference("jv"), "Bessel function J, order x0", _DIFFERENCE)
yv = _of_order("yv", _half_difference("yv"), "Bessel function Y, order x0", _DIFFERENCE)
yn = _of_order("yn", _half_difference("yn"), "Bessel function Y, order x0", _DIFFERENCE)
hankel1 = _of_order(
    "hankel1", _half_difference("hankel1"), "Hankel function J + 1j Y, order x0", _DIFFERENCE
)
hankel2 = _of_order(
    "hankel2", _half_difference("hankel2"), "Hankel function J - 1j Y, order x0", _DIFFERENCE
)
iv = _of_order("iv", _half_sum("iv", 0.5), "modified Bessel function I", _SUM)
kv = _of_order("kv", _half_sum("kv", -0.5), "modified Bessel function K", "-" + _SUM)
kn = _of_order("kn", _half_sum("kn", -0.5), "modified Bessel function K", "-" + _SUM)
ive = _of_order(
    "ive",
    lambda ans, v, x: 0.5 * (ive(v - 1, x) + ive(v + 1, x)) - sign(x) * ans,
    "iv(x0, x1) * exp(-|x1|)",
    _SUM + " - sign(x1) * y",
)
kve = _of_order(
    "kve",
    lambda ans, v, x: ans - 0.5 * (kve(v - 1, x) + kve(v + 1, x)),
    "kv(x0, x1) * exp(x1)",
    "y - " + _SUM,
)
jn = jv
LATE["scipy.special.jn"] = jv


def _of_one(name: str, slope: Slope, formula: str, partial: str, **options: Any) -> Any:
    """A Bessel function of fixed order."""
    return special(name, slope, formula=formula, partials=(partial,), domain=(0.5, 3.0), **options)


j0 = _of_one("j0", lambda ans, x: -j1(x), "jv(0, x)", "-j1(x)")
j1 = _of_one("j1", lambda ans, x: 0.5 * (j0(x) - jv(2, x)), "jv(1, x)", "(j0(x) - jv(2, x)) / 2")
y0 = _of_one("y0", lambda ans, x: -y1(x), "yv(0, x)", "-y1(x)")
y1 = _of_one("y1", lambda ans, x: 0.5 * (y0(x) - yv(2, x)), "yv(1, x)", "(y0(x) - yv(2, x)) / 2")
i0 = _of_one("i0", lambda ans, x: i1(x), "iv(0, x)", "i1(x)", implements=(np.i0,))
i1 = _of_one("i1", lambda ans, x: 0.5 * (i0(x) + iv(2, x)), "iv(1, x)", "(i0(x) + iv(2, x)) / 2")
i0e = _of_one("i0e", lambda ans, x: i1e(x) - sign(x) * ans, "i0(x) * exp(-|x|)", "i1e(x) - y")
i1e = _of_one(
    "i1e",
    lambda ans, x: 0.5 * (i0e(x) + ive(2, x)) - sign(x) * ans,
    "i1(x) * exp(-|x|)",
    "(i0e(x) + ive(2, x)) / 2 - sign(x) * y",
)
k0 = _of_one("k0", lambda ans, x: -k1(x), "kv(0, x)", "-k1(x)")
k1 = _of_one("k1", lambda ans, x: -0.5 * (k0(x) + kv(2, x)), "kv(1, x)", "-(k0(x) + kv(2, x)) / 2")
k0e = _of_one("k0e", lambda ans, x: ans - k1e(x), "k0(x) * exp(x)", "y - k1e(x)")
k1e = _of_one(
    "k1e",
    lambda ans, x: ans - 0.5 * (k0e(x) + kve(2, x)),
    "k1(x) * exp(x)",
    "y - (k0e(x) + kve(2, x)) / 2",
)
