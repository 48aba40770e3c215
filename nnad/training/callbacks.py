"""Callbacks: what happens around training without being part of it.

:class:`Callback` is a base class of hooks that do nothing. A subclass overrides the ones it needs;
the trainer calls only those, so a hook that is not used costs nothing in the inner loop.

    class PrintLoss(Callback):
        def on_epoch_end(self, trainer, row):
            print(trainer.epoch, row["train_loss"])
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnad.training.trainer import Trainer

__all__ = ["Callback", "Interrupted", "Interruption", "Progress"]


class Callback:
    """Hooks around training, all of them empty. Each gets the trainer, whose state it may read.

    The state is consistent in every hook: what a checkpoint taken there holds continues exactly.
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first step, or before the first one after resuming."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before an epoch's first step (when resuming within an epoch: before its next one)."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After each update; ``trainer.step_loss`` is its loss."""

    def reads_gradients(self, trainer: Trainer) -> bool:
        """Whether :meth:`on_step_end` of the step that is being done looks at gradients.

        If it says no, processes that train together leave the parts of the gradient with those
        who added them up, which saves time. By default a callback with that hook may look.
        """
        return type(self).on_step_end is not Callback.on_step_end

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        """After an epoch and its validation; `row` is its row of the history."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, before the best weights are restored. Not after an exception."""

    def close(self) -> None:
        """Always called at the end, even after an exception: give back what is held."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on as if never stopped: a tree for a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave, before :meth:`on_fit_begin`."""


class Progress(Callback):
    """A bar on stderr with epoch, loss, rate, metrics, rows a second and the time that is left.

    Args:
        always: show it even if stderr is no terminal.
        interval: seconds between two refreshes.
    """

    def __init__(self, always: bool = False, interval: float = 0.1) -> None:
        self.always = always
        self.interval = interval
        self._bar: Any = None
        self._next = 0.0

    def on_fit_begin(self, trainer: Trainer) -> None:
        if not (self.always or sys.stderr.isatty()):
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=trainer.total_steps * trainer.rows_per_step,
            initial=trainer.step * trainer.rows_per_step,
            unit="row",
            unit_scale=True,
            dynamic_ncols=True,
            leave=False,
            mininterval=0,
        )

    def reads_gradients(self, trainer: Trainer) -> bool:
        """Never."""
        return False

    def on_step_end(self, trainer: Trainer) -> None:
        if self._bar is not None and (now := perf_counter()) >= self._next:
            self._next = now + self.interval
            self._show(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        if self._bar is not None and perf_counter() >= self._next:
            self._show(trainer)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, trainer: Trainer) -> None:
        last = {name: f"{column[-1]:.4g}" for name, column in trainer.history.items() if column}
        last.pop("epoch", None)
        last.pop("step", None)
        last["learning_rate"] = f"{trainer.optimizer.lr:.3g}"
        self._bar.set_description(f"epoch {trainer.epoch + 1}/{trainer.epochs}", refresh=False)
        self._bar.set_postfix({"loss": f"{trainer.step_loss:.4g}", **last}, refresh=False)
        self._bar.update(trainer.step * trainer.rows_per_step - self._bar.n)


class Interrupted(BaseException):
    """The user (SIGINT) or the system (SIGTERM) asked the run to end.

    Like KeyboardInterrupt it is no Exception, so that nobody on the way takes it for an error.

    Attributes:
        exit_status: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        self.exit_status = 128 + signal_number
        self.signal_name = signal.Signals(signal_number).name
        super().__init__(f"interrupted by {self.signal_name}")


class Interruption(Callback):
    """Turns the first SIGINT or SIGTERM into :class:`Interrupted`; the second ends at once.

    Use as a context manager. While a trainer runs, the exception waits for the end of a step, where
    its state is consistent; anywhere else (loading data, the baseline) it comes immediately.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        if not self._training:
            raise Interrupted(number)

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._training = True

    def reads_gradients(self, trainer: Trainer) -> bool:
        """Never."""
        return False

    def on_step_end(self, trainer: Trainer) -> None:
        if (number := trainer.heeded(self.received)) is not None:
            raise Interrupted(number)

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        if (number := trainer.heeded(self.received)) is not None and not trainer.finished:
            raise Interrupted(number)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._training = False
        if (number := trainer.heeded(self.received)) is not None:
            raise Interrupted(number)
