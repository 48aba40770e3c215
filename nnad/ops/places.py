"""Where an operation keeps the arrays that it needs besides its result.

A forward function that makes arrays of its own, to work in or to hand on to its derivative, takes a
keyword `place`, and makes them by it: `place(np.subtract, x, mean)` is `np.subtract(x, mean)`, and
`place(np.empty, shape, dtype)` is `np.empty(shape, dtype)`.  In an ordinary call those are new
arrays.  A compiled program gives a place for each, planned once: so a function must ask for the
same arrays in the same order whatever the values of its arguments are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["FRESH", "filled", "planned", "watched"]

Place = Callable[..., Any]

FRESH: Place = operator.call  # every array is a new one


def watched(made: list[Any]) -> Place:
    """New arrays, which are put into `made`: what a call asks for."""

    def place(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        made.append(function(*args, **options))
        return made[-1]

    return place


def planned(arrays: Iterable[np.ndarray | None]) -> Place:
    """The arrays of one call, in the order in which they are asked for; None: a new one."""
    following = iter(arrays).__next__

    def place(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        array = following()
        if array is None:
            return function(*args, **options)
        if function is np.empty:
            return array
        return function(*args, out=array, **options)

    return place


@lru_cache(maxsize=64)
def filled(n: int, value: float, dtype: Any) -> np.ndarray:
    """A vector that cannot be written: a product with it adds up faster than a reduction does."""
    vector = np.full(n, value, dtype)
    vector.flags.writeable = False
    return vector
