"""What is measured: sizes, data and initial parameters, the same for every library.

Parameters carry nnad's names and layouts: weights (in, out), convolution kernels
(height, width, in, out), images NHWC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

LEARNING_RATE = 1e-3
BATCHES = 8  # distinct batches that a step cycles through

Batch = tuple[np.ndarray, np.ndarray]
Parameters = dict[str, np.ndarray]


@dataclass(frozen=True)
class Product:
    """`count` products (m, k) @ (k, n) of a forward pass, and the two of its backward pass."""

    m: int
    k: int
    n: int
    count: int = 1
    input_gradient: bool = True  # False where the input is data


@dataclass(frozen=True)
class Workload:
    """Something every library does the same number of times.

    Attributes:
        name: how it is chosen on the command line.
        title: how it is called in the table.
        section: the table it belongs to.
        kind: name of the function that builds it in each library's file.
        operations: what one step's time is divided by.
        agreed_steps: all libraries report their value after this many.
    """

    name: str
    title: str
    section: str = "training"
    kind: str = ""
    operations: int = 1
    agreed_steps: int = 10


@dataclass(frozen=True)
class Mlp(Workload):
    """A fully connected ReLU network, cross entropy and Adam."""

    kind: str = "mlp"
    sizes: tuple[int, ...] = ()
    batch: int = 0

    def batches(self) -> list[Batch]:
        """Normal inputs and random classes."""
        rng = np.random.default_rng(0)
        return [
            (normal(rng, self.batch, self.sizes[0]), rng.integers(0, self.sizes[-1], self.batch))
            for _ in range(BATCHES)
        ]

    def parameters(self) -> Parameters:
        """He-normal weights, zero biases, named as in `Sequential(Linear, ReLU, Linear, ...)`."""
        rng = np.random.default_rng(1)
        return {
            name: array
            for i, (n, m) in enumerate(pairwise(self.sizes))
            for name, array in linear(rng, str(2 * i), n, m)
        }

    def products(self) -> list[Product]:
        """The matrix products of one step."""
        return [
            Product(self.batch, n, m, input_gradient=i > 0)
            for i, (n, m) in enumerate(pairwise(self.sizes))
        ]


@dataclass(frozen=True)
class ConvNet(Workload):
    """Two 5x5 convolutions with pooling and two linear layers on 28x28 images."""

    kind: str = "convnet"
    channels: tuple[int, int] = (16, 32)
    hidden: int = 128
    classes: int = 10
    batch: int = 64
    image: int = 28

    @property
    def flat(self) -> int:
        """Features after the second pooling."""
        return (self.image // 4) ** 2 * self.channels[1]

    def batches(self) -> list[Batch]:
        """Normal images and random classes."""
        rng = np.random.default_rng(0)
        return [
            (
                normal(rng, self.batch, self.image, self.image, 1),
                rng.integers(0, self.classes, self.batch),
            )
            for _ in range(BATCHES)
        ]

    def parameters(self) -> Parameters:
        """Named as in `Sequential(Conv2d, ReLU, MaxPool2d, Conv2d, ..., Linear)`."""
        rng = np.random.default_rng(1)
        first, second = self.channels
        return dict(
            [
                *convolution(rng, "0", 5, 1, first),
                *convolution(rng, "3", 5, first, second),
                *linear(rng, "7", self.flat, self.hidden),
                *linear(rng, "9", self.hidden, self.classes),
            ]
        )

    def products(self) -> list[Product]:
        """The matrix products of one step, convolutions as products with unfolded windows."""
        first, second = self.channels
        pixels = self.batch * self.image**2
        return [
            Product(pixels, 25, first, input_gradient=False),
            Product(pixels // 4, 25 * first, second),
            Product(self.batch, self.flat, self.hidden),
            Product(self.batch, self.hidden, self.classes),
        ]


@dataclass(frozen=True)
class Transformer(Workload):
    """A character model: pre-norm blocks with causal attention and GELU, learned positions."""

    kind: str = "transformer"
    layers: int = 4
    heads: int = 4
    width: int = 128
    vocabulary: int = 65
    context: int = 64
    batch: int = 12

    def batches(self) -> list[Batch]:
        """Random characters, and the same shifted by one as targets."""
        rng = np.random.default_rng(0)
        shape = (self.batch, self.context + 1)
        text = [rng.integers(0, self.vocabulary, shape) for _ in range(BATCHES)]
        return [(t[:, :-1].copy(), t[:, 1:].copy()) for t in text]

    def parameters(self) -> Parameters:
        """Named as the modules `token`, `position`, `block0`..., `norm`, `head`."""
        rng = np.random.default_rng(1)
        d = self.width
        found: list[tuple[str, np.ndarray]] = [
            ("token.weight", 0.02 * normal(rng, self.vocabulary, d)),
            ("position.weight", 0.02 * normal(rng, self.context, d)),
        ]
        for i in range(self.layers):
            block = f"block{i}"
            attention = dict(linear(rng, "in_proj", d, 3 * d))
            found += [
                (f"{block}.self_attn.in_proj_weight", attention["in_proj.weight"]),
                (f"{block}.self_attn.in_proj_bias", attention["in_proj.bias"]),
                *linear(rng, f"{block}.self_attn.out_proj", d, d),
                *linear(rng, f"{block}.linear1", d, 4 * d),
                *linear(rng, f"{block}.linear2", 4 * d, d),
                *normalisation(f"{block}.norm1", d),
                *normalisation(f"{block}.norm2", d),
            ]
        return dict([*found, *normalisation("norm", d), *linear(rng, "head", d, self.vocabulary)])

    def products(self) -> list[Product]:
        """The matrix products of one step."""
        tokens, d, t = self.batch * self.context, self.width, self.context
        pairs, head = self.batch * self.heads * self.layers, self.width // self.heads
        return [
            Product(tokens, d, 3 * d, self.layers),
            Product(t, head, t, pairs),
            Product(t, t, head, pairs),
            Product(tokens, d, d, self.layers),
            Product(tokens, d, 4 * d, self.layers),
            Product(tokens, 4 * d, d, self.layers),
            Product(tokens, d, self.vocabulary),
        ]


@dataclass(frozen=True)
class Prediction(Workload):
    """Classes of some rows by a 64-64-10 network, with scikit-learn's `predict` as the measure."""

    section: str = "prediction"
    kind: str = "prediction"
    rows: int = 1

    @property
    def network(self) -> Mlp:
        """The network that predicts."""
        return Mlp("", "", sizes=(64, 64, 10), batch=32)

    def inputs(self) -> np.ndarray:
        """Normal rows."""
        return normal(np.random.default_rng(0), self.rows, 64)


