"""How large weights, gradients and updates were, parameter by parameter, as training went on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.training.callbacks import Callback

if TYPE_CHECKING:
    from nnad.training.trainer import Trainer

__all__ = ["Norms", "Watch"]

MOST_RECORDS = 128
QUANTITIES = 3


@dataclass(frozen=True)
class Norms:
    """The norms of P parameters at T steps.

    Attributes:
        names: paths of the parameters.
        sizes: (P,) numbers in each parameter.
        axes: (P,) how many axes each one has.
        steps: (T,) the updates after which they were taken.
        weights: (T, P) norm of each parameter.
        gradients: (T, P) norm of its gradient, after clipping.
        updates: (T, P) norm of what the step changed it by.
    """

    names: list[str]
    sizes: np.ndarray
    axes: np.ndarray
    steps: np.ndarray
    weights: np.ndarray
    gradients: np.ndarray
    updates: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """(T, P) updates over weights; NaN where a parameter is all zeros."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.weights > 0, self.updates / self.weights, np.nan)


class Watch(Callback):
    """Takes the norms of all parameters every so many steps.

    It begins with every step. Whenever `MOST_RECORDS` are full, every other one is dropped and the
    steps between them double: what it costs falls as a run goes on, and what it keeps does not
    depend on how long the run will be or on where it was resumed.

    Args:
        model: whose parameters; those that are frozen are passed over.
    """

    def __init__(self, model: Any) -> None:
        self.interval = 1
        self.steps: list[int] = []
        self.records: list[np.ndarray] = []  # (3, P) each
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._names = [name for name, _ in named]
        self._parameters = [p for _, p in named]
        self._before: list[np.ndarray] = []

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._before = [np.empty(p.shape, p.dtype) for p in self._parameters]
        self._prepare(trainer.step)

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step % self.interval == 0:
            self.steps.append(trainer.step)
            self.records.append(self._norms())
            if len(self.steps) == MOST_RECORDS:
                self._thin()
        self._prepare(trainer.step)

    def reads_gradients(self, trainer: Trainer) -> bool:
        """Before a step that is recorded."""
        return (trainer.step + 1) % self.interval == 0

    def _prepare(self, step: int) -> None:
        """Keep the weights before a step that is to be recorded."""
        if (step + 1) % self.interval == 0:
            for before, p in zip(self._before, self._parameters, strict=True):
                before[...] = p.data

    def _norms(self) -> np.ndarray:
        record = np.zeros((QUANTITIES, len(self._parameters)))
        for i, (before, p) in enumerate(zip(self._before, self._parameters, strict=True)):
            np.subtract(p.data, before, out=before)
            gradient = np.zeros(0) if p.grad is None else p.grad
            record[:, i] = [_norm(p.data), _norm(gradient), _norm(before)]
        return record

    def _thin(self) -> None:
        self.interval *= 2
        kept = [i for i, step in enumerate(self.steps) if step % self.interval == 0]
        self.steps = [self.steps[i] for i in kept]
        self.records = [self.records[i] for i in kept]

    def state_dict(self) -> dict[str, Any]:
        """What was recorded, for a checkpoint."""
        shape = (len(self.records), QUANTITIES, len(self._names))
        return {
            "interval": self.interval,
            "names": self._names,
            "sizes": np.array([p.size for p in self._parameters], np.int64),
            "axes": np.array([p.ndim for p in self._parameters], np.int64),
            "steps": np.array(self.steps, np.int64),
            "norms": np.array(self.records).reshape(shape),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.interval = state["interval"]
        self.steps = state["steps"].tolist()
        self.records = list(state["norms"])

    @staticmethod
    def norms(state: Mapping[str, Any]) -> Norms:
        """The table in a :meth:`state_dict`."""
        weights, gradients, updates = state["norms"].transpose(1, 0, 2)
        known = (state["names"], state["sizes"], state["axes"], state["steps"])
        return Norms(*known, weights, gradients, updates)


def _norm(array: np.ndarray) -> float:
    flat = array.reshape(-1)
    return math.sqrt(max(float(flat.dot(flat)), 0.0))
