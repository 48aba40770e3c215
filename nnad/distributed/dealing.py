"""Dealing out jobs of different length: whichever process is idle takes the next.

The leader takes jobs too. Meanwhile a thread of it hands out numbers and receives results, so that
no other process waits for what the leader is doing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from mpi4py import MPI

from nnad.errors import UserError

__all__ = ["deal", "require_threads"]

REQUEST_TAG, NUMBER_TAG = 3, 4
NOTHING_LEFT = -1
NAP = 0.01  # seconds between two looks: of no weight beside a job, and no core is kept busy

Tell = Callable[[int, Any], None]


def deal(comm: Any, count: int, do: Callable[[int], Any], tell: Tell) -> Dealer | None:
    """Do jobs 0, ..., `count` - 1; see `nnad.distributed.Communicator.deal`.

    Returns:
        What the leader has; None in the other processes.
    """
    if comm.rank != 0:
        follow(comm, do)
        return None
    dealer = Dealer(count, tell)
    stop = Event()
    server = Thread(target=serve, args=(comm, dealer, stop), name="nnad-dealer", daemon=True)
    server.start()
    try:
        while (number := dealer.next()) is not None:
            dealer.take(number, do(number))
        while server.is_alive():  # in short waits, between which signals are handled
            server.join(NAP)
    finally:
        stop.set()
        server.join()
    return dealer


class Dealer:
    """What is still to be done, and what has come back.

    Args:
        count: number of jobs.
        tell: called with the number and the result of each that is done.

    Attributes:
        results: by number.
        failure: what `tell` raised; nothing more is dealt out then.
    """

    def __init__(self, count: int, tell: Tell) -> None:
        self.count = count
        self.tell = tell
        self.results: dict[int, Any] = {}
        self.failure: BaseException | None = None
        self._dealt = 0
        self._lock = Lock()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to deal out and everything dealt out has come back."""
        with self._lock:
            return self._dealt == self.count and len(self.results) == self.count

    def next(self) -> int | None:
        """The number of a job that nobody has yet; None if there is none."""
        with self._lock:
            if self._dealt == self.count:
                return None
            self._dealt += 1
            return self._dealt - 1

    def take(self, number: int, result: Any) -> None:
        """Take the result of a job."""
        with self._lock:
            self.results[number] = result
            if self.failure is None:
                try:
                    self.tell(number, result)
                except Exception as error:  # for the main thread, which raises it
                    self.failure = error
                    self.count = self._dealt

    def conclude(self) -> list[Any]:
        """All results in the order of the jobs; raises what `tell` raised."""
        if self.failure is not None:
            raise self.failure
        return [self.results[number] for number in range(self.count)]


def serve(comm: Any, dealer: Dealer, stop: Event) -> None:
    """Answer the requests of the other processes until all is done."""
    idle: list[int] = []
    status = MPI.Status()
    while not stop.is_set():
        if comm.Iprobe(MPI.ANY_SOURCE, REQUEST_TAG, status):
            room = bytearray(status.Get_count(MPI.BYTE))
            rank = status.source
            comm.Recv([room, MPI.BYTE], rank, REQUEST_TAG)
            if room:
                dealer.take(*json.loads(room))
            idle.append(rank)
        while idle and (number := dealer.next()) is not None:
            comm.Send(np.array([number]), idle.pop(0), NUMBER_TAG)
        if len(idle) == comm.size - 1 and dealer.finished:
            for rank in idle:
                comm.Send(np.array([NOTHING_LEFT]), rank, NUMBER_TAG)
            return
        if not comm.Iprobe(MPI.ANY_SOURCE, REQUEST_TAG):
            time.sleep(NAP)


def follow(comm: Any, do: Callable[[int], Any]) -> None:
    """Ask for jobs and do them until there are no more."""
    done = b""
    number = np.array([NOTHING_LEFT])
    while True:
        sent = comm.Isend([done, MPI.BYTE], 0, REQUEST_TAG)
        while not comm.Iprobe(0, NUMBER_TAG):
            time.sleep(NAP)
        comm.Recv(number, 0, NUMBER_TAG)
        sent.Wait()
        if number[0] == NOTHING_LEFT:
            return
        done = json.dumps([int(number[0]), do(int(number[0]))]).encode()


def require_threads() -> None:
    """Raise a UserError unless a second thread may talk through MPI."""
    if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
        raise UserError(
            "this MPI lets only one thread of a process talk, but dealing out jobs takes two; "
            "start python with MPI4PY_RC_THREAD_LEVEL=multiple, or use an MPI built with threads"
        )
