"""Schedules of several phases, and the one that waits for progress to stop."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any, Literal

from nnad.schedules.base import ANNEALING, Annealing, Schedule, between, require, warm_up

__all__ = ["Plateau", "Sequence", "WarmupStableDecay"]


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """Linear warm-up, a plateau at 1, then a decay to ``min_factor`` over the last steps.

    Args:
        total_steps: length of the run.
        warmup_steps: length of the warm-up.
        decay_steps: length of the decay at the end.
        min_factor: factor at ``total_steps``.
        decay: shape of the decay, "linear" or "cos".

    >>> schedule = WarmupStableDecay(total_steps=10, warmup_steps=1, decay_steps=4)
    >>> [schedule(step) for step in (0, 1, 6, 8, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """

    total_steps: int
    warmup_steps: int
    decay_steps: int
    min_factor: float = 0.0
    decay: Annealing = "linear"

    def __post_init__(self) -> None:
        require(
            self,
            self.warmup_steps >= 0
            and self.decay_steps >= 1
            and self.warmup_steps + self.decay_steps <= self.total_steps,
            "warmup_steps >= 0, decay_steps >= 1, together at most total_steps",
        )
        require(self, self.decay in ANNEALING, "decay of 'linear' or 'cos'")

    def __call__(self, step: int) -> float:
        """The part of the curve that ``step`` lies in."""
        if step < self.warmup_steps:
            return warm_up(step, self.warmup_steps)
        begin = self.total_steps - self.decay_steps
        done = min(max(0, step - begin), self.decay_steps) / self.decay_steps
        return between(1.0, self.min_factor, ANNEALING[self.decay](done))


@dataclass(frozen=True)
class Sequence(Schedule):
    """One schedule after another, each counting from its own step 0, as PyTorch's SequentialLR.

    Args:
        schedules: callables ``step -> factor``.
        milestones: the step at which each schedule but the first begins.

    >>> from nnad.schedules import Exponential, LinearWarmup
    >>> schedule = Sequence([LinearWarmup(1), Exponential(0.5)], milestones=[2])
    >>> [schedule(step) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.25]
    """

    schedules: SequenceOf[Callable[[int], float]]
    milestones: SequenceOf[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "milestones", tuple(self.milestones))
        require(
            self,
            len(self.schedules) == len(self.milestones) + 1,
            "one milestone less than schedules",
        )
        require(self, list(self.milestones) == sorted(self.milestones), "increasing milestones")

    def __call__(self, step: int) -> float:
        """The factor of the schedule that ``step`` falls to."""
        index = bisect_right(self.milestones, step)
        begin = self.milestones[index - 1] if index else 0
        return self.schedules[index](step - begin)


class Plateau(Schedule):
    """Lowers the factor when a metric stops improving, as PyTorch's ReduceLROnPlateau.

    Call :meth:`update` with the monitored metric after every epoch; the schedule itself then
    returns the current factor whatever the step.

    Args:
        factor: what the rate is multiplied by.
        patience: updates without improvement that are borne before that.
        mode: "min" when lower is better, "max" when higher is.
        threshold: by how much a value must beat the best to count as better.
        threshold_mode: "rel" (a fraction of the best) or "abs".
        cooldown: updates after a reduction in which none are counted as bad.
        min_factor: the factor never falls below it.
        eps: reductions smaller than this are not made.

    >>> schedule = Plateau(factor=0.5, patience=1)
    >>> [schedule.update(loss) for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0)]
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    >>> schedule(100)
    0.25
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        mode: Literal["min", "max"] = "min",
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_factor: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.factor = factor
        self.patience = patience
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_factor = min_factor
        self.eps = eps
        require(self, 0.0 < factor < 1.0, "factor between 0 and 1")
        require(self, mode in ("min", "max"), "mode of 'min' or 'max'")
        require(self, threshold_mode in ("rel", "abs"), "threshold_mode of 'rel' or 'abs'")
        self.current = 1.0
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_updates = 0
        self.cooldown_left = 0

    def __repr__(self) -> str:
        return f"Plateau(factor={self.factor}, patience={self.patience}, mode={self.mode!r})"

    def __call__(self, step: int) -> float:
        """The factor after the last :meth:`update`."""
        return self.current

    def update(self, metric: float) -> float:
        """Take a new value of the monitored metric and return the factor from here on."""
        metric = float(metric)
        if self._is_better(metric):
            self.best = metric
            self.bad_updates = 0
        else:
            self.bad_updates += 1
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.bad_updates = 0
        if self.bad_updates > self.patience:
            self._reduce()
        return self.current

    def _is_better(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        if self.threshold_mode == "rel":
            # An infinite best stays infinite: the first finite value always beats it.
            return sign * metric < sign * self.best * (1.0 - sign * self.threshold)
        return sign * metric < sign * self.best - self.threshold

    def _reduce(self) -> None:
        lower = max(self.current * self.factor, self.min_factor)
        if self.current - lower > self.eps:
            self.current = lower
        self.cooldown_left = self.cooldown
        self.bad_updates = 0

    def state_dict(self) -> dict[str, Any]:
        """The current factor and the memory of past metrics."""
        return {
            "current": self.current,
            "best": self.best,
            "bad_updates": self.bad_updates,
            "cooldown_left": self.cooldown_left,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.current = float(state["current"])
        self.best = float(state["best"])
        self.bad_updates = int(state["bad_updates"])
        self.cooldown_left = int(state["cooldown_left"])
