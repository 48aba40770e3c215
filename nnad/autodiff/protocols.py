"""NumPy's dispatch protocols: what happens when a NumPy function meets a Tensor.

`IMPLEMENTATIONS` maps NumPy's functions and ufuncs to operations of the table.  What is not in it
raises by name: nothing is silently computed without its derivative.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from nnad.autodiff.table import IMPLEMENTATIONS, LATE, TABLE, Elementwise
from nnad.autodiff.tensor import (
    Tensor,
    apply,
    apply_binary,
    apply_unary,
    state,
    value_of,
    wrap,
)
from nnad.autodiff.trees import flatten
from nnad.errors import MissingRuleError

# What ufunc.reduce and ufunc.accumulate are called as functions.
REDUCTIONS = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "max",
    np.minimum: "min",
    np.logaddexp: "logsumexp",
}
ACCUMULATIONS = {np.add: "cumsum", np.multiply: "cumprod"}
TRUTHS = {np.logical_and: np.all, np.logical_or: np.any}
FOREIGN_OK = (Tensor, np.ndarray, np.generic, int, float, complex, list, tuple)


def array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """`Tensor.__array_ufunc__` (NEP 13).  The result is a Tensor, as that of an operator is."""
    if method == "__call__" and not kwargs and (work := IMPLEMENTATIONS.get(ufunc)):
        result = work(*inputs)
        return result if type(result) is Tensor else _as_tensor(result)
    out = kwargs.pop("out", (None,))
    where = kwargs.pop("where", True)
    if any(x is not None and not isinstance(x, Tensor) for x in out):
        raise TypeError(
            f"np.{ufunc.__name__}(..., out=ndarray) with a Tensor among the inputs: an ndarray "
            "cannot hold a recorded result; write y = np.f(x) instead (for `a += t`, a = a + t)"
        )
    if where is not True and out[0] is None:
        raise TypeError(
            f"np.{ufunc.__name__}(..., where=mask) without out= leaves elements undefined; write "
            "np.where(mask, np.f(x), other)"
        )
    try:
        result = _method(ufunc, method)(*inputs, **kwargs)
    except MissingRuleError:
        if out[0] is not None or not of_integers(inputs):
            raise
        result = getattr(ufunc, method)(*map(value_of, inputs), **kwargs)
    if out[0] is None:
        return result if method == "at" else _as_tensor(result)
    if where is not True:
        result = TABLE["where"](value_of(where), result, out[0])
    return out[0].become(result, f"np.{ufunc.__name__}(..., out=x)")


def _method(ufunc: Any, method: str) -> Callable[..., Any]:
    """What does the work of a ufunc's call, reduce, accumulate, outer, at or reduceat."""
    found = IMPLEMENTATIONS.get(ufunc if method == "__call__" else getattr(ufunc, method))
    if found is not None and method != "__call__":
        return found
    general: dict[str, Callable[..., Any]] = {
        "__call__": _call,
        "reduce": _reduce,
        "accumulate": _accumulate,
        "outer": _outer,
    }
    if method not in general:
        raise MissingRuleError(
            f"ufunc.{method} of np.{ufunc.__name__} has no derivative rule for Tensors; write it "
            "with indexing and sums, or detach the Tensor with t.detach().numpy()"
        )
    return partial(general[method], ufunc)


def _call(ufunc: Any, *inputs: Any, **kwargs: Any) -> Any:
    axis = {"axis": kwargs.pop("axis")} if ufunc.signature and "axis" in kwargs else {}
    _refuse(ufunc, kwargs)
    return implementation(ufunc)(*inputs, **axis)


def _reduce(ufunc: Any, x: Any, axis: Any = 0, keepdims: bool = False, **kwargs: Any) -> Any:
    _refuse(ufunc, {k: v for k, v in kwargs.items() if v is not None})
    if ufunc in TRUTHS:
        return TRUTHS[ufunc](x, axis=axis, keepdims=keepdims)
    if ufunc not in REDUCTIONS:
        raise missing(f"{ufunc.__name__}.reduce")
    return TABLE[REDUCTIONS[ufunc]](x, axis=axis, keepdims=keepdims)


