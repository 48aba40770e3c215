"""Which back end and how many threads a compiled step gets."""

from __future__ import annotations

import functools
import importlib.util
import sys

from nnad.cores.counting import available_cores

MAX_THREADS = 2
BACKENDS = ("auto", "numpy", "native")


def choose_backend(wanted: str) -> str:
    """ "numpy" or "native"; for "auto" native where llvmlite and NumPy's OpenBLAS are there."""
    if wanted not in BACKENDS:
        raise ValueError(f"compile: backend is one of {', '.join(BACKENDS)}; got {wanted!r}")
    if wanted == "numpy":
        return "numpy"
    missing = why_not_native()
    if missing is None:
        return "native"
    say_once(f"compiled steps run as NumPy programs: {missing}")
    return "numpy"


@functools.cache
def why_not_native() -> str | None:
    """Why there can be no native programs here; None if there can."""
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed (pip install 'nnad[fast]')"
    from nnad.cores.blas import numpy_blas

    if numpy_blas() is None:
        return "this NumPy does not carry OpenBLAS"
    return None


@functools.cache
def say_once(what: str) -> None:
    """Tell the user, once in a process, what is not as fast as it could be."""
    sys.stderr.write(f"nnad: {what}\n")


def choose_threads(wanted: int | str) -> int:
    """A number of threads; "auto": the cores this process may use, at most two."""
    if wanted == "auto":
        return min(MAX_THREADS, available_cores())
    if not isinstance(wanted, int) or wanted < 1:
        raise ValueError(f'compile: threads is "auto" or at least 1; got {wanted!r}')
    return min(MAX_THREADS, wanted)
