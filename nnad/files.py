"""Opening files that a stranger may have put there: nothing waits, nothing ends elsewhere.

A named pipe makes a reader wait for ever, a device such as ``/dev/zero`` never ends, and a link may
lead a writer to a file that is none of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["MOST_TEXT", "create", "ordinary", "own", "read_bytes", "read_text", "reason_of"]

MOST_TEXT = 64 * 2**20  # bytes of a text that is read at once
WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
KINDS = {
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a folder",
}


def ordinary(path: str, flags: int) -> int:
    """The `opener` of `open` for files to read: refuses what is no ordinary file, at once.

    Raises:
        OSError: what it is instead.
    """
    descriptor = os.open(path, flags | WITHOUT_WAITING, 0o666)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return descriptor
    os.close(descriptor)
    told = f"{KINDS.get(kind, 'is no file')}; expected an ordinary file"
    raise OSError(errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL, told, path)


def own(path: str, flags: int) -> int:
    """The `opener` of `open` for files of ours to add to: follows no link either."""
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "is a link; expected an ordinary file", path)
    return ordinary(path, flags | getattr(os, "O_NOFOLLOW", 0))


def create(path: Path, mode: str = "w", **how: Any) -> Any:
    """Open a file to write that is made anew: what lies in its place is removed, never followed."""
    path.unlink(missing_ok=True)
    return open(path, mode.replace("w", "x"), **how)


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The content of an ordinary file.

    Args:
        path: the file.
        most: how many bytes it may have; None for any number.

    Raises:
        OSError: it is no ordinary file, has more bytes, or cannot be read.
    """
    with open(path, "rb", opener=ordinary) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            told = f"has {size:,} bytes; at most {most:,} are read"
            raise OSError(errno.EFBIG, told, os.fspath(path))
        return file.read()


def read_text(path: str | os.PathLike[str], most: int = MOST_TEXT) -> str:
    """The UTF-8 text in an ordinary file that is no larger than a text that a run writes."""
    return read_bytes(path, most).decode("utf-8")


def reason_of(error: Exception) -> str:
    """Why a file could not be read, in a line, without the file's name and the system's number."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
