"""Rows of a training set in batches, in scikit-learn's order for the same random state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BatchSource", "Rows", "take"]


class Rows(NamedTuple):
    """Inputs, encoded targets and weights (or None), row by row."""

    x: Any
    target: np.ndarray
    weight: np.ndarray | None

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self.x.shape[0])


class BatchSource:
    """The batches of an epoch; each is overwritten by the next one.

    Args:
        rows: the training set.
        size: rows in a batch; the last one may be shorter.
        shuffle: draw another order for each epoch.
        random_state: draws the orders.
        smallest: a last batch of fewer rows is joined to the one before.
    """

    def __init__(
        self,
        rows: Rows,
        size: int,
        shuffle: bool,
        random_state: np.random.RandomState,
        smallest: int = 1,
    ) -> None:
        self.rows = rows
        self.size = size
        self.shuffle = shuffle
        self.random_state = random_state
        self.order = np.arange(rows.size)
        starts = list(range(0, rows.size, size))
        if len(starts) > 1 and rows.size - starts[-1] < smallest:
            del starts[-1]
        self.slices = [slice(*ends) for ends in pairwise([*starts, rows.size])]
        self._room = [_room(a, size + smallest - 1) for a in rows]

    def epoch(self) -> Iterator[Rows]:
        """The batches of the next epoch."""
        if self.shuffle:
            shuffled = np.arange(self.rows.size)
            self.random_state.shuffle(shuffled)
            self.order = self.order[shuffled]
        for part in self.slices:
            index = self.order[part] if self.shuffle else part
            yield Rows(
                *(_gather(a, index, room) for a, room in zip(self.rows, self._room, strict=True))
            )


def _room(array: Any, size: int) -> np.ndarray | None:
    """Where the rows of a batch are gathered; None for what is not an array."""
    if not isinstance(array, np.ndarray):
        return None
    return np.empty((min(size, len(array)), *array.shape[1:]), array.dtype)


def _gather(array: Any, index: Any, room: np.ndarray | None) -> Any:
    """Some rows: by number into `room`, by slice as a view."""
    if array is None or room is None or isinstance(index, slice):
        return None if array is None else array[index]
    return np.take(array, index, axis=0, out=room[: len(index)], mode="clip")


def take(rows: Rows, index: np.ndarray) -> Rows:
    """Some rows, in new arrays."""
    weight = None if rows.weight is None else rows.weight[index]
    return Rows(rows.x[index], rows.target[index], weight)
