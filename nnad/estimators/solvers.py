"""scikit-learn's solvers: SGD with (Nesterov) momentum and Adam, in place on flat vectors.

The formulas and the order of their operations are those of `sklearn.neural_network`; they differ
from PyTorch's, which `nnad.optimizers` follows: the momentum holds the rate, and Adam's epsilon is
added before the bias correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["SkAdam", "SkSGD", "Solver"]

Array = np.ndarray

CHUNK = 2**14  # parameters updated at once, so that a dozen passes over them stay in the cache
SMALLEST_RATE = 1e-6


def _chunks(arrays: Sequence[Array]) -> list[tuple[Array, ...]]:
    size = arrays[0].size
    return [tuple(a[i : i + CHUNK] for a in arrays) for i in range(0, size, CHUNK)]


class Solver:
    """Base of the two: slots beside the parameters, and the rate.

    Args:
        parameters, gradient: vectors of one length.
        rate: the initial learning rate.

    Attributes:
        rate: the current learning rate; schedules multiply it by `factor`.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(self, parameters: Array, gradient: Array, rate: float) -> None:
        self.first_rate = self.rate = float(rate)
        self.factor = 1.0
        self.slots = {name: np.zeros_like(parameters) for name in self.slot_names}
        size = min(parameters.size, CHUNK)
        scratch = (np.empty(size, parameters.dtype), np.empty(size, parameters.dtype))
        self._chunks = [
            (*chunk, *(s[: chunk[0].size] for s in scratch))
            for chunk in _chunks([parameters, gradient, *self.slots.values()])
        ]

    def step(self) -> None:
        """One update from the current gradient."""
        raise NotImplementedError

    def epoch_ends(self, samples: int) -> None:
        """Change the rate after an epoch, when `samples` rows have been seen in all."""

    def out_of_patience(self) -> tuple[bool, str]:
        """Whether to stop for lack of progress rather than to lower the rate, and what to say."""
        return True, "Stopping."

    def state(self) -> dict[str, Any]:
        """Numbers and arrays from which `restore` continues."""
        return {"rate": self.rate, **self.slots}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.rate = float(state["rate"])
        for name, slot in self.slots.items():
            slot[...] = state[name]


class SkSGD(Solver):
    """``velocity = momentum * velocity - rate * gradient; parameters += velocity``.

    Args:
        parameters, gradient, rate: see `Solver`.
        kind: of the rate: "constant", "invscaling" or "adaptive".
        momentum: share of the velocity that is kept.
        nesterov: step along ``momentum * velocity - rate * gradient`` of the new velocity.
        power: ``rate / (samples + 1) ** power`` for "invscaling".
    """

    slot_names = ("velocity",)

    def __init__(
        self,
        parameters: Array,
        gradient: Array,
        rate: float,
        kind: str,
        momentum: float,
        nesterov: bool,
        power: float,
    ) -> None:
        super().__init__(parameters, gradient, rate)
        self.kind = kind
        self.momentum = momentum
        self.nesterov = nesterov
        self.power = power

    def step(self) -> None:
        """One update from the current gradient."""
        momentum, rate = self.momentum, self.rate * self.factor
        for p, g, velocity, change, work in self._chunks:
            np.multiply(g, rate, out=change)
            np.multiply(velocity, momentum, out=velocity)
            np.subtract(velocity, change, out=velocity)
            if self.nesterov:
                np.multiply(velocity, momentum, out=work)
                np.subtract(work, change, out=work)
                np.add(p, work, out=p)
            else:
                np.add(p, velocity, out=p)

    def epoch_ends(self, samples: int) -> None:
        """Inverse scaling: ``rate / (samples + 1) ** power``."""
        if self.kind == "invscaling":
            self.rate = self.first_rate / (samples + 1) ** self.power

    def out_of_patience(self) -> tuple[bool, str]:
        """An adaptive rate goes down to a fifth, unless it is too small already."""
        if self.kind != "adaptive":
            return super().out_of_patience()
        if self.rate <= SMALLEST_RATE:
            return True, "Learning rate too small. Stopping."
        self.rate /= 5.0
        return False, f"Setting learning rate to {self.rate:f}"


class SkAdam(Solver):
    """Adam (Kingma and Ba, 2015) with epsilon beside the uncorrected root of the second moment.

    Args:
        parameters, gradient, rate: see `Solver`.
        beta_1, beta_2: decay of the moments.
        epsilon: added to the denominator.

    The slots hold the moments divided by ``1 - beta``, which saves two passes a step:
    ``m = beta_1 m + g``, ``v = beta_2 v + g²``, and the factors go into rate and epsilon.
    """

    slot_names = ("first_moment", "second_moment")

    def __init__(
        self,
        parameters: Array,
        gradient: Array,
        rate: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ) -> None:
        super().__init__(parameters, gradient, rate)
        self.betas = (beta_1, beta_2)
        self.epsilon = epsilon
        self.steps = 0

    def step(self) -> None:
        """One update from the current gradient."""
        self.steps += 1
        beta_1, beta_2 = self.betas
        self.rate = self.first_rate * math.sqrt(1 - beta_2**self.steps) / (1 - beta_1**self.steps)
        root = math.sqrt(1 - beta_2)
        rate = self.rate * self.factor * (1 - beta_1) / root
        epsilon = self.epsilon / root
        for p, g, m, v, work, _ in self._chunks:
            np.multiply(m, beta_1, out=m)
            np.add(m, g, out=m)
            np.multiply(v, beta_2, out=v)
            np.multiply(g, g, out=work)
            np.add(v, work, out=v)
            np.sqrt(v, out=work)
            np.add(work, epsilon, out=work)
            np.divide(m, work, out=work)
            np.multiply(work, rate, out=work)
            np.subtract(p, work, out=p)

    def state(self) -> dict[str, Any]:
        """Numbers and arrays from which `restore` continues."""
        return {**super().state(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        super().restore(state)
        self.steps = int(state["steps"])
