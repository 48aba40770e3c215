"""How each operation of a prediction is written in ONNX (operator set 17).

A rule takes the graph and an instruction and returns the names of the instruction's outputs, or of
the first of them.  Here: elementwise operations, shapes, reductions; `onnx_networks` has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.compiler.program import Instruction, Value
from nnad.ops.index import Slot
from nnad.sharing.onnx_graph import Graph
from nnad.sharing.prediction import Dim, ExportError

__all__ = ["RULES", "rule", "sliced"]

Rule = Callable[[Graph, Instruction], Any]
RULES: dict[str, Rule] = {}


def rule(*operations: str) -> Callable[[Rule], Rule]:
    """Decorator: this function writes the operations of these names."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operations, function))
        return function

    return register


# Elementwise ----------------------------------------------------------------------------------

DIRECT = {
    "abs": "Abs", "absolute": "Abs", "add": "Add", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh",
    "divide": "Div", "equal": "Equal", "exp": "Exp", "floor": "Floor", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual", "log": "Log",
    "logical_and": "And", "logical_not": "Not", "logical_or": "Or", "matmul": "MatMul",
    "maximum": "Max", "minimum": "Min", "multiply": "Mul", "negative": "Neg", "power": "Pow",
    "reciprocal": "Reciprocal", "relu": "Relu", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin",
    "sinh": "Sinh", "softsign": "Softsign", "sqrt": "Sqrt", "subtract": "Sub", "tan": "Tan",
    "tanh": "Tanh", "where": "Where",
}  # fmt: skip


@rule(*DIRECT)
def _direct(graph: Graph, step: Instruction) -> str:
    like = next(a for a in reversed(step.args) if isinstance(a, Value))
    return graph.add(DIRECT[step.name], *(graph.name(a, like) for a in step.args))


@rule("not_equal")
def _not_equal(graph: Graph, step: Instruction) -> str:
    return graph.add("Not", graph.add("Equal", *(graph.name(a, step.args[0]) for a in step.args)))


@rule("square")
def _square(graph: Graph, step: Instruction) -> str:
    x = graph.name(step.args[0])
    return graph.add("Mul", x, x)


@rule("astype")
def _astype(graph: Graph, step: Instruction) -> str:
    from onnx import helper

    to = helper.np_dtype_to_tensor_dtype(np.dtype(step.kwargs["dtype"]))
    return graph.add("Cast", graph.name(step.args[0]), to=to)


ACTIVATIONS: dict[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "celu": ("Celu", lambda alpha=1.0: {"alpha": float(alpha)}),
    "elu": ("Elu", lambda alpha=1.0: {"alpha": float(alpha)}),
    "hard_shrink": ("Shrink", lambda lambd=0.5: {"lambd": float(lambd), "bias": 0.0}),
    "hard_sigmoid": ("HardSigmoid", lambda: {"alpha": 1 / 6, "beta": 0.5}),
    "hardswish": ("HardSwish", dict),
    "leaky_relu": ("LeakyRelu", lambda negative_slope=0.01: {"alpha": float(negative_slope)}),
    "log_softmax": ("LogSoftmax", lambda axis=-1: {"axis": axis}),
    "soft_shrink": ("Shrink", lambda lambd=0.5: {"lambd": float(lambd), "bias": float(lambd)}),
    "softmax": ("Softmax", lambda axis=-1: {"axis": axis}),
}


@rule(*ACTIVATIONS)
def _activation(graph: Graph, step: Instruction) -> str:
    operator, attributes = ACTIVATIONS[step.name]
    return graph.add(operator, graph.name(step.args[0]), **attributes(**step.kwargs))


@rule("hard_tanh", "relu6")
def _clipped(graph: Graph, step: Instruction) -> str:
    x = step.args[0]
    low = step.kwargs.get("min_val", 0.0 if step.name == "relu6" else -1.0)
    high = step.kwargs.get("max_val", 6.0 if step.name == "relu6" else 1.0)
    return graph.add("Clip", graph.name(x), graph.name(low, x), graph.name(high, x))


@rule("silu")
def _silu(graph: Graph, step: Instruction) -> str:
    x = graph.name(step.args[0])
    return graph.add("Mul", x, graph.add("Sigmoid", x))


@rule("mish")
def _mish(graph: Graph, step: Instruction) -> str:
    x = graph.name(step.args[0])
    return graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x)))


