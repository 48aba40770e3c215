"""A sample call of every layer, and the same computation by PyTorch in its own layout.

`ROWS[layer]` holds the rows of a layer. A row makes the layer, gives its inputs, and, as
`reference(*inputs, p)`, what PyTorch computes from them and the layer's parameters `p` by name.
A row without a reference is one that a test of its own checks; `tested_in` says which.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnad import layers as L

Reference = Callable[..., Any]


@dataclass
class Row:
    """One sample: `make()` and call it with `inputs`, compare with `reference(x..., p)`."""

    make: Callable[[], L.Module]
    inputs: tuple[Any, ...]
    reference: Reference | None = None
    tested_in: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    training: bool = True


def real(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def integers(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([high, *shape]).integers(0, high, shape)


def first(x: Any) -> Any:
    """(batch, ..., channels) to PyTorch's (batch, channels, ...)."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    """PyTorch's (batch, channels, ...) to (batch, ..., channels)."""
    return x.movedim(1, -1)


def torch() -> Any:
    import torch

    return torch


def functional() -> Any:
    return torch().nn.functional


# Activations ------------------------------------------------------------------------------------


def by_name(name: str, **options: Any) -> Reference:
    def reference(x: Any, p: Any) -> Any:
        return getattr(functional(), name)(x, **options)

    return reference


def wide(*shape: int) -> np.ndarray:
    return 3 * real(*shape)


def activation(make: Callable[[], L.Module], name: str, **options: Any) -> Row:
    return Row(make, (wide(3, 4),), by_name(name, **options))


ACTIVATIONS = {
    L.CELU: [activation(lambda: L.CELU(0.7), "celu", alpha=0.7)],
    L.ELU: [activation(lambda: L.ELU(1.3), "elu", alpha=1.3)],
    L.GELU: [
        activation(L.GELU, "gelu"),
        activation(lambda: L.GELU("tanh"), "gelu", approximate="tanh"),
    ],
    L.GLU: [
        activation(L.GLU, "glu"),
        Row(lambda: L.GLU(axis=1), (real(2, 4, 3),), by_name("glu", dim=1)),
    ],
    L.Hardshrink: [activation(lambda: L.Hardshrink(0.4), "hardshrink", lambd=0.4)],
    L.Hardsigmoid: [activation(L.Hardsigmoid, "hardsigmoid")],
    L.Hardswish: [activation(L.Hardswish, "hardswish")],
    L.Hardtanh: [activation(lambda: L.Hardtanh(-2, 1), "hardtanh", min_val=-2, max_val=1)],
    L.LeakyReLU: [activation(lambda: L.LeakyReLU(0.2), "leaky_relu", negative_slope=0.2)],
    L.LogSigmoid: [activation(L.LogSigmoid, "logsigmoid")],
    L.LogSoftmax: [activation(L.LogSoftmax, "log_softmax", dim=-1)],
    L.Mish: [activation(L.Mish, "mish")],
    L.PReLU: [
        Row(
            lambda: L.PReLU(4),
            (wide(3, 4),),
            lambda x, p: functional().prelu(x, p["weight"]),
        ),
        Row(
            L.PReLU,
            (wide(2, 3, 4),),
            lambda x, p: functional().prelu(x, p["weight"]),
        ),
    ],
    L.ReLU: [activation(L.ReLU, "relu")],
    L.ReLU6: [Row(L.ReLU6, (3 * wide(3, 4),), by_name("relu6"))],
    L.SELU: [activation(L.SELU, "selu")],
    L.SiLU: [activation(L.SiLU, "silu")],
    L.Sigmoid: [activation(L.Sigmoid, "sigmoid")],
    L.Softmax: [
        activation(L.Softmax, "softmax", dim=-1),
        Row(lambda: L.Softmax(axis=1), (real(2, 3, 4),), by_name("softmax", dim=1)),
    ],
    L.Softplus: [activation(lambda: L.Softplus(2, 3), "softplus", beta=2, threshold=3)],
    L.Softshrink: [activation(lambda: L.Softshrink(0.4), "softshrink", lambd=0.4)],
    L.Softsign: [activation(L.Softsign, "softsign")],
    L.Tanh: [activation(L.Tanh, "tanh")],
}


# Maps, embeddings, containers -------------------------------------------------------------------


def affine(x: Any, p: Any) -> Any:
    return x @ p["weight"] + p.get("bias", 0)


def column_embedding(x: Any, p: Any) -> Any:
    codes = x[:, 2:].long()
    parts = [p[f"embeddings.{i}.weight"][codes[:, i]] for i in range(2)]
    return torch().cat([x[:, :2], *parts], dim=1)


def bags(mode: str, **options: Any) -> Reference:
    def reference(x: Any, p: Any, offsets: Any = None) -> Any:
        return functional().embedding_bag(x, p["weight"], offsets, mode=mode, **options)

    return reference


def periodic(kind: str) -> Reference:
    def reference(x: Any, p: Any) -> Any:
        t = torch()
        angle = 2 * np.pi * p["frequencies"] * x[..., None]
        if kind == "pbld":
            waves = t.cos(angle + p["phases"])
        else:
            waves = t.cat([t.cos(angle), t.sin(angle)], dim=-1)
        mapped = t.einsum("bfw,fwd->bfd", waves, p["weight"]) + p["bias"]
        if kind == "pbld":
            mapped = t.cat([x[..., None], mapped], dim=-1)
        return (mapped if kind == "pbld" else mapped.relu()).reshape(len(x), -1)

    return reference


CODES = np.concatenate([real(5, 2), integers(3, 5, 1), integers(4, 5, 1)], axis=1)

MAPS = {
    L.Linear: [
        Row(lambda: L.Linear(4, 3), (real(5, 4),), affine),
        Row(lambda: L.Linear(4, 3, bias=False), (real(2, 5, 4),), affine),
        Row(lambda: L.Linear(4, 3), (real(2, 2, 5, 4),), affine),
    ],
    L.Bilinear: [
        Row(
            lambda bias=bias: L.Bilinear(2, 3, 4, bias=bias),
            (real(5, 2), real(5, 3)),
            lambda x, y, p: functional().bilinear(
                x, y, p["weight"].permute(2, 0, 1), p.get("bias")
            ),
        )
        for bias in (True, False)
    ],
    L.Embedding: [
        Row(
            lambda: L.Embedding(7, 3),
            (integers(7, 2, 5),),
            lambda x, p: functional().embedding(x, p["weight"]),
        ),
        Row(
            lambda: L.Embedding(4, 3, padding_idx=1),
            (integers(4, 9),),
            lambda x, p: functional().embedding(x, p["weight"], padding_idx=1),
        ),
    ],
    L.EmbeddingBag: [
        *(
            Row(lambda mode=mode: L.EmbeddingBag(7, 3, mode), (integers(7, 4, 5),), bags(mode))
            for mode in ("sum", "mean", "max")
        ),
        *(
            Row(
                lambda mode=mode: L.EmbeddingBag(7, 3, mode, padding_idx=2),
                (np.array([1, 2, 3, 3, 6]),),
                lambda x, p, mode=mode, **k: bags(mode, padding_idx=2)(x, p, **k),
                kwargs={"offsets": np.array([0, 2, 2])},
            )
            for mode in ("sum", "mean", "max")
        ),
    ],
    L.ColumnEmbedding: [
        Row(lambda: L.ColumnEmbedding([3, 4], [2, 3]), (CODES,), column_embedding),
        Row(lambda: L.ColumnEmbedding([3, 4], 2, in_features=4), (CODES,), column_embedding),
        Row(lambda: L.ColumnEmbedding([3, 4]), (CODES,), column_embedding),
    ],
    L.PeriodicEmbedding: [
        Row(lambda kind=kind: L.PeriodicEmbedding(3, kind=kind), (real(5, 3),), periodic(kind))
        for kind in ("pbld", "plr")
    ]
    + [
        Row(
            lambda: L.PeriodicEmbedding(5, numeric_features=3),
            (real(5, 5),),
            lambda x, p: torch().cat([periodic("pbld")(x[:, :3], p), x[:, 3:]], dim=-1),
        )
    ],
    L.NTKLinear: [
        Row(lambda: L.NTKLinear(4, 3), (real(2, 5, 4),), lambda x, p: affine(x / 2, p)),
    ],
    L.TiedLinear: [
        Row(
            lambda bias=bias: L.TiedLinear(L.Parameter(real(3, 4).astype("f4")), bias),
            (real(2, 5, 4),),
            lambda x, p: x @ p["weight"].T + p.get("bias", 0),
        )
        for bias in (True, False)
    ],
    L.Scale: [Row(lambda: L.Scale(4), (real(2, 5, 4),), lambda x, p: x * p["scale"])],
    L.Sequential: [
        Row(
            lambda: L.Sequential(L.Linear(4, 3), L.Tanh()),
            (real(5, 4),),
            lambda x, p: torch().tanh(x @ p["0.weight"] + p["0.bias"]),
        ),
        Row(
            lambda: L.Sequential([L.RNN(4, 4), L.LastStep()]),
            (real(2, 3, 4),),
            lambda x, p: recurrent("RNN", 4, 4, prefix="0.")(x, p)[0][:, -1],
        ),
    ],
    L.Residual: [
        Row(
            lambda: L.Residual(L.Linear(4, 4)),
            (real(5, 4),),
            lambda x, p: x + x @ p["layer.weight"] + p["layer.bias"],
        ),
        Row(
            lambda: L.Residual(L.Linear(4, 3), L.Linear(4, 3, bias=False)),
            (real(5, 4),),
            lambda x, p: x @ p["shortcut.weight"] + x @ p["layer.weight"] + p["layer.bias"],
        ),
    ],
    L.Concat: [
        Row(
            lambda: L.Concat(L.Linear(4, 3), L.Identity()),
            (real(5, 4),),
            lambda x, p: torch().cat([x @ p["0.weight"] + p["0.bias"], x], dim=-1),
        )
    ],
    L.Parallel: [
        Row(
            lambda: L.Parallel(L.Linear(4, 4), L.Identity(), L.Tanh()),
            (real(5, 4),),
            lambda x, p: x @ p["0.weight"] + p["0.bias"] + x + x.tanh(),
        )
    ],
    L.Identity: [Row(L.Identity, (real(2, 3),), lambda x, p: x)],
    L.Lambda: [Row(lambda: L.Lambda(np.sin), (real(2, 3),), lambda x, p: x.sin())],
    L.Flatten: [
        Row(L.Flatten, (real(2, 3, 4),), lambda x, p: x.reshape(2, 12)),
        Row(lambda: L.Flatten(2), (real(2, 3, 4, 5),), lambda x, p: x.reshape(2, 3, 20)),
        Row(L.Flatten, (real(2, 3),), lambda x, p: x),
    ],
    L.Reshape: [
        Row(lambda: L.Reshape(2, -1), (real(3, 8),), lambda x, p: x.reshape(3, 2, 4)),
        Row(lambda: L.Reshape((8,)), (real(3, 2, 4),), lambda x, p: x.reshape(3, 8)),
    ],
    L.Permute: [
        Row(lambda: L.Permute(0, 2, 1), (real(2, 3, 4),), lambda x, p: x.permute(0, 2, 1)),
    ],
    L.ModuleList: [Row(L.ModuleList, (), tested_in="test_module_list_is_indexed_not_called")],
}


# Normalisation ----------------------------------------------------------------------------------


def batch_norm(training: bool = True) -> Reference:
    def reference(x: Any, p: Any) -> Any:
        t = torch()
        size = x.shape[-1]
        y = functional().batch_norm(
            first(x),
            t.zeros(size, dtype=x.dtype),
            t.ones(size, dtype=x.dtype),
            p["weight"],
            p["bias"],
            training=training,
        )
        return last(y)

    return reference


NORMS = {
    L.BatchNorm1d: [
        Row(lambda: L.BatchNorm1d(3), (real(5, 3),), batch_norm()),
        Row(lambda: L.BatchNorm1d(3), (real(2, 4, 3),), batch_norm()),
        Row(lambda: L.BatchNorm1d(3), (real(5, 3),), batch_norm(False), training=False),
    ],
    L.BatchNorm2d: [
        Row(lambda: L.BatchNorm2d(3), (real(2, 4, 5, 3),), batch_norm()),
        Row(lambda: L.BatchNorm2d(3), (real(2, 4, 5, 3),), batch_norm(False), training=False),
    ],
    L.LayerNorm: [
        Row(
            lambda: L.LayerNorm(4),
            (real(2, 3, 4),),
            lambda x, p: functional().layer_norm(x, (4,), p["weight"], p["bias"]),
        ),
        Row(
            lambda: L.LayerNorm((3, 4), eps=1e-3, bias=False),
            (real(2, 3, 4),),
            lambda x, p: functional().layer_norm(x, (3, 4), p["weight"], eps=1e-3),
        ),
    ],
    L.RMSNorm: [
        Row(
            lambda: L.RMSNorm(4),
            (real(2, 3, 4),),
            lambda x, p: functional().rms_norm(x, (4,), p["weight"], eps=1e-5),
        ),
        Row(
            lambda: L.RMSNorm((3, 4)),
            (real(2, 3, 4),),
            lambda x, p: functional().rms_norm(x, (3, 4), p["weight"], eps=1e-5),
        ),
    ],
    L.GroupNorm: [
        Row(
            lambda: L.GroupNorm(2, 6),
            (real(3, 4, 5, 6),),
            lambda x, p: last(functional().group_norm(first(x), 2, p["weight"], p["bias"])),
        ),
        Row(
            lambda: L.GroupNorm(2, 6),
            (real(3, 6),),
            lambda x, p: functional().group_norm(x, 2, p["weight"], p["bias"]),
        ),
    ],
    L.InstanceNorm1d: [
        Row(
            lambda: L.InstanceNorm1d(3, affine=True),
            (real(2, 5, 3),),
            lambda x, p: last(
                functional().instance_norm(first(x), weight=p["weight"], bias=p["bias"])
            ),
        )
    ],
    L.InstanceNorm2d: [
        Row(
            lambda: L.InstanceNorm2d(3),
            (real(2, 4, 5, 3),),
            lambda x, p: last(functional().instance_norm(first(x))),
        )
    ],
}


# Convolution and pooling ------------------------------------------------------------------------


def same_padding(kernel: Any, dilation: Any) -> list[int]:
    """Amounts for torch's pad (last axis first) that keep the size, the odd element at the end."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [n for total in reversed(totals) for n in (total // 2, total - total // 2)]


