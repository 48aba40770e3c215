"""The compiler's program: values, instructions, and what makes them well-formed.

A program is a straight line: each instruction applies one primitive (or one opaque action, such as
an optimizer's update) to values that stand above it.  There are no branches and no loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnad.autodiff.table import Primitive

INPUT, EXTERNAL, RESULT = "input", "external", "result"


@dataclass(eq=False)
class Value:
    """An array of the program.

    Attributes:
        kind: "input" (an argument of the step), "external" (an array that lives outside: a
            parameter, a buffer, a constant) or "result" (of an instruction).
        array: the array itself for externals; for the others one that looks like theirs.
        name: what the program's text calls it.
    """

    kind: str
    array: Any
    name: str
    producer: Instruction | None = None
    base: Value | None = None  # the value whose memory this one looks at

    @property
    def root(self) -> Value:
        """The value that owns the memory."""
        value = self
        while value.base is not None:
            value = value.base
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """NumPy dtype."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return int(self.array.nbytes)

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class Instruction:
    """One line of the program: `outputs = primitive(*args, **kwargs)`.

    Attributes:
        primitive: the operation; None for an action.
        action: for an action: called without arguments.
        args, kwargs: values, constants, and containers of them.
        writes: external values that it changes.
        is_view: the output is a view of the first argument.
        pattern: the outputs in the structure that the forward function returns them in, None
            for one that is not a value of its own.
        places: for each array that the forward function asks for, its shape and its value: an
            output, one that only this call works in, or None for one that it must make anew.
        line: where the user's code called it, "file:line".
        facts: what the action's author tells back ends.
    """

    name: str
    primitive: Primitive | None
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[Value]
    action: Callable[[], Any] | None = None
    has_effect: bool = False
    writes: list[Value] = field(default_factory=list)
    is_view: bool = False
    pattern: Any = None
    places: list[tuple[tuple[int, ...], Value | None]] = field(default_factory=list)
    line: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def inputs(self) -> Iterator[Value]:
        """The values it reads, also those inside keyword arguments."""
        yield from values_in(self.args)
        yield from values_in(self.kwargs)

    def scratch(self) -> Iterator[Value]:
        """The arrays that only this call works in."""
        own = (value for _, value in self.places if value is not None)
        return (value for value in own if value not in self.outputs)

    def replace(self, mapping: dict[Value, Value]) -> None:
        """Read, and look into, other values in place of those in `mapping`."""
        self.args = substitute(self.args, mapping)
        self.kwargs = substitute(self.kwargs, mapping)
        for value in self.outputs:
            if value.base is not None:
                value.base = mapping.get(value.base, value.base)

    def __str__(self) -> str:
        outs = ", ".join(v.name for v in self.outputs)
        args = [_text(a) for a in self.args] + [f"{k}={_text(v)}" for k, v in self.kwargs.items()]
        kind = "  # " + ", ".join(f"{v.shape} {v.dtype}" for v in self.outputs)
        return f"{outs + ' = ' if outs else ''}{self.name}({', '.join(args)})" + (
            kind if self.outputs else ""
        )


def values_in(item: Any) -> Iterator[Value]:
    """The values inside nested tuples, lists, dicts and slices."""
    if isinstance(item, Value):
        yield item
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from values_in(part)
    elif isinstance(item, dict):
        yield from values_in(list(item.values()))
    elif isinstance(item, slice):
        yield from values_in((item.start, item.stop, item.step))


def substitute(item: Any, mapping: dict[Any, Any]) -> Any:
    """`item` with values replaced, inside containers too."""
    if isinstance(item, Value):
        return mapping.get(item, item)
    if type(item) in (tuple, list):
        return type(item)(substitute(part, mapping) for part in item)
    if type(item) is dict:
        return {k: substitute(v, mapping) for k, v in item.items()}
    return item


def _text(item: Any) -> str:
    if isinstance(item, Value):
        return item.name
    if isinstance(item, np.ndarray):
        return f"<array {item.shape} {item.dtype}>" if item.size > 4 else repr(item.tolist())
    if isinstance(item, tuple):
        return "(" + ", ".join(_text(part) for part in item) + ("," if len(item) == 1 else "") + ")"
    if isinstance(item, np.generic):
        return repr(item.item())
    return repr(item)


def outline(array: Any) -> Any:
    """An array that looks like `array` and holds one element; a number as it is."""
    if not isinstance(array, np.ndarray):
        return array
    one = np.empty(1, array.dtype)
    return np.lib.stride_tricks.as_strided(one, array.shape, array.strides, writeable=False)


class Retrace(Exception):
    """Something that a program was specialised on has changed: it must be made anew."""


class MalformedProgramError(AssertionError):
    """A pass left a program that cannot be run: a defect of the compiler."""


@dataclass
class Program:
    """What a captured step does.

    Attributes:
        inputs: values of the step's array arguments, in order.
        instructions: in order of execution.
        outputs: what the step returns: a tree whose leaves are values or constants.
        captured: how many operations the capture saw, before any pass.
        removed: how many of them each pass has left out.
        constants: external arrays that cannot change.
    """

    name: str
    inputs: list[Value]
    instructions: list[Instruction]
    outputs: list[Any]
    rebuild: Callable[[list[Any]], Any]
    captured: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    constants: set[Value] = field(default_factory=set)

    def check(self) -> None:
        """Raise unless every value is defined once, before it is read or looked into.

        Raises:
            MalformedProgramError: naming the instruction.
        """
        defined = set(self.inputs)
        for number, instruction in enumerate(self.instructions):
            for value in instruction.inputs():
                if not _is_there(value, defined):
                    raise MalformedProgramError(
                        f"instruction {number} ({instruction}) reads {value.name} before it is "
                        "defined"
                    )
            for value in instruction.outputs:
                if value in defined or value.kind != RESULT:
                    raise MalformedProgramError(
                        f"instruction {number} ({instruction}) defines {value.name} again"
                    )
                if value.base is not None and not _is_there(value.base, defined):
                    raise MalformedProgramError(
                        f"instruction {number} ({instruction}): {value.name} looks into "
                        f"{value.base.name}, which is not there"
                    )
                defined.add(value)
        for value in values_in(self.outputs):
            if not _is_there(value, defined):
                raise MalformedProgramError(f"the result {value.name} is never computed")

    def __str__(self) -> str:
        head = f"program {self.name}({', '.join(v.name for v in self.inputs)})"
        body = "\n".join(f"  {instruction}" for instruction in self.instructions)
        return f"{head}:\n{body}\n  return {_text(tuple(self.outputs))}"


def _is_there(value: Value, defined: set[Value]) -> bool:
    return value.kind == EXTERNAL or value in defined