@rule("log_sigmoid")
def _log_sigmoid(graph: Graph, step: Instruction) -> str:
    x = graph.add("Neg", graph.name(step.args[0]))
    return graph.add("Neg", graph.add("Softplus", x))


@rule("softplus")
def _softplus(graph: Graph, step: Instruction) -> str:
    x, beta = step.args[0], step.kwargs.get("beta", 1.0)
    threshold = step.kwargs.get("threshold", 20.0)
    scaled = graph.add("Mul", graph.name(x), graph.name(beta, x))
    smooth = graph.add("Div", graph.add("Softplus", scaled), graph.name(beta, x))
    is_large = graph.add("Greater", scaled, graph.name(threshold, x))
    return graph.add("Where", is_large, graph.name(x), smooth)


@rule("gelu")
def _gelu(graph: Graph, step: Instruction) -> str:
    x = step.args[0]
    name = graph.name(x)
    if step.kwargs.get("approximate", "none") == "none":
        inner = graph.add("Erf", graph.add("Mul", name, graph.name(math.sqrt(0.5), x)))
    else:
        cube = graph.add("Mul", graph.add("Mul", name, name), name)
        sum_ = graph.add("Add", name, graph.add("Mul", cube, graph.name(0.044715, x)))
        inner = graph.add("Tanh", graph.add("Mul", sum_, graph.name(math.sqrt(2 / math.pi), x)))
    half = graph.add("Mul", name, graph.name(0.5, x))
    return graph.add("Mul", half, graph.add("Add", inner, graph.name(1.0, x)))


# Shapes and selection -------------------------------------------------------------------------


@rule("reshape")
def _reshape(graph: Graph, step: Instruction) -> str:
    if step.kwargs.get("order", "C") != "C":
        raise ExportError(f"reshape at {step.line}: ONNX reshapes in C order only")
    return _reshaped(graph, graph.name(step.args[0]), graph.shape(step.outputs[0]))


def _reshaped(graph: Graph, x: str, shape: tuple[Any, ...]) -> str:
    grown = [i for i, n in enumerate(shape) if isinstance(n, Dim)]
    if len(grown) > 1:
        return graph.add("Reshape", x, graph.sizes(shape))
    return graph.add(
        "Reshape", x, graph.integers(*(-1 if isinstance(n, Dim) else n for n in shape))
    )


@rule("broadcast_to")
def _broadcast_to(graph: Graph, step: Instruction) -> str:
    shape = graph.shape(step.outputs[0])
    return graph.add("Expand", graph.name(step.args[0]), graph.sizes(shape))


@rule("transpose")
def _transpose(graph: Graph, step: Instruction) -> str:
    axes = step.kwargs.get("axes") or tuple(reversed(range(len(step.args[0].shape))))
    return graph.add("Transpose", graph.name(step.args[0]), perm=[int(a) for a in axes])


@rule("concatenate")
def _concatenate(graph: Graph, step: Instruction) -> str:
    names = [graph.name(a) for a in step.args]
    return graph.add("Concat", *names, axis=step.kwargs.get("axis", 0))


@rule("stack")
def _stack(graph: Graph, step: Instruction) -> str:
    axis = step.kwargs.get("axis", 0)
    names = [graph.add("Unsqueeze", graph.name(a), graph.integers(axis)) for a in step.args]
    return graph.add("Concat", *names, axis=axis)


@rule("pad")
def _pad(graph: Graph, step: Instruction) -> str:
    if step.kwargs.get("mode", "constant") != "constant":
        raise ExportError(f"pad at {step.line}: only padding by a constant can be exported")
    before, after = zip(*step.kwargs["pad_width"], strict=True)
    value = graph.name(step.kwargs.get("constant_values", 0), step.args[0])
    return graph.add("Pad", graph.name(step.args[0]), graph.integers(*before, *after), value)


@rule("take_rows")
def _take_rows(graph: Graph, step: Instruction) -> str:
    return graph.add("Gather", *(graph.name(a) for a in step.args), axis=0)