def conv(dims: int, padding: Any = 0, **options: Any) -> Reference:
    def reference(x: Any, p: Any) -> Any:
        if padding == "same":
            dilation = np.broadcast_to(options.get("dilation", 1), dims).tolist()
            amounts = same_padding(p["weight"].shape[:dims], dilation)
            return conv(dims, **options)(last(pad(x, amounts)), p)
        weight = p["weight"].permute(dims + 1, dims, *range(dims))
        op = getattr(functional(), f"conv{dims}d")
        return last(op(first(x), weight, p.get("bias"), padding=padding, **options))

    return reference


def conv_transpose(dims: int, **options: Any) -> Reference:
    def reference(x: Any, p: Any) -> Any:
        weight = p["weight"].permute(dims, dims + 1, *range(dims))
        op = getattr(functional(), f"conv_transpose{dims}d")
        return last(op(first(x), weight, p.get("bias"), **options))

    return reference


def separable(x: Any, p: Any) -> Any:
    deep = {"weight": p["depthwise.weight"]}
    point = {"weight": p["pointwise.weight"], "bias": p["pointwise.bias"]}
    return conv(2)(conv(2, padding=1, groups=3)(x, deep), point)


def pool(name: str, *args: Any, **options: Any) -> Reference:
    def reference(x: Any, p: Any) -> Any:
        return last(getattr(functional(), name)(first(x), *args, **options))

    return reference


