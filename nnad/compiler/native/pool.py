"""One pool of threads: Python threads that run native code, which needs no interpreter lock.

A helper waits in native code for a short while, so that step after step finds it awake, then
sleeps on a lock.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from typing import Any

import numpy as np

from nnad.compiler.native import jit

SPINS = 100_000  # looks at the board before the helper goes to sleep: about 100 microseconds

# board: [0] number of the last job, [8] is the helper asleep, [16] the job's function,
# [24] its table.  serve() returns 0 when it went to sleep.
SERVE = """
define i64 @post(ptr %board, i64 %function, i64 %table) nounwind {
  %function_at = getelementptr i64, ptr %board, i64 16
  store i64 %function, ptr %function_at
  %table_at = getelementptr i64, ptr %board, i64 24
  store i64 %table, ptr %table_at
  %before = atomicrmw add ptr %board, i64 1 seq_cst
  %asleep_at = getelementptr i64, ptr %board, i64 8
  %asleep = atomicrmw xchg ptr %asleep_at, i64 0 seq_cst
  ret i64 %asleep
}
define i64 @serve(ptr %board, i64 %done) nounwind {
entry:
  br label %look
look:
  %spins = phi i64 [ 0, %entry ], [ %more, %wait ], [ 0, %work ]
  %last = phi i64 [ %done, %entry ], [ %last, %wait ], [ %job, %work ]
  %job = load atomic i64, ptr %board seq_cst, align 8
  %same = icmp eq i64 %job, %last
  br i1 %same, label %idle, label %work
idle:
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, SPINS
  br i1 %long, label %sleep, label %wait
wait:
  br label %look
work:
  %function_at = getelementptr i64, ptr %board, i64 16
  %function = load ptr, ptr %function_at
  %table_at = getelementptr i64, ptr %board, i64 24
  %table = load ptr, ptr %table_at
  call void %function(ptr %table, i64 1)
  br label %look
sleep:
  %asleep_at = getelementptr i64, ptr %board, i64 8
  store atomic i64 1, ptr %asleep_at seq_cst, align 8
  ret i64 %last
}
"""


class Pool:
    """The calling thread and one helper.

    Both run a job, `function(table, thread)`; the job's own barriers keep them in step, and its
    last one ends it for both.
    """

    def __init__(self) -> None:
        code = jit.load_many(
            SERVE.replace("SPINS", str(SPINS)),
            {
                "post": (ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
                "serve": (ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64),
            },
        )
        self._post, self._serve = code["post"], code["serve"]
        self._memory = np.zeros(64, np.int64)
        self._board = self._memory.__array_interface__["data"][0]
        self._in_use = threading.Lock()
        os.register_at_fork(after_in_child=self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        self._memory[:] = 0
        self._wake = threading.Semaphore(0)
        self._in_use = threading.Lock()
        self._helper: threading.Thread | None = None

    def run(self, function: Any, table: int) -> None:
        """Run a job on both threads."""
        with self._in_use:
            if self._helper is None:
                self._helper = threading.Thread(target=self._help, name="nnad", daemon=True)
                self._helper.start()
            address = ctypes.cast(function, ctypes.c_void_p).value
            if self._post(self._board, address, table):
                self._wake.release()
            function(table, 0)

    def _help(self) -> None:
        done = 0
        while True:
            done = self._serve(self._board, done)
            if self._memory[0] == done:
                self._wake.acquire()


@functools.cache
def pool() -> Pool:
    """The process's pool."""
    return Pool()