@rule("getitem")
def _getitem(graph: Graph, step: Instruction) -> str:
    x, *indices = step.args
    key = step.kwargs["key"]
    key = key if isinstance(key, tuple) else (key,)
    selecting = [part for part in key if part is not None and part is not Ellipsis]
    if sum(isinstance(part, Slot) for part in key) > 1:
        raise ExportError(f"getitem at {step.line}: several index arrays cannot be exported")
    filled: list[Any] = []
    for part in key:
        rest = len(x.shape) - len(selecting)
        filled += [slice(None)] * rest if part is Ellipsis else [part]
    name, axis = graph.name(x), 0
    for part in filled:
        if part is None:
            name = graph.add("Unsqueeze", name, graph.integers(axis))
        elif isinstance(part, Slot):
            index = indices[part.i]
            if index.dtype == bool:
                raise ExportError(f"getitem at {step.line}: a mask as index cannot be exported")
            name = graph.add("Gather", name, graph.name(index), axis=axis)
            axis += len(index.shape) - 1
        elif isinstance(part, slice):
            name = sliced(graph, step, name, part, axis)
        else:
            name = graph.add("Gather", name, graph.constant(np.int64(part)), axis=axis)
            continue
        axis += 1
    return name


def sliced(graph: Graph, step: Instruction, name: str, part: slice, axis: int) -> str:
    """The name of a slice of an axis."""
    if any(isinstance(end, Dim) for end in (part.start, part.stop, part.step)):
        raise ExportError(f"getitem at {step.line}: a slice that depends on the number of rows")
    if part == slice(None):
        return name
    stride = 1 if part.step is None else part.step
    far = np.iinfo(np.int64).max
    start = part.start if part.start is not None else 0 if stride > 0 else far
    stop = part.stop if part.stop is not None else far if stride > 0 else -far
    ends = (graph.integers(n) for n in (start, stop, axis, stride))
    return graph.add("Slice", name, *ends)


# Reductions and normalisation -------------------------------------------------------------------

REDUCTIONS = {"max": "ReduceMax", "mean": "ReduceMean", "min": "ReduceMin", "sum": "ReduceSum"}


@rule(*REDUCTIONS)
def _reduction(graph: Graph, step: Instruction) -> str:
    x, axis = step.args[0], step.kwargs.get("axis")
    axes = range(len(x.shape)) if axis is None else np.atleast_1d(axis).tolist()
    return _reduced(graph, REDUCTIONS[step.name], graph.name(x), axes, step.kwargs.get("keepdims"))


def _reduced(graph: Graph, operator: str, x: str, axes: Any, keepdims: Any = True) -> str:
    keep = int(bool(keepdims))
    if operator == "ReduceSum":  # whose axes have been an input for longer
        return graph.add(operator, x, graph.integers(*axes), keepdims=keep)
    return graph.add(operator, x, axes=list(axes), keepdims=keep)


@rule("linear")
def _linear(graph: Graph, step: Instruction) -> str:
    x, weight, bias = (*step.args, None)[:3]
    product = graph.add("MatMul", graph.name(x), graph.name(weight))
    return product if bias is None else graph.add("Add", product, graph.name(bias))


@rule("layer_norm")
def _layer_norm(graph: Graph, step: Instruction) -> str:
    names = [graph.name(a) for a in step.args]
    return graph.add("LayerNormalization", *names, axis=-1, epsilon=float(step.kwargs["eps"]))


@rule("rms_norm")
def _rms_norm(graph: Graph, step: Instruction) -> str:
    x, weight = step.args
    return graph.add(
        "Mul", _over_deviation(graph, x, graph.name(x), [-1], step), graph.name(weight)
    )


@rule("standardize")
def _standardize(graph: Graph, step: Instruction) -> str:
    x, axes = step.args[0], list(step.kwargs["axis"])
    mean = _reduced(graph, "ReduceMean", graph.name(x), axes)
    return _over_deviation(graph, x, graph.add("Sub", graph.name(x), mean), axes, step)


def _over_deviation(graph: Graph, x: Value, centred: str, axes: Any, step: Instruction) -> str:
    square = _reduced(graph, "ReduceMean", graph.add("Mul", centred, centred), axes)
    variance = graph.add("Add", square, graph.name(step.kwargs["eps"], x))
    return graph.add("Div", centred, graph.add("Sqrt", variance))


@rule("batch_norm_fixed")
def _batch_norm_fixed(graph: Graph, step: Instruction) -> str:
    x, *rest = step.args
    weight, bias, mean, variance = (graph.array(a, "a statistic of batch norm") for a in rest)
    scale = weight / np.sqrt(variance + variance.dtype.type(step.kwargs["eps"]))
    scaled = graph.add("Mul", graph.name(x), graph.constant(scale))
    return graph.add("Add", scaled, graph.constant(bias - mean * scale))
