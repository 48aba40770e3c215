"""nnad, step by step (variant "eager") or as a program (the name of a back end)."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nnad
from benchmarks.job import Job, Unsupported, processes, repeated, training
from benchmarks.workloads import (
    LEARNING_RATE,
    ConvNet,
    GradientCost,
    Mlp,
    Prediction,
    ScalarChain,
    Transformer,
    WholeJob,
)


def layer(name: str) -> Any:
    """A class of `nnad.layers`."""
    if not hasattr(nnad.layers, name):
        raise Unsupported(f"nnad.layers has no {name}")
    return getattr(nnad.layers, name)


def compiled(function: Callable[..., Any], variant: str) -> Callable[..., Any]:
    """`function`, as a program if the variant asks for one."""
    if variant == "eager":
        return function
    if not hasattr(nnad, "compile"):
        raise Unsupported("nnad has no compile")
    return nnad.compile(function, backend=variant)


def fit(model: Any, workload: Mlp | ConvNet | FlatTargets, variant: str) -> Job:
    """Adam on the mean cross entropy."""
    model.load_state_dict(workload.parameters())
    optimizer = nnad.optimizers.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(x: np.ndarray, y: np.ndarray) -> Any:
        loss = nnad.losses.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return training(compiled(step, variant), workload.batches())


def network(sizes: tuple[int, ...]) -> Any:
    """Linear layers with ReLU between them."""
    linear, relu = layer("Linear"), layer("ReLU")
    layers = [x for n, m in itertools.pairwise(sizes) for x in (linear(n, m), relu())]
    return layer("Sequential")(*layers[:-1])


def mlp(workload: Mlp, variant: str) -> Job:
    """A training step of the fully connected network."""
    return fit(network(workload.sizes), workload, variant)


def convnet(workload: ConvNet, variant: str) -> Job:
    """A training step of the convolutional network."""
    conv, pool, linear, relu = map(layer, ("Conv2d", "MaxPool2d", "Linear", "ReLU"))
    first, second = workload.channels
    model = layer("Sequential")(
        conv(1, first, 5, padding=2),
        relu(),
        pool(2),
        conv(first, second, 5, padding=2),
        relu(),
        pool(2),
        layer("Flatten")(),
        linear(workload.flat, workload.hidden),
        relu(),
        linear(workload.hidden, workload.classes),
    )
    return fit(model, workload, variant)


def transformer(workload: Transformer, variant: str) -> Job:
    """A training step of the character model."""
    embedding, norm, linear = map(layer, ("Embedding", "LayerNorm", "Linear"))
    block = layer("TransformerEncoderLayer")
    d = workload.width

    class CharTransformer(layer("Module")):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.token = embedding(workload.vocabulary, d)
            self.position = embedding(workload.context, d)
            self.blocks = [f"block{i}" for i in range(workload.layers)]
            for name in self.blocks:
                options = {"dropout": 0.0, "activation": "gelu", "norm_first": True}
                setattr(self, name, block(d, workload.heads, 4 * d, **options))
            self.norm = norm(d)
            self.head = linear(d, workload.vocabulary)

        def forward(self, tokens: np.ndarray) -> Any:
            x = self.token(tokens) + self.position(np.arange(tokens.shape[1]))
            for name in self.blocks:
                x = getattr(self, name)(x, causal=True)
            return self.head(self.norm(x)).reshape(-1, workload.vocabulary)

    return fit(CharTransformer(), FlatTargets(workload), variant)


class FlatTargets:
    """The character model's data with one row per target."""

    def __init__(self, workload: Transformer) -> None:
        self.parameters = workload.parameters
        self.batches = lambda: [(x, y.reshape(-1)) for x, y in workload.batches()]


def prediction(workload: Prediction, variant: str) -> Job:
    """Classes of rows."""
    model = network(workload.network.sizes)
    model.load_state_dict(workload.network.parameters())
    model.eval()
    forward = compiled(nnad.no_grad()(model), variant)
    x = workload.inputs()
    call = lambda: np.argmax(np.asarray(forward(x)), axis=-1)  # noqa: E731
    return repeated(call, lambda classes: float(classes.sum()))


def whole_job(workload: WholeJob, variant: str) -> Job:
    """`scripts/train.py`, its run in a temporary folder."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    if variant == "numpy":
        raise Unsupported("a job chooses its back end itself")
    mode = {"eager": "false", "native": "auto"}[variant]
    options = ["baseline=off", f"trainer.compile={mode}", f"output.dir={folder}", "--overwrite"]

    def accuracy(printed: str) -> float:
        row = next(line for line in printed.splitlines() if line.startswith("test accuracy"))
        return workload.reached(float(row.split()[-1]))

    script = str(Path(__file__).parents[2] / "train.py")
    return processes(script, ["--config", workload.config, *options], accuracy)


def scalar_chain(workload: ScalarChain, variant: str) -> Job:
    """The derivative of the chain."""
    if variant != "eager":
        raise Unsupported("this measures the eager engine")
    derivative = nnad.grad(lambda x: workload.run(x, np))
    return repeated(lambda: derivative(0.5), float)


def gradient(workload: GradientCost, variant: str) -> Job:
    """The gradient of the function."""
    derivative = compiled(nnad.grad(lambda x: workload.function(x, np)), variant)
    x = workload.point()
    return repeated(lambda: derivative(x), lambda g: float(g @ g))
