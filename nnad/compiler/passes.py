"""Passes: each takes a program and leaves a better one that does the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from sys import getrefcount
from typing import Any

import numpy as np

from nnad.autodiff.table import LOCAL
from nnad.compiler.program import EXTERNAL, INPUT, RESULT, Instruction, Program, Value, values_in

Shape = tuple[int, ...]

SMALL = 65536  # bytes up to which a constant may be larger than what it is computed from


def optimize(program: Program) -> Program:
    """All passes in order; the program is checked, and its operations are counted, after each."""
    program.check()
    for run in (fold_constants, drop_identities, common_subexpressions, dead_code):
        before = len(program.instructions)
        run(program)
        program.check()
        program.removed[run.__name__] = before - len(program.instructions)
    return program


# Constants ------------------------------------------------------------------------------------


def fold_constants(program: Program) -> None:
    """Compute once, now, what depends on constants alone: by the same kernels, to the same bits.

    Constants are arrays that the step itself made, of which nobody else knows; not parameters,
    buffers or anything that could change between two replays.  What would take more memory than
    its inputs and `SMALL` stays an operation.
    """
    read = {value for i in program.instructions for value in i.inputs()}
    written = {value.root for i in program.instructions for value in i.writes}
    program.constants = constants = {v for v in read - written if _is_private(v)}

    def folded(instruction: Instruction) -> Value | None:
        if not _is_foldable(instruction) or not constants.issuperset(instruction.inputs()):
            return None
        made = _computed(instruction)
        held = sum(_bytes_behind(value.array) for value in set(instruction.inputs()))
        if made.nbytes > max(SMALL, held) and not instruction.is_view:
            return None
        constant = Value(EXTERNAL, made, f"k{len(constants)}")
        constants.add(constant)
        return constant

    _replace_results(program, folded)


def _is_private(value: Value) -> bool:
    """Whether a value is an array from the capture that nothing but the program refers to."""
    array = value.array
    return value.kind == EXTERNAL and array.base is None and getrefcount(array) == LOCAL + 1


def _bytes_behind(array: np.ndarray) -> int:
    """Bytes of the memory that an array looks at, which a broadcast one shows many times."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return min(array.nbytes, owner.nbytes)


def _is_foldable(instruction: Instruction) -> bool:
    primitive = instruction.primitive
    return (
        primitive is not None
        and not instruction.has_effect
        and primitive.kind != "user"  # whose body may depend on anything
        and len(instruction.outputs) == 1
        and instruction.pattern is instruction.outputs[0]
    )


def _computed(instruction: Instruction) -> np.ndarray:
    """What an instruction on constants gives; its warnings came when it was captured."""
    args, kwargs = _arrays([instruction.args, instruction.kwargs])
    with np.errstate(all="ignore"):
        return np.asarray(instruction.primitive.forward(*args, **kwargs))  # type: ignore[union-attr]


def _arrays(item: Any) -> Any:
    """`item` with the arrays of its values in their places."""
    if isinstance(item, Value):
        return item.array
    if type(item) in (tuple, list):
        return type(item)(map(_arrays, item))
    if type(item) is dict:
        return {key: _arrays(part) for key, part in item.items()}
    return item


def _replace_results(program: Program, found: Callable[[Instruction], Value | None]) -> None:
    """Leave out the instructions for which `found` knows a value that is there already."""
    mapping: dict[Value, Value] = {}
    kept = []
    for instruction in program.instructions:
        instruction.replace(mapping)
        value = found(instruction)
        if value is None:
            kept.append(instruction)
        else:
            mapping[instruction.outputs[0]] = value
    program.instructions = kept
    program.outputs = [mapping.get(x, x) if isinstance(x, Value) else x for x in program.outputs]


# Identities -----------------------------------------------------------------------------------


def drop_identities(program: Program) -> None:
    """Leave out what gives an earlier result back to the last bit, signed zeros and NaN included.

    x * 1, x / 1, x - 0 (but not x + 0, which makes 0 of -0), -(-x), and transposes and reshapes
    that undo each other.
    """
    producers = {v: i for i in program.instructions for v in i.outputs}

    def unchanged(instruction: Instruction) -> Value | None:
        if not instruction.outputs or not _is_foldable(instruction):
            return None
        value = instruction.outputs[0]
        for x in _same_values(instruction, producers, program.constants):
            if x.root.kind == RESULT and _looks_like(x, value):
                return x
        return None

    _replace_results(program, unchanged)


def _looks_like(x: Value, y: Value) -> bool:
    return (x.dtype, x.shape, x.array.strides) == (y.dtype, y.shape, y.array.strides)


