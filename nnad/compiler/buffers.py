"""Buffers: where each value of a program lives.

Values that an operation can write into a given array get a place in a few blocks of memory, shared
by values whose lifetimes do not overlap; an elementwise operation writes over an input that nobody
reads any more.  A gradient is computed right where it is to be collected.  What cannot be planned
(the arguments of the step, results of operations without `out=` or `place=`) is made anew by each
run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping, Set
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nnad.compiler.program import EXTERNAL, INPUT, Instruction, Program, Value, values_in

ALIGNMENT = 64

# Keywords of functions; Python's own functions may hold arrays, and are not kept alive for this.
_of_functions: MutableMapping[Any, Set[str]] = WeakKeyDictionary()
_of_others: MutableMapping[Any, Set[str]] = {}


def takes(forward: Callable[..., Any], keyword: str) -> bool:
    """Whether a function has a keyword argument of that name."""
    known = _of_functions if isinstance(forward, FunctionType) else _of_others
    if forward not in known:
        known[forward] = _keywords(forward)
    return keyword in known[forward]


def _keywords(forward: Callable[..., Any]) -> Set[str]:
    try:
        return frozenset(inspect.signature(forward).parameters)
    except (TypeError, ValueError):
        return frozenset()


def takes_out(forward: Callable[..., Any]) -> bool:
    """Whether a forward function writes its result into an array it is given as `out=`."""
    return forward.nout == 1 if isinstance(forward, np.ufunc) else takes(forward, "out")


def written_by(instruction: Instruction) -> Iterator[Value]:
    """The results that an operation writes where it is told to."""
    primitive = instruction.primitive
    if primitive is not None and instruction.outputs:
        if takes_out(primitive.forward):
            yield instruction.outputs[0]
        yield from (v for _, v in instruction.places if v in instruction.outputs)


@dataclass
class Plan:
    """The memory of a program.

    Attributes:
        arrays: the array of every value that has a fixed one.
        blocks: the memory behind the planned values.
        in_place: gradients that are computed where they are collected: no copy is needed.
        views: values that are fixed views of fixed arrays.
        peak: bytes of all planned values that are alive at once, at most.
        unshared: bytes they would take without sharing.
    """

    arrays: dict[Value, np.ndarray] = field(default_factory=dict)
    blocks: list[np.ndarray] = field(default_factory=list)
    in_place: set[Instruction] = field(default_factory=set)
    views: set[Value] = field(default_factory=set)
    peak: int = 0
    unshared: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.nbytes for block in self.blocks)


def plan_buffers(program: Program, everything: bool = False) -> Plan:
    """Give every value of `program` that can have one a fixed array.

    Args:
        everything: also inputs, and results of operations that cannot write into a given array:
            a back end then copies them.
    """
    return _Planner(program, everything).run()


class _Planner:
    def __init__(self, program: Program, everything: bool) -> None:
        self.program = program
        self.everything = everything
        self.plan = Plan()
        if everything:
            for instruction in program.instructions:
                for value in instruction.outputs:
                    if not instruction.is_view:
                        value.base = None
        self.last_use = _last_uses(program)
        self.homes = _homes(program, self.plan.in_place, everything)
        self.free: list[np.ndarray] = []
        self.block_of: dict[Value, np.ndarray] = {}
        self.live = 0

    def run(self) -> Plan:
        for instruction in self.program.instructions:
            for value in instruction.inputs():
                if value.kind == EXTERNAL:
                    self.plan.arrays[value] = value.array
        for value in values_in(self.program.outputs):
            if value.kind == EXTERNAL:
                self.plan.arrays[value] = value.array
        if self.everything:
            for value in self.program.inputs:
                self.plan.arrays[value] = np.empty(value.shape, value.dtype)
        for number, instruction in enumerate(self.program.instructions):
            self._place(number, instruction)
            self._release(number, instruction)
        return self.plan

    def _place(self, number: int, instruction: Instruction) -> None:
        if instruction.is_view and self._place_view(instruction):
            return
        if self.everything:
            for value in instruction.outputs:
                self._place_value(number, instruction, value)
            return
        for value in (*written_by(instruction), *instruction.scratch()):
            if isinstance(value.array, np.ndarray) and value.base is None:  # no number, no view
                self._place_value(number, instruction, value)

    def _place_value(self, number: int, instruction: Instruction, value: Value) -> None:
        if value in self.homes:
            self.plan.arrays[value] = self.homes[value]
            return
        block = self._reusable_input(number, instruction, value)
        if block is None:
            block = self._allocate(value.nbytes)
        self.block_of[value] = block
        self.plan.arrays[value] = _laid_out(block, value.array)
        self.plan.unshared += value.nbytes

    def _place_view(self, instruction: Instruction) -> bool:
        """A view of a fixed array is itself fixed: it is made once, now."""
        source, value = instruction.args[0], instruction.outputs[0]
        array = self.plan.arrays.get(source)
        if array is None or any(
            True for _ in values_in([instruction.args[1:], instruction.kwargs])
        ):
            return False
        primitive: Any = instruction.primitive
        view = primitive.forward(array, *instruction.args[1:], **instruction.kwargs)
        shares = isinstance(view, np.ndarray) and np.may_share_memory(view, array)
        if shares:
            self.plan.arrays[value] = view
            self.plan.views.add(value)
        return shares

    def _reusable_input(
        self, number: int, instruction: Instruction, value: Value
    ) -> np.ndarray | None:
        """The block of an input that dies here and has the output's very layout."""
        if not _is_elementwise(instruction) or value is not instruction.outputs[0]:
            return None
        inputs = list(dict.fromkeys(instruction.inputs()))
        for source in inputs:
            block = self.block_of.get(source)
            if (
                block is not None
                and not any(v.root is source and v is not source for v in inputs)
                and self.last_use.get(source) == number
                and source.dtype == value.dtype
                and _layout(source.array) == _layout(value.array)
            ):
                del self.block_of[source]
                return block
        return None

    def _allocate(self, nbytes: int) -> np.ndarray:
        """The smallest free block that is large enough but not wasteful, or a new one."""
        self.live += nbytes
        self.plan.peak = max(self.plan.peak, self.live)
        fitting = [b for b in self.free if nbytes <= b.nbytes <= max(4 * nbytes, 4096)]
        if fitting:
            block = min(fitting, key=lambda b: b.nbytes)
            self.free = [b for b in self.free if b is not block]
            return block
        block = aligned(max(nbytes, 1))
        self.plan.blocks.append(block)
        return block

    def _release(self, number: int, instruction: Instruction) -> None:
        touched = (*instruction.inputs(), *instruction.outputs, *instruction.scratch())
        for value in dict.fromkeys(v.root for v in touched):
            if self.last_use.get(value, number) <= number and value in self.block_of:
                self.free.append(self.block_of.pop(value))
                self.live -= value.nbytes


