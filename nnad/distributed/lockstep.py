"""One process in the place of several: jobs that take turns, and sum over all as processes do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np

from nnad.distributed.communicator import Communicator
from nnad.distributed.launch import within
from nnad.distributed.pairs import add_in_pairs
from nnad.errors import NnadError

__all__ = ["Lockstep"]


class Lockstep:
    """As many members in every process, which together are a group of all their members.

    A member runs until it needs a sum over all; then the next one does.  Sums are in pairs, so
    their bits do not depend on how the members are dealt out to processes.

    Args:
        communicator: the processes.
        members: how many there are in each.
    """

    def __init__(self, communicator: Communicator, members: int) -> None:
        self.communicator = communicator
        self.members = members
        self._running = threading.Condition()  # held by the member whose turn it is

    def run(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do a job for each member, within which `world()` is the group of all members.

        All jobs, in all processes, make the same calls of `world().sum` in the same order.

        Returns:
            Their results.

        Raises:
            BaseException: the first that a job raised; the others are ended at their next sum.
        """
        self._terms: list[Any] = [None] * self.members
        self._waiting = self._sums = 0
        self._ended = False
        results: list[Any] = [None] * self.members
        errors: list[BaseException] = []

        def work(member: int) -> None:
            with self._running, within(_Member(self, member)):
                try:
                    results[member] = jobs[member]()
                except BaseException as error:
                    errors.append(error)
                finally:
                    self._ended = True
                    self._running.notify_all()

        threads = [
            threading.Thread(target=copy_context().run, args=(work, member), daemon=True)
            for member in range(1, self.members)
        ]
        try:
            for thread in threads:
                thread.start()
            work(0)
        finally:
            with self._running:  # after an interrupt between two jobs too
                self._ended = True
                self._running.notify_all()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if errors:
            raise errors[0]
        return results

    def sum(self, member: int, array: np.ndarray) -> np.ndarray:
        """Replace a member's `array` by the sum over all members of all processes; returns it."""
        self._terms[member] = array
        self._waiting += 1
        if self._waiting == self.members:
            self._total = self.communicator.sum_in_pairs(add_in_pairs(self._terms))
            self._waiting = 0
            self._sums += 1
            self._running.notify_all()
        else:
            before = self._sums
            self._running.wait_for(lambda: self._sums > before or self._ended)
            if self._sums == before:
                raise NnadError("parts of a batch do not all need the same sums over the batch")
        array[...] = self._total
        return array


class _Member(Communicator):
    """The group of all members, as one of them sees it; it can only sum."""

    def __init__(self, lockstep: Lockstep, member: int) -> None:
        self._lockstep = lockstep
        self._member = member
        self.rank = lockstep.communicator.rank * lockstep.members + member
        self.size = lockstep.communicator.size * lockstep.members

    def sum(self, array: np.ndarray) -> np.ndarray:
        return self._lockstep.sum(self._member, array)
