"""Schedules that follow half a cosine, once or again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from nnad.schedules.base import (
    ANNEALING,
    Annealing,
    Schedule,
    between,
    cosine,
    require,
    warm_up,
)

__all__ = ["Cosine", "CosineCycles", "CosineRestarts", "OneCycle"]


@dataclass(frozen=True)
class Cosine(Schedule):
    """Linear warm-up, then half a cosine down to ``min_factor`` at ``total_steps``.

    Without warm-up the factor is that of PyTorch's CosineAnnealingLR (with T_max ``total_steps``),
    but stays at ``min_factor`` afterwards where PyTorch's goes up again.

    >>> [round(Cosine(total_steps=4)(step), 4) for step in range(6)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    """

    total_steps: int
    min_factor: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require(self, 0 <= self.warmup_steps < self.total_steps, "0 <= warmup_steps < total_steps")

    def __call__(self, step: int) -> float:
        """The warm-up before ``warmup_steps``, the cosine from there on."""
        if step < self.warmup_steps:
            return warm_up(step, self.warmup_steps)
        done = (min(step, self.total_steps) - self.warmup_steps) / (
            self.total_steps - self.warmup_steps
        )
        return between(1.0, self.min_factor, cosine(done))


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Half cosines from 1 to ``min_factor``, each ``period_factor`` times as long as the last.

    PyTorch's CosineAnnealingWarmRestarts (Loshchilov and Hutter, SGDR, 2017).

    >>> [CosineRestarts(first_period=2, period_factor=2)(step) for step in range(7)]
    [1.0, 0.5, 1.0, 0.8535..., 0.5, 0.1464..., 1.0]
    """

    first_period: int
    period_factor: int = 1
    min_factor: float = 0.0

    def __post_init__(self) -> None:
        require(
            self,
            self.first_period >= 1 and self.period_factor >= 1,
            "first_period and period_factor of at least 1",
        )

    def __call__(self, step: int) -> float:
        """The cosine of the period that ``step`` lies in."""
        period = self.first_period
        if self.period_factor == 1:
            step %= period
        while step >= period:
            step -= period
            period *= self.period_factor
        return between(1.0, self.min_factor, cosine(step / period))


@dataclass(frozen=True)
class CosineCycles(Schedule):
    """Waves from 0 to 1 and back, each twice as long as the last.

    ``(1 - cos(2π log2(1 + (2^cycles - 1) t))) / 2`` at the share t of the steps: the coslog
    schedule of RealMLP (Holzmüller et al. 2024), which ends every wave near a good model.

    >>> schedule = CosineCycles(total_steps=15)
    >>> [round(schedule(step), 3) for step in (0, 1, 3, 7, 15)]
    [0.0, 0.0, 0.0, 0.0, 0.0]
    >>> round(schedule(0.4142), 3), round(schedule(10.3137), 3)
    (1.0, 1.0)
    """

    total_steps: int
    cycles: int = 4

    def __post_init__(self) -> None:
        require(
            self, self.total_steps >= 1 and self.cycles >= 1, "total_steps, cycles of 1 or more"
        )

    def __call__(self, step: float) -> float:
        """The wave at ``step``; 0 from ``total_steps`` on."""
        done = min(step, self.total_steps) / self.total_steps
        phase = math.log2(1.0 + (2.0**self.cycles - 1.0) * done)
        return (1.0 - math.cos(2.0 * math.pi * phase)) / 2.0


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to 1 and down again, as PyTorch's OneCycleLR with max_lr the optimizer's rate.

    Starts at ``1 / div_factor``, reaches 1 after the fraction ``pct_start`` of the steps and falls
    to ``1 / (div_factor * final_div_factor)`` at the last of ``total_steps`` updates; with
    ``three_phase`` it first falls back to the start as slowly as it rose (Smith and Topin, 2018).

    Args:
        anneal_strategy: "cos" or "linear".

    >>> schedule = OneCycle(total_steps=11, pct_start=0.5, anneal_strategy="linear")
    >>> [round(schedule(step), 3) for step in (0, 4, 10)]
    [0.04, 0.893, 0.0]
    """

    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: Annealing = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        require(self, self.total_steps >= 1, "total_steps of at least 1")
        require(self, 0.0 <= self.pct_start <= 1.0, "pct_start from 0 to 1")
        require(self, self.anneal_strategy in ANNEALING, "anneal_strategy of 'cos' or 'linear'")

    def _corners(self) -> list[tuple[float, float]]:
        """The (step, factor) pairs between which the curve runs."""
        start = 1.0 / self.div_factor
        final = start / self.final_div_factor
        last = self.total_steps - 1.0
        peak = self.pct_start * self.total_steps - 1.0
        if self.three_phase:
            return [(0.0, start), (peak, 1.0), (2.0 * peak, start), (last, final)]
        return [(0.0, start), (peak, 1.0), (last, final)]

    def __call__(self, step: int) -> float:
        """The curve at ``step``; its last value from the last step on."""
        weight = ANNEALING[self.anneal_strategy]
        corners = self._corners()
        step = min(step, self.total_steps - 1)
        (begin, before), (end, after) = next(
            ((a, b) for a, b in pairwise(corners) if step <= b[0]),
            (corners[-2], corners[-1]),
        )
        done = (step - begin) / (end - begin) if end != begin else 1.0
        return between(before, after, weight(done))
