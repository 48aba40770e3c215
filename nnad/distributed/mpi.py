"""A group of processes that talk through MPI (package mpi4py)."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from mpi4py import MPI

from nnad import errors
from nnad.cores.counting import cores_of_this
from nnad.distributed import shared_memory
from nnad.distributed.communicator import Communicator, Result
from nnad.distributed.dealing import deal, require_threads
from nnad.errors import NnadError, UserError

__all__ = ["MPICommunicator"]

LOOKS_BETWEEN_YIELDS = 64  # how often a waiting process asks before it lets others run
SECONDS_TO_AGREE = 2.0  # how long to wait for word from the others once one is missing
SECONDS_TO_BE_HEARD = 0.2  # mpiexec drops what it has not read when it learns of the end
CALL_TAG, END_TAG = 1, 2


class MPICommunicator(Communicator):
    """The processes of `MPI.COMM_WORLD`.

    Every wait is a loop of short looks, not a blocking call, so that signals are handled meanwhile
    and a process that never comes can be named and given up after `timeout_seconds`.
    """

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()
        self._alarm = MPI.COMM_WORLD.Dup()  # for what is said when something is wrong
        self.rank = self._comm.rank
        self.size = self._comm.size
        shared = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_size = shared.size
        self._local_cores = _cores_of_all(shared)
        shared.Free()
        sys.excepthook = self._report_exception

    @property
    def local_cores(self) -> int:
        return self._local_cores

    # What a step needs ------------------------------------------------------------------------

    def sum(self, array: np.ndarray) -> np.ndarray:
        if not array.size:
            return array
        self._wait(self._comm.Iallreduce(MPI.IN_PLACE, array, op=MPI.SUM))
        return array

    def sum_in_pairs(self, array: np.ndarray) -> np.ndarray:
        theirs = np.empty_like(array)
        distance = 1
        while distance < self.size:  # a pair, and a pair of pairs, have one sum in either order
            partner = self.rank ^ distance
            sent = self._comm.Isend(array, partner)
            self._wait(self._comm.Irecv(theirs, partner))
            self._wait(sent)
            array += theirs
            distance *= 2
        return array

    def broadcast(self, array: np.ndarray) -> None:
        if array.size:
            self._wait(self._comm.Ibcast(array, root=0))

    def meet(self) -> None:
        self._wait(self._comm.Ibarrier())

    def shared_memory(self, bytes_each: int) -> list[np.ndarray] | None:
        if self.local_size < self.size:
            return None
        size = self.size * bytes_each
        made = shared_memory.create(size) if self.leads else None
        mine = shared_memory.opened(self.share(made[1] if made else b""), size)
        have_it = self.sum(np.array([mine is not None], np.int64))[0]
        if made:
            os.close(made[0])
        if mine is None or have_it < self.size:
            return None
        return list(mine.reshape(self.size, bytes_each))

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        counts = np.zeros(self.size, np.int64)
        counts[self.rank] = len(rows)
        self.sum(counts)
        whole = np.empty((counts.sum(), *rows.shape[1:]), rows.dtype)
        if whole.size:
            sizes = counts * (whole.size // len(whole))
            mine = np.ascontiguousarray(rows)
            self._wait(self._comm.Iallgatherv(mine, [whole, sizes.tolist()]))
        return whole

    def announce(self) -> None:
        here = f"rank {self.rank} is process {os.getpid()} on {platform.node()}"
        roll = self.gather_texts(here)
        if self.leads:
            self._complain(f"{self.size} processes work together: {', '.join(roll)}")

    # What happens now and then ----------------------------------------------------------------

    def gather_texts(self, text: str) -> list[str]:
        content = np.frombuffer(text.encode(), np.uint8)
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = len(content)
        joined = self.gather_rows(content)
        ends = np.cumsum(self.sum(lengths))
        return [part.tobytes().decode() for part in np.split(joined, ends[:-1])]

    def share(self, content: bytes | None) -> bytes:
        size = np.array([len(content or b"")], np.int64)
        self.broadcast(size)
        room = np.empty(int(size[0]), np.uint8)
        if self.leads and content:
            room[:] = np.frombuffer(content, np.uint8)
        self.broadcast(room)
        return room.tobytes()

    def lead(self, action: Callable[[], Result]) -> Result | None:
        self._wait(self._comm.Ibarrier())
        result, failure = None, None
        if self.leads:
            try:
                result = action()
            except (NnadError, OSError) as error:
                failure = error
        told = self.share(_describe(failure) if self.leads else None)
        if failure is not None:
            raise failure
        if told:
            raise _described(told)
        return result

    def deal(
        self, count: int, do: Callable[[int], Any], tell: Callable[[int, Any], None]
    ) -> list[Any]:
        require_threads()
        dealer = deal(self._comm, count, do, tell)
        results = self.lead(lambda: dealer.conclude() if dealer else [])
        told = json.dumps(results).encode() if self.leads else None
        return json.loads(self.share(told))

    # When something is wrong ------------------------------------------------------------------

    def end(self, status: int, lines: Sequence[str]) -> int:
        mine = json.dumps(list(lines)).encode()
        told = self._said_by_others(mine, END_TAG, self.seconds_to_end)
        if len(told) == self.size:
            if self.leads:
                super().end(status, _merged(told))
            MPI.Finalize()
            return status
        super().end(status, [f"rank {self.rank}: {line}" for line in lines])
        self._abort(status)

    def _wait(self, request: Any) -> None:
        """Look again and again until `request` is done; give the others up after the time-out."""
        looks, start = 0, 0.0
        while not request.Test():
            looks += 1
            if looks % LOOKS_BETWEEN_YIELDS == 0:
                os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
                now = time.monotonic()
                start = start or now
                if now - start > self.timeout_seconds:
                    self._give_up()

    def _give_up(self) -> NoReturn:
        """End all processes and say which of them did not come."""
        waiting = self._said_by_others(b"waiting", CALL_TAG, SECONDS_TO_AGREE)
        missing = [rank for rank in range(self.size) if rank not in waiting]
        if self.rank == min(waiting):
            who = ", ".join(map(str, missing)) or "unknown"
            self._complain(
                f"rank {who} has not answered for {self.timeout_seconds:g} s; the job ends, and "
                "--resume continues from its last checkpoint (the time is set by "
                "distributed.timeout_seconds)"
            )
            self._abort(1)
        time.sleep(SECONDS_TO_AGREE)
        self._abort(1)

    def _said_by_others(self, content: bytes, tag: int, seconds: float) -> dict[int, bytes]:
        """What the processes that say something with `tag` within `seconds` say, by rank."""
        sent = [
            self._alarm.Isend([content, MPI.BYTE], rank, tag)
            for rank in range(self.size)
            if rank != self.rank
        ]
        heard = {self.rank: content}
        deadline = time.monotonic() + seconds
        status = MPI.Status()
        while len(heard) < self.size and time.monotonic() < deadline:
            if self._alarm.Iprobe(MPI.ANY_SOURCE, tag, status):
                room = bytearray(status.Get_count(MPI.BYTE))
                self._alarm.Recv([room, MPI.BYTE], status.source, tag)
                heard[status.source] = bytes(room)
            else:
                time.sleep(0.005)
        if len(heard) == self.size:
            MPI.Request.Waitall(sent)
        return heard

    def _report_exception(self, kind: Any, value: Any, trace: Any) -> None:
        text = "".join(traceback.format_exception(kind, value, trace)).rstrip()
        self._complain(f"rank {self.rank} failed:\n{text}")
        self._abort(1)

    def _complain(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def _abort(self, status: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(SECONDS_TO_BE_HEARD)
        MPI.COMM_WORLD.Abort(status)
        os._exit(status)


def _cores_of_all(shared: Any) -> int:
    """How many cores processes may use: a launcher may have given each of them its own."""
    mine = sorted(cores_of_this())
    highest = np.array(mine[-1])
    shared.Allreduce(MPI.IN_PLACE, highest, op=MPI.MAX)
    allowed = np.zeros(int(highest) + 1, np.uint8)
    allowed[mine] = 1
    shared.Allreduce(MPI.IN_PLACE, allowed, op=MPI.MAX)
    return int(np.count_nonzero(allowed))


def _describe(error: NnadError | OSError | None) -> bytes:
    """An error of ours, or of the system, as bytes; none as no bytes."""
    if error is None:
        return b""
    if isinstance(error, OSError):
        lines = [error.errno, error.strerror or str(error), error.filename]
        return json.dumps(["OSError", lines], default=str).encode()
    lines = error.problems if isinstance(error, UserError) else [str(error)]
    return json.dumps([type(error).__name__, lines]).encode()


def _described(content: bytes) -> NnadError | OSError:
    """The error that `_describe` turned into bytes."""
    name, lines = json.loads(content)
    if name == "OSError":
        return OSError(*lines)
    kind = getattr(errors, name, UserError)
    return kind(lines) if issubclass(kind, UserError) else kind("\n".join(lines))


def _merged(told: dict[int, bytes]) -> list[str]:
    """The lines of all processes, each once; those that only some tell with their ranks."""
    ranks: dict[str, list[int]] = {}
    for rank in sorted(told):
        for line in json.loads(told[rank]):
            ranks.setdefault(line, []).append(rank)
    return [
        line if len(tellers) == len(told) else f"rank {', '.join(map(str, tellers))}: {line}"
        for line, tellers in ranks.items()
    ]
