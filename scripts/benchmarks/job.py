"""What a library's file builds from a workload, and the list of libraries."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class Unsupported(Exception):
    """Why this library, or this version of it, cannot run the workload."""


def nothing() -> None:
    """The end of a round for libraries that finish their work before they return."""


@dataclass
class Job:
    """A workload as one library runs it.

    Attributes:
        step: does it once.
        value: a number that all libraries must agree on after the same number of steps.
        finish: waits until the steps before are really done.
        in_processes: whether each step is a process of its own.
    """

    step: Callable[[], Any]
    value: Callable[[], float]
    finish: Callable[[], Any] = nothing
    in_processes: bool = False


def training(
    step: Callable[..., Any],
    batches: Sequence[tuple[Any, ...]],
    finish: Callable[[Any], Any] = lambda loss: None,
) -> Job:
    """A job that calls `step(x, y) -> loss` on one batch after the other."""
    following = itertools.cycle(batches).__next__
    last: Any = None

    def one() -> None:
        nonlocal last
        last = step(*following())

    return Job(one, lambda: float(last), lambda: finish(last))


def repeated(
    call: Callable[[], Any], value: Callable[[Any], float], finish: Callable[[Any], Any] = id
) -> Job:
    """A job that calls `call()` and keeps its last result."""
    last: Any = None

    def one() -> None:
        nonlocal last
        last = call()

    return Job(one, lambda: value(last), lambda: finish(last))


def processes(script: str, arguments: Sequence[str], value: Callable[[str], float]) -> Job:
    """A job that runs a Python script again and again.

    Args:
        script: its file.
        arguments: its command line.
        value: the number in what it prints.
    """
    printed = ""

    def one() -> None:
        nonlocal printed
        command = [sys.executable, script, *arguments]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    return Job(one, lambda: value(printed), in_processes=True)


@dataclass(frozen=True)
class Library:
    """One column of the tables.

    Attributes:
        name: how it is chosen on the command line.
        title: how it is called in the table.
        module: its file in `benchmarks.libraries`.
        variant: handed to the file's functions.
        peer: whether it is compared with (nnad itself and the lower bounds are not).
        caches: whether it keeps compiled code on disk, so that a second start differs.
    """

    name: str
    title: str
    module: str
    variant: str = ""
    peer: bool = True
    caches: bool = False


LIBRARIES = [
    Library("nnad", "nnad eager", "nnad_library", "eager", peer=False),
    Library("nnad-compiled", "nnad compiled", "nnad_library", "native", False, caches=True),
    Library("nnad-numpy", "nnad compiled, NumPy", "nnad_library", "numpy", False, caches=True),
    Library("pytorch", "PyTorch eager", "pytorch", "eager"),
    Library("torch-compile", "torch.compile", "pytorch", "compiled", caches=True),
    Library("jax", "JAX jit", "jax_optax"),
    Library("sklearn", "scikit-learn", "sklearn_mlp"),
    Library("autograd", "autograd", "autograd_numpy"),
    Library("mygrad", "MyGrad", "mygrad_numpy"),
    Library("numpy", "NumPy alone", "numpy_alone", peer=False),
]
