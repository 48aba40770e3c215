"""Writing a model as an ONNX file, which other runtimes run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.compiler.program import Instruction
from nnad.errors import did_you_mean
from nnad.layers import Sequential
from nnad.sharing import onnx_networks  # noqa: F401  (registers its rules)
from nnad.sharing.onnx_graph import Graph
from nnad.sharing.onnx_rules import RULES
from nnad.sharing.prediction import Dim, ExportError, Prediction, capture_prediction
from nnad.training.evaluation import evaluating

__all__ = ["export_onnx", "onnx_model"]

OPERATOR_SET = 17
IR_VERSION = 8


def export_onnx(
    path: str | os.PathLike[str],
    model: Any,
    example: Any,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model's prediction to an ONNX file, for any number of rows.

    Args:
        path: the file.
        model: takes one array, rows first; exported as it predicts, in evaluation mode.
        example: one row of it or more: shape and dtype of the input.
        metadata: texts to put beside it, such as the names of the classes.

    Raises:
        ExportError: an operation of the model cannot be written in ONNX, or onnx is not installed.
    """
    content = onnx_model(model, example, metadata).SerializeToString()
    Path(path).write_bytes(content)


def onnx_model(model: Any, example: Any, metadata: Mapping[str, str] | None = None) -> Any:
    """The same as a `onnx.ModelProto`."""
    try:
        from onnx import checker, helper
    except ImportError:
        raise ExportError("ONNX export needs the package onnx: pip install 'nnad[onnx]'") from None
    graph = written_graph(model, example)
    prediction = graph.prediction
    outputs = [
        graph.add("Identity", graph.name(value)) for value in prediction.outputs
    ]  # an output may be an input, or another output, which a graph must not name twice
    described = helper.make_graph(
        graph.nodes,
        type(model).__name__,
        [_described(graph.names[v], v, prediction) for v in prediction.inputs],
        [_described(n, v, prediction) for n, v in zip(outputs, prediction.outputs, strict=True)],
        graph.initializers,
    )
    made = helper.make_model(
        described,
        producer_name="nnad",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
    )
    helper.set_model_props(made, dict(metadata or {}))
    checker.check_model(made, full_check=True)
    return made


def written_graph(model: Any, example: Any) -> Graph:
    """The nodes of a model.

    Raises:
        ExportError: naming the layer of a Sequential that cannot be written.
    """
    try:
        graph = Graph(capture_prediction(model, example))
        for instruction in graph.prediction.instructions:
            written = rule_for(instruction)(graph, instruction)
            graph.set(instruction, *([written] if isinstance(written, str) else written))
    except ExportError as error:
        raise ExportError(f"{_culprit(model, example)}: {error}") from error
    return graph


def _culprit(model: Any, x: Any) -> str:
    """The path and class of the first layer in a row that cannot be written by itself."""
    name = type(model).__name__
    if not isinstance(model, Sequential):
        return name
    with evaluating(model):
        for i, layer in enumerate(model):
            try:
                written_graph(layer, x)
            except ExportError:
                return f"{name}.{i}.{_culprit(layer, x)}"
            x = value_of(layer(x))
            x = value_of(x[0]) if isinstance(x, tuple) else x
    return name


def rule_for(instruction: Instruction) -> Any:
    """The rule that writes an instruction."""
    name = instruction.name
    if name not in RULES:
        raise ExportError(
            f"operation {name!r} at {instruction.line} has no form in ONNX here"
            f"{did_you_mean(name, RULES)}; put another layer in its place, or use "
            "`nnad export --standalone`, which takes every operation"
        )
    return RULES[name]


def _described(name: str, value: Any, prediction: Prediction) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    shape = [_size(n) for n in prediction.shape_of(value)]
    return helper.make_tensor_value_info(name, kind, shape)


def _size(n: Any) -> int | str:
    if not isinstance(n, Dim):
        return int(n)
    return "rows" if n == Dim(1) else f"{n.per_row}*rows+{n.fixed}"
