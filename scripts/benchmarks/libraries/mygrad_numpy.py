"""MyGrad: tensors, its fused softmax cross entropy, and `backward()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.job import Job, repeated, training
from benchmarks.libraries.adam import Adam
from benchmarks.workloads import GradientCost, Mlp, ScalarChain

mg.turn_memory_guarding_off()  # its documented switch for speed


def mlp(workload: Mlp, variant: str) -> Job:
    """A training step of the fully connected network."""
    arrays = list(workload.parameters().values())
    p = [mg.tensor(a, copy=False) for a in arrays]
    optimizer = Adam(arrays)

    def step(x: np.ndarray, y: np.ndarray) -> Any:
        for i in range(0, len(p) - 2, 2):
            x = relu(mg.matmul(x, p[i]) + p[i + 1])
        loss = softmax_crossentropy(mg.matmul(x, p[-2]) + p[-1], y)
        loss.backward()
        optimizer.step([t.grad for t in p])
        return loss.data

    return training(step, workload.batches())


def derivative(function: Callable[[Any], Any], at: Any) -> Callable[[], np.ndarray]:
    """The gradient of `function` at a point."""

    def call() -> np.ndarray:
        x = mg.tensor(at, copy=False)
        function(x).backward()
        return x.grad

    return call


def scalar_chain(workload: ScalarChain, variant: str) -> Job:
    """The derivative of the chain."""
    return repeated(derivative(lambda x: workload.run(x, mg), np.asarray(0.5)), float)


def gradient(workload: GradientCost, variant: str) -> Job:
    """The gradient of the function."""
    call = derivative(lambda x: workload.function(x, mg), workload.point())
    return repeated(call, lambda g: float(g @ g))