def conv_row(kind: Any, shape: tuple[int, ...], *args: Any, **options: Any) -> Row:
    dims = {L.Conv1d: 1, L.Conv2d: 2, L.Conv3d: 3}[kind]
    settings = {k: v for k, v in options.items() if k != "bias"}
    return Row(lambda: kind(*args, **options), (real(*shape),), conv(dims, **settings))


def transpose_row(kind: Any, shape: tuple[int, ...], *args: Any, **options: Any) -> Row:
    dims = {L.ConvTranspose1d: 1, L.ConvTranspose2d: 2}[kind]
    settings = {k: v for k, v in options.items() if k != "bias"}
    return Row(lambda: kind(*args, **options), (real(*shape),), conv_transpose(dims, **settings))


CONVOLUTIONS = {
    L.Conv1d: [
        conv_row(L.Conv1d, (2, 7, 3), 3, 4, 3),
        conv_row(L.Conv1d, (2, 8, 2), 2, 4, 3, stride=2, padding=1, dilation=2, groups=2),
        conv_row(L.Conv1d, (2, 8, 2), 2, 3, 4, padding="same", bias=False),
    ],
    L.Conv2d: [
        conv_row(L.Conv2d, (2, 6, 7, 3), 3, 4, (3, 2)),
        conv_row(L.Conv2d, (2, 6, 7, 3), 3, 4, 3, padding="same"),
        conv_row(L.Conv2d, (2, 6, 7, 3), 3, 4, (4, 2), padding="same", dilation=(1, 2)),
        conv_row(L.Conv2d, (2, 9, 7, 4), 4, 6, 3, stride=(2, 1), padding=(1, 0), groups=2),
        conv_row(L.Conv2d, (2, 7, 7, 1), 1, 2, 5, bias=False),
        conv_row(L.Conv2d, (2, 5, 5, 8), 8, 3, 2),
        conv_row(L.Conv2d, (2, 4, 4, 3), 3, 5, 1),
        conv_row(L.Conv2d, (2, 4, 4, 3), 3, 5, 1, stride=2),
        conv_row(L.Conv2d, (2, 6, 6, 3), 3, 6, 3, groups=3, dilation=2, padding=2),
        conv_row(L.Conv2d, (1, 3, 3, 2), 2, 3, 3),
    ],
    L.Conv3d: [
        conv_row(L.Conv3d, (2, 4, 5, 4, 2), 2, 3, 2),
        conv_row(L.Conv3d, (1, 5, 5, 5, 2), 2, 2, 3, stride=2, padding=1),
    ],
    L.DepthwiseConv2d: [
        Row(
            lambda: L.DepthwiseConv2d(3, 3, padding=1, multiplier=2),
            (real(2, 5, 5, 3),),
            conv(2, padding=1, groups=3),
        )
    ],
    L.SeparableConv2d: [
        Row(lambda: L.SeparableConv2d(3, 4, 3, padding=1), (real(2, 5, 5, 3),), separable)
    ],
    L.ConvTranspose1d: [
        transpose_row(L.ConvTranspose1d, (2, 5, 3), 3, 4, 3),
        transpose_row(L.ConvTranspose1d, (2, 5, 3), 3, 2, 4, stride=3, padding=1, bias=False),
    ],
    L.ConvTranspose2d: [
        transpose_row(L.ConvTranspose2d, (2, 4, 5, 3), 3, 4, 3),
        transpose_row(L.ConvTranspose2d, (2, 4, 5, 3), 3, 2, 2, stride=2),
        transpose_row(
            L.ConvTranspose2d,
            (2, 4, 3, 4),
            4,
            6,
            (3, 2),
            stride=(2, 3),
            padding=(1, 0),
            output_padding=(1, 0),
            dilation=(1, 2),
            groups=2,
        ),
        transpose_row(L.ConvTranspose2d, (2, 3, 3, 2), 2, 2, 3, padding=1, groups=2),
    ],
    L.MaxPool1d: [Row(lambda: L.MaxPool1d(2), (real(2, 7, 3),), pool("max_pool1d", 2))],
    L.MaxPool2d: [
        Row(lambda: L.MaxPool2d(2), (real(2, 6, 8, 3),), pool("max_pool2d", 2)),
        Row(lambda: L.MaxPool2d(2), (real(2, 5, 7, 3),), pool("max_pool2d", 2)),
        Row(
            lambda: L.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 1)),
            (real(2, 6, 5, 3),),
            pool("max_pool2d", (3, 2), stride=(2, 1), padding=(1, 1)),
        ),
        Row(lambda: L.MaxPool2d(1, stride=2), (real(1, 5, 5, 2),), pool("max_pool2d", 1, 2)),
    ],
    L.AvgPool1d: [Row(lambda: L.AvgPool1d(3, 2, 1), (real(2, 7, 3),), pool("avg_pool1d", 3, 2, 1))],
    L.AvgPool2d: [
        Row(lambda: L.AvgPool2d(2), (real(2, 6, 8, 3),), pool("avg_pool2d", 2)),
        Row(
            lambda: L.AvgPool2d((3, 2), 1, (1, 0)),
            (real(2, 4, 5, 3),),
            pool("avg_pool2d", (3, 2), 1, (1, 0)),
        ),
    ],
    L.AdaptiveAvgPool1d: [
        Row(lambda: L.AdaptiveAvgPool1d(3), (real(2, 7, 2),), pool("adaptive_avg_pool1d", 3))
    ],
    L.AdaptiveAvgPool2d: [
        Row(
            lambda: L.AdaptiveAvgPool2d((2, 3)),
            (real(2, 5, 7, 2),),
            pool("adaptive_avg_pool2d", (2, 3)),
        )
    ],
    L.AdaptiveMaxPool1d: [
        Row(lambda: L.AdaptiveMaxPool1d(3), (real(2, 7, 2),), pool("adaptive_max_pool1d", 3))
    ],
    L.AdaptiveMaxPool2d: [
        Row(
            lambda: L.AdaptiveMaxPool2d((2, 4)),
            (real(2, 5, 4, 2),),
            pool("adaptive_max_pool2d", (2, 4)),
        )
    ],
    L.GlobalAvgPool: [
        Row(L.GlobalAvgPool, (real(2, 4, 5, 3),), lambda x, p: x.mean((1, 2))),
        Row(L.GlobalAvgPool, (real(2, 4, 3),), lambda x, p: x.mean(1)),
    ],
    L.GlobalMaxPool: [Row(L.GlobalMaxPool, (real(2, 4, 5, 3),), lambda x, p: x.amax((1, 2)))],
    L.Upsample: [
        Row(
            lambda: L.Upsample((2, 3)),
            (real(2, 3, 4, 2),),
            pool("interpolate", scale_factor=(2, 3)),
        ),
        Row(
            lambda: L.Upsample(2, mode="bilinear"),
            (real(2, 3, 4, 2),),
            pool("interpolate", scale_factor=2, mode="bilinear"),
        ),
        Row(
            lambda: L.Upsample(3, mode="bilinear"),
            (real(2, 1, 4, 2),),
            pool("interpolate", scale_factor=3, mode="bilinear"),
        ),
        Row(
            lambda: L.Upsample(2, mode="bilinear"),
            (real(2, 4, 2),),
            pool("interpolate", scale_factor=2, mode="linear"),
        ),
    ],
    L.ZeroPad1d: [
        Row(lambda: L.ZeroPad1d((1, 2)), (real(2, 4, 3),), lambda x, p: last(pad(x, (1, 2)))),
        Row(lambda: L.ZeroPad1d(1), (real(2, 4, 3),), lambda x, p: last(pad(x, (1, 1)))),
    ],
    L.ZeroPad2d: [
        Row(
            lambda: L.ZeroPad2d((1, 2, 3, 0)),
            (real(2, 4, 5, 3),),
            lambda x, p: last(pad(x, (3, 0, 1, 2))),
        ),
        Row(
            lambda: L.ZeroPad2d((1, 2)),
            (real(2, 4, 5, 3),),
            lambda x, p: last(pad(x, (2, 2, 1, 1))),
        ),
    ],
}


