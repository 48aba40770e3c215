"""Memory that the processes of one machine see: a file in memory that never has a name.

The process that makes it keeps it open while the others open it by way of the list of its open
files. Nothing has to be tidied up after processes, however they end. Linux only.
"""

from __future__ import annotations

import mmap
import os
import secrets

import numpy as np

__all__ = ["create", "opened"]

TOKEN = 16  # random bytes by which the others know that they opened the right file
HEAD = 64  # bytes before the memory proper, so that it begins with a line of the cache


def create(size: int) -> tuple[int, bytes] | None:
    """New memory of `size` bytes, all zero and taken at once; None if there is no room for it.

    Returns:
        (descriptor of the file, to be closed when all have opened it; what they need to do so).
    """
    if not hasattr(os, "memfd_create") or size > _available() / 2:
        return None
    try:
        handle = os.memfd_create("nnad")
    except OSError:
        return None
    try:
        os.posix_fallocate(handle, 0, HEAD + size)  # now, where lacking room is an error, no signal
    except OSError:
        os.close(handle)
        return None
    token = secrets.token_bytes(TOKEN)
    os.pwrite(handle, token, 0)
    return handle, token + f"/proc/{os.getpid()}/fd/{handle}".encode()


def opened(ticket: bytes, size: int) -> np.ndarray | None:
    """The bytes that `create` made, by what it returned; None if this process cannot have them."""
    token, path = ticket[:TOKEN], ticket[TOKEN:].decode()
    try:
        with open(path, "r+b") as file:
            if file.read(TOKEN) != token:  # of another space of process numbers
                return None
            return np.frombuffer(mmap.mmap(file.fileno(), HEAD + size), np.uint8)[HEAD:]
    except (OSError, ValueError):
        return None


def _available() -> int:
    """Bytes that programs may still take on this machine; 0 if unknown."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0