def _accumulate(ufunc: Any, x: Any, axis: int = 0, **kwargs: Any) -> Any:
    _refuse(ufunc, {k: v for k, v in kwargs.items() if v is not None})
    if ufunc not in ACCUMULATIONS:
        raise missing(f"{ufunc.__name__}.accumulate")
    return TABLE[ACCUMULATIONS[ufunc]](x, axis=axis)


def _outer(ufunc: Any, x: Any, y: Any, **kwargs: Any) -> Any:
    _refuse(ufunc, kwargs)
    x_shape, y_ndim = np.shape(value_of(x)), np.ndim(value_of(y))
    return implementation(ufunc)(TABLE["reshape"](x, shape=x_shape + (1,) * y_ndim), y)


def _refuse(ufunc: Any, kwargs: dict[str, Any]) -> None:
    for name in kwargs:
        remedy = "move the axes with np.moveaxis" if name == "axes" else "convert with .astype(...)"
        raise TypeError(
            f"np.{ufunc.__name__} on a Tensor does not take {name}=; {remedy} before or after"
        )


def array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """`Tensor.__array_function__` (NEP 18)."""
    for kind in types:
        if kind is not Tensor and not issubclass(kind, FOREIGN_OK):
            return NotImplemented
    try:
        return (IMPLEMENTATIONS.get(function) or implementation(function))(*args, **kwargs)
    except MissingRuleError:
        leaves, rebuild = flatten((args, kwargs))
        if not of_integers(leaves):
            raise
        args, kwargs = rebuild([value_of(x) for x in leaves])
        return function(*args, **kwargs)


def of_integers(xs: Iterable[Any]) -> bool:
    """Whether the Tensors among `xs` hold integers and booleans alone, so that no rule is needed.

    A program could not replay what is computed without an entry of the table.
    """
    kinds = {x.dtype.kind for x in xs if isinstance(x, Tensor)}
    return state.capture is None and bool(kinds) and kinds <= set("iub")


def implementation(function: Any) -> Callable[..., Any]:
    """What does the work of NumPy's `function` for Tensors, or an error that names it."""
    found = IMPLEMENTATIONS.get(function)
    if found is None:
        found = IMPLEMENTATIONS[function] = _known_by_name(function)
    return found


def _known_by_name(function: Any) -> Callable[..., Any]:
    """What does the work of a function of a module that only the user's code has imported."""
    module = getattr(function, "__module__", None) or "numpy"
    special = sys.modules.get("scipy.special")  # its ufuncs do not tell where they come from
    if getattr(special, function.__name__, None) is function:
        module = "scipy.special"
    name = f"{module.removesuffix('._core')}.{function.__name__}"
    if name not in LATE:
        raise missing(name)
    return LATE[name]


def missing(name: str) -> MissingRuleError:
    """The error for a NumPy function that the table does not know."""
    return MissingRuleError(
        f"{name} has no derivative rule, so it refuses Tensors instead of dropping their gradient; "
        "use t.detach().numpy() if its argument is a constant, or make it an operation with "
        "@nnad.primitive and nnad.defvjp"
    )


def instead(how: str) -> str:
    """What to write in place of what is about to lose a gradient, such as a function of SciPy."""
    constant = "use .detach() or nnad.stop_gradient(x) first if it is meant as a constant"
    if not how.startswith("np."):
        return f"{constant}, or stay with NumPy functions and indexing, which record"
    frame: Any = sys._getframe(1)
    ops = sys.modules.get("nnad.ops")
    found = ""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("scipy."):
            wrapped = frame.f_locals.get("f")  # where SciPy's function is inside a decorator's
            for name in (frame.f_code.co_name, getattr(wrapped, "__name__", "")):
                found = name if callable(getattr(ops, name, None)) else found
        frame = frame.f_back
    if found:
        return f"call nnad.ops.{found} instead, or set SCIPY_ARRAY_API=1 before SciPy is imported"
    return (
        f"{constant}, or stay with NumPy functions, which record (np.stack([a, b]) instead of "
        "np.array([a, b])); many of SciPy's and scikit-learn's do as well once SCIPY_ARRAY_API=1 "
        "is set in the environment"
    )


