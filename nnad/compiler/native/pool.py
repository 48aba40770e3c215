"""The pool of threads: Python threads that run native code, which needs no interpreter lock.

A helper waits in native code for a short while, so that step after step finds it awake, then
sleeps on a lock.  The caller does not wait for helpers: it does what they do not get hold of.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

import numpy as np

from nnad.compiler.native import jit, team
from nnad.compiler.native.ir import address_of
from nnad.cores.blas import after_fork

SPINS = 100_000  # looks at the board before a helper goes to sleep: about 100 microseconds

# board: [0] number of the last job, [8] helpers asleep, [16] the job: addresses of its function,
# its table, and the state of its threads.  serve() returns when the helper should sleep.
CODE = f"""
define i64 @post(ptr %board, ptr %job) nounwind {{
  %state_at = getelementptr i64, ptr %job, i64 2
  %state = load ptr, ptr %state_at
  %done = load atomic i64, ptr %state acquire, align 8
  %before_at = getelementptr i64, ptr %state, i64 {team.BEFORE}
  store atomic i64 %done, ptr %before_at release, align 8
  %run_at = getelementptr i64, ptr %state, i64 {team.RUN}
  %run = load i64, ptr %run_at
  %next = add i64 %run, 1
  store atomic i64 %next, ptr %run_at release, align 8
  %job_at = getelementptr i64, ptr %board, i64 16
  store atomic ptr %job, ptr %job_at release, align 8
  %before = atomicrmw add ptr %board, i64 1 seq_cst
  %asleep_at = getelementptr i64, ptr %board, i64 8
  %asleep = atomicrmw xchg ptr %asleep_at, i64 0 seq_cst
  ret i64 %asleep
}}
define i64 @serve(ptr %board, i64 %done, i64 %thread) nounwind {{
entry:
  br label %look
look:
  %spins = phi i64 [ 0, %entry ], [ %more, %wait ], [ 0, %work ]
  %last = phi i64 [ %done, %entry ], [ %last, %wait ], [ %number, %work ]
  %number = load atomic i64, ptr %board seq_cst, align 8
  %same = icmp eq i64 %number, %last
  br i1 %same, label %idle, label %work
idle:
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {SPINS}
  br i1 %long, label %sleep, label %wait
wait:
  br label %look
work:
  %job_at = getelementptr i64, ptr %board, i64 16
  %job = load atomic ptr, ptr %job_at acquire, align 8
  %function = load ptr, ptr %job
  %table_at = getelementptr i64, ptr %job, i64 1
  %table = load ptr, ptr %table_at
  call void %function(ptr %table, i64 %thread)
  br label %look
sleep:
  %asleep_at = getelementptr i64, ptr %board, i64 8
  %others = atomicrmw add ptr %asleep_at, i64 1 seq_cst
  ret i64 %last
}}
"""


class Pool:
    """The calling thread, number 0, and helpers that are started when a job first wants them."""

    def __init__(self) -> None:
        code = jit.load_many(
            CODE,
            {
                "post": (ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p),
                "serve": (ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
            },
        )
        self._post, self._serve = code["post"], code["serve"]
        self._memory = np.zeros(64, np.int64)
        self._board = address_of(self._memory)
        after_fork(self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        """Without helpers: a forked process has none of its parent's threads."""
        self._memory[:] = 0
        self._wake = threading.Semaphore(0)
        self._in_use = threading.Lock()
        self._helpers: list[threading.Thread] = []

    def run(self, function: Any, table: int, job: int, threads: int) -> None:
        """Do a job with the calling thread and `threads - 1` helpers.

        Args:
            function: called with the table and the number of the thread.
            job: address of three numbers: the function's, the table's and the state's addresses.
        """
        with self._in_use:
            while len(self._helpers) < threads - 1:
                self._start_helper()
            asleep = self._post(self._board, job)
            if asleep:
                self._wake.release(asleep)
            function(table, 0)

    def _start_helper(self) -> None:
        number = len(self._helpers) + 1
        helper = threading.Thread(target=self._help, args=(number,), name="nnad", daemon=True)
        self._helpers.append(helper)
        helper.start()

    def _help(self, number: int) -> None:
        done = 0
        while True:
            done = self._serve(self._board, done, number)
            if self._memory[0] == done:
                self._wake.acquire()


@functools.cache
def pool() -> Pool:
    """The process's pool."""
    return Pool()
