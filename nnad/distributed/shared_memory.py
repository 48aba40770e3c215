"""Memory that the processes of one machine see: a file in memory, which loses its name at once.

Since no name is left, nothing has to be tidied up after processes, however they end.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

__all__ = ["create", "opened", "remove"]

IN_MEMORY = Path("/dev/shm")  # on Linux


def create(size: int) -> str:
    """The path of a new file of zeros in memory, taken at once; empty if there is no room."""
    try:
        handle, path = tempfile.mkstemp(
            prefix="nnad-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None
        )
    except OSError:
        return ""
    try:
        if hasattr(os, "posix_fallocate"):  # else writing to it may kill, where there is no room
            os.posix_fallocate(handle, 0, size)
        else:
            os.ftruncate(handle, size)
        return path
    except OSError:
        os.unlink(path)
        return ""
    finally:
        os.close(handle)


def opened(path: str, size: int) -> mmap.mmap | None:
    """The memory of a file that `create` made; None if this process cannot have it."""
    try:
        with open(path, "r+b") as file:
            return mmap.mmap(file.fileno(), size)
    except (OSError, ValueError):
        return None


def remove(path: str) -> None:
    """Take the name of a file away; its memory lives as long as somebody has it open."""
    Path(path).unlink(missing_ok=True)
