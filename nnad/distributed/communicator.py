"""The calls that a group of processes makes together, for a group of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from nnad.cores.counting import available_cores

__all__ = ["Communicator"]

Result = TypeVar("Result")


class Communicator:
    """A group of one process: every call returns at once.

    `nnad.distributed.mpi.MPICommunicator` is the same for several.  All processes of a group make
    the same calls in the same order.

    Attributes:
        rank: number of this process in its group, from 0; 0 leads and alone writes files.
        size: number of processes.
        local_size: how many of them share this machine.
        timeout_seconds: how long to wait for the others before giving them up.
        seconds_to_end: how long a process that ends waits for the others to end too.
    """

    rank = 0
    size = 1
    local_size = 1
    timeout_seconds = 600.0
    seconds_to_end = 2.0

    @property
    def local_cores(self) -> int:
        """How many cores of this machine the group may use."""
        return available_cores()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Replace `array` by its sum over all processes, the same bits everywhere; returns it."""
        return array

    def sum_in_pairs(self, array: np.ndarray) -> np.ndarray:
        """The same, added up as in `nnad.distributed.pairs`; by a power of two of processes."""
        return array

    def broadcast(self, array: np.ndarray) -> None:
        """Replace `array` by the leader's."""

    def meet(self) -> None:
        """Return when all processes have called this; what each wrote before, all see then."""

    def shared_memory(self, bytes_each: int) -> list[np.ndarray] | None:
        """Bytes for each process, all zero, by rank, which all of them see.

        Returns:
            None where the processes are on several machines, or there is no such memory left.
        """
        return [np.zeros(bytes_each, np.uint8)]

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all processes, in the order of the ranks."""
        return rows

    def gather_texts(self, text: str) -> list[str]:
        """A text from each process, in the order of the ranks."""
        return [text]

    def share(self, content: bytes | None) -> bytes:
        """The leader's bytes; what the others pass is not looked at."""
        assert content is not None
        return content

    def lead(self, action: Callable[[], Result]) -> Result | None:
        """Let the leader alone do something, while the others wait; they get None.

        Raises:
            NnadError, OSError: what the action raised, on every process.
        """
        return action()

    def deal(
        self, count: int, do: Callable[[int], Any], tell: Callable[[int, Any], None]
    ) -> list[Any]:
        """The results of jobs 0, ..., `count` - 1, each done by whichever process is idle.

        Args:
            count: number of jobs.
            do: does the job of a number, without talking to the others; returns what JSON can hold.
            tell: called in the leader with number and result as soon as a job is done, from any
                thread, one call at a time.

        Raises:
            NnadError, OSError: what `tell` raised, on every process, once all jobs under way are
                done.
        """
        results = []
        for number in range(count):
            results.append(do(number))
            tell(number, results[-1])
        return results

    def announce(self) -> None:
        """Tell who the processes are: a launcher that says which one died knows its number only."""

    def end(self, status: int, lines: Sequence[str]) -> int:
        """End after an error: tell `lines` on stderr and return the exit status.

        Where all processes end so, their lines are told once.  A process that ends alone takes
        the others with it, since they would wait for it for ever.
        """
        if sys.stderr is not None:  # as it is where the descriptor was closed
            sys.stderr.write("".join(f"{line}\n" for line in lines))
        return status
