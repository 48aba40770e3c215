"""What a training loop drives: a dense network written out, or any nnad module by its tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff import no_grad
from nnad.autodiff.tensor import value_of
from nnad.estimators.compiling import compiled
from nnad.estimators.dense import DenseNetwork
from nnad.estimators.objectives import Objective, predictions
from nnad.estimators.rows import Rows
from nnad.layers import BatchNorm1d, BatchNorm2d, Module
from nnad.layers.parameter import Parameter
from nnad.optimizers import LBFGS, Optimizer, clip_grad_norm

__all__ = ["DenseEngine", "ModuleEngine", "OptimizerSolver", "module_scores"]

PREDICTION_ROWS = 1024


class DenseEngine:
    """Steps of a `DenseNetwork`.

    Args:
        network: the network.
        clip_norm: largest norm of the gradient.

    Attributes:
        solver: updates the parameters; set by whoever wants to call `train_step`.
        parameters, gradient: flat vectors.
    """

    solver: Any
    smallest_batch = 1

    def __init__(self, network: DenseNetwork, clip_norm: float | None = None) -> None:
        self.network = network
        self.clip_norm = clip_norm
        self.parameters, self.gradient = network.parameters, network.gradient

    def train_step(self, batch: Rows) -> float:
        """One update; returns the loss before it."""
        loss = self.loss_and_gradient(*batch)
        self.solver.step()
        return loss

    def loss_and_gradient(self, x: Any, target: np.ndarray, weight: np.ndarray | None) -> float:
        """The penalised loss of a batch; leaves its gradient, clipped, in `gradient`."""
        loss = self.network.loss_and_gradient(x, target, weight)
        if self.clip_norm is not None:
            clip(self.gradient, self.clip_norm)
        return loss

    def evaluate(self, rows: Rows) -> tuple[float, np.ndarray]:
        """Loss and predictions for `rows`."""
        return self.network.evaluate(*rows)

    def weights(self) -> list[np.ndarray]:
        """The vector of all parameters."""
        return [self.parameters]


def clip(gradient: np.ndarray, limit: float) -> None:
    """Shorten a vector in place to at most the length `limit`."""
    norm = float(np.sqrt(gradient @ gradient))
    if norm > limit:
        np.multiply(gradient, limit / norm, out=gradient)


class OptimizerSolver:
    """An nnad optimizer where the loop expects a solver.

    Args:
        optimizer: holds the parameters.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.first_rate = optimizer.lr

    @property
    def rate(self) -> float:
        """The current learning rate."""
        return self.optimizer.lr

    @property
    def factor(self) -> float:
        """What a schedule multiplies the initial rate by."""
        return self.optimizer.lr / self.first_rate if self.first_rate else 1.0

    @factor.setter
    def factor(self, value: float) -> None:
        self.optimizer.lr = self.first_rate * value

    def step(self) -> None:
        """One update from the current gradients."""
        self.optimizer.step()

    def epoch_ends(self, samples: int) -> None:
        """Rates of optimizers follow a schedule, not the epochs."""

    def out_of_patience(self) -> tuple[bool, str]:
        """Stop."""
        return True, "Stopping."

    def state(self) -> dict[str, Any]:
        """Numbers and arrays from which `restore` continues."""
        return self.optimizer.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.optimizer.load_state_dict(state)


class ModuleEngine:
    """Steps of any module, differentiated by its tape.

    Args:
        module: maps a batch of rows to scores.
        objective: the loss.
        alpha: weight of the penalty on the squares of `penalized` parameters, divided by the sum
            of the weights of a batch.
        penalized: parameters with a penalty.
        clip_norm: largest norm of the gradient.
        steps: how many there may be: many are worth compiling.
        threads: of compiled steps.

    Attributes:
        solver: updates the parameters; set by whoever wants to call `train_step`.
        parameters, gradient: flat vectors.
        trainable: the parameters that are not frozen.
        smallest_batch: rows that a batch must have: batch norm cannot learn from one alone.
    """

    solver: Any

    def __init__(
        self,
        module: Module,
        objective: Objective,
        *,
        alpha: float = 0.0,
        penalized: Sequence[Parameter] = (),
        clip_norm: float | None = None,
        steps: int = 0,
        threads: int | str = 1,
    ) -> None:
        self.module = module
        self.objective = objective
        self.alpha = alpha
        self.penalized = list(penalized) if alpha else []
        self.clip_norm = clip_norm
        normalizes = any(isinstance(m, (BatchNorm1d, BatchNorm2d)) for m in module.modules())
        self.smallest_batch = 2 if normalizes else 1
        self.trainable = [p for p in module.parameters() if p.requires_grad]
        (buffer,) = module.flatten().values()
        self.parameters, self.gradient = buffer.data, buffer.grad
        self._gradient = compiled(self._recorded, module, objective.function, steps, threads)

    def _recorded(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> Any:
        """The loss of a batch by the tape, which leaves its gradient in the parameters."""
        self.module.zero_grad()
        loss = self.objective.function(self.module(x), target, sample_weight=weight)
        loss.backward()
        return loss

    def train_step(self, batch: Rows) -> float:
        """One update; returns the loss before it."""
        optimizer = getattr(self.solver, "optimizer", None)
        self.module.train()
        if isinstance(optimizer, LBFGS):
            return float(optimizer.step(lambda: self.loss_and_gradient(*batch)))
        loss = self.loss_and_gradient(*batch)
        self.solver.step()
        return loss

    def loss_and_gradient(self, x: Any, target: np.ndarray, weight: np.ndarray | None) -> float:
        """The penalised loss of a batch; leaves its gradient in the parameters."""
        value = float(self._gradient(dense(x), target, weight).data) / self.objective.divisor
        total = len(target) if weight is None else float(weight.sum())
        for p in self.penalized:
            value += 0.5 * self.alpha / total * float(np.vdot(p.data, p.data))
            if p.leaf.grad is not None:
                p.leaf.grad += (self.alpha / total) * p.data
        if self.clip_norm is not None:
            clip_grad_norm(self.trainable, self.clip_norm)
        return value

    def evaluate(self, rows: Rows) -> tuple[float, np.ndarray]:
        """Loss and predictions for `rows`."""
        scores = self.scores(rows.x)
        loss = self.objective.function(scores, rows.target, sample_weight=rows.weight)
        return float(value_of(loss)) / self.objective.divisor, predictions(
            self.objective.link, scores
        )

    def scores(self, x: Any) -> np.ndarray:
        """The module's outputs for the rows of `x` in evaluation mode."""
        return module_scores(self.module, x)

    def weights(self) -> list[np.ndarray]:
        """Parameters and buffers."""
        return [value_of(item) for _, item in self.module.named_state()]


def module_scores(module: Module, x: Any) -> np.ndarray:
    """What `module` returns for the rows of `x` in evaluation mode, in which it is left."""
    if module._training:
        module.eval()
    with no_grad():
        if x.shape[0] <= PREDICTION_ROWS:
            return value_of(module(dense(x)))
        parts = range(0, x.shape[0], PREDICTION_ROWS)
        return np.concatenate([value_of(module(dense(x[i : i + PREDICTION_ROWS]))) for i in parts])


def dense(x: Any) -> np.ndarray:
    """A batch as an array: modules do not take sparse matrices."""
    return x if isinstance(x, np.ndarray) else x.toarray()
