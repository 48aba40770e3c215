"""Arrays in the NPY format, in files of their own or in archives: in memory, or read by rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from nnad.data.dataset import Features, names_of
from nnad.data.lazy import FileRows, LazyRows, ShardedRows, require_finite
from nnad.errors import DataError
from nnad.files import ordinary, reason_of

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]

__all__ = ["Rows", "as_features", "bytes_of", "joined", "open_array", "room_for"]

LONGEST_HEADER = 2**16  # bytes
IN_MEMORY = 64 * 2**20  # bytes; larger sets stay on disk
OTHER_FILES = 256  # that a process has open beside those of the set

Rows = np.ndarray | FileRows | ShardedRows


def room_for(paths: Sequence[Path]) -> int:
    """How many bytes an array of a set may have in memory: none if its files are many or large.

    Each of those is then kept open, for which the process is allowed more files than usual.

    Raises:
        DataError: the system does not allow as many open files.
    """
    if bytes_of(paths) <= IN_MEMORY:
        return IN_MEMORY
    most = allowed_open(len(paths) + OTHER_FILES)
    if most < len(paths) + OTHER_FILES:
        raise DataError(
            f"{paths[0]} and {len(paths) - 1:,} more: a set larger than memory is read from "
            f"open files, and the system allows {most:,}; save the rows in fewer files, or raise "
            "the limit (ulimit -n)"
        )
    return 0


def bytes_of(paths: Sequence[Path]) -> int:
    """How large files are together, as far as they are there."""
    return sum(path.stat().st_size for path in paths if path.exists())


def allowed_open(files: int) -> int:
    """How many files the process may hold open, after asking for as many."""
    allowed = files
    if resource is not None:
        allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed < files:
            with suppress(ValueError, OSError):  # more than the system allows
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
                allowed = files
    return allowed


def open_array(
    path: Path, begin: int = 0, end: int | None = None, room: int | None = None
) -> np.ndarray | FileRows:
    """The array that bytes `begin` to `end` of a file hold: in memory if it is small, else on disk.

    Args:
        path: the file.
        begin, end: where the array lies in it; None for the file's end.
        room: bytes of the largest array that is read into memory; None: 64 MiB. Up to those also
            one that cannot be read by rows is.

    Raises:
        DataError: for bytes that are not NPY, hold Python objects or are fewer than they say.
    """
    try:
        with open(path, "rb", opener=ordinary) as file:
            file.seek(begin)
            shape, column_major, dtype = _header(file)
            offset = file.tell()
            if dtype.hasobject:
                raise DataError(
                    f"{path}: holds Python objects, which are not loaded; save plain arrays"
                )
            size = math.prod(shape, start=dtype.itemsize)
            there = (path.stat().st_size if end is None else end) - offset
            if there != size:
                raise DataError(
                    f"{path}: the header says {shape}, {size:,} bytes; the file has {there:,}"
                )
            by_rows = not column_major and dtype.kind in "fiub"
            if size <= (room if room is not None and by_rows else IN_MEMORY):
                file.seek(begin)
                return npy.read_array(file, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:  # NumPy has many ways to stumble over a damaged header
        reason = reason_of(error)
        raise DataError(f"{path}: not a readable NPY file: {reason}") from None
    if not by_rows:
        raise DataError(
            f"{path}: {dtype} in {'column' if column_major else 'row'} order cannot be read in "
            "pieces; save a C-ordered array of numbers (numpy.ascontiguousarray)"
        )
    return FileRows(path, dtype, shape, offset)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    length = int.from_bytes(file.read(4), "little")
    if length > LONGEST_HEADER:  # before memory is taken for it
        raise ValueError(f"a header of {length:,} bytes; expected at most {LONGEST_HEADER:,}")
    file.seek(-4, 1)
    return npy.read_array_header_2_0(file)


def joined(parts: Sequence[np.ndarray | FileRows], labels: Sequence[object]) -> Rows:
    """The rows of all parts in one, on disk if they are too many for memory.

    Args:
        parts: arrays.
        labels: what each is called in messages.

    Raises:
        DataError: the parts differ in the shape or type of a row.
    """
    first = parts[0]
    problems = [
        f"{label}: rows of shape {part.shape[1:]} and type {part.dtype}; those of {labels[0]} have "
        f"shape {first.shape[1:]} and type {first.dtype}"
        for part, label in zip(parts, labels, strict=True)
        if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype
    ]
    if problems:
        raise DataError(problems)
    if len(parts) == 1:
        return first
    if sum(part.size * part.dtype.itemsize for part in parts) <= IN_MEMORY:
        return np.concatenate([part[:] for part in parts])
    return ShardedRows(parts)


def as_features(x: Rows, label: str) -> Features:
    """Inputs given as an array of numbers with rows first."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{label}: inputs of type {x.dtype}; expected numbers")
    if not x.shape:
        raise DataError(f"{label}: a single number; expected an array with rows first")
    names = names_of(x.shape[1:], label)
    if not isinstance(x, np.ndarray):
        for part in x.parts if isinstance(x, ShardedRows) else []:
            if isinstance(part, np.ndarray):
                require_finite(part, label, slice(None), len(part))
        return Features(LazyRows(x))
    return Features(x[:, None] if x.ndim == 1 else x, numeric_names=names)
