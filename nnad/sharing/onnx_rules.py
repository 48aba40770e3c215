"""How each operation of a prediction is written in ONNX (operator set 17).

A rule takes the graph and an instruction and returns the names of the instruction's outputs, or of
the first of them.  nnad keeps channels last; where ONNX wants them second, a rule turns the axes,
which runtimes cancel between neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from nnad.compiler.program import Instruction, Value
from nnad.ops.attention import rotary_angles
from nnad.ops.index import Slot
from nnad.sharing.onnx_graph import Graph
from nnad.sharing.prediction import Dim, ExportError

__all__ = ["RULES"]

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
            name = _sliced(graph, step, name, part, axis)
        else:
            name = graph.add("Gather", name, graph.constant(np.int64(part)), axis=axis)
            continue
        axis += 1
    return name


def _sliced(graph: Graph, step: Instruction, name: str, part: slice, axis: int) -> str:
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


# Windows ----------------------------------------------------------------------------------------


def _channels_second(graph: Graph, x: str, ndim: int) -> str:
    return graph.add("Transpose", x, perm=[0, ndim - 1, *range(1, ndim - 1)])


def _channels_last(graph: Graph, x: str, ndim: int) -> str:
    return graph.add("Transpose", x, perm=[0, *range(2, ndim), 1])


def _kernel(graph: Graph, weight: Any, order: tuple[int, int]) -> str:
    """A kernel (*window, a, b) with the two last axes, in `order`, first."""
    ndim = len(weight.shape)
    perm = [ndim - 2 + order[0], ndim - 2 + order[1], *range(ndim - 2)]
    if graph.is_constant(weight):
        return graph.constant(graph.array(weight, "a kernel").transpose(perm))
    return graph.add("Transpose", graph.name(weight), perm=perm)


def _geometry(step: Instruction) -> dict[str, Any]:
    before, after = zip(*step.kwargs["padding"], strict=True)
    return {
        "strides": list(step.kwargs["stride"]),
        "dilations": list(step.kwargs["dilation"]),
        "pads": [*before, *after],
        "group": step.kwargs.get("groups", 1),
    }


@rule("conv")
def _conv(graph: Graph, step: Instruction) -> str:
    x, weight, bias = (*step.args, None)[:3]
    ndim = len(x.shape)
    y = graph.add(
        "Conv",
        _channels_second(graph, graph.name(x), ndim),
        _kernel(graph, weight, (1, 0)),
        *([] if bias is None else [graph.name(bias)]),
        **_geometry(step),
    )
    return _channels_last(graph, y, ndim)


@rule("conv_input")
def _conv_transposed(graph: Graph, step: Instruction) -> str:
    x, weight = step.args
    ndim, geometry = len(x.shape), _geometry(step)
    axes = zip(
        step.kwargs["sizes"], x.shape[1:-1], weight.shape[:-2], geometry["strides"],
        geometry["dilations"], step.kwargs["padding"], strict=True,
    )  # fmt: skip
    extra = [n - (s * (p - 1) + d * (k - 1) + 1 - sum(pad)) for n, p, k, s, d, pad in axes]
    y = graph.add(
        "ConvTranspose",
        _channels_second(graph, graph.name(x), ndim),
        _kernel(graph, weight, (1, 0)),
        output_padding=extra,
        **geometry,
    )
    return _channels_last(graph, y, ndim)


@rule("max_pool", "avg_pool")
def _pool(graph: Graph, step: Instruction) -> str:
    x = step.args[0]
    attributes: dict[str, Any] = {
        "kernel_shape": list(step.kwargs["kernel"]),
        "strides": list(step.kwargs["stride"]),
        "pads": [*step.kwargs["padding"], *step.kwargs["padding"]],
    }
    if step.name == "avg_pool":
        attributes["count_include_pad"] = 1
    operator = "MaxPool" if step.name == "max_pool" else "AveragePool"
    turned = _channels_second(graph, graph.name(x), len(x.shape))
    return _channels_last(graph, graph.add(operator, turned, **attributes), len(x.shape))


# Attention ----------------------------------------------------------------------------------------


@rule("attention")
def _attention(graph: Graph, step: Instruction) -> str:
    q, k, v, mask, drop = step.args
    names = (graph.name(q), graph.name(k), graph.name(v))
    return _attend(graph, step, names, q, k.shape[1], q.shape[-1], mask, drop)


@rule("self_attention")
def _self_attention(graph: Graph, step: Instruction) -> str:
    x, mask, drop = step.args
    heads, kv_heads = step.kwargs["heads"], step.kwargs["kv_heads"]
    size = x.shape[-1] // (heads + 2 * kv_heads)
    edges = (0, heads * size, (heads + kv_heads) * size, x.shape[-1])
    name = graph.name(x)
    names = tuple(_sliced(graph, step, name, slice(a, b), 2) for a, b in pairwise(edges))
    return _attend(graph, step, names, x, x.shape[1], heads * size, mask, drop)


def _attend(
    graph: Graph,
    step: Instruction,
    names: tuple[str, ...],
    like: Value,
    keys: int,
    features: int,
    mask: Any,
    drop: Any,
) -> str:
    """softmax(q kᵀ / sqrt(d) + mask) v, all heads at once: (batch, kv_heads, group, time, d)."""
    if drop is not None:
        raise ExportError("attention with dropout is for training; export in evaluation mode")
    heads, kv_heads = step.kwargs["heads"], step.kwargs["kv_heads"]
    queries, size = like.shape[1], features // heads

    def split(name: str, time: int, group: int, perm: list[int]) -> str:
        sizes = graph.integers(0, time, kv_heads, group, -1)
        return graph.add("Transpose", graph.add("Reshape", name, sizes), perm=perm)

    q = split(names[0], queries, heads // kv_heads, [0, 2, 3, 1, 4])
    k = split(names[1], keys, 1, [0, 2, 3, 4, 1])
    v = split(names[2], keys, 1, [0, 2, 3, 1, 4])
    scaled = graph.add("Mul", q, graph.name(1 / math.sqrt(size), like))
    scores = graph.add("MatMul", scaled, k)
    if mask is not None:
        scores = _masked(graph, scores, mask, like, heads, kv_heads)
    if step.kwargs["causal"]:
        allowed = np.tri(queries, keys, keys - queries, dtype=bool)
        floor = graph.name(-np.inf, like)
        scores = graph.add("Where", graph.constant(allowed), scores, floor)
    y = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)
    y = graph.add("Transpose", y, perm=[0, 3, 1, 2, 4])
    return graph.add("Reshape", y, graph.integers(0, queries, -1))


def _masked(graph: Graph, scores: str, mask: Any, like: Value, heads: int, kv_heads: int) -> str:
    """Scores with a mask of (queries, keys), (batch, ...) or (batch, heads, ...) applied."""
    name, ndim = graph.name(mask), len(mask.shape)
    if ndim == 3:
        name = graph.add("Unsqueeze", name, graph.integers(1, 2))
    elif ndim == 4:
        group = 1 if mask.shape[1] == 1 else heads // kv_heads
        kv = 1 if mask.shape[1] == 1 else kv_heads
        name = graph.add("Reshape", name, graph.integers(0, kv, group, *mask.shape[2:]))
    if mask.dtype == bool:
        return graph.add("Where", name, scores, graph.name(-np.inf, like))
    return graph.add("Add", scores, name)


@rule("rotary")
def _rotary(graph: Graph, step: Instruction) -> str:
    x, size = step.args[0], step.kwargs["head_size"]
    rotated, (_, time, features) = step.kwargs["rotated"], x.shape
    angles = rotary_angles(time, size, step.kwargs["base"])[:, None]
    sign = -1 if step.kwargs.get("back") else 1
    cosine = graph.constant(np.cos(angles).astype(x.dtype))
    sine = graph.constant((sign * np.sin(angles)).astype(x.dtype))
    name = graph.name(x)
    turned = _sliced(graph, step, name, slice(0, rotated), 2)
    pairs = graph.add("Reshape", turned, graph.integers(0, time, rotated // size, 2, size // 2))
    first, second = (
        graph.add("Gather", pairs, graph.constant(np.int64(i)), axis=3) for i in (0, 1)
    )
    parts = [
        graph.add("Sub", graph.add("Mul", first, cosine), graph.add("Mul", second, sine)),
        graph.add("Add", graph.add("Mul", second, cosine), graph.add("Mul", first, sine)),
    ]
    parts = [graph.add("Unsqueeze", part, graph.integers(3)) for part in parts]
    turned = graph.add("Concat", *parts, axis=3)
    turned = graph.add("Reshape", turned, graph.integers(0, time, rotated))
    if rotated == features:
        return turned
    return graph.add("Concat", turned, _sliced(graph, step, name, slice(rotated, None), 2), axis=2)


# Recurrent layers ---------------------------------------------------------------------------------

# The order of ONNX's gates among ours: i o f c of i f g o; z r h of r z n.
GATES = {"rnn_scan": (0,), "gru_scan": (1, 0, 2), "lstm_scan": (0, 3, 1, 2)}
OPERATORS = {"rnn_scan": "RNN", "gru_scan": "GRU", "lstm_scan": "LSTM"}


@rule(*OPERATORS)
def _scan(graph: Graph, step: Instruction) -> list[str]:
    """The inputs' part of the gates is there already: the input weight is the identity."""
    x, *states, weight, bias, mask = step.args
    if mask is not None:
        raise ExportError(f"{step.name}: sequences of several lengths cannot be exported")
    hidden, gates = weight.shape[0], GATES[step.name]
    order = np.concatenate([np.arange(hidden) + gate * hidden for gate in gates])
    identity = np.eye(len(order), dtype=x.dtype)[order][None]
    recurrent = graph.array(weight, "the weight of a state").T[order][None]
    own = np.zeros(len(order), x.dtype) if bias is None else graph.array(bias, "a bias")[order]
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "reverse" if step.kwargs["reverse"] else "forward",
    }
    if step.name == "gru_scan":
        attributes["linear_before_reset"] = 1
    if step.name == "rnn_scan":
        attributes["activations"] = ["Tanh" if step.kwargs["nonlinearity"] == "tanh" else "Relu"]
    first = [graph.add("Unsqueeze", graph.name(s), graph.integers(0)) for s in states]
    outputs = graph.add(
        OPERATORS[step.name],
        graph.add("Transpose", graph.name(x), perm=[1, 0, 2]),
        graph.constant(identity),
        graph.constant(recurrent),
        graph.constant(np.concatenate([np.zeros_like(own), own])[None]),
        "",
        *first,
        outputs=1 + len(states),
        **attributes,
    )
    y = graph.add("Squeeze", outputs[0], graph.integers(1))
    last = [graph.add("Squeeze", name, graph.integers(0)) for name in outputs[1:]]
    return [graph.add("Transpose", y, perm=[1, 0, 2]), *last]
