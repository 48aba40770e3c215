"""Which way a trainer's steps are computed: operation by operation, or as compiled programs.

NumPy programs give to the last bit what eager operations give, so they may be chosen by the clock.
Native programs agree to rounding only: with `compile: auto` they are chosen by a count of what the
first step does and how many steps there are, never by the clock, and the choice is kept in the
checkpoints, so that a run's numbers depend on its configuration alone and a run that is resumed
goes on as it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Tensor
from nnad.autodiff.walk import Subgraph
from nnad.data.batches import Batch
from nnad.errors import CannotCompile
from nnad.optimizers import LBFGS
from nnad.training.state import capture, restore

__all__ = ["StepPrograms", "worth_native_seconds"]

# Seconds that a native program saves, per operation (dispatch and tape), per element that a heavy
# operation makes, and (less than nothing) per multiply-add, which OpenBLAS's own threads do as
# fast; and what it costs to make one with nothing cached. Measured on 2 cores; on the careful side.
PER_OPERATION, PER_HEAVY_ELEMENT, PER_MULTIPLY_ADD = 2.5e-6, 2e-9, -1.5e-12
MAKING, MAKING_OPERATION = 0.15, 0.0085
HEAVY = frozenset(
    ("conv", "max_pool", "avg_pool", "attention", "self_attention", "layer_norm", "softmax", "gelu")
)
BACKWARD = 2.5  # a whole step is this many times its forward pass

TIMED_STEPS = 20  # eager ones, before a NumPy program is thought of
NUMPY_SAVES, NUMPY_MAKING = 0.1, 0.05  # share of an eager step; seconds


class StepPrograms:
    """The gradient, the clipping and the update of a trainer, compiled where that pays.

    Args:
        trainer: has `batch_gradient(x, y, weight, seed)`, `clip_gradients()` and an `optimizer`.
        wanted: True, False or "auto".
        threads: of native programs: a number or "auto".

    Attributes:
        kind: "eager", "numpy" or "native"; None until it is decided.
        gain: seconds that native programs would save over the run, once that is known.
        clip, update: clip the gradient, and update the parameters.
    """

    def __init__(self, trainer: Any, wanted: bool | str, threads: int | str) -> None:
        self.trainer = trainer
        self.wanted = wanted
        self.threads = threads
        self.kind: str | None = None if wanted == "auto" else "native" if wanted else "eager"
        self.gain = 0.0
        self._gradients: dict[Any, Callable[..., Any]] = {}  # by the rows of the batch
        self._seconds: list[float] = []
        self._set_actions()

    @property
    def recorded(self) -> str | None:
        """What a checkpoint keeps of the choice: whether it is native, if that is decided."""
        return "eager" if self.kind == "numpy" else self.kind

    def take_up(self, recorded: str | None) -> None:
        """Go on as a checkpoint says: also if what was wanted could not be compiled."""
        if recorded is not None and (self.wanted == "auto" or recorded == "eager"):
            self.kind = recorded
            self._set_actions()

    def gradient(self, batch: Batch, seed: Any) -> Any:
        """Add the gradient of a batch, times `seed`, to the parameters' gradients.

        Returns:
            The loss.
        """
        arguments = batch.x, batch.y, batch.weight, seed
        if self.kind is None:
            loss = self.trainer.batch_gradient(*arguments)
            self.gain = worth_native_seconds(loss, self.trainer.total_steps)
            return loss
        if self.kind == "eager":
            return self._eagerly(arguments)
        if batch.rows_of_all != self.trainer.batch_size:  # for the last batch alone it does not pay
            return self.trainer.batch_gradient(*arguments)
        if batch.share not in self._gradients:  # what is drawn for its rows is part of a program
            self._gradients[batch.share] = self._program(self.trainer.batch_gradient)
        return self._gradients[batch.share](*arguments)

    def decide(self, gain: float) -> None:
        """Choose after the first step, which was an eager one, by what native ones would save."""
        self.kind = "eager"
        if gain > 0:
            from nnad.compiler.choice import choose_backend  # short runs do without the compiler

            self.kind = choose_backend("auto")
        self._set_actions()

    def _set_actions(self) -> None:
        """Clip and update as `kind` says; programs of NumPy would gain nothing on them.

        They change with the kind alone, never with what the first batch is like: a run that is
        resumed computes each step as the run that it continues would have.
        """
        trainer = self.trainer
        self.clip: Callable[[], float] = trainer.clip_gradients
        self.update: Callable[[], Any] = trainer.optimizer.step
        if self.kind == "native" and not isinstance(trainer.optimizer, LBFGS):
            for name in trainer.compiled_actions:
                setattr(self, name, self._made_when_called(name))

    def _eagerly(self, arguments: Any) -> Any:
        """An eager step, timed: where NumPy programs would pay, they take over."""
        before = perf_counter()
        loss = self.trainer.batch_gradient(*arguments)
        if self.wanted == "auto" and len(self._seconds) < TIMED_STEPS:
            self._seconds.append(perf_counter() - before)
            if len(self._seconds) == TIMED_STEPS:
                rest = self.trainer.total_steps - self.trainer.step
                if rest * float(np.median(self._seconds)) * NUMPY_SAVES > NUMPY_MAKING:
                    self.kind = "numpy"
        return loss

    def _made_when_called(self, name: str) -> Callable[[], Any]:
        """The action `name`, which its first call replaces by a program."""
        eager = getattr(self, name)

        def first() -> Any:
            setattr(self, name, self._program(eager))
            return getattr(self, name)()

        return first

    def _program(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` compiled; every call is a replay, since those that make programs are undone.

        A recorded call is computed by eager operations; were it to count, a run would depend on
        where it was interrupted.
        """
        from nnad.compiler import compile

        backend = "numpy" if self.kind == "numpy" else "auto"
        program = compile(function, backend=backend, threads=self.threads)
        program.undoing = self._undone
        return partial(self._run, program, function)

    def _run(self, program: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """Replay; where there can be no program, go on operation by operation and say so."""
        try:
            return program(*arguments)
        except CannotCompile as problem:
            self.kind = "eager"
            self._set_actions()
            warnings.warn(f"steps are not compiled: {problem}", stacklevel=3)
            return function(*arguments)

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Afterwards the run is as it was before."""
        trainer = self.trainer
        state, gradients = capture(trainer), [(p, _copied(p.grad)) for p in trainer.parameters]
        try:
            yield
        finally:
            restore(trainer, {**state, "programs": None})
            for p, gradient in gradients:
                p.grad = gradient


def _copied(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.copy()


def worth_native_seconds(loss: Tensor, steps: int) -> float:
    """Seconds that native programs are expected to save over `steps` steps, making them counted.

    Twice the cost of making them is taken off, so that a wrong guess seldom costs anything.

    Args:
        loss: of a first step, with its tape.
        steps: of the whole run.
    """
    nodes = [node for node in Subgraph([loss.node]).nodes if node.primitive is not None]
    operations = BACKWARD * len(nodes)
    heavy = products = 0.0
    for node in nodes:
        size = sum(out.size for out in (node.out if type(node.out) is tuple else (node.out,)))
        if node.primitive.name in HEAVY:
            heavy += BACKWARD * size
        elif node.primitive.name in ("linear", "matmul"):
            products += BACKWARD * size * node.args[0].shape[-1]
    a_step = PER_OPERATION * operations + PER_HEAVY_ELEMENT * heavy + PER_MULTIPLY_ADD * products
    return steps * a_step - 2 * (MAKING + MAKING_OPERATION * operations)