@dataclass(frozen=True)
class WholeJob(Workload):
    """A process from its start to its exit that trains on scikit-learn's digits and is tested."""

    section: str = "process"
    kind: str = "whole_job"
    agreed_steps: int = 1
    config: str = "mlp.yaml"
    accuracy: float = 0.97  # what the test part must be told with

    def reached(self, accuracy: float) -> float:
        """The value that libraries agree on: 1 where the accuracy is good enough."""
        return float(accuracy >= self.accuracy)


@dataclass(frozen=True)
class ScalarChain(Workload):
    """A chain of scalar operations, forward and backward: what recording one operation costs."""

    section: str = "engine"
    kind: str = "scalar_chain"
    operations: int = 1000

    def run(self, x: object, functions: object) -> object:
        """tanh(sin(x * 1.1 + 0.1)) again and again; `functions` has sin and tanh."""
        for _ in range(self.operations // 4):
            x = functions.tanh(functions.sin(x * 1.1 + 0.1))  # type: ignore[operator, attr-defined]
        return x


@dataclass(frozen=True)
class GradientCost(Workload):
    """The gradient of a function of n inputs; the function itself in NumPy is its measure."""

    section: str = "engine"
    kind: str = "gradient"
    inputs: int = 10

    def point(self) -> np.ndarray:
        """Where the gradient is taken, in float64."""
        return np.random.default_rng(0).normal(size=self.inputs)

    @staticmethod
    def function(x: object, functions: object) -> object:
        """sum(sin(x) * exp(-x * x)); `functions` has sin, exp and sum."""
        f = functions
        return f.sum(f.sin(x) * f.exp(-x * x))  # type: ignore[attr-defined, operator]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal float32 numbers."""
    return rng.standard_normal(shape, dtype=np.float32)


def linear(rng: np.random.Generator, name: str, n: int, m: int) -> Iterator[tuple[str, np.ndarray]]:
    """Weight and bias of a linear layer."""
    yield f"{name}.weight", normal(rng, n, m) * np.float32(np.sqrt(2 / n))
    yield f"{name}.bias", np.zeros(m, np.float32)


def convolution(
    rng: np.random.Generator, name: str, kernel: int, n: int, m: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Weight and bias of a convolution."""
    yield f"{name}.weight", normal(rng, kernel, kernel, n, m) * np.float32((2 / n) ** 0.5 / kernel)
    yield f"{name}.bias", np.zeros(m, np.float32)


def normalisation(name: str, n: int) -> Iterator[tuple[str, np.ndarray]]:
    """Weight and bias of a layer norm."""
    yield f"{name}.weight", np.ones(n, np.float32)
    yield f"{name}.bias", np.zeros(n, np.float32)


WORKLOADS: list[Workload] = [
    Mlp("mlp-small", "MLP 64-64-10, batch 32", sizes=(64, 64, 10), batch=32),
    Mlp("mlp-middle", "MLP 784-256-128-10, batch 128", sizes=(784, 256, 128, 10), batch=128),
    Mlp("mlp-large", "MLP 1024-1024-1024-10, batch 256", sizes=(1024, 1024, 1024, 10), batch=256),
    ConvNet("lenet", "LeNet-like, 28x28, batch 64"),
    Transformer("transformer", "char transformer, 4 layers, 128 wide, 12x64"),
    Prediction("predict-1", "prediction, 1 row", rows=1),
    Prediction("predict-10000", "prediction, 10,000 rows", rows=10_000),
    WholeJob("job-mlp", "the job of mlp.yaml without its baseline, start to exit"),
    ScalarChain("scalar", "one scalar operation, forward and backward"),
    *(
        GradientCost(f"gradient-{n}", f"gradient of a function of {n:,} inputs", inputs=n)
        for n in (10, 1_000, 100_000, 10_000_000)
    ),
]