def unary(name: str) -> Callable[[Tensor], Any]:
    """The method of an operator such as `-`."""
    entry = TABLE[name]
    if isinstance(entry, Elementwise):
        return lambda self: apply_unary(entry, self)
    return lambda self: _as_tensor(apply(entry, (self,)))


def binary(name: str, reflected: bool = False) -> Callable[[Tensor, Any], Any]:
    """The method of an operator such as `+`, for `Tensor op other` or `other op Tensor`."""
    entry = TABLE[name]
    short = isinstance(entry, Elementwise)
    # Python's operator does what the ufunc does, and numbers ten times faster.
    forward = getattr(operator, OPERATORS.get(name, ""), entry.forward)

    def method(self: Tensor, other: Any) -> Any:
        known = type(other) in _KNOWN
        if not known and defers_to(other):
            return NotImplemented
        x, y = (other, self) if reflected else (self, other)
        return apply_binary(entry, x, y, forward) if short and known else apply(entry, (x, y))

    def constant(self: Tensor, other: Any) -> Any:
        result = method(self, other)
        return result if result is NotImplemented else _as_tensor(result)

    return constant if entry.nondifferentiable else method


def _as_tensor(result: Any) -> Any:
    """The result of an operator or ufunc: a Tensor, also where there is no derivative."""
    if isinstance(result, tuple):
        return tuple(map(_as_tensor, result))
    return result if isinstance(result, Tensor) else wrap(result, None)


OPERATORS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv"}
_KNOWN = frozenset((Tensor, np.ndarray, float, int, bool, np.float64, np.float32))


def defers_to(other: Any) -> bool:
    """Whether `other` is a foreign array that wants to do the operation itself."""
    if isinstance(other, (Tensor, np.ndarray, np.generic, int, float, complex, list, tuple)):
        return False
    if getattr(other, "__array_ufunc__", True) is None:
        return True
    if not hasattr(other, "__array_ufunc__") and hasattr(other, "__array_priority__"):
        return True
    return other is None or isinstance(other, (str, bytes, dict, set))


def inplace(name: str, symbol: str) -> Callable[[Tensor, Any], Any]:
    """The method of an operator such as `+=`: recorded on intermediates, refused on inputs.

    It never writes into the memory of the old value, which the tape or the caller may hold.
    """
    entry = TABLE[name]
    statement = f"x {symbol}= ..."

    def method(self: Tensor, other: Any) -> Any:
        if type(other) not in _KNOWN and defers_to(other):
            return NotImplemented
        result = _as_tensor(apply(entry, (self, other)))
        return self.become(_fitted(result, self, statement), statement)

    return method


def _fitted(result: Tensor, target: Tensor, statement: str) -> Tensor:
    """`result` in the shape and dtype that an in-place statement must leave as they are."""
    if result.shape != target.shape:
        raise ValueError(
            f"`{statement}` would give shape {result.shape}, but x has shape {target.shape} and an "
            f"in-place statement keeps it; write x = x + ..."
        )
    if result.dtype == target.dtype:
        return result
    if not np.can_cast(result.dtype, target.dtype, "same_kind"):
        raise TypeError(
            f"`{statement}` would give {result.dtype}, which does not fit into the {target.dtype} "
            "of x; write x = x + ... or convert first with .astype(...)"
        )
    return TABLE["astype"](result, dtype=target.dtype)


Tensor.__array_ufunc__ = array_ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = array_function  # type: ignore[attr-defined]
