"""NumPy's own BLAS, by address: the matrix products of native programs.

Using the library that NumPy has loaded means one set of threads and the same speed as `np.matmul`.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Blas(NamedTuple):
    """Addresses of cblas functions, and how the library's threads are counted and set."""

    sgemm: int
    dgemm: int
    set_threads: Any
    get_threads: Any


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
                    library.scipy_openblas_set_num_threads64_,
                    library.scipy_openblas_get_num_threads64_,
                )
            except (OSError, AttributeError):
                continue
    return None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
