"""Schedules that step down, or follow a line or a power."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from nnad.schedules.base import Schedule, between, require, warm_up

__all__ = [
    "Constant",
    "Exponential",
    "InverseSqrt",
    "Linear",
    "LinearWarmup",
    "MultiStep",
    "Polynomial",
    "Step",
]


@dataclass(frozen=True)
class Constant(Schedule):
    """The same factor at every step.

    >>> Constant()(7)
    1.0
    """

    factor: float = 1.0

    def __call__(self, step: int) -> float:
        """``factor``."""
        return self.factor


@dataclass(frozen=True)
class Step(Schedule):
    """``gamma ** (step // step_size)``, as PyTorch's StepLR.

    >>> [Step(step_size=2, gamma=0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        require(self, self.step_size >= 1, "step_size of at least 1")

    def __call__(self, step: int) -> float:
        """``gamma`` to the number of whole intervals done."""
        return self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """``gamma`` to the number of milestones reached, as PyTorch's MultiStepLR.

    >>> [MultiStep(milestones=(1, 3), gamma=0.5)(step) for step in range(5)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    milestones: SequenceOf[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        require(self, list(self.milestones) == sorted(self.milestones), "increasing milestones")

    def __call__(self, step: int) -> float:
        """``gamma`` to the number of milestones that are at or before ``step``."""
        return self.gamma ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class Exponential(Schedule):
    """``gamma ** step``, as PyTorch's ExponentialLR.

    >>> Exponential(gamma=0.5)(3)
    0.125
    """

    gamma: float

    def __call__(self, step: int) -> float:
        """``gamma ** step``."""
        return self.gamma**step


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from ``start_factor`` to ``end_factor``, as PyTorch's LinearLR.

    >>> [Linear(total_steps=2, start_factor=0.5)(step) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    total_steps: int
    start_factor: float = 1.0 / 3.0
    end_factor: float = 1.0

    def __post_init__(self) -> None:
        require(self, self.total_steps >= 1, "total_steps of at least 1")

    def __call__(self, step: int) -> float:
        """The line at ``step``; ``end_factor`` from ``total_steps`` on."""
        done = min(step, self.total_steps) / self.total_steps
        return between(self.end_factor, self.start_factor, done)


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """``(step + 1) / (warmup_steps + 1)``, then 1: the warm-up of the schedules that have one.

    >>> [LinearWarmup(warmup_steps=3)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        require(self, self.warmup_steps >= 0, "warmup_steps of at least 0")

    def __call__(self, step: int) -> float:
        """The line at ``step``; 1 from ``warmup_steps`` on."""
        return warm_up(step, self.warmup_steps)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """``(1 - step / total_steps) ** power``, as PyTorch's PolynomialLR.

    >>> [Polynomial(total_steps=4, power=2)(step) for step in (0, 2, 4, 5)]
    [1.0, 0.25, 0.0, 0.0]
    """

    total_steps: int
    power: float = 1.0

    def __post_init__(self) -> None:
        require(self, self.total_steps >= 1, "total_steps of at least 1")

    def __call__(self, step: int) -> float:
        """The polynomial at ``step``; 0 from ``total_steps`` on."""
        return float((1.0 - min(step, self.total_steps) / self.total_steps) ** self.power)


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """Linear warm-up, then ``sqrt(warmup_steps / step)`` (Vaswani et al., 2017, peak scaled to 1).

    >>> [InverseSqrt(warmup_steps=4)(step) for step in (0, 3, 4, 16)]
    [0.2, 0.8, 1.0, 0.5]
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        require(self, self.warmup_steps >= 1, "warmup_steps of at least 1")

    def __call__(self, step: int) -> float:
        """The warm-up before ``warmup_steps``, the decay from there on."""
        if step < self.warmup_steps:
            return warm_up(step, self.warmup_steps)
        return math.sqrt(self.warmup_steps / step)
