"""Operators and ndarray methods of Tensor, each a name for an operation of the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnad.autodiff.protocols import binary, inplace, unary
from nnad.autodiff.table import IMPLEMENTATIONS
from nnad.autodiff.tensor import Tensor
from nnad.ops import constants, cumulative, diagonals, index, joining, ordering, selection
from nnad.ops import elementwise as e
from nnad.ops import reduce as r
from nnad.ops import shape as s

OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "pow": "**",
    "matmul": "@",
    "mod": "%",
    "floordiv": "//",
    "and": "&",
    "or": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}
ENTRIES = {
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "mod": "remainder",
    "floordiv": "floor_divide",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def install() -> None:
    """Give Tensor its operators and methods."""
    for name, symbol in OPERATORS.items():
        entry = ENTRIES.get(name, name)
        setattr(Tensor, f"__{name}__", binary(entry))
        setattr(Tensor, f"__r{name}__", binary(entry, reflected=True))
        setattr(Tensor, f"__i{name}__", inplace(entry, symbol))
    for name, entry in COMPARISONS.items():
        setattr(Tensor, f"__{name}__", binary(entry))
    for name, method in METHODS.items():
        setattr(Tensor, name, method)
    for name, getter in PROPERTIES.items():
        setattr(Tensor, name, property(getter))


def _reshape(self: Tensor, *shape: Any, order: str = "C", copy: Any = None) -> Any:
    """`numpy.ndarray.reshape`, recorded."""
    return s.reshape(self, shape[0] if len(shape) == 1 else shape, order, copy=copy)


def _transpose(self: Tensor, *axes: Any) -> Any:
    """`numpy.ndarray.transpose`, recorded."""
    return s.transpose(self, axes[0] if len(axes) == 1 else axes or None)


def _sort(
    self: Tensor, axis: int = -1, kind: Any = None, order: Any = None, **options: Any
) -> None:
    """Sort in place, recorded."""
    self.become(ordering.sort(self, axis, kind, order, **options), "x.sort()")


def _partition(self: Tensor, kth: Any, axis: int = -1, kind: str = "introselect") -> None:
    """Partition in place, recorded."""
    self.become(ordering.partition(self, kth, axis, kind), "x.partition()")


def _fill(self: Tensor, value: Any) -> None:
    """Assign to every element, recorded."""
    self.become(s.full_like(self, value), "x.fill()")


def _iterate(self: Tensor) -> Iterator[Any]:
    """The parts along the first axis, taken apart by one operation however many they are."""
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d Tensor")
    return iter(joining.unstack(self))


def _compress(self: Tensor, condition: Any, axis: Any = None, out: Any = None) -> Any:
    """`numpy.ndarray.compress`, recorded."""
    return index.compress(condition, self, axis, out)


def _conj(self: Tensor) -> Any:
    """`numpy.ndarray.conj`, recorded."""
    return e.conj(self)


def _dot(self: Tensor, b: Any, out: Any = None) -> Any:
    """`numpy.ndarray.dot`, recorded."""
    return IMPLEMENTATIONS[np.dot](self, b) if out is None else np.dot(self, b, out=out)


def _astype(
    self: Tensor,
    dtype: Any,
    order: str = "K",
    casting: Any = "unsafe",
    subok: bool = True,
    copy: bool = True,
) -> Any:
    """`numpy.ndarray.astype`, recorded."""
    if not np.can_cast(self.dtype, dtype, casting):
        raise TypeError(
            f"astype: {self.dtype} to {np.dtype(dtype)} is not allowed by casting={casting!r}"
        )
    return s.converted(self, dtype, copy=copy)


# What an ndarray has and a Tensor has not, with what to write instead.
_OF_DATA = "it belongs to the memory: ask t.data"
_BYTES = "bytes have no derivative: use t.numpy()"
LEFT_OUT = {
    **dict.fromkeys(("base", "ctypes", "flags", "setflags", "strides"), _OF_DATA),
    **dict.fromkeys(("byteswap", "getfield", "setfield", "tobytes", "tofile"), _BYTES),
    **dict.fromkeys(("dump", "dumps"), "save arrays with nnad.save or numpy.save"),
    "flat": "an assignment to it could not be recorded: use t.ravel()",
    "resize": "a Tensor keeps its shape: use np.resize(t, shape)",
    "view": "bytes have no derivative: use t.astype(dtype), or t.real and t.imag",
}


def _left_out(self: Tensor, name: str) -> Any:
    """Attributes that are not there: an ndarray's are refused with what to write instead."""
    message = f"{type(self).__name__!r} object has no attribute {name!r}"
    if name in LEFT_OUT:
        message += f", as {LEFT_OUT[name]}"
    raise AttributeError(message, name=name, obj=self)


def _round(self: Tensor, ndigits: int | None = None) -> Any:
    """`round(t)` of a single value: a Python number, as of NumPy's scalars."""
    return round(self.item(), ndigits)


METHODS: dict[str, Any] = {
    "__round__": _round,
    "__getattr__": _left_out,
    "__divmod__": lambda self, other: np.divmod(self, other),
    "__rdivmod__": lambda self, other: np.divmod(other, self),
    "__neg__": unary("negative"),
    "__pos__": unary("positive"),
    "__abs__": unary("absolute"),
    "__invert__": unary("invert"),
    "__contains__": lambda self, value: bool(r.any(self == value)),
    "__getitem__": index.getitem,
    "__iter__": _iterate,
    "__setitem__": index.assign,
    "all": r.all,
    "any": r.any,
    "argmax": ordering.argmax,
    "argmin": ordering.argmin,
    "argpartition": ordering.argpartition,
    "argsort": ordering.argsort,
    "astype": _astype,
    "choose": index.choose,
    "clip": selection.clip,
    "compress": _compress,
    "conj": _conj,
    "conjugate": _conj,
    "copy": s.copy,
    "cumprod": cumulative.cumprod,
    "cumsum": cumulative.cumsum,
    "diagonal": diagonals.diagonal,
    "dot": _dot,
    "fill": _fill,
    "flatten": s.ravel,
    "max": r.max,
    "mean": r.mean,
    "min": r.min,
    "nonzero": ordering.nonzero,
    "partition": _partition,
    "prod": r.prod,
    "ptp": r.ptp,
    "put": index.put,
    "ravel": s.ravel,
    "repeat": joining.repeat,
    "reshape": _reshape,
    "round": constants.round,
    "searchsorted": ordering.searchsorted,
    "sort": _sort,
    "squeeze": s.squeeze,
    "std": r.std,
    "sum": r.sum,
    "swapaxes": s.swapaxes,
    "take": index.take,
    "trace": diagonals.trace,
    "transpose": _transpose,
    "var": r.var,
}
PROPERTIES: dict[str, Any] = {
    "T": s.transpose,
    "mT": s.matrix_transpose,
    "real": e.real,
    "imag": e.imag,
}
