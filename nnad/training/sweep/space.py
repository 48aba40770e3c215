"""What a sweep tries: values of settings, drawn or in every combination."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnad.errors import did_you_mean

__all__ = ["Choice", "Interval", "combinations", "draws", "parse_parameter"]

INTERVALS = {"uniform": (False, False), "log_uniform": (True, False), "int_uniform": (False, True),
             "log_int_uniform": (True, True)}  # fmt: skip
FORMS = ("values", *INTERVALS)
MOST = 1e300  # of a number in an interval


@dataclass(frozen=True)
class Choice:
    """Some values, all equally likely."""

    values: Sequence[Any]

    @property
    def log(self) -> bool:
        """Whether a chart had better show them on a logarithmic axis."""
        numbers = [v for v in self.values if isinstance(v, (int, float)) and v > 0]
        return len(numbers) == len(self.values) > 2 and max(numbers) >= 30 * min(numbers)

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them."""
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Interval:
    """Numbers between two others, ends included; if `log`, equal ratios are equally likely."""

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, rng: np.random.Generator) -> float | int:
        """One of them, with six digits."""
        margin = 0.5 if self.whole else 0.0
        low, high = self.low - margin, self.high + margin
        if self.log:
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            value = float(rng.uniform(low, high))
        if self.whole:
            return min(max(round(value), int(self.low)), int(self.high))
        return min(max(float(f"{value:.6g}"), self.low), self.high)


def parse_parameter(value: Any) -> Choice | Interval | str:
    """A list of values, ``{values: [...]}`` or ``{log_uniform: [low, high]}``; else what is wrong.

    >>> parse_parameter({"log_uniform": [1e-4, 0.1]})
    Interval(low=0.0001, high=0.1, log=True, whole=False)
    >>> parse_parameter({"log_unifrom": [1e-4, 0.1]})
    "unknown form 'log_unifrom'; did you mean 'log_uniform'?"
    """
    if isinstance(value, list):
        value = {"values": value}
    if not isinstance(value, dict) or len(value) != 1:
        return f"expected a list of values, or one of {', '.join(FORMS)}, got {value!r}"
    ((form, content),) = value.items()
    if form not in FORMS:
        hint = did_you_mean(str(form), FORMS) or f"; expected one of {', '.join(FORMS)}"
        return f"unknown form {form!r}{hint}"
    if form == "values":
        good = isinstance(content, list) and content
        return Choice(content) if good else f"expected a list of values, got {content!r}"
    return _interval(form, content)


def _interval(form: str, content: Any) -> Interval | str:
    log, whole = INTERVALS[form]
    kinds = (int,) if whole else (int, float)
    numbers = isinstance(content, list) and all(
        isinstance(x, kinds) and not isinstance(x, bool) and -MOST < x < MOST for x in content
    )
    if not numbers or len(content) != 2:
        kind = "whole numbers" if whole else "numbers"
        return f"{form}: expected [low, high], two {kind}, got {content!r}"
    low, high = content
    if low >= high or (log and low <= 0):
        return f"{form}: expected {'0 < ' if log else ''}low < high, got {content!r}"
    return Interval(low, high, log, whole)


def combinations(space: Mapping[str, Choice | Interval]) -> list[dict[str, Any]]:
    """Every combination of the values; the last setting changes fastest."""
    values = [choice.values for choice in space.values() if isinstance(choice, Choice)]
    return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*values)]


def draws(space: Mapping[str, Choice | Interval], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` draws, each independent of how many are asked for."""
    rngs = [np.random.default_rng([seed, i]) for i in range(count)]
    return [{key: part.draw(rng) for key, part in space.items()} for rng in rngs]
