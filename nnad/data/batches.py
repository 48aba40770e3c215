"""Batches of rows in an order that depends on the seed and the epoch alone.

The order of epoch e is the permutation drawn by PCG64 seeded with (seed, e), so any batch of any
epoch can be produced again without replaying those before it: a run resumes at any step. Rows are
gathered for many batches at once into one buffer, and a batch is a view of it, which costs little
more than a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from queue import Queue
from threading import Event, Thread
from typing import NamedTuple

import numpy as np

from nnad.data.dataset import Split
from nnad.data.lazy import LazyRows
from nnad.distributed.shares import share_of

__all__ = ["Batch", "BatchIterator", "block_permutation", "permutation"]

CHUNK_BYTES = 16 * 2**20  # rows gathered at once
BLOCKS_MIXED = 64
BLOCK_BYTES = CHUNK_BYTES // BLOCKS_MIXED  # a run read in one go: what is mixed fits a chunk

Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class Batch(NamedTuple):
    """Inputs, targets and weights (or None) of some rows; views that later batches overwrite.

    Where processes share a batch, `share` says which of its rows these are: the first, the one
    after the last, and how many there are in all.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    share: tuple[int, int, int] | None = None

    @property
    def span(self) -> tuple[int, int, int]:
        """What `share` says, of a batch that nobody shares too."""
        return self.share or (0, len(self.y), len(self.y))

    @property
    def rows_of_all(self) -> int:
        """The rows of the batch, those of other processes included."""
        return self.span[2]


def permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the rows in an epoch.

    >>> sorted(permutation(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(rows)


def block_permutation(rows: int, block: int, seed: int, epoch: int) -> np.ndarray:
    """An order that reads runs of neighbouring rows and mixes many of them at a time.

    Blocks of `block` neighbours come in a random order; the rows of every `BLOCKS_MIXED` blocks
    are then shuffled among each other.

    >>> sorted(block_permutation(10, 3, seed=0, epoch=1).tolist()) == list(range(10))
    True
    """
    rng = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = np.arange(rows)
    blocks = np.array_split(order, range(block, rows, block))
    order = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    for a in range(0, rows, block * BLOCKS_MIXED):
        rng.shuffle(order[a : a + block * BLOCKS_MIXED])
    return order


class BatchIterator:
    """Endless batches, epoch after epoch, from a position that can be saved and restored.

    Args:
        split: the rows.
        batch_size: rows in a batch; the last one of an epoch may be shorter.
        shuffle: draw a new order for each epoch, "blocks": by `block_permutation`; otherwise
            batches come in the order of the rows.
        drop_last: leave out a last batch that is shorter.
        seed: of the orders and of the augmentation.
        augment: function of (x, y, rng) applied to each batch; see `nnad.data.augment`.
        prefetch: gather the next rows in a thread; None: only for rows read on demand and
            augmented ones.
        part: (rank, size): give only one process's share of the rows of each batch.

    Attributes:
        epoch, step: the position: of the next batch, counted from 0.

    >>> split = Split(np.arange(5.0)[:, None], np.arange(5))
    >>> batches = BatchIterator(split, 2, shuffle=False)
    >>> [batch.y.tolist() for batch in batches.rest_of_epoch()]
    [[0, 1], [2, 3], [4]]
    >>> batches.state()
    {'epoch': 1, 'step': 0}
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool | str = True,
        drop_last: bool = False,
        seed: int = 0,
        augment: Augment | None = None,
        prefetch: bool | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.augment = augment
        lazy = isinstance(split.x, LazyRows)
        self.prefetch = (lazy or augment is not None) if prefetch is None else prefetch
        self.epoch = self.step = 0
        rows = len(split)
        self.rows = rows // batch_size * batch_size if drop_last else rows
        if not self.rows:
            raise ValueError(
                f"no batch: {rows} rows, batch_size {batch_size}"
                + (", drop_last" if drop_last else "")
            )
        row_bytes = max(1, split.x.nbytes // max(1, rows))
        self.part = part
        shared = part[1] > 1
        read_bytes = split.x.row_bytes if lazy else row_bytes
        self._chunk = max(1, CHUNK_BYTES // (read_bytes * batch_size))  # batches gathered at once
        self._block = max(1, BLOCK_BYTES // row_bytes)
        self._in_place = not (shuffle or lazy or shared)
        self._gathers_share = shared and augment is None  # augmenting needs the whole batch
        self._edges = self._edges_of_batches()
        room = min(self._chunk * batch_size, self.rows)
        self._buffers = [_Buffers(split, room) for _ in range(self._depth)]
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    @property
    def _depth(self) -> int:
        """How many chunks are held at once: the one in use, one waiting, one being gathered."""
        return 0 if self._in_place else 3 if self.prefetch else 1

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.rows // self.batch_size)

    def state(self) -> dict[str, int]:
        """The position, as plain numbers; `restore` continues from there."""
        return {"epoch": self.epoch, "step": self.step}

    def restore(self, state: Mapping[str, int]) -> None:
        """Continue from a position that `state` returned."""
        self.epoch, self.step = int(state["epoch"]), int(state["step"])

    def rest_of_epoch(self) -> Iterator[Batch]:
        """The batches from the current position to the end of the epoch, moving the position."""
        last = len(self)
        for batch in self.batches(self.epoch, self.step):
            self.step += 1
            if self.step == last:
                self.epoch, self.step = self.epoch + 1, 0
            yield batch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``start`` on; leaves the position alone."""
        chunks = self._chunks(epoch, start)
        for first, x, y, weight in _ahead(chunks) if self.prefetch else chunks:
            for number in range(max(first, start), min(first + self._chunk, len(self))):
                rows, share = self._place(number, first)
                yield Batch(x[rows], y[rows], None if weight is None else weight[rows], share)

    def _edges_of_batches(self) -> list[int]:
        """Where each batch begins, and the last one ends, in the rows that are gathered."""
        edges = np.minimum(np.arange(len(self) + 1) * self.batch_size, self.rows)
        if self._gathers_share:
            shares = [self._share(number) for number in range(len(self))]
            edges[1:] = np.cumsum([share.stop - share.start for share in shares])
        return edges.tolist()

    def _share(self, number: int) -> slice:
        """The rows of a batch, counted within it, that this process takes."""
        return share_of(self._size_of(number), *self.part)

    def _size_of(self, number: int) -> int:
        """The rows of a batch that all processes have together."""
        return min(self.batch_size, self.rows - number * self.batch_size)

    def _place(self, number: int, first: int) -> tuple[slice, tuple[int, int, int] | None]:
        """Where a batch lies in the rows gathered from batch `first` on, and its share."""
        base = self._edges[first]
        begin, end = self._edges[number] - base, self._edges[number + 1] - base
        if self.part[1] == 1:
            return slice(begin, end), None
        share = self._share(number)
        if not self._gathers_share:
            begin, end = begin + share.start, begin + share.stop
        return slice(begin, end), (share.start, share.stop, self._size_of(number))

    def _chunks(
        self, epoch: int, start: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray | None]]:
        """(first batch, x, y, weight) of runs of batches, from the one that holds ``start``."""
        begin = start // self._chunk * self._chunk
        for turn, first in enumerate(range(begin, len(self), self._chunk)):
            last = min(first + self._chunk, len(self))
            if self._in_place:
                split, rows = self.split, slice(self._edges[first], self._edges[last])
                weight = None if split.weight is None else split.weight[rows]
                x, y = split.x[rows], split.y[rows]
            else:
                index = self._rows_of(epoch, first, last)
                x, y, weight = self._buffers[turn % self._depth].gather(self.split, index)
            if self.augment is not None:
                x, y = self._augmented(x, y, epoch, first)
            yield first, x, y, weight

    def _rows_of(self, epoch: int, first: int, last: int) -> np.ndarray:
        """The rows to gather for the batches from `first` to before `last`."""
        if self.shuffle and self._order[0] != epoch:
            self._order = (epoch, self._new_order(epoch))
        size = self.batch_size
        span = slice(first * size, min(last * size, self.rows))
        index = self._order[1][span] if self.shuffle else np.arange(span.start, span.stop)
        if not self._gathers_share:
            return index
        shares = [self._share(number) for number in range(first, last)]
        return np.concatenate(
            [index[i * size :][share] for i, share in enumerate(shares)], dtype=np.int64
        )

    def _new_order(self, epoch: int) -> np.ndarray:
        rows = len(self.split)
        if self.shuffle == "blocks":
            return block_permutation(rows, self._block, self.seed, epoch)
        return permutation(rows, self.seed, epoch)

    def _augmented(
        self, x: np.ndarray, y: np.ndarray, epoch: int, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change each batch of a chunk by random numbers that depend on its number alone."""
        assert self.augment is not None
        xs, ys = [], []
        for number, a in enumerate(range(0, len(y), self.batch_size), first):
            b = a + self.batch_size
            rng = np.random.Generator(np.random.PCG64([self.seed, epoch, number]))
            new_x, new_y = self.augment(x[a:b], y[a:b], rng)
            xs.append(new_x)
            ys.append(new_y)
        return np.concatenate(xs), np.concatenate(ys)


class _Buffers:
    """Room for the gathered rows of one chunk."""

    def __init__(self, split: Split, rows: int) -> None:
        self.arrays = [
            None if array is None else np.empty((rows, *array.shape[1:]), array.dtype)
            for array in (split.x, split.y, split.weight)
        ]

    def gather(
        self, split: Split, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        x, y, weight = (
            None if out is None else _gather(array, index, out[: len(index)])
            for array, out in zip((split.x, split.y, split.weight), self.arrays, strict=True)
        )
        assert x is not None and y is not None
        return x, y, weight


def _gather(array: np.ndarray | LazyRows, index: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Copy rows into ``out``; np.take is not for strided views, which it would copy as a whole."""
    if isinstance(array, np.ndarray) and array.flags.c_contiguous:
        return np.take(array, index, axis=0, out=out, mode="clip")  # clip: writes without a buffer
    out[...] = array[index]
    return out


def _ahead(items: Iterator) -> Iterator:
    """The same items, prepared one ahead of use by a thread.

    The thread ends when the consumer does; an exception in it is raised where the item is awaited.
    """
    ready: Queue = Queue(maxsize=1)
    stop = Event()

    def work() -> None:
        try:
            for item in items:
                ready.put((item, None))
                if stop.is_set():
                    return
            ready.put((None, None))
        except BaseException as error:
            ready.put((None, error))

    thread = Thread(target=work, name="nnad-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            if not ready.empty():
                ready.get_nowait()
            thread.join(0.001)
