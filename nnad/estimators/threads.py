"""One thread of BLAS for small products, where a second costs more than it brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nnad.compiler.native.blas import numpy_blas

__all__ = ["threads_for"]

SMALL = 8_000_000  # operations of the products in one pass forward


@contextmanager
def threads_for(operations: int) -> Iterator[None]:
    """Within the block NumPy's products run on one thread, if they are small.

    Args:
        operations: multiplications and additions of one pass forward.
    """
    blas = numpy_blas() if operations <= SMALL else None
    threads = 1 if blas is None else blas.get_threads()
    if blas is None or threads == 1:
        yield
        return
    blas.set_threads(1)
    try:
        yield
    finally:
        blas.set_threads(threads)
