"""Learning-rate schedules: ``schedule(step) -> factor`` on the optimizer's rate.

Step 0 is the first update. A schedule holds no reference to an optimizer, and all but
:class:`Plateau` are pure functions of the step: a resumed run needs nothing but the step number.
Where PyTorch has the scheduler, the factor is what its scheduler multiplies the rate by. Past its
length a schedule keeps its last value.

Adding a schedule: a frozen dataclass here that derives from :class:`Schedule`, and its name in
``__all__``. Its snake_case name is then what a config calls it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

__all__ = [
    "Constant",
    "Cosine",
    "CosineCycles",
    "CosineRestarts",
    "Exponential",
    "InverseSqrt",
    "Linear",
    "LinearWarmup",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Sequence",
    "Step",
    "WarmupStableDecay",
]


Annealing = Literal["cos", "linear"]


class Schedule:
    """Base of the schedules: a callable from the step number to a factor on the rate."""

    def __call__(self, step: int) -> float:
        """Factor on the optimizer's rate for the update number ``step``, counted from 0."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know besides the step: nothing, for a pure function of it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"{type(self).__name__} has the state {sorted(self.state_dict())}, "
                f"got {sorted(state)}; was it saved from another schedule?"
            )


def _require(schedule: Schedule, condition: bool, expected: str) -> None:
    """Raise a ValueError that shows the schedule and what its arguments must be."""
    if not condition:
        raise ValueError(f"{schedule}: expected {expected}")