def pad(x: Any, amounts: Any) -> Any:
    return functional().pad(first(x), amounts)


# Recurrent layers -------------------------------------------------------------------------------


def recurrent(name: str, inputs: int, hidden: int, prefix: str = "", **options: Any) -> Reference:
    def reference(x: Any, p: Any, state: Any = None, lengths: Any = None) -> Any:
        t = torch()
        module = getattr(t.nn, name)(inputs, hidden, batch_first=True, dtype=x.dtype, **options)
        weights = {
            k.removeprefix(prefix): v.T if v.ndim == 2 else v
            for k, v in p.items()
            if k.startswith(prefix)
        }
        for key in module.state_dict():
            weights.setdefault(key, t.zeros_like(module.state_dict()[key]))
        if lengths is None:
            return t.func.functional_call(module, weights, (x, state))
        pack = t.nn.utils.rnn
        packed = pack.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, last_state = t.func.functional_call(module, weights, (packed, state))
        return pack.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], last_state

    return reference


def recurrent_rows(name: str) -> list[Row]:
    kind = getattr(L, name)
    deep = {"num_layers": 2, "bidirectional": True}
    state = real(4, 3, 2)
    pair = (state, real(4, 3, 2, seed=1))
    return [
        Row(lambda: kind(3, 2), (real(2, 4, 3),), recurrent(name, 3, 2)),
        Row(lambda: kind(3, 2, bias=False), (real(2, 1, 3),), recurrent(name, 3, 2)),
        Row(lambda: kind(3, 2, **deep), (real(3, 4, 3),), recurrent(name, 3, 2, **deep)),
        Row(
            lambda: kind(3, 2, **deep),
            (real(3, 4, 3),),
            recurrent(name, 3, 2, **deep),
            kwargs={"lengths": np.array([2, 4, 1]), "state": pair if name == "LSTM" else state},
        ),
    ]


