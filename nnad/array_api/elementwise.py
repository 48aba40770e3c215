"""Elementwise functions: NumPy's ufuncs under the standard's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.array_api.results import as_tensors, returns_tensors


def _step(ufunc: Any) -> Callable[..., Any]:
    """`ufunc`, but integers stay as they are; before NumPy 2.1 they become floats."""

    def step(x: Any) -> Any:
        return np.positive(x) if x.dtype.kind in "iu" else ufunc(x)

    step.__name__ = ufunc.__name__
    return step


_NUMPYS = {
    "ceil": _step(np.ceil),
    "floor": _step(np.floor),
    "trunc": _step(np.trunc),
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "bitwise_invert": np.invert,
    "bitwise_left_shift": np.left_shift,
    "bitwise_right_shift": np.right_shift,
    "pow": np.power,
}
_UNARY = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "conj",
    "cos", "cosh", "exp", "expm1", "floor", "imag", "isfinite", "isinf", "isnan", "log",
    "log10", "log1p", "log2", "logical_not", "negative", "positive", "real", "reciprocal",
    "round", "sign", "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
]  # fmt: skip
_BINARY = [
    "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal",
    "hypot", "less", "less_equal", "logaddexp", "logical_and", "logical_or", "logical_xor",
    "maximum", "minimum", "multiply", "nextafter", "not_equal", "pow", "remainder", "subtract",
]  # fmt: skip

__all__ = ["clip", *_UNARY, *_BINARY]


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(x: Any, /) -> Any:
        return as_tensors(function(x))

    return operation


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    def operation(x1: Any, x2: Any, /) -> Any:
        return as_tensors(function(x1, x2))

    return operation


def _functions() -> dict[str, Callable[..., Any]]:
    """The functions that do to each element what one of NumPy's does."""
    made = {}
    for names, kind in ((_UNARY, _unary), (_BINARY, _binary)):
        for name in names:
            function: Any = _NUMPYS.get(name) or getattr(np, name)
            operation = made[name] = kind(function)
            operation.__name__ = operation.__qualname__ = name
            operation.__doc__ = f"`numpy.{function.__name__}` of each element, as a Tensor."
    return made


globals().update(_functions())


@returns_tensors
def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Each element limited to the interval from `min` to `max`; NaN where a limit is NaN."""
    return np.clip(x, min, max)
