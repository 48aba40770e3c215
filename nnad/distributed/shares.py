"""Who does what: how rows and independent jobs are dealt out to the processes of a group."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from nnad.distributed.communicator import Communicator

__all__ = ["share_of", "spread"]


def share_of(count: int, rank: int, size: int) -> slice:
    """The part of `count` things in a row that process `rank` of `size` takes.

    The parts differ by one at most.

    >>> [share_of(5, rank, 2) for rank in range(2)]
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(count * rank // size, count * (rank + 1) // size)


def spread(
    function: Callable[[Any], Any], jobs: Sequence[Any], communicator: Communicator
) -> list[Any]:
    """`[function(job) for job in jobs]`, each job done by one process, the results known to all.

    Args:
        function: returns what JSON can hold; must not talk to the other processes.
        jobs: the same on every process; number i is done by process i modulo the size.
        communicator: the group.
    """
    mine = {i: function(jobs[i]) for i in range(communicator.rank, len(jobs), communicator.size)}
    results: dict[str, Any] = {}
    for text in communicator.gather_texts(json.dumps(mine)):
        results |= json.loads(text)
    return [results[str(i)] for i in range(len(jobs))]
