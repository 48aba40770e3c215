"""Rows that are read, indexed and scaled only when a batch asks for them."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LazyRows", "MappedArray"]

RELEASE_BYTES = 64 * 2**20  # of a mapped file, before its pages are given back


class MappedArray:
    """An array in a file, mapped into memory read-only and never resident as a whole.

    Pages that were read are given back every 64 MiB, so a file larger than memory costs only that.

    Args:
        path: the file.
        dtype, shape: of the array, rows first.
        offset: bytes before its first element.
    """

    def __init__(
        self, path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int = 0
    ) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)  # no read-ahead of rows that are not asked for
        count = int(np.prod(shape))
        self.array = np.frombuffer(self._map, dtype, count, offset).reshape(shape)
        self._touched = 0

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.array(self.array[key])
        self._touched += max(rows.nbytes, len(rows) * mmap.PAGESIZE)
        if self._touched > RELEASE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0
        return rows


class LazyRows:
    """Rows of an array in some order, each passed through a function when it is read.

    Args:
        base: an array, a view into one (such as overlapping windows), or a `MappedArray`.
        index: the rows of ``base``, in order; None for all.
        transform: from an array of rows to the array handed out.

    >>> rows = LazyRows(np.arange(10.0), np.array([7, 3, 5]), lambda x: x * 2)
    >>> len(rows), rows[1:]
    (3, array([ 6., 10.]))
    """

    def __init__(
        self,
        base: np.ndarray | MappedArray | LazyRows,
        index: np.ndarray | slice | None = None,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.base = base
        total = len(base.array if isinstance(base, MappedArray) else base)
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
    def nbytes(self) -> int:
        """Bytes that all rows together would take."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: Any) -> np.ndarray:
        """The rows of a slice or an array of positions, read and transformed."""
        rows = self.base[key if self.index is None else self.index[key]]
        return rows if self.transform is None else self.transform(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
