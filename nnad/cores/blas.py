"""NumPy's own BLAS: its number of threads, and its functions by address for native programs.

Using the library that NumPy has loaded means one set of threads and the same speed as `np.matmul`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


def after_fork(call: Callable[[], None]) -> None:
    """Have `call` called in every forked process, where the system can fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def current_core() -> int:
    """Number of the core that the calling thread runs on; -1 where the system does not tell."""
    call = _sched_getcpu()
    return -1 if call is None else call()


@functools.cache
def _sched_getcpu() -> Any:
    """The C library's function, on systems that also let a thread choose its cores."""
    known = hasattr(os, "sched_setaffinity")
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if known else None


class OneThread:
    """A context in which BLAS uses one thread; the last of those that overlap restores it."""

    def __init__(self, get_threads: Any, set_threads: Any) -> None:
        self._get, self._set = get_threads, set_threads
        self._users = self._before = 0
        after_fork(self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        """In a forked process: none of the parent's threads is inside."""
        self._lock = threading.Lock()
        if self._users:
            self._users = 0
            self._set(self._before)

    def threads(self) -> int:
        """How many threads BLAS uses now."""
        return self._get()

    def __enter__(self) -> None:
        inside = False
        try:
            with self._lock:
                if self._users == 0:
                    self._before = self._get()
                self._users += 1
                inside = True
                if self._users == 1:
                    self._set(1)
        except BaseException:  # Ctrl-C: after an error here, `with` does not call `__exit__`
            if inside:
                self.__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._set(self._before)


class Blas(NamedTuple):
    """Addresses of cblas functions, and the context in which they use one thread."""

    sgemm: int
    dgemm: int
    on_one_thread: OneThread


@functools.cache
def numpy_blas() -> Blas | None:
    """The 64-bit-integer OpenBLAS inside NumPy's wheel; None where there is none."""
    root = Path(np.__file__).parent
    for folder in (root.parent / "numpy.libs", root / ".dylibs"):
        for path in sorted(folder.glob("libscipy_openblas64_*")):
            try:
                library = ctypes.CDLL(str(path))
                return Blas(
                    _address(library.scipy_cblas_sgemm64_),
                    _address(library.scipy_cblas_dgemm64_),
                    OneThread(
                        library.scipy_openblas_get_num_threads64_,
                        library.scipy_openblas_set_num_threads64_,
                    ),
                )
            except (OSError, AttributeError):
                continue
    return None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
