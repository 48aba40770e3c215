"""Rows that are read, indexed and scaled only when a batch asks for them."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np

from nnad.errors import DataError
from nnad.files import ordinary

__all__ = ["FileRows", "LazyRows", "ShardedRows", "require_finite"]

DENSE = 4  # reading so many times the rows in one go is quicker than picking them
NEAR, RUN = 2**14, 2**20  # bytes: rows so near are read in one go, of at most so much
READ_ALONG = 8  # times the rows that are wanted


def require_finite(rows: np.ndarray, label: object, key: slice | np.ndarray, total: int) -> None:
    """Raise a DataError if there is a NaN or an infinity in rows at the positions of `key`."""
    if rows.dtype.kind != "f" or np.isfinite(rows).all():
        return
    bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    row = np.arange(total)[key][bad].min()
    raise DataError(f"{label}: row {row} (counted from 0) holds a number that is not finite")


class FileRows:
    """The rows of an array in a file, read when they are asked for.

    Rows are read one by one into memory. A memory map would be simpler, but its pages count as the
    process's own and come sixteen at a time, so random rows of a large file soon fill memory.

    Args:
        path: the file.
        dtype, shape: of the array, rows first, in row order.
        offset: bytes before its first element.

    Attributes:
        row_bytes: bytes of a row in the file.
    """

    def __init__(
        self, path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int = 0
    ) -> None:
        self.path, self.dtype, self.shape, self.offset = path, dtype, shape, offset
        self.row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        self._file = open(path, "rb", buffering=0, opener=ordinary)  # noqa: SIM115
        self._state = self._state_now()
        self._lock = Lock()  # a thread that prefetches and one that evaluates share the position
        weakref.finalize(self, self._file.close)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """The rows of a slice or an array of positions, as a new array.

        Raises:
            DataError: the file has changed since it was opened, or a number in it is not finite.
        """
        if self._state_now() != self._state:
            self._complain()
        rows = self._rows_of(key)
        require_finite(rows, self.path, key, len(self))
        return rows

    def _rows_of(self, key: slice | np.ndarray) -> np.ndarray:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._read_run(start, max(stop, start))
            key = np.arange(start, stop, step)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        starts = self._starts_of_runs(ordered)
        if starts is not None:
            return self._read_runs(ordered, order, starts)
        rows = np.empty((len(key), *self.shape[1:]), self.dtype)
        size, offset = self.row_bytes, self.offset
        room = rows.reshape(-1).view(np.uint8).data
        seek, read = self._file.seek, self._file.readinto
        with self._lock:
            for i, row in enumerate(key.tolist()):
                seek(offset + row * size)
                if read(room[i * size : (i + 1) * size]) != size:
                    self._complain()
        return rows

    def _starts_of_runs(self, rows: np.ndarray) -> np.ndarray | None:
        """Where runs of near rows begin in `rows`, which ascend; None if they lie too far apart."""
        far = np.diff(rows) > max(1, NEAR // max(1, self.row_bytes))
        if 2 * np.count_nonzero(far) >= len(rows):
            return None
        far |= np.diff(rows * self.row_bytes // RUN) > 0
        starts = np.flatnonzero(np.concatenate([[True], far]))
        lasts = np.append(starts[1:], len(rows)) - 1
        read = np.sum(rows[lasts] + 1 - rows[starts])
        return starts if read <= READ_ALONG * len(rows) else None

    def _read_runs(self, rows: np.ndarray, places: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """`rows`, which ascend in runs that begin at `starts`, each put where `places` says."""
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for a, b in pairwise([*starts.tolist(), len(rows)]):
            first = int(rows[a])
            found[places[a:b]] = self._read_run(first, int(rows[b - 1]) + 1)[rows[a:b] - first]
        return found

    def _read_run(self, start: int, stop: int) -> np.ndarray:
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype)
        room = rows.reshape(-1).view(np.uint8).data
        done = 0
        with self._lock:
            self._file.seek(self.offset + start * self.row_bytes)
            while done < len(room):  # the system reads at most 2 GiB at once
                got = self._file.readinto(room[done:])
                if not got:
                    self._complain()
                done += got
        return rows

    def _state_now(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def _complain(self) -> NoReturn:
        raise DataError(
            f"{self.path}: was changed while rows were read from it; go on with the data that it "
            "held before, or start again with what it holds now"
        )


class ShardedRows:
    """The rows of several arrays or files, one after the other.

    Args:
        parts: arrays or `FileRows` that differ in nothing but the number of rows.
    """

    def __init__(self, parts: Sequence[np.ndarray | FileRows]) -> None:
        self.parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """The rows of a slice or an array of positions, as a new array."""
        if isinstance(key, slice):
            key = np.arange(*key.indices(len(self)))
        rows = np.empty((len(key), *self.shape[1:]), self.dtype)
        owners = np.searchsorted(self._starts, key, side="right") - 1
        for i in np.flatnonzero(np.bincount(owners, minlength=len(self.parts))):
            mine = owners == i
            rows[mine] = self.parts[i][key[mine] - self._starts[i]]
        return rows


class LazyRows:
    """Rows of an array in some order, each passed through a function when it is read.

    Args:
        base: an array, a view into one (such as overlapping windows), rows in files, or anything
            else that has a length and gives the rows of a slice or an array of positions.
        index: the rows of ``base``, in order; None for all.
        transform: from the rows that the base gives to the array handed out.

    >>> rows = LazyRows(np.arange(10.0), np.array([7, 3, 5]), lambda x: x * 2)
    >>> len(rows), rows[1:]
    (3, array([ 6., 10.]))
    """

    def __init__(
        self,
        base: Any,
        index: np.ndarray | slice | None = None,
        transform: Callable[[Any], np.ndarray] | None = None,
    ) -> None:
        self.base = base
        total = len(base)
        self.index: np.ndarray | None = (
            np.arange(total)[index] if isinstance(index, slice) else index
        )
        self.transform = transform
        self._rows = total if self.index is None else len(self.index)
        sample = self[: min(1, self._rows)]
        self.shape = (self._rows, *sample.shape[1:])
        self.dtype = sample.dtype

    @property
    def ndim(self) -> int:
        """Number of axes, the rows included."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, as it is read or as it is handed out, whichever are more."""
        own = self.nbytes // max(1, len(self))
        return max(own, getattr(self.base, "row_bytes", 0))

    @property
    def nbytes(self) -> int:
        """Bytes that all rows together would take."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: Any) -> np.ndarray:
        """The rows of a slice or an array of positions, read and transformed."""
        rows = self.base[key if self.index is None else self.index[key]]
        return rows if self.transform is None else self.transform(rows)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """All rows, about `size` bytes at a time, in the order in which they are cheapest to read.

        Where most rows of a stretch are wanted, all of it is read.
        """
        step = max(1, size // max(1, self.row_bytes))
        if self.index is None:
            yield from (self[start : start + step] for start in range(0, len(self), step))
            return
        index = np.sort(self.index)
        for start in range(0, len(index), step):
            part = index[start : start + step]
            first, last = int(part[0]), int(part[-1]) + 1
            dense = last - first <= DENSE * len(part)
            rows = self.base[first:last][part - first] if dense else self.base[part]
            yield rows if self.transform is None else self.transform(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
