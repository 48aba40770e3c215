"""Work on arrays shared among threads: the caller and helpers, each with BLAS on one thread.

NumPy lets other threads run while it copies, computes or multiplies.  Two threads that do a batch
in parts keep what they make in their own caches, where BLAS's own threads, which share a product
of what one thread has made, first fetch half of it from another core.  There is one set of threads
at a time: while parts are done, BLAS uses one thread in the whole process. Its own threads are left
the products that are large, where they cost less to hand over to than helpers in Python.

Which thread does a part changes nothing in its result, and no part waits for a helper to begin.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numpy as np

from nnad.cores.blas import after_fork, current_core, numpy_blas

__all__ = ["batch_parts", "matrix_product", "on_one_thread", "share", "stretches", "threads"]

ALONE = 1 << 18  # multiply-adds of a product up to which BLAS uses one thread of its own accord
KEEPS_LOCK = 500  # elements of a result of matmul
LARGE = 1 << 24  # multiply-adds: a third of a millisecond for one thread
CACHED = 1 << 19  # elements of a part of a batch at most
WORTH_A_PART = 1 << 17  # elements of a part below which a second thread does not pay


def threads() -> int:
    """How many threads may take part: as many as NumPy's BLAS may use.

    That is what OMP_NUM_THREADS, the cores given to the process or threadpoolctl made it.
    """
    blas = numpy_blas()
    return 1 if blas is None else blas.on_one_thread.threads()


def on_one_thread() -> AbstractContextManager[None]:
    """A context in which NumPy's BLAS uses one thread."""
    blas = numpy_blas()
    return nullcontext() if blas is None else blas.on_one_thread


class _Job:
    """Items that are not done yet, taken by whoever has time, and the errors of those done."""

    def __init__(self, do: Callable[[Any], object], items: Iterable[Any]) -> None:
        self.do = do
        self.left = deque(items)
        self.size = len(self.left)
        self.errors: SimpleQueue[BaseException | None] = SimpleQueue()

    def help(self, inside: AbstractContextManager[Any]) -> None:
        """Do items from the last on, which `give_up` with the same lock waits for."""
        with inside:
            self.work(self.left.pop)

    def give_up(self, inside: Iterable[AbstractContextManager[Any]]) -> None:
        """Leave the items that nobody began, and wait for those that helpers are at."""
        self.left.clear()
        for lock in inside:
            with lock:
                pass

    def work(self, take: Callable[[], Any]) -> None:
        """Do items until none is left."""
        while True:
            try:
                item = take()
            except IndexError:
                return
            error = None
            try:
                self.do(item)
            except BaseException as e:
                error = e
            self.errors.put(error)

    def finished(self) -> Iterator[BaseException]:
        """The errors, when all items are done."""
        return filter(None, [self.errors.get() for _ in range(self.size)])


class Team:
    """The calling thread, and helpers that are started when a job first wants them."""

    def __init__(self) -> None:
        after_fork(self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        """Without helpers: a forked process has none of its parent's threads."""
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._helpers: list[threading.Thread] = []
        self._kept_off = -1

    def run(self, do: Callable[[Any], object], items: Iterable[Any], helpers: int) -> None:
        """Do all items, from the first on here, from the last on by helpers.

        Raises:
            BaseException: the first that an item raised, when all are done; at once, if it is the
                caller's Ctrl-C. No helper is at work any more then.
        """
        while len(self._helpers) < helpers:
            self._start_helper()
        self._keep_off(current_core())
        job = _Job(do, items)
        inside = [threading.Lock() for _ in range(helpers)]
        try:
            for lock in inside:
                # In the caller's context: how NumPy treats errors is there.
                self._orders.put(partial(contextvars.copy_context().run, job.help, lock))
            job.work(job.left.popleft)
            errors = list(job.finished())
        except BaseException:
            job.give_up(inside)
            raise
        for error in errors:
            raise error

    def _start_helper(self) -> None:
        helper = threading.Thread(
            target=self._help, args=(self._orders,), name="nnad helper", daemon=True
        )
        helper.start()
        self._helpers.append(helper)
        self._kept_off = -1

    def _keep_off(self, core: int) -> None:
        """Have no helper wake on the caller's core: there it waits for the caller to pause.

        Systems like to wake a thread where the one that woke it runs, next to an idle core.
        """
        if core == self._kept_off:
            return
        self._kept_off = core
        others = os.sched_getaffinity(0) - {core}
        for helper in self._helpers:
            if others and helper.native_id is not None:
                with suppress(OSError):  # where that is not allowed, the system places it
                    os.sched_setaffinity(helper.native_id, others)

    @staticmethod
    def _help(orders: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            orders.get()()


_team = Team()


def share(do: Callable[[Any], object], items: Sequence[Any]) -> None:
    """Call `do` with each of the items, in as many threads as may take part.

    Args:
        do: writes its results into arrays; what it computes must not depend on other items.
        items: of about the same size, at least 100 microseconds of work in few calls of NumPy:
            threads whose calls are short wait for each other's hold on the interpreter.
    """
    if len(items) == 1:  # whose products may be shared themselves
        do(items[0])
        return
    helpers = min(threads(), len(items)) - 1
    with on_one_thread():
        if helpers > 0:
            _team.run(do, items, helpers)
        else:
            for item in items:
                do(item)


def stretches(length: int, parts: int) -> list[slice]:
    """0 ... length as so many slices of about the same length."""
    edges = [length * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def batch_parts(batch: int, elements: int) -> list[slice]:
    """A batch in parts that stay in a core's cache: one, or a number that threads can share.

    The parts depend on the sizes alone, not on the number of threads.

    Args:
        elements: of one image of the batch, with all that is made of it.
    """
    total = batch * elements
    parts = max(-(-total // CACHED), min(4, total // WORTH_A_PART), 1)
    even = parts + -parts % (4 if parts > 4 else 2) if parts > 1 else 1
    return stretches(batch, max(1, min(batch, even)))


def matrix_product(a: Any, b: Any, *, out: Any = None, **options: Any) -> Any:
    """`numpy.matmul`; for a product of two matrices that is not large BLAS uses one thread.

    BLAS's own threads look out for more work long after a product, and meanwhile take a core from
    a helper: only products in which they save more than that may wake them.
    """
    arrays = type(a) is type(b) is np.ndarray
    if options or not arrays or b.ndim != 2 or a.ndim not in (1, 2):
        return np.matmul(a, b, out=out, **options)
    if not ALONE < a.size * b.shape[1] <= LARGE or a.shape[-1] != b.shape[0]:
        return np.matmul(a, b, out=out)
    with on_one_thread():
        # matmul, unlike dot, keeps the interpreter's lock if its result is small.
        if a.ndim == 1 or a.shape[0] * b.shape[1] > KEEPS_LOCK:
            return np.matmul(a, b, out=out)
        y = np.dot(a, b)
        if out is None:
            return y
        out[...] = y
        return out
