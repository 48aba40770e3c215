"""Building an ONNX graph: nodes, constants and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.compiler.program import EXTERNAL, Instruction, Value
from nnad.sharing.prediction import Dim, ExportError, Prediction

__all__ = ["Graph"]


class Graph:
    """An ONNX graph that grows node by node.

    Args:
        prediction: the program that it is made of.
    """

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Value, str] = {v: f"input.{i}" for i, v in enumerate(prediction.inputs)}
        self._count = 0

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or a list of several."""
        from onnx import helper

        self._count += 1
        names = [f"{operator}.{self._count}" + (f".{i}" if i else "") for i in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=names[0], **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, name: str = "") -> str:
        """The name of an array that is written into the file."""
        from onnx import numpy_helper

        if not name:
            self._count += 1
            name = f"constant..{self._count}"
        content = np.ascontiguousarray(array).reshape(np.shape(array))
        self.initializers.append(numpy_helper.from_array(content, name))
        return name

    def integers(self, *values: int) -> str:
        """A constant vector of int64, as axes and sizes are given."""
        return self.constant(np.array(values, np.int64))

    def shape(self, value: Value) -> tuple[Any, ...]:
        """The sizes of a value, with `Dim` for those that grow with the batch."""
        return self.prediction.shape_of(value)

    def array(self, value: Any, what: str) -> np.ndarray:
        """The numbers of a constant that an operator takes at export time."""
        if isinstance(value, Value):
            if value.kind != EXTERNAL or self.prediction.constants[value].grows:
                raise ExportError(f"{what} is computed by the model; ONNX wants it fixed")
            return self.prediction.constants[value].array
        return np.asarray(value)

    def is_constant(self, value: Any) -> bool:
        """Whether `array` gives the numbers of `value`."""
        return not isinstance(value, Value) or (
            value.kind == EXTERNAL and not self.prediction.constants[value].grows
        )

    def name(self, item: Any, like: Value | None = None) -> str:
        """The name of a value, a constant or a number (in the dtype of `like`)."""
        if not isinstance(item, Value):
            dtype = None if like is None else like.dtype
            return self.constant(np.asarray(item, dtype))
        if item not in self.names:
            self.names[item] = self._external(item)
        return self.names[item]

    def _external(self, value: Value) -> str:
        constant = self.prediction.constants[value]
        if not constant.grows:
            return self.constant(constant.array, constant.name)
        fill = self.constant(constant.array)
        return self.add("Expand", fill, self.sizes(constant.shape))

    def sizes(self, shape: Sequence[Any]) -> str:
        """The name of a vector of sizes, computed where they grow with the batch."""
        if not any(isinstance(n, Dim) for n in shape):
            return self.integers(*shape)
        whole = self.add("Shape", self.names[self.prediction.inputs[0]])
        rows = self.add("Gather", whole, self.integers(0))
        parts = []
        for n in shape:
            if not isinstance(n, Dim):
                parts.append(self.integers(n))
                continue
            part = self.add("Mul", rows, self.integers(n.per_row))
            parts.append(self.add("Add", part, self.integers(n.fixed)) if n.fixed else part)
        return self.add("Concat", *parts, axis=0)

    def set(self, instruction: Instruction, *names: str) -> None:
        """Say how the first outputs of an instruction are called."""
        self.names.update(zip(instruction.outputs, names, strict=False))
