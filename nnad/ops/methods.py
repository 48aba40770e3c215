"""Operators and ndarray methods of Tensor, each a name for an operation of the table."""

from __future__ import annotations

from typing import Any

from nnad.autodiff.protocols import binary, inplace
from nnad.autodiff.table import TABLE
from nnad.autodiff.tensor import Tensor
from nnad.ops import elementwise as e
from nnad.ops import index
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


def _reshape(self: Tensor, *shape: Any, order: str = "C") -> Any:
    return s.reshape(self, shape[0] if len(shape) == 1 else shape, order)


def _transpose(self: Tensor, *axes: Any) -> Any:
    return s.transpose(self, axes[0] if len(axes) == 1 and axes[0] is not None else axes or None)


METHODS: dict[str, Any] = {
    "__neg__": lambda self: TABLE["negative"](self),
    "__pos__": lambda self: TABLE["positive"](self),
    "__abs__": lambda self: TABLE["absolute"](self),
    "__invert__": lambda self: TABLE["invert"](self),
    "__getitem__": lambda self, key: index.getitem(self, key=index.plain_key(key)),
    "__setitem__": index.set_item,
    "reshape": _reshape,
    "transpose": _transpose,
    "ravel": s.ravel,
    "flatten": s.ravel,
    "swapaxes": s.swapaxes,
    "squeeze": s.squeeze,
    "astype": s.astype,
    "sum": r.sum,
    "mean": r.mean,
    "max": r.max,
    "min": r.min,
    "conj": e.conj,
    "copy": e.positive,
}
PROPERTIES: dict[str, Any] = {
    "T": s.transpose,
    "mT": s.matrix_transpose,
    "real": e.real,
    "imag": e.imag,
}
