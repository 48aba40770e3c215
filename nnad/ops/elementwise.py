"""Elementwise operations: arithmetic, powers, exponentials, extremes, comparison.

Each entry gives the derivative by each argument; `y` in the formula texts is the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, elementwise, explicit, implements, kink, linear
from nnad.autodiff.tensor import value_of

__all__ = [
    "absolute",
    "add",
    "angle",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "conj",
    "divide",
    "equal",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "greater",
    "greater_equal",
    "identity",
    "imag",
    "invert",
    "isfinite",
    "isinf",
    "isnan",
    "left_shift",
    "less",
    "less_equal",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "positive",
    "power",
    "real",
    "reciprocal",
    "reciprocal_or_zero",
    "relu",
    "remainder",
    "right_shift",
    "rint",
    "sign",
    "signbit",
    "sqrt",
    "square",
    "subtract",
    "tanh",
    "trunc",
    "where",
]

LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))


def _dtype(x: Any) -> Any:
    dtype = getattr(x, "dtype", None)
    return dtype if dtype is not None and dtype.kind in "fc" else np.float64


# Arithmetic -----------------------------------------------------------------------------------

add = elementwise(np.add, 1, 1, formula="x0 + x1", partials=("1", "1"))
subtract = elementwise(np.subtract, 1, -1, formula="x0 - x1", partials=("1", "-1"))
multiply = elementwise(
    np.multiply,
    lambda ans, x, y: y,
    lambda ans, x, y: x,
    formula="x0 * x1",
    partials=("x1", "x0"),
)
divide = elementwise(
    np.divide,
    lambda ans, x, y: 1.0 / y,
    lambda ans, x, y: -ans / y,
    formula="x0 / x1",
    partials=("1 / x1", "-y / x1"),
    domain=((-2.0, 2.0), (0.5, 2.0)),
    implements=(np.divide, np.true_divide),
)
negative = elementwise(np.negative, -1, formula="-x", partials=("-1",))
positive = elementwise(np.positive, 1, formula="+x", partials=("1",))
identity = linear(
    "identity",
    lambda x: x,
    lambda g, ans, x: g,
    formula="x",
    partials=("1",),
    samples=negative.samples,
)


def _reciprocal_or_zero(x: Any) -> Any:
    x = np.asarray(x)
    return np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)


# 1/x that is 0 at 0: derivatives of roots, norms and absolute values stay finite with it.
reciprocal_or_zero = elementwise(
    _reciprocal_or_zero,
    lambda ans, x: -ans * ans,
    name="reciprocal_or_zero",
    formula="1 / x if x != 0 else 0",
    partials=("-y**2",),
    domain=(0.5, 2.0),
    kinks=[kink(0.0, 0.0, "0 by definition")],
)
reciprocal = elementwise(
    np.reciprocal, lambda ans, x: -ans * ans, formula="1 / x", partials=("-y**2",), domain=(0.5, 2)
)


def _mod_slope(ans: Any, x: Any, y: Any) -> Any:
    return -floor_divide(x, y)


remainder = elementwise(
    np.remainder,
    1,
    _mod_slope,
    formula="x0 - x1 * floor(x0 / x1)",
    partials=("1", "-floor(x0 / x1)"),
    domain=((0.1, 5.0), (1.3, 1.9)),
    implements=(np.remainder, np.mod),
)
fmod = elementwise(
    np.fmod,
    1,
    lambda ans, x, y: -trunc(x / y),
    formula="x0 - x1 * trunc(x0 / x1)",
    partials=("1", "-trunc(x0 / x1)"),
    domain=((-5.0, 5.0), (1.3, 1.9)),
)


# Powers and roots -----------------------------------------------------------------------------


def _is_number(y: Any) -> bool:
    return isinstance(y, (int, float)) and not isinstance(y, bool)


def _power_base(ans: Any, x: Any, y: Any) -> Any:
    """Y * x**(y-1), and 0 for y = 0 also where x = 0."""
    if _is_number(y):
        if y == 2:
            return 2.0 * x
        if y == 0:
            return np.zeros_like(value_of(x))
        return y * x ** (y - 1)
    return y * x ** where(equal(y, 0), 1, y - 1)


def _power_exponent(ans: Any, x: Any, y: Any) -> Any:
    """log(x) * x**y, and 0 where x = 0."""
    usable = not_equal(x, 0) if np.iscomplexobj(value_of(x)) else greater(x, 0)
    return log(where(usable, x, 1)) * ans


power = elementwise(
    np.power,
    _power_base,
    _power_exponent,
    formula="x0 ** x1",
    partials=("x1 * x0**(x1 - 1)", "y * log(x0)"),
    domain=((0.5, 2.0), (-2.0, 2.0)),
    kinks=[
        kink((0.0, 0.0), (0.0, 0.0), "0**0 is 1, constant in both directions that are defined"),
        kink((0.0, 2.0), (0.0, 0.0), "x log x goes to 0"),
    ],
)
float_power = elementwise(
    np.float_power,
    _power_base,
    _power_exponent,
    formula="x0 ** x1 in float64",
    partials=("x1 * x0**(x1 - 1)", "y * log(x0)"),
    domain=((0.5, 2.0), (-2.0, 2.0)),
)
square = elementwise(np.square, lambda ans, x: 2.0 * x, formula="x**2", partials=("2 * x",))
sqrt = elementwise(
    np.sqrt,
    lambda ans, x: 0.5 * reciprocal_or_zero(ans),
    formula="sqrt(x)",
    partials=("1 / (2 * y)",),
    domain=(0.3, 3.0),
    kinks=[kink(0.0, 0.0, "infinite slope; 0 is returned so that norms at 0 do not give NaN")],
)
cbrt = elementwise(
    np.cbrt,
    lambda ans, x: square(reciprocal_or_zero(ans)) / 3.0,
    formula="cbrt(x)",
    partials=("1 / (3 * y**2)",),
    domain=(0.3, 3.0),
    kinks=[kink(0.0, 0.0, "infinite slope; 0 is returned")],
)


# Exponentials and logarithms ------------------------------------------------------------------

exp = elementwise(np.exp, lambda ans, x: ans, formula="exp(x)", partials=("y",))
exp2 = elementwise(np.exp2, lambda ans, x: LN2 * ans, formula="2**x", partials=("log(2) * y",))
expm1 = elementwise(np.expm1, lambda ans, x: ans + 1.0, formula="exp(x) - 1", partials=("y + 1",))
log = elementwise(
    np.log, lambda ans, x: 1.0 / x, formula="log(x)", partials=("1 / x",), domain=(0.3, 3.0)
)
log2 = elementwise(
    np.log2,
    lambda ans, x: 1.0 / (LN2 * x),
    formula="log2(x)",
    partials=("1 / (x * log(2))",),
    domain=(0.3, 3.0),
)
log10 = elementwise(
    np.log10,
    lambda ans, x: 1.0 / (LN10 * x),
    formula="log10(x)",
    partials=("1 / (x * log(10))",),
    domain=(0.3, 3.0),
)
log1p = elementwise(
    np.log1p,
    lambda ans, x: 1.0 / (1.0 + x),
    formula="log(1 + x)",
    partials=("1 / (1 + x)",),
    domain=(-0.5, 2.0),
)
tanh = elementwise(
    np.tanh, lambda ans, x: 1.0 - ans * ans, formula="tanh(x)", partials=("1 - y**2",)
)


def _softmax_part(sign: int) -> Any:
    def slope(ans: Any, x: Any, y: Any) -> Any:
        return _logistic(x - y if sign > 0 else y - x)

    return slope


def _logistic(x: Any) -> Any:
    return 0.5 * (1.0 + tanh(0.5 * x))


logaddexp = elementwise(
    np.logaddexp,
    _softmax_part(+1),
    _softmax_part(-1),
    formula="log(exp(x0) + exp(x1))",
    partials=("exp(x0 - y)", "exp(x1 - y)"),
)
logaddexp2 = elementwise(
    np.logaddexp2,
    lambda ans, x, y: _logistic(LN2 * (x - y)),
    lambda ans, x, y: _logistic(LN2 * (y - x)),
    formula="log2(2**x0 + 2**x1)",
    partials=("2**(x0 - y)", "2**(x1 - y)"),
)


# Extremes, signs, steps -----------------------------------------------------------------------


def _larger(x: Any, y: Any) -> Any:
    """1 where x > y, 1/2 where they are equal, else 0."""
    return where(equal(x, y), _half(x, y), greater(x, y))


def _half(x: Any, y: Any) -> Any:
    return np.result_type(value_of(x), value_of(y)).type(0.5)


maximum = elementwise(
    np.maximum,
    lambda ans, x, y: _larger(x, y),
    lambda ans, x, y: _larger(y, x),
    formula="max(x0, x1)",
    partials=("1 if x0 > x1 else 0", "1 if x1 > x0 else 0"),
    kinks=[kink((1.0, 1.0), (0.5, 0.5), "ties share the gradient")],
)
minimum = elementwise(
    np.minimum,
    lambda ans, x, y: _larger(y, x),
    lambda ans, x, y: _larger(x, y),
    formula="min(x0, x1)",
    partials=("1 if x0 < x1 else 0", "1 if x1 < x0 else 0"),
    kinks=[kink((1.0, 1.0), (0.5, 0.5), "ties share the gradient")],
)


def _taken(x: Any, y: Any, slope: Any) -> Any:
    """`slope`, but 1 where the other argument is NaN and 0 where x itself is."""
    return where(isnan(x), 0, where(isnan(y), 1, slope))


fmax = elementwise(
    np.fmax,
    lambda ans, x, y: _taken(x, y, _larger(x, y)),
    lambda ans, x, y: _taken(y, x, _larger(y, x)),
    formula="max(x0, x1), ignoring NaN",
    partials=("1 if x0 > x1 else 0", "1 if x1 > x0 else 0"),
    kinks=[kink((1.0, 1.0), (0.5, 0.5), "ties share the gradient")],
)
fmin = elementwise(
    np.fmin,
    lambda ans, x, y: _taken(x, y, _larger(y, x)),
    lambda ans, x, y: _taken(y, x, _larger(x, y)),
    formula="min(x0, x1), ignoring NaN",
    partials=("1 if x0 < x1 else 0", "1 if x1 < x0 else 0"),
    kinks=[kink((1.0, 1.0), (0.5, 0.5), "ties share the gradient")],
)


def _abs_slope(ans: Any, x: Any) -> Any:
    if value_of(x).dtype.kind == "c":
        return conj(x) * reciprocal_or_zero(ans)
    return sign(x)


absolute = elementwise(
    np.absolute,
    _abs_slope,
    formula="|x|",
    partials=("sign(x)",),
    domain=(0.3, 2.0),
    kinks=[kink(0.0, 0.0, "the middle of the slopes -1 and 1")],
)
fabs = elementwise(
    np.fabs,
    _abs_slope,
    formula="|x|",
    partials=("sign(x)",),
    domain=(0.3, 2.0),
    kinks=[kink(0.0, 0.0, "the middle of the slopes -1 and 1")],
)


# Complex numbers ------------------------------------------------------------------------------

real = elementwise(
    np.real, 1, name="real", formula="real part of x", partials=("1",), implements=(np.real,)
)
imag = elementwise(
    np.imag,
    lambda ans, x: -1j if value_of(x).dtype.kind == "c" else np.zeros_like(value_of(ans)),
    name="imag",
    formula="imaginary part of x",
    partials=("-1j of complex x, 0 of real x",),
    implements=(np.imag,),
)
conj = linear(
    "conj",
    np.conj,
    lambda g, ans, x: conj(g) if value_of(x).dtype.kind == "c" else g,
    samples=negative.samples,
    formula="complex conjugate of x",
    partials=("conj(g)",),
    broadcasts=True,
    implements=(np.conj, np.conjugate),
)
_angle = elementwise(
    lambda x: np.angle(x),
    lambda ans, x: conj(1j * x) * square(reciprocal_or_zero(absolute(x))),
    name="angle",
    formula="angle of x in the complex plane",
    partials=("conj(1j * x) / |x|**2",),
    domain=(0.3, 2.0),
)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """Angle of complex numbers in radians or degrees; see `numpy.angle`."""
    return _angle(z) * (180 / np.pi) if deg else _angle(z)


# Choice ---------------------------------------------------------------------------------------


def _where_slope(first: bool) -> Any:
    def vjp(g: Any, ans: Any, condition: Any, *_: Any) -> Any:
        zero = np.zeros((), _dtype(g))
        return where(condition, g, zero) if first else where(condition, zero, g)

    return vjp


where = explicit(
    "where",
    np.where,
    vjps=(None, _where_slope(True), _where_slope(False)),
    masks=True,
    jvps=(
        None,
        lambda v, ans, c, x, y: where(c, v, np.zeros((), _dtype(v))),
        lambda v, ans, c, x, y: where(c, np.zeros((), _dtype(v)), v),
    ),
    broadcasts=True,
    tangent="v1 if x0 else v2",
    formula="x1 if x0 else x2",
    partials=("", "g if x0 else 0", "0 if x0 else g"),
    samples=lambda rng: [
        case(rng.uniform(size=shape) > 0.5, rng.normal(size=shape), rng.normal(size=other))
        for shape, other in [((3,), (3,)), ((2, 3), (3,)), ((2, 3), ())]
    ],
)


# No derivative --------------------------------------------------------------------------------

_TRUTH = "the result is true or false"
_STEP = "the derivative is zero wherever it exists"
_INTEGERS = "it takes integers alone"


def _plain(function: Any, reason: str, implements: Any = None) -> Any:
    return explicit(
        function.__name__,
        function,
        nondifferentiable=reason,
        implements=function if implements is None else implements,
    )


equal = _plain(np.equal, _TRUTH)
not_equal = _plain(np.not_equal, _TRUTH)
less = _plain(np.less, _TRUTH)
less_equal = _plain(np.less_equal, _TRUTH)
greater = _plain(np.greater, _TRUTH)
greater_equal = _plain(np.greater_equal, _TRUTH)
logical_and = _plain(np.logical_and, _TRUTH)
logical_or = _plain(np.logical_or, _TRUTH)
logical_xor = _plain(np.logical_xor, _TRUTH)
logical_not = _plain(np.logical_not, _TRUTH)
isfinite = _plain(np.isfinite, _TRUTH)
isnan = _plain(np.isnan, _TRUTH)
isinf = _plain(np.isinf, _TRUTH)
signbit = _plain(np.signbit, _TRUTH)
sign = _plain(np.sign, _STEP, implements=())
floor = _plain(np.floor, _STEP)
ceil = _plain(np.ceil, _STEP)
trunc = _plain(np.trunc, _STEP)
rint = _plain(np.rint, _STEP)
floor_divide = _plain(np.floor_divide, _STEP)
bitwise_and = _plain(np.bitwise_and, _TRUTH)
bitwise_or = _plain(np.bitwise_or, _TRUTH)
bitwise_xor = _plain(np.bitwise_xor, _TRUTH)
left_shift = _plain(np.left_shift, _INTEGERS)
right_shift = _plain(np.right_shift, _INTEGERS)
invert = _plain(np.invert, _TRUTH)


MANY = 1 << 12  # elements from which the loop of clip, three times that of maximum, pays its call


def _relu_forward(x: Any, out: Any = None) -> Any:
    if type(x) is np.ndarray and x.size >= MANY and x.dtype.kind == "f":
        return np.clip(x, 0, np.inf, out=out)
    return np.maximum(x, 0, out=out)


relu = elementwise(
    _relu_forward,
    lambda ans, x: greater(ans, 0),
    name="relu",
    formula="max(x, 0)",
    partials=("1 if x > 0 else 0",),
    kinks=[kink(0.0, 0.0, "slope 0 at 0")],
)
