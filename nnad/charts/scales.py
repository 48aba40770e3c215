"""From numbers to places on the paper, and the round numbers that stand beside an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LARGEST", "Scale", "fitted", "text"]

TICKS = 5
LARGEST = 1e250  # number at an end, so that a float holds what is computed of both


@dataclass(frozen=True)
class Scale:
    """A straight or logarithmic axis.

    Attributes:
        low, high: the numbers at its ends.
        begin, end: where these are on the paper.
        log: equal ratios, not equal differences, are equally far apart.
        whole: only whole numbers stand beside it.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    whole: bool = False

    def __call__(self, values: Any) -> np.ndarray:
        """Places of `values`; those outside are put at the nearer end, NaN stays NaN."""
        v = np.clip(np.asarray(values, np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.log:
            v, low, high = np.log10(v), math.log10(low), math.log10(high)
        return self.begin + (v - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round numbers on the axis, about `TICKS` of them.

        >>> Scale(0.0, 1.0, 0, 100).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Scale(1e-4, 1.0, 0, 100, log=True).ticks()
        [0.0001, 0.001, 0.01, 0.1, 1.0]
        """
        return self._powers() if self.log else self._multiples()

    def _multiples(self) -> list[float]:
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        step = max(step, 1.0) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{i * step:.10g}") for i in range(first, last + 1)]

    def _powers(self) -> list[float]:
        low, high = math.log10(self.low), math.log10(self.high)
        first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        if high - low > 2:
            return [10.0**k for k in range(first, last + 1, max(1, -(-(last - first) // TICKS)))]
        parts = (1, 3) if high - low > 1 else (1, 2, 5) if high - low > 0.5 else range(1, 10)
        steps = [float(f"{m * 10.0**k:.3g}") for k in range(first - 1, last + 1) for m in parts]
        return [t for t in steps if self.low <= t <= self.high]


def fitted(
    values: Iterable[Any], begin: float, end: float, log: bool = False, margin: float = 0.0
) -> Scale:
    """The axis on which all finite `values` (if `log`, the positive ones) have a place.

    Args:
        values: arrays.
        begin, end: its ends on the paper.
        log: make it logarithmic.
        margin: share of its length to leave free at both ends.
    """
    arrays = [np.asarray(v, np.float64).reshape(-1) for v in values]
    every = np.concatenate(arrays) if arrays else np.zeros(0)
    every = np.clip(every[np.isfinite(every) & (every > 0 if log else True)], -LARGEST, LARGEST)
    low, high = (float(every.min()), float(every.max())) if every.size else (0.1, 1.0)
    if log:
        low, high = (math.log10(max(end, 1 / LARGEST)) for end in (low, high))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        around = 0.3 if log else abs(low) / 2 or 0.5
        low, high = low - around, high + around
    room = (high - low) * margin
    low, high = low - room, high + room
    return Scale(10**low, 10**high, begin, end, True) if log else Scale(low, high, begin, end)


def text(value: float) -> str:
    """A number as it stands in a chart: short, but no two ticks alike.

    >>> text(0.30000000000000004), text(20000.0), text(1e-05), text(float("nan"))
    ('0.3', '20,000', '1e-05', 'nan')
    """
    if math.isfinite(value) and 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}"
