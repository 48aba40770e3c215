"""Trigonometric and hyperbolic functions and their inverses; tanh stands with the exponentials."""

from __future__ import annotations

import numpy as np

from nnad.autodiff.table import elementwise, kink
from nnad.ops.elementwise import reciprocal_or_zero, sqrt

__all__ = [
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cos",
    "cosh",
    "deg2rad",
    "hypot",
    "rad2deg",
    "sin",
    "sinh",
    "tan",
]

sin = elementwise(np.sin, lambda ans, x: cos(x), formula="sin(x)", partials=("cos(x)",))
cos = elementwise(np.cos, lambda ans, x: -sin(x), formula="cos(x)", partials=("-sin(x)",))
tan = elementwise(
    np.tan, lambda ans, x: 1.0 + ans * ans, formula="tan(x)", partials=("1 + y**2",), domain=(-1, 1)
)
arcsin = elementwise(
    np.arcsin,
    lambda ans, x: 1.0 / sqrt(1.0 - x * x),
    formula="arcsin(x)",
    partials=("1 / sqrt(1 - x**2)",),
    domain=(-0.8, 0.8),
    implements=(np.arcsin, np.asin),
)
arccos = elementwise(
    np.arccos,
    lambda ans, x: -1.0 / sqrt(1.0 - x * x),
    formula="arccos(x)",
    partials=("-1 / sqrt(1 - x**2)",),
    domain=(-0.8, 0.8),
    implements=(np.arccos, np.acos),
)
arctan = elementwise(
    np.arctan,
    lambda ans, x: 1.0 / (1.0 + x * x),
    formula="arctan(x)",
    partials=("1 / (1 + x**2)",),
    implements=(np.arctan, np.atan),
)
arctan2 = elementwise(
    np.arctan2,
    lambda ans, x, y: y * reciprocal_or_zero(x * x + y * y),
    lambda ans, x, y: -x * reciprocal_or_zero(x * x + y * y),
    formula="angle of the point (x1, x0)",
    partials=("x1 / (x0**2 + x1**2)", "-x0 / (x0**2 + x1**2)"),
    domain=(0.3, 2.0),
    implements=(np.arctan2, np.atan2),
    kinks=[kink((0.0, 0.0), (0.0, 0.0), "the angle of the origin is undefined")],
)
hypot = elementwise(
    np.hypot,
    lambda ans, x, y: x * reciprocal_or_zero(ans),
    lambda ans, x, y: y * reciprocal_or_zero(ans),
    formula="sqrt(x0**2 + x1**2)",
    partials=("x0 / y", "x1 / y"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, 0.0), (0.0, 0.0), "the middle of all slopes of the cone")],
)
sinh = elementwise(np.sinh, lambda ans, x: cosh(x), formula="sinh(x)", partials=("cosh(x)",))
cosh = elementwise(np.cosh, lambda ans, x: sinh(x), formula="cosh(x)", partials=("sinh(x)",))
arcsinh = elementwise(
    np.arcsinh,
    lambda ans, x: 1.0 / sqrt(x * x + 1.0),
    formula="arcsinh(x)",
    partials=("1 / sqrt(x**2 + 1)",),
    implements=(np.arcsinh, np.asinh),
)
arccosh = elementwise(
    np.arccosh,
    lambda ans, x: 1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0)),
    formula="arccosh(x)",
    partials=("1 / sqrt(x**2 - 1)",),
    domain=(1.3, 3.0),
    implements=(np.arccosh, np.acosh),
)
arctanh = elementwise(
    np.arctanh,
    lambda ans, x: 1.0 / (1.0 - x * x),
    formula="arctanh(x)",
    partials=("1 / (1 - x**2)",),
    domain=(-0.8, 0.8),
    implements=(np.arctanh, np.atanh),
)
deg2rad = elementwise(
    np.deg2rad,
    np.pi / 180,
    formula="x * pi / 180",
    partials=("pi / 180",),
    implements=(np.deg2rad, np.radians),
)
rad2deg = elementwise(
    np.rad2deg,
    180 / np.pi,
    formula="x * 180 / pi",
    partials=("180 / pi",),
    implements=(np.rad2deg, np.degrees),
)
