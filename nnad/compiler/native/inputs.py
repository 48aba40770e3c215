"""Large arguments of a step are read where they lie: their addresses go into the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nnad.compiler.native.ir import address_of

DIRECT_FROM = 32_768  # bytes below which copying costs less than looking at an array


class DirectInput:
    """Makes native code read an argument, or, where that cannot be, a copy of it.

    Args:
        buffer: what the code was made for; holds the copy.
        tables: (table of addresses, places of {address: place}) of each stretch of native code.
        others: arrays that native code reads or writes besides; an argument must not overlap.
    """

    def __init__(
        self,
        buffer: np.ndarray,
        tables: Iterable[tuple[np.ndarray, dict[int, int]]],
        others: Sequence[np.ndarray],
    ) -> None:
        self.buffer = buffer
        start = address_of(buffer)
        self.entries = [
            (table, place, address - start)
            for table, places in tables
            for address, place in places.items()
            if start <= address < start + buffer.nbytes
        ]
        self.others = ranges(others)

    def __call__(self, x: np.ndarray) -> None:
        """Read `x` in the next run."""
        address = address_of(x)
        if not self._can_be_read(x, address):
            np.copyto(self.buffer, x)
            address = address_of(self.buffer)
        for table, place, offset in self.entries:
            table[place] = address + offset

    def _can_be_read(self, x: np.ndarray, address: int) -> bool:
        if not (x.flags.c_contiguous and x.flags.aligned):
            return False
        stop = address + x.nbytes
        return all(stop <= low or high <= address for low, high in self.others)


def ranges(arrays: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """The stretches of memory that arrays cover, neighbours joined."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(map(np.lib.array_utils.byte_bounds, arrays)):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found
