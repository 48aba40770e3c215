"""Who does what: how rows and independent jobs are dealt out to the processes of a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnad.distributed.communicator import Communicator
from nnad.distributed.launch import alone

__all__ = ["share_of", "spread"]


def share_of(count: int, rank: int, size: int) -> slice:
    """The part of `count` things in a row that process `rank` of `size` takes.

    The parts differ by one at most.

    >>> [share_of(5, rank, 2) for rank in range(2)]
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(count * rank // size, count * (rank + 1) // size)


def spread(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    communicator: Communicator,
    tell: Callable[[int, Any], None] = lambda number, result: None,
) -> list[Any]:
    """`[function(job) for job in jobs]`, each job done by one process, the results known to all.

    Jobs are dealt out as they are asked for: a process that is done takes the next one.  While a
    process does its job, it is a group of its own: `world()` within is that of one process.

    Args:
        function: returns what JSON can hold.
        jobs: the same on every process.
        communicator: the group.
        tell: called in the leader with the number and the result of each job when it is done.
    """

    def do(number: int) -> Any:
        with alone():
            return function(jobs[number])

    return communicator.deal(len(jobs), do, tell)
