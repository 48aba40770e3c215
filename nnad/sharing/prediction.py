"""A model's prediction as a program that holds for any number of rows.

The model runs twice in evaluation mode, watched, on batches of different sizes.  What differs
between the two programs, and grows with the batch, is a number of rows; all else is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnad.autodiff import no_grad
from nnad.autodiff.tensor import value_of
from nnad.autodiff.trees import flatten
from nnad.compiler.capture import Capture, DataDependentError
from nnad.compiler.passes import optimize
from nnad.compiler.program import EXTERNAL, Instruction, Program, Value
from nnad.errors import UserError

__all__ = ["Constant", "Dim", "ExportError", "Prediction", "capture_prediction"]

ROWS = (2, 3)  # of the two batches
Shape = tuple[Any, ...]


class ExportError(UserError):
    """A model, or an operation in it, that cannot be written in the wanted form."""


@dataclass(frozen=True)
class Dim:
    """A size that grows with the batch: `rows * per_row + fixed`."""

    per_row: int
    fixed: int = 0


@dataclass(frozen=True)
class Constant:
    """An array that the program reads: one of the model's own by name, or any other.

    Attributes:
        name: as in `state_dict()`, or "constant.0", ...
        array: its values; where `shape` holds a `Dim`, those of a single value that fills it.
        shape: its sizes.
    """

    name: str
    array: np.ndarray
    shape: Shape

    @property
    def grows(self) -> bool:
        """Whether its size depends on the number of rows."""
        return any(isinstance(n, Dim) for n in self.shape)


class Prediction:
    """The program of a model's prediction.

    Attributes:
        instructions: in order; sizes in their keyword arguments may be `Dim`.
        inputs, outputs: values of the program.
        constants: what each external value holds.
        dtype: of the model's parameters.
    """

    def __init__(self, one: Program, other: Program, names: Mapping[int, str], dtype: Any) -> None:
        self.dtype = dtype
        self._pairs: dict[Value, Value] = {}
        self._pair(one.inputs, other.inputs)
        if len(one.instructions) != len(other.instructions):
            raise ExportError(
                f"the model does {len(one.instructions)} operations for {ROWS[0]} rows but "
                f"{len(other.instructions)} for {ROWS[1]}; it must do the same for any number"
            )
        for a, b in zip(one.instructions, other.instructions, strict=True):
            self._pair(a.outputs, b.outputs)
            self._pair(list(_externals(a)), list(_externals(b)))
            a.kwargs = {key: self._unified(a.kwargs[key], b.kwargs[key], a) for key in a.kwargs}
        outputs = [value for value in one.outputs if isinstance(value, Value)]
        self._pair(outputs, [value for value in other.outputs if isinstance(value, Value)])
        self.instructions: list[Instruction] = one.instructions
        self.inputs, self.outputs = one.inputs, outputs
        externals = dict.fromkeys(
            v for v in (*self._pairs, *outputs) if isinstance(v, Value) and v.kind == EXTERNAL
        )
        self.constants = {
            value: self._constant(value, names.get(id(value.array), f"constant.{i}"))
            for i, value in enumerate(externals)
        }

    def shape_of(self, value: Value) -> Shape:
        """The sizes of a value, with `Dim` for those that grow."""
        twin = self._pairs.get(value, value)
        pairs = zip(value.shape, twin.shape, strict=True)
        return tuple(self._unified(a, b, None) for a, b in pairs)

    def _pair(self, ones: Sequence[Value], others: Sequence[Value]) -> None:
        self._pairs.update(zip(ones, others, strict=True))

    def _constant(self, value: Value, name: str) -> Constant:
        shape = self.shape_of(value)
        constant = Constant(name, np.asarray(value.array), shape)
        if not constant.grows:
            return constant
        fill = constant.array.reshape(-1)[:1]
        if not (constant.array == fill).all():
            raise ExportError(
                f"an array of shape {value.shape} depends on the number of rows and is made "
                "outside the recorded operations; make it of the input with NumPy functions"
            )
        return Constant(name, fill.reshape(()), shape)

    def _unified(self, a: Any, b: Any, where: Instruction | None) -> Any:
        """One thing of two: equal ones as they are, sizes that grow as a `Dim`."""
        if isinstance(a, (tuple, list)) and type(a) is type(b) and len(a) == len(b):
            return type(a)(self._unified(x, y, where) for x, y in zip(a, b, strict=True))
        if isinstance(a, slice) and isinstance(b, slice):
            return slice(
                *(
                    self._unified(getattr(a, end), getattr(b, end), where)
                    for end in ("start", "stop", "step")
                )
            )
        if isinstance(a, Value):
            return a
        if _equal(a, b):
            return a
        if isinstance(a, (int, np.integer)) and isinstance(b, (int, np.integer)):
            per_row, rest = divmod(int(b) - int(a), ROWS[1] - ROWS[0])
            if not rest and per_row > 0:
                return Dim(per_row, int(a) - per_row * ROWS[0])
        what = f"{where.name} at {where.line}" if where else "a size"
        raise ExportError(f"{what} depends on the number of rows in a way that cannot be written")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and a == b


def _externals(instruction: Instruction) -> list[Value]:
    return [value for value in instruction.inputs() if value.kind == EXTERNAL]


def capture_prediction(model: Any, example: Any) -> Prediction:
    """Watch a model predict.

    Args:
        model: takes one array, rows first.
        example: at least one row of it.

    Raises:
        ExportError: the model cannot be followed, or does not do the same for any number of rows.
    """
    example = np.asarray(value_of(example))
    if not len(example):
        raise ExportError("the example has no rows; one row is needed to run the model on")
    names = {id(p.data): name for name, p in model.named_parameters()}
    names |= {id(array): name for name, array in model.named_buffers()}
    training = model.training
    model.eval()
    try:
        one, other = [_captured(model, np.resize(example, (n, *example.shape[1:]))) for n in ROWS]
    finally:
        model.train(training)
    return Prediction(one, other, names, model.dtype)


def _captured(model: Callable[[Any], Any], x: np.ndarray) -> Program:
    try:
        with no_grad(), Capture() as capture:
            outputs, rebuild = flatten(model(capture.input(x)))
            program = capture.program("predict", outputs, rebuild)
    except DataDependentError as error:
        raise ExportError(f"the model cannot be exported: {error}") from error
    optimize(program)
    return program