def _is_elementwise(instruction: Instruction) -> bool:
    if instruction.primitive is None:
        return bool(instruction.facts.get("elementwise"))
    return instruction.primitive.kind == "elementwise"


def aligned(nbytes: int) -> np.ndarray:
    """`nbytes` bytes that start at a cache line."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def _laid_out(block: np.ndarray, like: Any) -> np.ndarray:
    """An array of the shape, dtype and order of axes of `like`, in `block`."""
    flat = block[: like.nbytes].view(like.dtype)
    if like.ndim < 2:
        return flat.reshape(like.shape)
    order = _layout(like)[1]
    inverse = np.argsort(order)
    return flat.reshape([like.shape[a] for a in order]).transpose(inverse)


def _layout(array: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and order of the axes in memory, slowest first."""
    strides = [abs(s) for s in getattr(array, "strides", ())]
    order = tuple(sorted(range(len(strides)), key=lambda i: -strides[i]))
    if getattr(array, "flags", None) is None or array.flags.c_contiguous:
        order = tuple(range(len(strides)))
    return array.shape, order


def _last_uses(program: Program) -> dict[Value, int]:
    """The number of the last instruction that reads each value or a view of it."""
    last: dict[Value, int] = {}
    for number, instruction in enumerate(program.instructions):
        for value in instruction.inputs():
            while True:
                last[value] = number
                if value.base is None:
                    break
                value = value.base
    for value in values_in(program.outputs):
        while True:
            last[value] = len(program.instructions)
            if value.base is None:
                break
            value = value.base
    return last


def _homes(
    program: Program, in_place: set[Instruction], everything: bool
) -> dict[Value, np.ndarray]:
    """Results that can be written right into the gradient they are assigned to.

    Only where nothing between the computation and the assignment may touch that gradient, and
    nothing reads the result after it has been touched again.
    """
    last = _last_uses(program)
    homes: dict[Value, np.ndarray] = {}
    numbers = {v: n for n, i in enumerate(program.instructions) for v in i.outputs}
    actions = [n for n, i in enumerate(program.instructions) if i.action is not None]
    touched: dict[int, list[int]] = {}
    for n, instruction in enumerate(program.instructions):
        for value in instruction.inputs():
            if value.kind == EXTERNAL:
                touched.setdefault(id(value.array), []).append(n)
    for n, instruction in enumerate(program.instructions):
        if instruction.name != "assign" or instruction.primitive is not None:
            continue
        target, value = instruction.args
        if not isinstance(value, Value) or value.kind in (EXTERNAL, INPUT):
            continue
        made = numbers[value]
        producer = program.instructions[made]
        touches = (*actions, *touched[id(target.array)])
        alone = not any(made <= m < n or n < m < last[value] for m in touches)
        if (
            alone
            and value not in homes
            and (everything or value in written_by(producer))
            and producer.action is None
            and not producer.is_view
            and value.base is None
            and not producer.has_effect
            and target.dtype == value.dtype
            and _layout(target.array) == _layout(value.array)
        ):
            homes[value] = target.array
            in_place.add(instruction)
    return homes
