"""Whether the steps of a fit are worth compiling, and with what."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nnad.compiler import compile as compile_step
from nnad.compiler.choice import why_not_native
from nnad.errors import CannotCompile
from nnad.layers import Lambda, Module

__all__ = ["compiled"]

# A program of NumPy calls takes about 10 ms to make and saves a third of a step, machine code takes
# some tenths of a second, once for a kernel, and saves half.
NUMPY_STEPS = 200
NATIVE_STEPS = 5000


def compiled(
    step: Callable[..., Any],
    module: Module,
    loss: Callable[..., Any],
    steps: int,
    threads: int | str = 1,
) -> Callable[..., Any]:
    """`step` compiled, if it pays for that number of steps and is nnad's own all through.

    A program holds what a step does to arrays. Where Python of the user's own takes part, it may do
    more, such as draw random numbers by NumPy, which a program would repeat: that stays as it is.

    Args:
        step: the forward and the backward pass of a batch.
        module, loss: what it calls.
        steps: how many there may be.
        threads: of machine code; see `nnad.compile`.
    """
    if steps < NUMPY_STEPS or not (_is_ours(module) and _is_own_function(loss)):
        return step
    backend = "native" if steps >= NATIVE_STEPS and why_not_native() is None else "numpy"
    return _Fallback(step, backend, threads)


class _Fallback:
    """A compiled step, or the step itself once it turns out that it cannot be compiled."""

    def __init__(self, step: Callable[..., Any], backend: str, threads: int | str) -> None:
        self.step = step
        self.run: Callable[..., Any] = compile_step(step, backend=backend, threads=threads)

    def __call__(self, *args: Any) -> Any:
        try:
            return self.run(*args)
        except CannotCompile:
            self.run = self.step
            return self.step(*args)


def _is_ours(module: Module) -> bool:
    return all(
        type(m).__module__.startswith("nnad.") and not isinstance(m, Lambda)
        for m in module.modules()
    )


def _is_own_function(loss: Callable[..., Any]) -> bool:
    while isinstance(loss, partial):
        loss = loss.func
    return loss.__module__.startswith("nnad.")
