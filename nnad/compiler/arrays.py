"""What a capture has to know about arrays: which they are, what they hold, where they lie."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnad.compiler.program import RESULT, Value, outline

Results = Sequence[tuple[np.ndarray, Value]]

# Bytes that an operation asks for below which new arrays cost less than handing out planned ones.
WORTH_PLANNING = 8192


def arrays_in(item: Any) -> Iterator[np.ndarray]:
    """The arrays in nested lists, tuples and dicts."""
    if isinstance(item, np.ndarray):
        yield item
    elif isinstance(item, (tuple, list, dict)):
        for part in item.values() if isinstance(item, dict) else item:
            yield from arrays_in(part)


def checksum(array: np.ndarray) -> int:
    """A number that changes when the array does."""
    return 0 if array.dtype.hasobject else zlib.crc32(np.ascontiguousarray(array).data)


def own(x: Any) -> Any:
    """`x` as an object that no other value is: scalars are often shared by the interpreter."""
    if isinstance(x, np.bool_):
        return np.asarray(x)
    return x.copy() if isinstance(x, np.generic) else x


def forget(values: dict[int, Value], key: int, dead: object) -> None:
    """An array is gone, and its id may be another's: no value is known by it any more."""
    values.pop(key, None)


def places_for(made: Sequence[Any], results: Results) -> list[tuple[tuple[int, ...], Value | None]]:
    """Shape and value (see `seen_as`) of each array that an operation has asked for; none if small.

    Args:
        made: the arrays, and numbers.
        results: the arrays that the operation returned, with their values.
    """
    if sum(np.asarray(x).nbytes for x in made) < WORTH_PLANNING:
        return []
    return [(np.shape(x), seen_as(x, results)) for x in made]


def seen_as(made: Any, results: Results) -> Value | None:
    """The value for an array that an operation has asked for.

    Returns:
        The result that it is, if only in another shape; a new value, if it is part of none; None
        if it holds a result and more, so that each call needs a new one.
    """
    if not isinstance(made, np.ndarray):
        return None
    sharing = [(x, value) for x, value in results if np.may_share_memory(x, made)]
    if not sharing:
        return Value(RESULT, outline(made), "scratch")
    x, value = sharing[0]
    in_order = x is made or (x.flags.c_contiguous and made.flags.c_contiguous)
    whole = in_order and x.nbytes == made.nbytes and x.dtype == made.dtype
    return value if whole else None
