"""Loops over arrays: which axes there are, which can be merged, who does which part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from nnad.compiler.native.ir import Kernel
from nnad.compiler.native.module import GRAIN, Module


def merged(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """The same loops with fewer axes: lengths, and per operand the strides.

    Axes of length one go; neighbours that every operand walks through evenly become one.
    """
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        own = [s[axis] for s in strides]
        if sizes and all(step[-1] == s * n for step, s in zip(steps, own, strict=True)):
            sizes[-1] *= n
            for step, s in zip(steps, own, strict=True):
                step[-1] = s
        else:
            sizes.append(n)
            for step, s in zip(steps, own, strict=True):
                step.append(s)
    if not sizes:
        return [1], [[0] for _ in strides]
    return sizes, steps


@contextmanager
def nest(
    module: Module, kernel: Kernel, sizes: Sequence[int], work: int, by_columns: bool = False
) -> Iterator[tuple[str, ...]]:
    """Nested loops, the outermost (or innermost) shared among the threads; yields the indices."""
    shared = len(sizes) - 1 if by_columns else 0
    grain = GRAIN if shared == len(sizes) - 1 else 1
    with ExitStack() as stack:
        start, stop = module.share(kernel, sizes[shared], work, grain)
        bounds = [(stop, start) if axis == shared else (n, 0) for axis, n in enumerate(sizes)]
        yield tuple(stack.enter_context(kernel.loop(*each)) for each in bounds)