RECURRENT = {
    L.RNN: [
        *recurrent_rows("RNN"),
        Row(
            lambda: L.RNN(3, 2, nonlinearity="relu"),
            (real(2, 4, 3),),
            recurrent("RNN", 3, 2, nonlinearity="relu"),
        ),
    ],
    L.GRU: recurrent_rows("GRU"),
    L.LSTM: recurrent_rows("LSTM"),
    L.LastStep: [Row(L.LastStep, (real(2, 3, 4),), lambda x, p: x[:, -1])],
}


# Attention --------------------------------------------------------------------------------------


def transposed(p: Any, prefix: str = "") -> Any:
    return {
        k.removeprefix(prefix): v.T if v.ndim == 2 else v
        for k, v in p.items()
        if k.startswith(prefix)
    }


def torch_mask(mask: Any, heads: int) -> Any:
    """PyTorch's boolean masks are True where attention is NOT allowed, one per head and batch."""
    if mask is None:
        return None
    if mask.ndim == 3:
        mask = mask.repeat_interleave(heads, dim=0)
    elif mask.ndim == 4:
        mask = mask.reshape(-1, *mask.shape[2:])
    return ~mask if mask.dtype == torch().bool else mask


def multi_head(heads: int, bias: bool = True) -> Reference:
    def reference(q: Any, *kv: Any, p: Any = None, causal: bool = False, mask: Any = None) -> Any:
        t = torch()
        *kv, p = (*kv, p) if p is not None else kv
        k = kv[0] if kv else q
        v = kv[1] if len(kv) > 1 else k
        module = t.nn.MultiheadAttention(
            q.shape[-1], heads, bias=bias, batch_first=True, dtype=q.dtype
        )
        mask = torch_mask(mask, heads)
        if causal:
            mask = ~t.ones(q.shape[1], k.shape[1], dtype=t.bool).tril(k.shape[1] - q.shape[1])
        options = {"attn_mask": mask, "need_weights": False}
        return t.func.functional_call(module, transposed(p), (q, k, v), options)[0]

    return reference