def _warm_up(step: int, warmup_steps: int) -> float:
    """A straight line that reaches 1 at ``warmup_steps`` and does not waste step 0 on a zero."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _cosine(progress: float) -> float:
    """Half a cosine from 1 at ``progress`` 0 to 0 at 1."""
    return (1.0 + math.cos(math.pi * progress)) / 2.0


def _line(progress: float) -> float:
    """A straight line from 1 at ``progress`` 0 to 0 at 1."""
    return 1.0 - progress


def _between(high: float, low: float, weight: float) -> float:
    """``high`` where ``weight`` is 1, ``low`` where it is 0."""
    return low + (high - low) * weight


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
        _require(self, self.step_size >= 1, "step_size of at least 1")

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
        _require(self, list(self.milestones) == sorted(self.milestones), "increasing milestones")

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
        _require(self, self.total_steps >= 1, "total_steps of at least 1")

    def __call__(self, step: int) -> float:
        """The line at ``step``; ``end_factor`` from ``total_steps`` on."""
        done = min(step, self.total_steps) / self.total_steps
        return _between(self.end_factor, self.start_factor, done)


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """``(step + 1) / (warmup_steps + 1)``, then 1: the warm-up of the schedules that have one.

    >>> [LinearWarmup(warmup_steps=3)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        _require(self, self.warmup_steps >= 0, "warmup_steps of at least 0")

    def __call__(self, step: int) -> float:
        """The line at ``step``; 1 from ``warmup_steps`` on."""
        return _warm_up(step, self.warmup_steps)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """``(1 - step / total_steps) ** power``, as PyTorch's PolynomialLR.

    >>> [Polynomial(total_steps=4, power=2)(step) for step in (0, 2, 4, 5)]
    [1.0, 0.25, 0.0, 0.0]
    """

    total_steps: int
    power: float = 1.0

    def __post_init__(self) -> None:
        _require(self, self.total_steps >= 1, "total_steps of at least 1")

    def __call__(self, step: int) -> float:
        """The polynomial at ``step``; 0 from ``total_steps`` on."""
        return float((1.0 - min(step, self.total_steps) / self.total_steps) ** self.power)


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
        _require(self, 0 <= self.warmup_steps < self.total_steps, "0 <= warmup_steps < total_steps")

    def __call__(self, step: int) -> float:
        """The warm-up before ``warmup_steps``, the cosine from there on."""
        if step < self.warmup_steps:
            return _warm_up(step, self.warmup_steps)
        done = (min(step, self.total_steps) - self.warmup_steps) / (
            self.total_steps - self.warmup_steps
        )
        return _between(1.0, self.min_factor, _cosine(done))


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
        _require(
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
        return _between(1.0, self.min_factor, _cosine(step / period))


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
        _require(
            self, self.total_steps >= 1 and self.cycles >= 1, "total_steps, cycles of 1 or more"
        )

    def __call__(self, step: float) -> float:
        """The wave at ``step``; 0 from ``total_steps`` on."""
        done = min(step, self.total_steps) / self.total_steps
        phase = math.log2(1.0 + (2.0**self.cycles - 1.0) * done)
        return (1.0 - math.cos(2.0 * math.pi * phase)) / 2.0


_ANNEALING: dict[str, Callable[[float], float]] = {"cos": _cosine, "linear": _line}


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
        _require(self, self.total_steps >= 1, "total_steps of at least 1")
        _require(self, 0.0 <= self.pct_start <= 1.0, "pct_start from 0 to 1")
        _require(self, self.anneal_strategy in _ANNEALING, "anneal_strategy of 'cos' or 'linear'")

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
        weight = _ANNEALING[self.anneal_strategy]
        corners = self._corners()
        step = min(step, self.total_steps - 1)
        (begin, before), (end, after) = next(
            ((a, b) for a, b in pairwise(corners) if step <= b[0]),
            (corners[-2], corners[-1]),
        )
        done = (step - begin) / (end - begin) if end != begin else 1.0
        return _between(before, after, weight(done))


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """Linear warm-up, then ``sqrt(warmup_steps / step)`` (Vaswani et al., 2017, peak scaled to 1).

    >>> [InverseSqrt(warmup_steps=4)(step) for step in (0, 3, 4, 16)]
    [0.2, 0.8, 1.0, 0.5]
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        _require(self, self.warmup_steps >= 1, "warmup_steps of at least 1")

    def __call__(self, step: int) -> float:
        """The warm-up before ``warmup_steps``, the decay from there on."""
        if step < self.warmup_steps:
            return _warm_up(step, self.warmup_steps)
        return math.sqrt(self.warmup_steps / step)


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
        _require(
            self,
            self.warmup_steps >= 0
            and self.decay_steps >= 1
            and self.warmup_steps + self.decay_steps <= self.total_steps,
            "warmup_steps >= 0, decay_steps >= 1, together at most total_steps",
        )
        _require(self, self.decay in _ANNEALING, "decay of 'linear' or 'cos'")

    def __call__(self, step: int) -> float:
        """The part of the curve that ``step`` lies in."""
        if step < self.warmup_steps:
            return _warm_up(step, self.warmup_steps)
        begin = self.total_steps - self.decay_steps
        done = min(max(0, step - begin), self.decay_steps) / self.decay_steps
        return _between(1.0, self.min_factor, _ANNEALING[self.decay](done))


@dataclass(frozen=True)
class Sequence(Schedule):
    """One schedule after another, each counting from its own step 0, as PyTorch's SequentialLR.

    Args:
        schedules: callables ``step -> factor``.
        milestones: the step at which each schedule but the first begins.

    >>> schedule = Sequence([LinearWarmup(1), Exponential(0.5)], milestones=[2])
    >>> [schedule(step) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.25]
    """

    schedules: SequenceOf[Callable[[int], float]]
    milestones: SequenceOf[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "milestones", tuple(self.milestones))
        _require(
            self,
            len(self.schedules) == len(self.milestones) + 1,
            "one milestone less than schedules",
        )
        _require(self, list(self.milestones) == sorted(self.milestones), "increasing milestones")

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
        _require(self, 0.0 < factor < 1.0, "factor between 0 and 1")
        _require(self, mode in ("min", "max"), "mode of 'min' or 'max'")
        _require(self, threshold_mode in ("rel", "abs"), "threshold_mode of 'rel' or 'abs'")
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
