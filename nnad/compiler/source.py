"""The NumPy back end: a program as a Python function that a person can read and step through.

One line an operation, every result written into its planned buffer.
"""

from __future__ import annotations

import keyword
import linecache
from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.compiler.buffers import Plan, takes_out, written_by
from nnad.compiler.cache import write_source
from nnad.compiler.program import EXTERNAL, INPUT, Instruction, Program, Value, values_in
from nnad.ops.places import planned


class SourceWriter:
    """Writes the function and gathers the objects that its text refers to."""

    def __init__(self, program: Program, plan: Plan) -> None:
        self.program = program
        self.plan = plan
        self.namespace: dict[str, Any] = {"np": np}
        self.names: dict[Value, str] = {}
        self.kept: list[Any] = []

    def keep(self, *items: Any) -> None:
        """Hold objects whose memory the generated code refers to by address."""
        self.kept.extend(items)
        self.namespace["_kept"] = self.kept

    def write(self) -> str:
        """The text of the function `step`."""
        inputs = [self.reference(v) for v in self.program.inputs]
        lines = [line for i in self.program.instructions for line in self.statement(i)]
        returned = ", ".join(self.returned(x) for x in self.program.outputs)
        head = [
            f"# {self.program.name}: {len(self.program.instructions)} operations "
            f"({self.program.captured} captured), {len(self.plan.blocks)} buffers of "
            f"{self.plan.nbytes} bytes",
            f"def step({', '.join(inputs)}):",
        ]
        return "\n".join([*head, *(f"    {line}" for line in lines), f"    return [{returned}]\n"])

    def statement(self, instruction: Instruction) -> list[str]:
        """The line, or none, that does what `instruction` does."""
        if instruction.action is not None:
            call = f"{self.name(instruction.name, instruction.action)}()"
            if not instruction.outputs:
                return [call]
            (value,) = instruction.outputs
            if value in self.plan.arrays:
                return [f"{self.reference(value)}[...] = {call}"]
            return [f"{self.reference(value)} = {call}"]
        if instruction.primitive is None:
            return self._collect(instruction)
        if not self.plan.views.isdisjoint(instruction.outputs):
            return []
        call = self._call(instruction, self._planned_first(instruction))
        if not instruction.outputs:
            return [call]
        written = {v for v in written_by(instruction) if v in self.plan.arrays}
        copied = [v for v in instruction.outputs if v in self.plan.arrays and v not in written]
        if len(written) < len(instruction.outputs):
            call = f"{self._pattern(instruction.pattern, written)} = {call}"
        copies = [f"np.copyto({self.reference(v)}, {v.name})" for v in copied]
        return [self._with_comment(call, instruction), *copies]

    def _with_comment(self, code: str, instruction: Instruction) -> str:
        value = instruction.outputs[0]
        return f"{code}  # {value.name}: {value.shape} {value.dtype}"

    def _planned_first(self, instruction: Instruction) -> Value | None:
        first = instruction.outputs[0] if instruction.outputs else None
        return first if first in self.plan.arrays else None

    def _call(self, instruction: Instruction, out: Value | None) -> str:
        forward = instruction.primitive.forward  # type: ignore[union-attr]
        function = self.name(instruction.name, forward)
        args = [self.expression(a) for a in instruction.args]
        args += [f"{k}={self.expression(v)}" for k, v in instruction.kwargs.items()]
        if out is not None and takes_out(forward):
            args.append(f"out={self.reference(out)}")
        if instruction.places:
            places = [self._placed(shape, value) for shape, value in instruction.places]
            of = instruction.outputs[0].name if instruction.outputs else "effect"
            args.append(
                f"place={self.name('planned', planned)}({self.name(f'places_{of}', places)})"
            )
        return f"{function}({', '.join(args)})"

    def _placed(self, shape: tuple[int, ...], value: Value | None) -> np.ndarray | None:
        """The array that an operation gets; the value that it is may have another shape."""
        array = None if value is None else self.plan.arrays.get(value)
        return None if array is None else array.reshape(shape)

    def _pattern(self, pattern: Any, written: set[Value]) -> str:
        """The left side of an assignment: names of the results, in the structure they come in."""
        if isinstance(pattern, tuple):
            inner = ", ".join(self._pattern(p, written) for p in pattern)
            return f"({inner},)" if len(pattern) == 1 else f"({inner})"
        if pattern is None or pattern in written:
            return "_"
        return pattern.name if pattern in self.plan.arrays else self.reference(pattern)

    def _collect(self, instruction: Instruction) -> list[str]:
        """Store or add a gradient, and say that it is there."""
        target, value = instruction.args
        leaf = self.name("leaf", instruction.facts["leaf"])
        where = self.reference(target)
        mark = f"{leaf}.grad = {where}"
        if instruction in self.plan.in_place:
            return [mark]
        if instruction.name == "assign":
            return [f"np.copyto({where}, {self.expression(value)})", mark]
        return [f"np.add({where}, {self.expression(value)}, {where})", mark]

    def returned(self, item: Any) -> str:
        """Python text for a result that the caller may keep."""
        if not isinstance(item, Value):
            return self.expression(item)
        text = self.reference(item)
        if item.shape == ():
            return f"{text}[()]"
        is_the_callers = item.root.kind == INPUT and item.root not in self.plan.arrays
        return text if is_the_callers else f"{text}.copy()"

    def reference(self, value: Value) -> str:
        """The variable that holds `value`."""
        if value in self.names:
            return self.names[value]
        array = self.plan.arrays.get(value)
        if array is None:
            name = value.name
        elif value.kind == EXTERNAL:
            name = self.name(value.name, array)
        else:
            name = self.name(f"b_{value.name}", array)
        self.names[value] = name
        return name

    def expression(self, item: Any) -> str:
        """Python text for a value, a constant, or a container of them."""
        if isinstance(item, Value):
            return self.reference(item)
        if isinstance(item, tuple):
            inner = ", ".join(self.expression(part) for part in item)
            return f"({inner},)" if len(item) == 1 else f"({inner})"
        if isinstance(item, list):
            return "[" + ", ".join(self.expression(part) for part in item) + "]"
        if isinstance(item, slice):
            parts = (item.start, item.stop, item.step)
            if any(True for _ in values_in(parts)):
                return "slice(" + ", ".join(self.expression(p) for p in parts) + ")"
            return repr(item)
        if item is None or item is Ellipsis or isinstance(item, (bool, int, str)):
            return "..." if item is Ellipsis else repr(item)
        if isinstance(item, float) and np.isfinite(item):
            return repr(item)
        return self.name("k", item)

    def name(self, wanted: str, item: Any) -> str:
        """A name in the namespace that stands for `item`."""
        name = "".join(c if c.isalnum() or c == "_" else "_" for c in wanted)
        if not name.isidentifier() or keyword.iskeyword(name):
            name = f"_{name}"
        number = 0
        candidate = name
        while candidate in self.namespace and self.namespace[candidate] is not item:
            number += 1
            candidate = f"{name}_{number}"
        self.namespace[candidate] = item
        return candidate


def build(program: Program, plan: Plan) -> tuple[Callable[..., list[Any]], str]:
    """The program as a function of its array inputs, and the function's text."""
    writer = SourceWriter(program, plan)
    text = writer.write()
    filename = write_source(program.name, text)
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    exec(compile(text, filename, "exec"), writer.namespace)  # noqa: S102
    return writer.namespace["step"], text
