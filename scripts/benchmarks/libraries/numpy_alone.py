"""The limits: matrix products without anything around them, functions without their gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmarks.job import Job, repeated
from benchmarks.workloads import (
    ConvNet,
    GradientCost,
    Mlp,
    Product,
    ScalarChain,
    Transformer,
    normal,
)


def mlp(workload: Mlp | ConvNet | Transformer, variant: str) -> Job:
    """The matrix products of one training step, into arrays that are there already."""
    calls = [call for product in workload.products() for call in product_calls(product)]

    def step() -> None:
        for a, b, out in calls:
            np.matmul(a, b, out=out)

    return Job(step, lambda: math.nan)


convnet = transformer = mlp

Call = tuple[np.ndarray, np.ndarray, np.ndarray]


def product_calls(product: Product) -> list[Call]:
    """Operands and results of `a @ b` and of its gradients `a.T @ g` and `g @ b.T`."""
    rng = np.random.default_rng(0)
    m, k, n = product.m, product.k, product.n
    a, b, g = normal(rng, m, k), normal(rng, k, n), normal(rng, m, n)
    calls = [(a, b, np.empty_like(g)), (a.T, g, np.empty_like(b))]
    if product.input_gradient:
        calls.append((g, b.T, np.empty_like(a)))
    return calls * product.count


def scalar_chain(workload: ScalarChain, variant: str) -> Job:
    """The chain without a derivative."""
    function: Callable[[], object] = lambda: workload.run(np.float64(0.5), np)  # noqa: E731
    return repeated(function, lambda last: math.nan)


def gradient(workload: GradientCost, variant: str) -> Job:
    """The function itself."""
    x = workload.point()
    return repeated(lambda: workload.function(x, np), lambda last: math.nan)
