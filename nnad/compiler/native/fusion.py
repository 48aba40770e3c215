"""Fusion: neighbouring elementwise operations become one loop.

A group moves to the place of its last member, so its results must not be read, nor what it reads
be written, between its members.
"""

from __future__ import annotations

from typing import Any

from nnad.compiler.native.scalar import is_scalar_operation
from nnad.compiler.program import EXTERNAL, RESULT, Instruction, Program, Value, values_in

FUSED = "fused"


def decompose(program: Program) -> None:
    """Replace operations that are a product and a loop by these, so that the loop can fuse."""
    from nnad.autodiff.table import TABLE

    instructions = []
    for instruction in program.instructions:
        if instruction.name == "linear" and instruction.primitive is TABLE["linear"]:
            x, weight, bias = instruction.args
            (out,) = instruction.outputs
            if bias is None:
                plain = Instruction("matmul", TABLE["matmul"], [x, weight], {}, [out])
                plain.pattern, plain.line, out.producer = out, instruction.line, plain
                instructions.append(plain)
                continue
            product = Value(RESULT, out.array, f"{out.name}_product")
            first = Instruction("matmul", TABLE["matmul"], [x, weight], {}, [product])
            second = Instruction("add", TABLE["add"], [product, bias], {}, [out])
            for new, value in ((first, product), (second, out)):
                new.pattern, new.line, value.producer = value, instruction.line, new
                instructions.append(new)
        else:
            instructions.append(instruction)
    program.instructions = instructions


def fuse(program: Program) -> None:
    """Gather elementwise operations of one shape into groups."""
    line: list[Any] = []  # instructions and groups, in the order they will run
    owner: dict[Value, list[Instruction]] = {}
    for instruction in program.instructions:
        if not is_scalar_operation(instruction):
            line.append(instruction)
            continue
        group = _group_to_join(instruction, owner, line)
        if group is None:
            group = []
        else:
            line.remove(group)
        group.append(instruction)
        line.append(group)
        for value in instruction.outputs:
            owner[value] = group
    used = _uses_outside(program, owner)
    program.instructions = [_fused(item, used) if isinstance(item, list) else item for item in line]


def shape_of(instruction: Instruction) -> tuple[int, ...]:
    """The shape that an elementwise instruction loops over."""
    return instruction.outputs[0].shape


def _group_to_join(
    instruction: Instruction, owner: dict[Value, list[Instruction]], line: list[Any]
) -> list[Instruction] | None:
    """The latest group among the producers of the inputs that may move down to here."""
    candidates = [owner[v] for v in instruction.inputs() if v in owner]
    for group in sorted(candidates, key=line.index, reverse=True):
        if shape_of(group[0]) == shape_of(instruction) and _may_move_down(group, line):
            return group
    return None


def _may_move_down(group: list[Instruction], line: list[Any]) -> bool:
    made = {v for i in group for v in i.outputs}
    read = {id(v.root.array) for i in group for v in i.inputs() if v.root.kind == EXTERNAL}
    for item in line[line.index(group) + 1 :]:
        for later in item if isinstance(item, list) else [item]:
            if any(v in made or v.root in made for v in later.inputs()):
                return False
            if (
                later.has_effect
                and read
                and (later.action is not None or any(id(v.array) in read for v in later.writes))
            ):
                return False
    return True


def _uses_outside(program: Program, owner: dict[Value, list[Instruction]]) -> set[Value]:
    """Values of groups that something outside their group reads."""
    used = set(values_in(program.outputs))
    for instruction in program.instructions:
        own = owner.get(instruction.outputs[0]) if instruction.outputs else None
        for value in instruction.inputs():
            if owner.get(value) is not own or own is None:
                used.add(value)
    return used


def _fused(group: list[Instruction], used: set[Value]) -> Instruction:
    """One instruction that does all of a group."""
    inside = {v for i in group for v in i.outputs}
    inputs: list[Value] = []
    for instruction in group:
        for value in instruction.inputs():
            if value not in inside and value not in inputs:
                inputs.append(value)
    outputs = [v for i in group for v in i.outputs if v in used]
    fused = Instruction(FUSED, None, list(inputs), {}, outputs, line=group[-1].line)
    fused.facts["body"] = group
    fused.facts["elementwise"] = True
    for value in outputs:
        value.producer = fused
    return fused
