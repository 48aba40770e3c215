"""`nnad.compile`: a step that is recorded on its first call and replayed afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import update_wrapper
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Tensor, raw_of, state, wrap
from nnad.autodiff.trees import flatten
from nnad.compiler.buffers import plan_buffers
from nnad.compiler.capture import Capture
from nnad.compiler.choice import choose_backend, choose_threads, say_once
from nnad.compiler.closure import looked_up
from nnad.compiler.guards import Guards
from nnad.compiler.kept import require_nothing_kept, require_open
from nnad.compiler.passes import multiply_adds, optimize
from nnad.compiler.program import EXTERNAL, Program, Retrace, Value
from nnad.compiler.source import build
from nnad.cores.blas import numpy_blas
from nnad.errors import CannotCompile, LostGradientError
from nnad.memory import give_back_memory

MAX_PROGRAMS = 16


class TooManyProgramsError(CannotCompile, RuntimeError):
    """Something that a step depends on changes at every call."""


class Replay:
    """One program, ready to run: for one set of shapes, dtypes, static arguments and modes."""

    def __init__(
        self, guards: Guards, program: Program, tensors: list[int], backend: str, threads: int
    ) -> None:
        self.guards = guards
        self.holds = guards.conclude()
        self.captured = len(program.instructions)
        self.program = optimize(program)
        self.tensors = tensors
        self.multiply_adds = multiply_adds(program)
        self.backend = backend
        if backend == "native":
            self._build_native(threads)
        if self.backend == "numpy":
            self.plan = plan_buffers(program)
            self.run, self.source = build(program, self.plan)
        self.busy = threading.RLock()  # one caller at a time: the buffers are the program's
        self.run_program, self.run = self.run, self._first_run

    def _first_run(self, *arrays: Any) -> list[Any]:
        """Run without what the captured call has left behind in memory."""
        give_back_memory()
        self.run = self.run_program
        return self.run(*arrays)

    def _build_native(self, threads: int) -> None:
        """Make machine code; where that fails, say so and be content with NumPy."""
        from nnad.compiler.native.backend import build_native

        blas = numpy_blas()
        assert blas is not None
        before = list(self.program.instructions)
        try:
            self.run, self.source, self.plan = build_native(self.program, blas, threads)
        except Exception as error:
            self.program.instructions = before
            self.backend = "numpy"
            say_once(f"no native code for {self.program.name}: {type(error).__name__}: {error}")

    def fits(self) -> bool:
        """Whether everything outside that the capture depended on is as it was."""
        try:
            return self.holds()
        except (AttributeError, LookupError):  # something that it looks up is gone
            return False

    def __call__(self, arrays: list[Any]) -> Any:
        with self.busy:
            results = self.run(*arrays)
        for i in self.tensors:
            results[i] = wrap(results[i], None)
        return self.program.rebuild(results)

    def stats(self) -> dict[str, Any]:
        """What the compiler did, in numbers."""
        return {
            "backend": self.backend,
            "multiply_adds": self.multiply_adds,
            "operations_captured": self.captured,
            "operations": len(self.program.instructions),
            "removed": dict(self.program.removed),
            "buffers": len(self.plan.blocks),
            "bytes_planned": self.plan.nbytes,
            "bytes_without_sharing": self.plan.unshared,
            "bytes_peak": self.plan.peak,
        }


class Compiled:
    """A compiled step; see `nnad.compile`.

    Attributes:
        source: text of the program of the last call.
        stats: what was done to it: operations before and after, bytes planned and at the peak.
        programs: how many programs there are (one per set of shapes, dtypes and modes).
        undoing: a context after which all is as it was before: where it is given, a call that makes
            a program anew is replayed too, so that a run does not depend on where it was resumed.
    """

    __name__: str

    def __init__(self, step: Callable[..., Any], backend: str, threads: int) -> None:
        self.step = step
        self.backend = backend
        self.threads = threads
        self.replays: dict[Hashable, list[Replay]] = {}
        self.last: Replay | None = None
        self.undoing: Callable[[], AbstractContextManager[None]] | None = None
        update_wrapper(self, step)
        self.__name__ = getattr(step, "__name__", type(step).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.capture is not None:
            return self.step(*args, **kwargs)
        if not kwargs and all(type(x) is np.ndarray for x in args):
            leaves: Any = args
            arrays: Any = args
        else:
            leaves = flatten((args, kwargs))[0]
            if state.depth and any(isinstance(x, Tensor) and x.requires_grad for x in leaves):
                raise LostGradientError(
                    f"{self.__name__} is compiled, and its results have no derivative for the "
                    "transform that it is called in; compile the derivative, as in "
                    "nnad.compile(nnad.grad(f)), or pass x.detach()"
                )
            arrays = [raw_of(x) for x in leaves if _is_array(x)]
        signature = tuple([_signature(x) for x in leaves])
        for replay in self.replays.get(signature, ()):
            if replay.fits():
                self.last = replay
                try:
                    return replay(arrays)
                except Retrace:
                    self.replays[signature].remove(replay)
                    break
        return self._make(signature, args, kwargs, arrays)

    def _make(self, signature: Hashable, args: Any, kwargs: Any, arrays: Any) -> Any:
        """A call that no program is there for."""
        if self.undoing is None:
            return self._first_call(signature, *flatten((args, kwargs)))
        with self.undoing():
            self._first_call(signature, *flatten((args, kwargs)))
        assert self.last is not None
        return self.last(arrays)

    def _first_call(self, signature: Hashable, leaves: list[Any], rebuild: Any) -> Any:
        """Run the step as usual, watched, and make a program of what it did."""
        if self.programs >= MAX_PROGRAMS:
            raise TooManyProgramsError(self._too_many(signature))
        capture, program, tensors, results = self._capture(leaves, rebuild)
        self.last = Replay(capture.guards, program, tensors, self.backend, self.threads)
        require_nothing_kept(capture, results)
        self.replays.setdefault(signature, []).append(self.last)
        return program.rebuild(results)

    def _capture(
        self, leaves: list[Any], rebuild: Any
    ) -> tuple[Capture, Program, list[int], list[Any]]:
        """What the step does, which of its results are Tensors, and the results, without tape."""
        with Capture() as capture, looked_up(capture, self.step, leaves):
            program, tensors, results = self._record(capture, leaves, rebuild)
        return capture, program, tensors, results

    def _record(
        self, capture: Capture, leaves: list[Any], rebuild: Any
    ) -> tuple[Program, list[int], list[Any]]:
        """The same, with nothing left here that holds on to what the step has made."""
        args, kwargs = rebuild([capture.input(x) if _is_array(x) else x for x in leaves])
        with _explaining_constants(leaves):
            outputs, rebuild_output = flatten(self.step(*args, **kwargs))
        require_open(capture, outputs)
        program = capture.program(self.__name__, outputs, rebuild_output)
        pairs = list(zip(outputs, program.outputs, strict=True))
        tensors = [i for i, (x, y) in enumerate(pairs) if _is_result(x, y) and not x.is_stand_in]
        results = [_result(x, y) for x, y in pairs]
        for i in tensors:
            results[i] = wrap(results[i], None)
        program.rebuild = flatten(rebuild_output(results))[1]
        return program, tensors, results

    def _too_many(self, signature: Hashable) -> str:
        replays = self.replays.get(signature)
        reason = f"{replays[-1].guards.broken()}; " if replays else ""
        return (
            f"{self.__name__} was compiled for {MAX_PROGRAMS} different sets of shapes, arguments "
            f"and Python values; {reason}pass what changes at every call as an array, or pad "
            "batches to a few sizes"
        )

    @property
    def programs(self) -> int:
        """How many programs have been made."""
        return sum(map(len, self.replays.values()))

    @property
    def source(self) -> str:
        """Readable Python of the program that ran last."""
        return self._require().source

    @property
    def stats(self) -> dict[str, Any]:
        """Numbers about the program that ran last."""
        return self._require().stats()

    @property
    def program(self) -> Program:
        """The program that ran last; `print` it."""
        return self._require().program

    def _require(self) -> Replay:
        if self.last is None:
            raise RuntimeError(f"{self.__name__} has not been called yet: call it once to compile")
        return self.last


@contextmanager
def _explaining_constants(arguments: list[Any]) -> Iterator[None]:
    """Say of a gradient that is lost why that may be so if arguments ask for gradients."""
    try:
        yield
    except LostGradientError as error:
        if any(isinstance(x, Tensor) and x.requires_grad for x in arguments):
            error.add_note(
                "arguments of a compiled step are constants to it, with requires_grad=True too: "
                "keep the Tensor in a variable around the step, or compile nnad.grad(f)"
            )
        raise


def _is_result(x: Any, value: Any) -> bool:
    """Whether a result of the step is a Tensor that each call makes anew."""
    return isinstance(x, Tensor) and isinstance(value, Value)


def _result(x: Any, value: Any) -> Any:
    """What the caller gets of a result; arrays that the program goes on reading as copies."""
    if not isinstance(value, Value):
        return x
    return raw_of(x).copy() if value.root.kind == EXTERNAL else raw_of(x)


def _is_array(x: Any) -> bool:
    return isinstance(raw_of(x), (np.ndarray, np.generic))


def _signature(x: Any) -> Hashable:
    """What must be the same for a program to be used again: of arrays shape and dtype."""
    if type(x) is np.ndarray:
        return np.ndarray, x.shape, x.dtype
    array = raw_of(x)
    if isinstance(array, (np.ndarray, np.generic)):
        return type(x), array.shape, array.dtype
    if isinstance(x, slice):
        return slice, x.start, x.stop, x.step
    if not isinstance(x, Hashable):
        raise TypeError(
            f"a compiled step takes arrays, Tensors, containers of them, and hashable values, got "
            f"an argument of type {type(x).__name__}"
        )
    return type(x), x


def compile(
    step: Callable[..., Any], *, backend: str = "auto", threads: int | str = "auto"
) -> Compiled:
    """Compile a step as the user wrote it.

    The first call is an ordinary one that is recorded; later calls with the same shapes, dtypes
    and static arguments replay it as a straight line over planned buffers.  Arrays and Tensors
    among the arguments may change from call to call, other arguments are static.  Forward,
    backward, clipping, optimizer updates, running statistics and random masks all replay; a step
    that branches on the value of an array raises `DataDependentError` with its line.

    Args:
        step: a function of arrays; it may close over models and optimizers.
        backend: "numpy" (the same kernels as eager: bit for bit the same results), "native" (fused
            machine code through llvmlite, the extra `fast`: the same to rounding), or "auto":
            native where it can be had.
        threads: how many threads a native program may use; "auto": as many as there are cores, at
            most two.

    Returns:
        A function that returns what `step` returns.

    >>> double_sum = compile(lambda x: np.sum(2 * x))
    >>> float(double_sum(np.ones(3))), float(double_sum(np.arange(3.0)))
    (6.0, 6.0)
    """
    return Compiled(step, choose_backend(backend), choose_threads(threads))
