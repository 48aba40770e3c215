"""scikit-learn: the step inside `MLPClassifier.fit`, and its `predict`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from benchmarks.job import Job, processes, repeated, training
from benchmarks.workloads import LEARNING_RATE, Mlp, Prediction, WholeJob


def network(workload: Mlp) -> MLPClassifier:
    """A fitted classifier with the workload's parameters and no penalty."""
    model = MLPClassifier(workload.sizes[1:-1], alpha=0.0, random_state=0)
    x, y = workload.batches()[0]
    model.partial_fit(x, y, classes=np.arange(workload.sizes[-1]))
    parameters = list(workload.parameters().values())
    model.coefs_, model.intercepts_ = parameters[::2], parameters[1::2]
    return model


def mlp(workload: Mlp, variant: str) -> Job:
    """A training step: `_backprop` and Adam, without the checks of its inputs."""
    model = network(workload)
    sizes, batch = workload.sizes, workload.batch
    activations: list[Any] = [None] + [np.empty((batch, n), np.float32) for n in sizes[1:]]
    deltas = [np.empty_like(a) for a in activations[1:]]
    empty = [[np.empty_like(a) for a in group] for group in (model.coefs_, model.intercepts_)]
    optimizer = AdamOptimizer(model.coefs_ + model.intercepts_, LEARNING_RATE)
    weighted = "sample_weight" in inspect.signature(model._backprop).parameters
    weight = (None,) if weighted else ()  # an argument since scikit-learn 1.7

    def step(x: np.ndarray, y: np.ndarray) -> float:
        activations[0] = x
        loss, coefs, intercepts = model._backprop(x, y, *weight, activations, deltas, *empty)
        optimizer.update_params(model.coefs_ + model.intercepts_, coefs + intercepts)
        return loss

    one_hot = np.eye(sizes[-1], dtype=np.float32)
    return training(step, [(x, one_hot[y]) for x, y in workload.batches()])


def whole_job(workload: WholeJob, variant: str) -> Job:
    """The same job as a script."""
    script = str(Path(__file__).with_name("sklearn_digits.py"))
    return processes(script, [], lambda printed: workload.reached(float(printed)))


def prediction(workload: Prediction, variant: str) -> Job:
    """Classes of rows."""
    model, x = network(workload.network), workload.inputs()
    return repeated(lambda: model.predict(x), lambda classes: float(classes.sum()))
