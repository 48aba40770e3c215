"""Capture: watching one ordinary call of a step and writing down what it does.

Every operation passes through `apply`, which, while a capture is active, both runs the operation
and appends an instruction.  Arrays are recognised by identity: the very object that an earlier
operation returned is that operation's value, an argument of the step is an input, and anything
else is external: a parameter, a running statistic, a constant, read where it lies at each replay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import Primitive
from nnad.autodiff.tensor import Leaf, Node, Tensor, output_node, state, value_of, wrap
from nnad.compiler.program import EXTERNAL, INPUT, RESULT, Instruction, Program, Value
from nnad.errors import NnadError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class DataDependentError(NnadError, TypeError):
    """A step asked for the value of an array while it was captured: replay could not follow."""


class Capture:
    """Records what happens between `__enter__` and `__exit__` in this thread."""

    def __init__(self) -> None:
        self.values: dict[int, Value] = {}
        self.keep: list[Any] = []  # arrays whose identity is used: they must not be freed
        self.inputs: list[Value] = []
        self.instructions: list[Instruction] = []
        self.leaves: dict[Leaf, bool] = {}  # leaf -> had it a gradient before the step
        self.guards: list[tuple[Callable[[], Any], Any]] = []
        self.results = 0

    def __enter__(self) -> Capture:
        if state.capture is not None:
            raise RuntimeError("a compiled step was called for the first time inside another one")
        state.capture = self
        return self

    def __exit__(self, *exc: object) -> None:
        state.capture = None

    # Values -----------------------------------------------------------------------------------

    def input(self, array: Any) -> Tensor:
        """A Tensor that stands for one array argument of the step."""
        value = Value(INPUT, array, f"x{len(self.inputs)}")
        self.inputs.append(value)
        self._name(array, value)
        return wrap(array, None)

    def _name(self, array: Any, value: Value) -> None:
        self.values[id(array)] = value
        self.keep.append(array)

    def reference(self, item: Any) -> Any:
        """`item` with known arrays replaced by values, unknown ones by externals."""
        if isinstance(item, Tensor):
            item = item.data
        if isinstance(item, (np.ndarray, np.generic)):
            value = self.values.get(id(item))
            if value is None and isinstance(item, np.ndarray):
                value = Value(EXTERNAL, item, f"c{len(self.keep)}")
                self._name(item, value)
            return item if value is None else value
        if type(item) in (tuple, list):
            return type(item)(self.reference(part) for part in item)
        if type(item) is dict:
            return {k: self.reference(v) for k, v in item.items()}
        return item

    def _result(self, array: Any, instruction: Instruction) -> Value:
        value = Value(RESULT, array, f"v{self.results}", instruction)
        self.results += 1
        self._name(array, value)
        instruction.outputs.append(value)
        return value

    # What the engine calls --------------------------------------------------------------------

    def apply(self, primitive: Primitive, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation as `nnad.autodiff.tensor.apply` does, and write it down."""
        raw = [value_of(x) for x in args]
        parents = [x.node if isinstance(x, Tensor) else None for x in args]
        plain = _plain(kwargs)
        out, saved = primitive.forward(*raw, **plain), None
        if primitive.residuals:
            out, saved = out
        recorded = (
            state.recording
            and not primitive.nondifferentiable
            and any(parent is not None for parent in parents)
        )
        out, saved = self._emit(primitive, raw, dict(kwargs), out, saved)
        node = Node(primitive, raw, parents, plain, out, saved) if recorded else None
        if isinstance(out, tuple):
            return tuple(wrap(x, node and output_node(node, i, x)) for i, x in enumerate(out))
        return wrap(out, node)

    def _emit(
        self, primitive: Primitive, raw: list[Any], kwargs: dict[str, Any], out: Any, saved: Any
    ) -> tuple[Any, Any]:
        """Append the instruction; returns output and saved arrays, each an object of its own."""
        if not primitive.has_effect and any(out is x for x in raw):
            return out, saved
        instruction = Instruction(
            primitive.name,
            primitive,
            [self.reference(x) for x in raw],
            self.reference(kwargs),
            [],
            has_effect=primitive.has_effect,
            line=_user_line(),
        )
        sources = [v for v in instruction.inputs() if isinstance(v.array, np.ndarray)]
        out, pattern = self._results(out, instruction, sources)
        instruction.pattern = pattern
        if primitive.residuals:
            saved, kept = self._results(tuple(saved), instruction, sources)
            instruction.pattern = (pattern, kept)
        if len(instruction.outputs) == 1 and not (primitive.has_effect or primitive.residuals):
            first = instruction.args[0] if instruction.args else None
            instruction.is_view = isinstance(first, Value) and pattern.base is first
        if primitive.has_effect:
            instruction.writes = [v for v in instruction.inputs() if v.kind == EXTERNAL]
        self.instructions.append(instruction)
        return out, saved

    def _results(self, out: Any, instruction: Instruction, sources: list[Value]) -> Any:
        """Name the arrays in `out`; returns them and, in the same structure, their values."""
        if isinstance(out, tuple):
            pairs = [self._results(x, instruction, sources) for x in out]
            return tuple(x for x, _ in pairs), tuple(v for _, v in pairs)
        if not isinstance(out, (np.ndarray, np.generic)) or id(out) in self.values:
            return out, None
        out = _own(out)
        value = self._result(out, instruction)
        if isinstance(out, np.ndarray) and out.base is not None:
            value.base = next((v for v in sources if np.may_share_memory(out, v.array)), None)
        if isinstance(out, np.ndarray):
            sources.append(value)
        return out, value

    def perform(self, name: str, action: Callable[[], Any], facts: dict[str, Any]) -> Any:
        """Run an opaque action and make it an instruction."""
        state.capture = None
        try:
            result = action()
        finally:
            state.capture = self
        instruction = Instruction(
            name, None, [], {}, [], action=action, has_effect=True, facts=facts, line=_user_line()
        )
        self.instructions.append(instruction)
        if isinstance(result, float):
            instruction.action = lambda: np.float64(action())
            result = np.float64(result)
        if isinstance(result, (np.ndarray, np.generic)):
            result, instruction.pattern = self._results(result, instruction, [])
            return wrap(result, None)
        return result

    def collect(self, leaf: Leaf, ct: Any) -> None:
        """Write down that `backward()` stores `ct` into, or adds it to, a leaf's gradient."""
        self.leaves.setdefault(leaf, leaf.grad is not None)
        array = np.asarray(value_of(ct))
        if leaf.buffer is None:
            leaf.buffer = np.empty_like(leaf.out)
        adds = leaf.grad is not None
        if adds and leaf.grad is not leaf.buffer:
            leaf.buffer[...] = leaf.grad
        if adds:
            leaf.buffer += array
        else:
            leaf.buffer[...] = array
        leaf.grad = leaf.buffer
        target = self.reference(leaf.buffer)
        self.instructions.append(
            Instruction(
                "accumulate" if adds else "assign",
                None,
                [target, self.reference(ct)],
                {},
                [],
                has_effect=True,
                writes=[target],
                facts={"leaf": leaf},
                line=_user_line(),
            )
        )

    def refuse_value(self, tensor: Tensor, how: str) -> None:
        """Refuse `float(t)` and its like on a value that changes from call to call."""
        value = self.values.get(id(tensor.data))
        if value is not None and value.kind != EXTERNAL:
            raise DataDependentError(
                f"{_user_line()}: {how} in a compiled step: the value of an array of shape "
                f"{tensor.shape} is not known when the program is made, so a branch on it cannot "
                "be replayed; use np.where, return the array from the step and look at it outside, "
                "or leave this step uncompiled"
            )

    def guard(self, read: Callable[[], Any], seen: Any) -> None:
        """Keep the program only for calls on which `read()` still gives `seen`."""
        self.guards.append((read, seen))

    def program(
        self, name: str, outputs: list[Any], rebuild: Callable[[list[Any]], Any]
    ) -> Program:
        """What was captured, as a program."""
        named = [self.reference(x) for x in outputs]
        return Program(name, self.inputs, self.instructions, named, rebuild, len(self.instructions))


def _own(x: Any) -> Any:
    """`x` as an object that no other value is: scalars are often shared by the interpreter."""
    return x.copy() if isinstance(x, np.generic) else x


def _plain(kwargs: Any) -> Any:
    """Keyword arguments with Tensors replaced by their arrays."""
    if isinstance(kwargs, Tensor):
        return kwargs.data
    if isinstance(kwargs, Mapping):
        return {k: _plain(v) for k, v in kwargs.items()}
    if type(kwargs) in (tuple, list):
        return type(kwargs)(_plain(x) for x in kwargs)
    return kwargs


def _user_line() -> str:
    """file:line of the nearest caller outside the package."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "<unknown>:0"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