def grouped(x: Any, p: Any, causal: bool = False, mask: Any = None) -> Any:
    """Two heads of keys and values for four of queries of size 2, by repeating them."""
    q, k, v = (x @ p["in_proj_weight"] + p["in_proj_bias"]).split([8, 4, 4], dim=-1)
    split = lambda y: y.reshape(*y.shape[:2], -1, 2).transpose(1, 2)  # noqa: E731
    k, v = (split(y).repeat_interleave(2, dim=1) for y in (k, v))
    y = functional().scaled_dot_product_attention(split(q), k, v, attn_mask=mask, is_causal=causal)
    y = y.transpose(1, 2).reshape(x.shape)
    return y @ p["out_proj.weight"] + p["out_proj.bias"]


def rotary(x: Any, p: Any = None) -> Any:
    """Rotations of pairs (i, i + 2) of heads of 4, as products of complex numbers."""
    t = torch()
    frequencies = 10000.0 ** (-t.arange(0, 4, 2, dtype=x.dtype) / 4)
    angles = t.arange(x.shape[1], dtype=x.dtype)[:, None, None] * frequencies
    parts = x.reshape(*x.shape[:2], -1, 2, 2)
    turned = t.complex(parts[..., 0, :], parts[..., 1, :]) * t.polar(t.ones_like(angles), angles)
    return t.stack([turned.real, turned.imag], dim=-2).reshape(x.shape)


