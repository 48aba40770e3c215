"""An optimizer's NumPy kernel, run once on stand-ins, as one loop.

Kernels are straight lines of ufuncs on vectors of one length.  Called with `Vector`s they write
down an expression per element; called with `Scalar`s, numbers that know where they came from, the
expression follows the values of later steps.  A branch on a scalar becomes a guard.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from nnad.compiler.native.ir import Kernel, Unsupported
from nnad.compiler.native.scalar import COMPARISONS, FLOAT

Guard = Callable[[Sequence[float]], bool]
Formula = Callable[[Sequence[float]], float]


class Scalar:
    """A number with the formula that gives it from the scalars of a step.

    It is no float, so that nothing can be made of it unseen: `math.sqrt(lr)` would be the root of
    the first step's rate at all steps.
    """

    __hash__ = object.__hash__

    def __init__(self, value: float, formula: Formula, emit: Any, guards: list[Guard]) -> None:
        self.value, self.formula, self.emit, self.guards = value, formula, emit, guards

    def _combined(self, name: str, op: Any, other: Any, swap: bool = False) -> Any:
        if not isinstance(other, (int, float, Scalar)):
            return NotImplemented
        first, second = (other, self) if swap else (self, other)

        def formula(scalars: Sequence[float]) -> float:
            return op(_value(first, scalars), _value(second, scalars))

        def emit(kernel: Kernel) -> str:
            return kernel.op(name, _code(first, kernel), _code(second, kernel), type_="double")

        return Scalar(op(_seen(first), _seen(second)), formula, emit, self.guards)

    def _tested(self, op: Any, other: Any) -> bool:
        seen = bool(op(self.value, _seen(other)))
        formula = self.formula
        self.guards.append(
            lambda scalars: bool(op(formula(scalars), _value(other, scalars))) == seen
        )
        return seen

    def __add__(self, other: Any) -> Any:
        return self._combined("fadd", operator.add, other)

    def __radd__(self, other: Any) -> Any:
        return self._combined("fadd", operator.add, other, True)

    def __sub__(self, other: Any) -> Any:
        return self._combined("fsub", operator.sub, other)

    def __rsub__(self, other: Any) -> Any:
        return self._combined("fsub", operator.sub, other, True)

    def __mul__(self, other: Any) -> Any:
        return self._combined("fmul", operator.mul, other)

    def __rmul__(self, other: Any) -> Any:
        return self._combined("fmul", operator.mul, other, True)

    def __truediv__(self, other: Any) -> Any:
        return self._combined("fdiv", operator.truediv, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._combined("fdiv", operator.truediv, other, True)

    def __neg__(self) -> Any:
        return self._combined("fsub", operator.sub, 0.0, True)

    def __bool__(self) -> bool:
        return self._tested(operator.ne, 0.0)

    def __eq__(self, other: object) -> bool:
        return self._tested(operator.eq, other)

    def __ne__(self, other: object) -> bool:
        return self._tested(operator.ne, other)

    def __lt__(self, other: Any) -> bool:
        return self._tested(operator.lt, other)

    def __le__(self, other: Any) -> bool:
        return self._tested(operator.le, other)

    def __gt__(self, other: Any) -> bool:
        return self._tested(operator.gt, other)

    def __ge__(self, other: Any) -> bool:
        return self._tested(operator.ge, other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Vector) for x in inputs):
            return NotImplemented
        raise TypeError(f"np.{ufunc.__name__} of a scalar")


def _seen(item: Any) -> Any:
    return item.value if isinstance(item, Scalar) else item


def _value(item: Any, scalars: Sequence[float]) -> Any:
    return item.formula(scalars) if isinstance(item, Scalar) else item


def _code(item: Any, kernel: Kernel) -> str:
    return item.emit(kernel) if isinstance(item, Scalar) else kernel.number(item, "double")


class Vector(NDArrayOperatorsMixin):
    """A stand-in for a flat array: `expression` is what its elements hold now."""

    def __init__(self, tracer: Tracer, expression: Any, dtype: Any) -> None:
        self.tracer = tracer
        self.expression = expression
        self.dtype = dtype
        self.is_mask = False

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", (None,))[0]
        if method != "__call__" or kwargs or ufunc.__name__ not in (*FLOAT, *COMPARISONS):
            raise Unsupported(f"ufunc {ufunc.__name__} in an optimizer's kernel")
        expression = (ufunc.__name__, tuple(self.tracer.operand(x) for x in inputs))
        if out is None:
            out = Vector(self.tracer, expression, self.dtype)
            out.is_mask = ufunc.__name__ in COMPARISONS
        else:
            out.expression = expression
        return out

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.where and len(args) == 3:
            operands = tuple(self.tracer.operand(x) for x in args)
            return Vector(self.tracer, ("where", operands), self.dtype)
        if function is np.copyto and not kwargs:
            args[0].expression = self.tracer.operand(args[1])
            return None
        raise Unsupported(f"{function.__name__} in an optimizer's kernel")

    def __getitem__(self, key: Any) -> Vector:
        if key is Ellipsis or key == slice(None):
            return self
        raise Unsupported("indexing in an optimizer's kernel")

    def __setitem__(self, key: Any, value: Any) -> None:
        self[key].expression = self.tracer.operand(value)


def static_in(scalars: Sequence[Any]) -> dict[int, Any]:
    """Those that a trace is made for, by their place; floating-point numbers may change."""
    return {i: s for i, s in enumerate(scalars) if not isinstance(s, (float, np.floating))}


class Tracer:
    """One run of a kernel on stand-ins.

    Attributes:
        vectors: the stand-ins, in the order of the kernel's array arguments.
        dynamic: which of the scalars are read at every step.
        static: the others, by their place.
        guards: conditions on the dynamic scalars under which the trace holds.

    Raises:
        Unsupported: the kernel does what has no form here.
    """

    def __init__(self, kernel: Any, arrays: Sequence[np.ndarray], scalars: Sequence[Any]) -> None:
        dtype = arrays[0].dtype
        self.guards: list[Guard] = []
        self.vectors = [Vector(self, ("input", i), dtype) for i in range(len(arrays))]
        self.static = static_in(scalars)
        self.dynamic = [i for i in range(len(scalars)) if i not in self.static]
        stand_ins = list(scalars)
        for slot, i in enumerate(self.dynamic):
            stand_ins[i] = self._scalar(slot, float(scalars[i]))
        try:
            kernel(*self.vectors, *stand_ins)
        except TypeError as error:
            raise Unsupported(f"an optimizer's kernel: {error}") from error

    def _scalar(self, slot: int, value: float) -> Scalar:
        def emit(kernel: Kernel) -> str:
            return kernel.scalar_registers[slot]  # type: ignore[attr-defined]

        return Scalar(value, lambda scalars: scalars[slot], emit, self.guards)

    def operand(self, item: Any) -> Any:
        """An argument of a ufunc as an expression."""
        if isinstance(item, Vector):
            return item.expression
        if isinstance(item, (int, float, np.floating, Scalar)):
            return ("number", item)
        raise Unsupported(f"a {type(item).__name__} in an optimizer's kernel")

    def changed(self) -> list[int]:
        """Which vectors hold something new."""
        return [i for i, v in enumerate(self.vectors) if v.expression != ("input", i)]


class Emitter:
    """Writes the expressions of a trace at one index, each common part once."""

    def __init__(
        self, kernel: Kernel, load: Callable[[int], str], constants: dict[int, str]
    ) -> None:
        self.kernel = kernel
        self.load = load
        self.constants = constants
        self.known: dict[int, str] = {}

    def value(self, expression: Any) -> str:
        """The register that holds `expression`."""
        if id(expression) not in self.known:
            self.known[id(expression)] = self._emit(expression)
        return self.known[id(expression)]

    def _emit(self, expression: Any) -> str:
        name, operands = expression
        k = self.kernel
        if name == "input":
            return self.load(operands)
        if name == "number":
            if isinstance(operands, Scalar):
                return self.constants[id(operands)]
            return k.number(float(operands))
        if name in COMPARISONS:
            return k.compare(COMPARISONS[name], *(self.value(x) for x in operands))
        if name == "where":
            return k.select(*(self.value(x) for x in operands))
        if name == "power":
            base, (_, exponent) = operands
            if isinstance(exponent, Scalar):
                raise Unsupported("a power that changes in an optimizer's kernel")
            return FLOAT[name](k, self.value(base), float(exponent))
        return FLOAT[name](k, *(self.value(x) for x in operands))


def scalars_in(expression: Any, found: dict[int, Scalar], seen: set[int]) -> None:
    """Collect the scalars that an expression uses."""
    if id(expression) in seen:
        return
    seen.add(id(expression))
    name, operands = expression
    if name == "number":
        if isinstance(operands, Scalar):
            found[id(operands)] = operands
    elif name != "input":
        for operand in operands:
            scalars_in(operand, found, seen)
