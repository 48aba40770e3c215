"""autograd: `value_and_grad` of code written for `autograd.numpy`."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import grad, value_and_grad
from autograd.scipy.special import logsumexp

from benchmarks.job import Job, repeated, training
from benchmarks.libraries.adam import Adam
from benchmarks.workloads import GradientCost, Mlp, ScalarChain


def mlp(workload: Mlp, variant: str) -> Job:
    """A training step of the fully connected network."""
    parameters = list(workload.parameters().values())
    optimizer = Adam(parameters)
    rows = np.arange(workload.batch)

    def loss_of(p: list[Any], x: np.ndarray, y: np.ndarray) -> Any:
        for i in range(0, len(p) - 2, 2):
            x = anp.maximum(anp.dot(x, p[i]) + p[i + 1], 0)
        logits = anp.dot(x, p[-2]) + p[-1]
        return anp.mean(logsumexp(logits, axis=1) - logits[rows, y])

    value_and_gradient = value_and_grad(loss_of)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        loss, gradients = value_and_gradient(parameters, x, y)
        optimizer.step(gradients)
        return loss

    return training(step, workload.batches())


def scalar_chain(workload: ScalarChain, variant: str) -> Job:
    """The derivative of the chain."""
    derivative = grad(lambda x: workload.run(x, anp))
    return repeated(lambda: derivative(0.5), float)


def gradient(workload: GradientCost, variant: str) -> Job:
    """The gradient of the function."""
    derivative = grad(lambda x: workload.function(x, anp))
    x = workload.point()
    return repeated(lambda: derivative(x), lambda g: float(g @ g))