def rotary_attention(x: Any, p: Any, causal: bool = False) -> Any:
    q, k, v = (x @ p["in_proj_weight"] + p["in_proj_bias"]).chunk(3, dim=-1)
    split = lambda y: y.reshape(*y.shape[:2], -1, 4).transpose(1, 2)  # noqa: E731
    y = functional().scaled_dot_product_attention(
        split(rotary(q)), split(rotary(k)), split(v), is_causal=causal
    )
    return y.transpose(1, 2).reshape(x.shape) @ p["out_proj.weight"] + p["out_proj.bias"]


def encoder(**options: Any) -> Reference:
    def reference(x: Any, p: Any, causal: bool = False, mask: Any = None) -> Any:
        t = torch()
        layer = t.nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.0, batch_first=True, dtype=x.dtype, **options
        )
        if causal:
            mask = t.ones(x.shape[1], x.shape[1], dtype=t.bool).tril()
        call = {"src_mask": torch_mask(mask, 2)}
        return t.func.functional_call(layer, transposed(p), (x,), call)

    return reference


def decoder(**options: Any) -> Reference:
    def reference(x: Any, memory: Any, p: Any) -> Any:
        t = torch()
        layer = t.nn.TransformerDecoderLayer(
            8, 2, 12, dropout=0.0, batch_first=True, dtype=x.dtype, **options
        )
        mask = ~t.ones(x.shape[1], x.shape[1], dtype=t.bool).tril()
        return t.func.functional_call(layer, transposed(p), (x, memory), {"tgt_mask": mask})

    return reference


