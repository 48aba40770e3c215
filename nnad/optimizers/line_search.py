"""A line search for the strong Wolfe conditions, by bracketing and cubic interpolation.

The algorithm is minFunc's (Schmidt, 2005) in the form torch.optim.LBFGS uses, after Nocedal and
Wright, Numerical Optimization, algorithms 3.5 and 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Evaluation", "Probe", "cubic_minimum", "strong_wolfe"]


class Evaluation(NamedTuple):
    """Loss and gradient at one point."""

    loss: float
    grad: np.ndarray


class Point(NamedTuple):
    """A trial on the line: its distance, its loss and gradient, and the slope along the line."""

    length: float
    loss: float
    grad: np.ndarray
    slope: float


Probe = Callable[[float], Evaluation]


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two losses and slopes has its minimum, kept within bounds.

    Args:
        bounds: smallest and largest result; None: the two lengths.
    """
    low, high = bounds or (min(a.length, b.length), max(a.length, b.length))
    if a.length == b.length:
        return low
    d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0.0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    if a.length > b.length:
        a, b = b, a
    bend = b.slope - a.slope + 2.0 * d2
    if bend == 0.0:
        return (low + high) / 2.0
    minimum = b.length - (b.length - a.length) * ((b.slope + d2 - d1) / bend)
    return min(max(minimum, low), high)


def strong_wolfe(
    probe: Probe,
    length: float,
    direction: np.ndarray,
    start: Evaluation,
    slope: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[Evaluation, float, int]:
    """A distance along `direction` that lowers the loss and flattens the slope enough.

    Args:
        probe: loss and gradient at a distance.
        length: first distance to try.
        direction: the line.
        start: loss and gradient at distance 0.
        slope: of the loss along the line at distance 0; negative.
        c1: share of the promised decrease that must be had.
        c2: share of the slope that may be left.
        tolerance_change: smallest bracket, times the largest entry of `direction`.
        max_ls: trials after the first.

    Returns:
        (loss and gradient there, distance, number of evaluations).
    """
    search = _Search(probe, direction, start, slope, c1, c2)
    bracket, done = search.bracket(length, max_ls)
    width = tolerance_change / float(np.max(np.abs(direction)))
    best = bracket[-1] if done else search.zoom(bracket, width, max_ls)
    return Evaluation(best.loss, best.grad), best.length, search.evaluations


class _Search:
    """One line search: what is asked of a point, and how many were tried."""

    def __init__(
        self,
        probe: Probe,
        direction: np.ndarray,
        start: Evaluation,
        slope: float,
        c1: float,
        c2: float,
    ) -> None:
        self.probe = probe
        self.direction = direction
        self.origin = Point(0.0, start.loss, start.grad, slope)
        self.c1 = c1
        self.c2 = c2
        self.evaluations = 0
        self.trials = 0

    def at(self, length: float) -> Point:
        loss, grad = self.probe(length)
        self.evaluations += 1
        return Point(length, loss, grad, float(grad @ self.direction))

    def too_high(self, point: Point) -> bool:
        return point.loss > self.origin.loss + self.c1 * point.length * self.origin.slope

    def flat_enough(self, point: Point) -> bool:
        return abs(point.slope) <= -self.c2 * self.origin.slope

    def bracket(self, length: float, max_ls: int) -> tuple[list[Point], bool]:
        """Go outwards until two points enclose a minimum, or one is good already."""
        before, point = self.origin, self.at(length)
        while self.trials < max_ls:
            if self.too_high(point) or (self.trials > 1 and point.loss >= before.loss):
                return [before, point], False
            if self.flat_enough(point):
                return [point], True
            if point.slope >= 0:
                return [before, point], False
            bounds = (
                point.length + 0.01 * (point.length - before.length),
                point.length * 10,
            )
            length = cubic_minimum(before, point, bounds)
            before, point = point, self.at(length)
            self.trials += 1
        return [self.origin, point], False

    def zoom(self, bracket: list[Point], width: float, max_ls: int) -> Point:
        """Narrow the bracket until its lower end is good, or as narrow as `width`."""
        low = _lower(bracket)
        stuck = False
        while self.trials < max_ls and abs(bracket[1].length - bracket[0].length) >= width:
            length, stuck = _kept_inside(cubic_minimum(bracket[0], bracket[1]), bracket, stuck)
            point = self.at(length)
            self.trials += 1
            if self.too_high(point) or point.loss >= bracket[low].loss:
                bracket[1 - low] = point
                low = _lower(bracket)
                continue
            if self.flat_enough(point):
                return point
            if point.slope * (bracket[1 - low].length - bracket[low].length) >= 0:
                bracket[1 - low] = bracket[low]
            bracket[low] = point
        return bracket[low]


def _lower(bracket: list[Point]) -> int:
    return 0 if bracket[0].loss <= bracket[1].loss else 1


def _kept_inside(length: float, bracket: list[Point], stuck: bool) -> tuple[float, bool]:
    """Keep a trial away from the ends of the bracket when the last one was near an end too.

    Returns:
        (length, whether it is near an end and was let pass).
    """
    near, far = sorted(point.length for point in bracket)
    margin = 0.1 * (far - near)
    if min(far - length, length - near) >= margin:
        return length, False
    if not stuck and near < length < far:
        return length, True
    return (far - margin if abs(length - far) < abs(length - near) else near + margin), False
