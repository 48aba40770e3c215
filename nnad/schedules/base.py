"""What schedules are, and the curves that several of them follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

__all__ = ["ANNEALING", "Annealing", "Schedule", "between", "cosine", "line", "require", "warm_up"]


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


def require(schedule: Schedule, condition: bool, expected: str) -> None:
    """Raise a ValueError that shows the schedule and what its arguments must be."""
    if not condition:
        raise ValueError(f"{schedule}: expected {expected}")


def warm_up(step: int, warmup_steps: int) -> float:
    """A straight line that reaches 1 at ``warmup_steps`` and does not waste step 0 on a zero."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def cosine(progress: float) -> float:
    """Half a cosine from 1 at ``progress`` 0 to 0 at 1."""
    return (1.0 + math.cos(math.pi * progress)) / 2.0


def line(progress: float) -> float:
    """A straight line from 1 at ``progress`` 0 to 0 at 1."""
    return 1.0 - progress


def between(high: float, low: float, weight: float) -> float:
    """``high`` where ``weight`` is 1, ``low`` where it is 0."""
    return low + (high - low) * weight


ANNEALING: dict[str, Callable[[float], float]] = {"cos": cosine, "linear": line}
