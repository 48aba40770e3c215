"""How windows, attention and recurrent layers are written in ONNX; see `onnx_rules`.

nnad keeps channels last; where ONNX wants them second, a rule turns the axes, which runtimes cancel
between neighbours.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from nnad.compiler.program import Instruction, Value
from nnad.ops.attention import rotary_angles
from nnad.sharing.onnx_graph import Graph
from nnad.sharing.onnx_rules import rule, sliced
from nnad.sharing.prediction import ExportError

__all__: list[str] = []


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
    names = tuple(sliced(graph, step, name, slice(a, b), 2) for a, b in pairwise(edges))
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
    turned = sliced(graph, step, name, slice(0, rotated), 2)
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
    return graph.add("Concat", turned, sliced(graph, step, name, slice(rotated, None), 2), axis=2)


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