def sinusoids(x: Any, p: Any) -> Any:
    place = np.arange(x.shape[1])[:, None]
    table = np.zeros(x.shape[1:])
    for i in range(x.shape[2]):
        angle = place / 10000 ** ((i // 2 * 2) / x.shape[2])
        table[:, i] = (np.cos(angle) if i % 2 else np.sin(angle))[:, 0]
    return x + torch().tensor(table)


ALLOWED = np.array([[True, False, True, True], [True] * 4, [False, False, False, True]])

ATTENTION = {
    L.MultiHeadAttention: [
        Row(lambda: L.MultiHeadAttention(8, 2), (real(2, 5, 8),), multi_head(2)),
        Row(
            lambda: L.MultiHeadAttention(8, 4, bias=False),
            (real(2, 5, 8),),
            multi_head(4, bias=False),
            kwargs={"causal": True},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 2),
            (real(2, 3, 8), real(2, 4, 8)),
            multi_head(2),
            kwargs={"mask": ALLOWED},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 2),
            (real(2, 3, 8), real(2, 4, 8), real(2, 4, 8, seed=1)),
            multi_head(2),
            kwargs={"mask": np.stack([ALLOWED, ~ALLOWED | ALLOWED])},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 2),
            (real(2, 3, 8),),
            multi_head(2),
            kwargs={"mask": real(2, 2, 3, 3)},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 2),
            (real(2, 3, 8), real(2, 5, 8)),
            multi_head(2),
            kwargs={"causal": True},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 4, num_kv_heads=2),
            (real(2, 5, 8),),
            grouped,
            kwargs={"causal": True},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 4, num_kv_heads=2),
            (real(2, 3, 8),),
            grouped,
            kwargs={"mask": real(2, 4, 3, 3)},
        ),
        Row(
            lambda: L.MultiHeadAttention(8, 2, rotary=True),
            (real(2, 5, 8),),
            rotary_attention,
            kwargs={"causal": True},
        ),
    ],
    L.TransformerEncoderLayer: [
        Row(
            lambda: L.TransformerEncoderLayer(8, 2, 12, dropout=0),
            (real(2, 3, 8),),
            encoder(),
            kwargs={"mask": np.tri(3, dtype=bool)},
        ),
        Row(
            lambda: L.TransformerEncoderLayer(
                8, 2, 12, dropout=0, activation="gelu", norm_first=True
            ),
            (real(2, 3, 8),),
            encoder(activation="gelu", norm_first=True),
            kwargs={"causal": True},
        ),
        Row(
            lambda: L.TransformerEncoderLayer(8, 2, 12, dropout=0, bias=False),
            (real(2, 3, 8),),
            encoder(bias=False),
        ),
    ],
    L.TransformerDecoderLayer: [
        Row(
            lambda: L.TransformerDecoderLayer(8, 2, 12, dropout=0),
            (real(2, 3, 8), real(2, 4, 8)),
            decoder(),
        ),
        Row(
            lambda: L.TransformerDecoderLayer(8, 2, 12, dropout=0, norm_first=True),
            (real(2, 3, 8), real(2, 4, 8)),
            decoder(norm_first=True),
        ),
    ],
    L.SinusoidalPositions: [
        Row(lambda: L.SinusoidalPositions(6, 9, dtype="float64"), (real(2, 4, 6),), sinusoids),
        Row(lambda: L.SinusoidalPositions(5, 9, dtype="float64"), (real(2, 4, 5),), sinusoids),
    ],
    L.LearnedPositions: [
        Row(lambda: L.LearnedPositions(5, 3), (real(2, 4, 3),), lambda x, p: x + p["weight"][:4]),
        Row(lambda: L.LearnedPositions(4, 3), (real(2, 4, 3),), lambda x, p: x + p["weight"]),
    ],
    L.RotaryPositions: [Row(lambda: L.RotaryPositions(4), (real(2, 3, 8),), rotary)],
}


# Noise ------------------------------------------------------------------------------------------

NOISE = {
    kind: [
        Row(lambda kind=kind: kind(0.3), (real(3, 4),), lambda x, p: x, training=False),
        Row(lambda kind=kind: kind(0.0), (real(3, 4),), lambda x, p: x),
        Row(lambda kind=kind: kind(0.3, rng=0), (real(3, 4),), tested_in=test),
    ]
    for kind, test in {
        L.Dropout: "test_dropout_keeps_the_mean_and_draws_afresh",
        L.SpatialDropout: "test_spatial_dropout_drops_whole_channels",
        L.GaussianNoise: "test_gaussian_noise_has_the_deviation_asked_for",
    }.items()
}

ROWS: dict[type[L.Module], list[Row]] = {
    **ACTIVATIONS,
    **MAPS,
    **NORMS,
    **CONVOLUTIONS,
    **RECURRENT,
    **ATTENTION,
    **NOISE,
}
