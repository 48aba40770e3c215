"""Passes: each takes a program and leaves a better one that does the same."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from nnad.compiler.program import EXTERNAL, Instruction, Program, Value, values_in


def optimize(program: Program) -> Program:
    """All passes in order; the program is checked after each."""
    program.check()
    for run in (common_subexpressions, dead_code):
        run(program)
        program.check()
    return program


def dead_code(program: Program) -> None:
    """Drop instructions whose results nobody reads."""
    needed: set[Value] = set(values_in(program.outputs))
    kept = []
    for instruction in reversed(program.instructions):
        if instruction.has_effect or any(v in needed for v in instruction.outputs):
            needed.update(instruction.inputs())
            kept.append(instruction)
    program.instructions = kept[::-1]


def common_subexpressions(program: Program) -> None:
    """Compute equal things once.

    What reads an external array is equal only between two writes to it, and an opaque action may
    have written any.
    """
    seen: dict[Hashable, Instruction] = {}
    mapping: dict[Value, Value] = {}
    versions: dict[Value, int] = {}
    epoch = 0
    kept = []
    for instruction in program.instructions:
        instruction.replace(mapping)
        if instruction.has_effect:
            kept.append(instruction)
            if instruction.action is not None:
                epoch += 1
            for value in instruction.writes:
                versions[value] = versions.get(value, 0) + 1
            continue
        key = (
            instruction.name,
            id(instruction.primitive),
            _key(instruction.args, versions, epoch),
            _key(instruction.kwargs, versions, epoch),
        )
        before = seen.get(key)
        if before is None:
            seen[key] = instruction
            kept.append(instruction)
        else:
            mapping.update(zip(instruction.outputs, before.outputs, strict=True))
    program.instructions = kept
    program.outputs = [mapping.get(x, x) if isinstance(x, Value) else x for x in program.outputs]


def _key(item: Any, versions: dict[Value, int], epoch: int) -> Hashable:
    """A hashable that is equal for equal arguments."""
    if isinstance(item, Value):
        root = item.root
        if root.kind == EXTERNAL:
            return id(item), versions.get(root, 0), epoch
        return id(item)
    if isinstance(item, (tuple, list)):
        return type(item).__name__, tuple(_key(part, versions, epoch) for part in item)
    if isinstance(item, dict):
        return tuple((k, _key(v, versions, epoch)) for k, v in item.items())
    if isinstance(item, np.generic):
        return item.dtype.str, item.tobytes()
    if isinstance(item, (int, float, complex, str, bytes, bool, type(None), np.dtype)):
        return type(item).__name__, repr(item)
    if isinstance(item, slice):
        return "slice", _key((item.start, item.stop, item.step), versions, epoch)
    return "object", id(item)


def multiply_adds(program: Program) -> int:
    """Multiply-adds of the matrix products and convolutions of `program`."""
    return sum(map(_multiply_adds, program.instructions))


def _multiply_adds(instruction: Instruction) -> int:
    shapes = [np.shape(x.array if isinstance(x, Value) else x) for x in instruction.args]
    size = sum(v.array.size for v in instruction.outputs[:1])
    if instruction.name in ("matmul", "linear", "dot"):
        return int(size) * shapes[0][-1] if shapes[0] else int(size)
    if instruction.name == "conv":
        return int(size) * math.prod(shapes[1][:-1])
    if instruction.name == "conv_input":
        return math.prod(shapes[0]) * math.prod(shapes[1][:-1])
    if instruction.name == "conv_weight":
        return math.prod(shapes[1]) * math.prod(instruction.outputs[0].shape[:-1])
    return 0
