"""Where an operation keeps the arrays that it needs besides its result.

A forward function that makes arrays of its own, to work in or to hand on to its derivative, takes a
keyword `place`, and makes them by it: `place(np.subtract, x, mean)` is `np.subtract(x, mean)`, and
`place.empty(shape, dtype)` is `np.empty(shape, dtype)`.  In an ordinary call those are new arrays.
A compiled program gives a place for each, planned once: so a function must ask for the same arrays
in the same order whatever the values of its arguments are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["FRESH", "Planned", "Watched", "filled"]


class Fresh:
    """Every array is a new one."""

    def __call__(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """`function(*args, **options)`, which has a keyword `out`."""
        return function(*args, **options)

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        """An array whose values are still to be written."""
        return np.empty(shape, dtype)


FRESH = Fresh()


class Watched(Fresh):
    """New arrays, which are remembered in `made`: what a call asks for."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call `function` and remember what it makes."""
        self.made.append(function(*args, **options))
        return self.made[-1]

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        """A new array that is remembered."""
        self.made.append(np.empty(shape, dtype))
        return self.made[-1]


class Planned(Fresh):
    """Gives the arrays of one call, in the order in which they are asked for; None: a new one."""

    def __init__(self, arrays: Iterable[np.ndarray | None]) -> None:
        self.following = iter(arrays).__next__

    def __call__(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call `function`, to write into the next array."""
        return function(*args, out=self.following(), **options)

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        """The next array."""
        array = self.following()
        return np.empty(shape, dtype) if array is None else array


@lru_cache(maxsize=64)
def filled(n: int, value: float, dtype: Any) -> np.ndarray:
    """A vector that cannot be written: a product with it adds up faster than a reduction does."""
    vector = np.full(n, value, dtype)
    vector.flags.writeable = False
    return vector
