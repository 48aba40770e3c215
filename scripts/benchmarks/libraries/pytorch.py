"""PyTorch: eager with its fused Adam, or the same step through `torch.compile`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.job import Job, Unsupported, repeated, training
from benchmarks.workloads import (
    LEARNING_RATE,
    ConvNet,
    GradientCost,
    Mlp,
    Parameters,
    Prediction,
    ScalarChain,
    Transformer,
)

Batches = list[tuple[torch.Tensor, ...]]


def fit(model: nn.Module, batches: Batches, variant: str) -> Job:
    """Adam on the mean cross entropy."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    forward: Callable[..., torch.Tensor] = loss_of
    if variant == "compiled":
        forward = torch.compile(loss_of)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return training(step, batches)


def load(model: nn.Module, parameters: Parameters, **special: np.ndarray) -> nn.Module:
    """Copy parameters in, linear weights transposed as PyTorch keeps them."""
    state = {
        name: a if "token" in name or "position" in name or a.ndim != 2 else a.T
        for name, a in (parameters | special).items()
    }
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(a)) for k, a in state.items()})
    return model


def network(workload: Mlp) -> nn.Module:
    """Linear layers with ReLU between them."""
    pairs = itertools.pairwise(workload.sizes)
    layers = [x for n, m in pairs for x in (nn.Linear(n, m), nn.ReLU())]
    return load(nn.Sequential(*layers[:-1]), workload.parameters())


def tensors(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Batches:
    """Batches as PyTorch's tensors."""
    tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a))  # noqa: E731
    return [(tensor(x), tensor(y)) for x, y in pairs]


def mlp(workload: Mlp, variant: str) -> Job:
    """A training step of the fully connected network."""
    return fit(network(workload), tensors(workload.batches()), variant)


def convnet(workload: ConvNet, variant: str) -> Job:
    """A training step of the convolutional network, channels first as PyTorch likes them."""
    first, second = workload.channels
    model = nn.Sequential(
        nn.Conv2d(1, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(workload.flat, workload.hidden),
        nn.ReLU(),
        nn.Linear(workload.hidden, workload.classes),
    )
    parameters = workload.parameters()
    for name in ("0.weight", "3.weight"):
        parameters[name] = parameters[name].transpose(3, 2, 0, 1)
    side = workload.image // 4
    weight = parameters["7.weight"].reshape(side, side, second, workload.hidden)
    parameters["7.weight"] = weight.transpose(2, 0, 1, 3).reshape(-1, workload.hidden)
    batches = [(x.transpose(0, 3, 1, 2), y) for x, y in workload.batches()]
    return fit(load(model, parameters), tensors(batches), variant)


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) -> the same."""
        n, t, d = x.shape
        qkv = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(out.transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) -> the same."""
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(nn.functional.gelu(self.linear1(self.norm2(x))))


class CharTransformer(nn.Module):
    """The character model."""

    def __init__(self, workload: Transformer) -> None:
        super().__init__()
        d = workload.width
        self.token = nn.Embedding(workload.vocabulary, d)
        self.position = nn.Embedding(workload.context, d)
        self.blocks = [f"block{i}" for i in range(workload.layers)]
        for name in self.blocks:
            setattr(self, name, Block(d, workload.heads))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, workload.vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, time) tokens -> (batch * time, vocabulary) logits."""
        x = self.token(tokens) + self.position.weight
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.head(self.norm(x)).flatten(0, 1)


def transformer(workload: Transformer, variant: str) -> Job:
    """A training step of the character model."""
    model = load(CharTransformer(workload), workload.parameters())
    batches = [(x, y.reshape(-1)) for x, y in workload.batches()]
    return fit(model, tensors(batches), variant)


def prediction(workload: Prediction, variant: str) -> Job:
    """Classes of rows."""
    model = network(workload.network).eval()
    forward = torch.compile(model) if variant == "compiled" else model
    x = workload.inputs()

    @torch.inference_mode()
    def classes() -> np.ndarray:
        return forward(torch.from_numpy(x)).argmax(-1).numpy()

    return repeated(classes, lambda found: float(found.sum()))


def scalar_chain(workload: ScalarChain, variant: str) -> Job:
    """The derivative of the chain."""
    return derivative(lambda x: workload.run(x, torch), np.asarray(0.5), variant)


def gradient(workload: GradientCost, variant: str) -> Job:
    """The gradient of the function."""
    return derivative(lambda x: workload.function(x, torch), workload.point(), variant)


def derivative(function: Callable[[Any], Any], at: np.ndarray, variant: str) -> Job:
    """The gradient of `function`, eagerly."""
    if variant == "compiled":
        raise Unsupported("this measures the eager engine")
    point = torch.from_numpy(at)

    def call() -> np.ndarray:
        x = point.detach().requires_grad_()
        function(x).backward()
        return x.grad.numpy()

    return repeated(call, lambda g: float(g @ g) if g.ndim else float(g))