def _same_values(
    instruction: Instruction, producers: dict[Value, Instruction], constants: set[Value]
) -> Iterator[Value]:
    """Earlier values that hold, in the order of their elements, what `instruction` gives."""
    name, args = instruction.name, instruction.args
    first = args[0] if args else None
    if not isinstance(first, Value):
        first = None
    if first is not None and len(args) == 2 and _is_neutral(name, args[1], first, constants):
        yield first
    elif (
        name == "multiply"
        and isinstance(args[1], Value)
        and _is_neutral(name, args[0], args[1], constants)
    ):
        yield args[1]
    elif name == "reshape" and first is not None and instruction.kwargs.get("order", "C") == "C":
        yield first
    before = None if first is None else producers.get(first)
    if before is None or before.name != name or not isinstance(before.args[0], Value):
        return
    undone: dict[str, Callable[[Instruction, Instruction], bool]] = {
        "negative": _always,
        "reshape": _are_in_order,
        "transpose": _undo_each_other,
    }
    if name in undone and undone[name](before, instruction):
        yield before.args[0]


def _is_neutral(name: str, operand: Any, x: Value, constants: set[Value]) -> bool:
    """Whether `x` (operation) `operand` is x, for every number that x may hold."""
    neutral = {"multiply": 1, "divide": 1, "subtract": 0}.get(name)
    if neutral is None or x.dtype.kind not in "fiu":
        return False
    if isinstance(operand, Value):
        if operand not in constants:
            return False
        operand = operand.array[tuple(slice(None, None if n else 1) for n in operand.array.strides)]
    if not isinstance(operand, (int, float, np.generic, np.ndarray)):
        return False
    if np.asarray(operand).dtype.kind not in "fiub":
        return False
    # A zero below zero would do no good: -0 - (-0) is 0.
    return bool(np.all(np.equal(operand, neutral)) and not np.any(np.signbit(operand)))


def _always(*negatives: Instruction) -> bool:
    return True


def _are_in_order(*reshapes: Instruction) -> bool:
    return all(i.kwargs.get("order", "C") == "C" for i in reshapes)


def _undo_each_other(first: Instruction, second: Instruction) -> bool:
    """Whether two transposes leave every axis where it was."""
    ndim = len(first.outputs[0].shape)
    axes = [i.kwargs.get("axes") or range(ndim)[::-1] for i in (first, second)]
    return all(axes[0][a] % ndim == i for i, a in enumerate(axes[1]))


# What nobody needs ----------------------------------------------------------------------------


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

    What reads an external array is equal only between two writes to memory that it shares, and an
    opaque action may have written any. An argument may share memory with whatever is written.
    """
    roots = {v.root for i in program.instructions for v in (*i.inputs(), *i.writes)}
    outside = [root for root in roots if root.kind in (EXTERNAL, INPUT)]
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
                for root in outside:
                    if root.kind == INPUT or np.may_share_memory(root.array, value.array):
                        versions[root] = versions.get(root, 0) + 1
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
        if root.kind in (EXTERNAL, INPUT):
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


# Counting -------------------------------------------------------------------------------------


def multiply_adds(program: Program) -> int:
    """Multiply-adds of the matrix products, convolutions and attention of `program`."""
    return sum(map(_multiply_adds, program.instructions))


def _multiply_adds(instruction: Instruction) -> int:
    count = _COUNTS.get(instruction.name)
    if count is None:
        return 0
    shapes = [np.shape(x.array if isinstance(x, Value) else x) for x in instruction.args]
    return int(count(instruction.outputs[0].shape, *shapes))


def _of_product(out: Shape, x: Shape, y: Shape, *bias: Shape) -> int:
    return math.prod(out) * (x[-1] if x else 1)


def _of_scan(out: Shape, x: Shape, state: Shape, *others: Shape) -> int:
    return math.prod(x) * state[-1]


def _of_scan_gradient(out: Shape, g: Shape, *others: Shape) -> int:
    return 2 * math.prod(out) * g[-1]


# Per operation the multiply-adds, from the shapes of its first result and of its arguments.
_COUNTS: dict[str, Callable[..., int]] = {
    "matmul": _of_product,
    "linear": _of_product,
    "dot": _of_product,
    "conv": lambda out, x, w, bias: math.prod(out) * math.prod(w[:-1]),
    "conv_input": lambda out, g, w: math.prod(g) * math.prod(w[:-1]),
    "conv_weight": lambda out, x, g: math.prod(g) * math.prod(out[:-1]),
    "attention": lambda out, q, k, *others: (math.prod(q) + math.prod(out)) * k[1],
    "attention_gradient": lambda out, g, y, q, k, *others: 2 * (math.prod(q) + math.prod(y)) * k[1],
    "self_attention": lambda out, qkv, *others: 2 * math.prod(out) * qkv[1],
    "self_attention_gradient": lambda out, g, y, qkv, *others: 4 * math.prod(y) * qkv[1],
    "rnn_scan": _of_scan,
    "gru_scan": _of_scan,
    "lstm_scan": _of_scan,
    "rnn_scan_gradient": _of_scan_gradient,
    "gru_scan_gradient": _of_scan_gradient,
    "lstm_scan_gradient": _of_scan_gradient,
}
