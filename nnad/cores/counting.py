"""How many cores there are for a process, and for several that share a machine."""

from __future__ import annotations

import os

__all__ = ["available_cores", "cores_of_this", "threads_of_each"]


def cores_of_this() -> set[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def available_cores() -> int:
    """How many cores this process may use."""
    return len(cores_of_this())


def threads_of_each(processes: int, cores: int | None = None) -> int:
    """How many threads each of several processes may use without fighting over the cores.

    Args:
        processes: that share them.
        cores: there are; None: as many as this process may use.

    >>> threads_of_each(2, cores=5)
    2
    """
    return max(1, (available_cores() if cores is None else cores) // processes)
