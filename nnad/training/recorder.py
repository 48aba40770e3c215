"""The callback that writes a run down: checkpoints, the best weights, the rows of metrics.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nnad.errors import DivergedError
from nnad.training import checkpoint
from nnad.training.callbacks import Callback
from nnad.training.diagnosis import is_finite
from nnad.training.run_folder import RunFolder
from nnad.training.state import capture

if TYPE_CHECKING:
    from nnad.training.trainer import Trainer

__all__ = ["Recorder"]


class Recorder(Callback):
    """Keeps the folder of a run up to date, at little cost.

    Checkpoints are taken by the clock, so that a run of a second has next to nothing to pay and one
    of a day loses little; and when training ends.

    Args:
        folder: where to write.
        every_seconds: age at which a checkpoint is replaced; None: never for its age.
        every_steps: steps after which it is replaced; None: never for them.
        seconds_before: seconds that earlier processes spent on this run.
    """

    def __init__(
        self,
        folder: RunFolder,
        every_seconds: float | None = 30.0,
        every_steps: int | None = None,
        seconds_before: float = 0.0,
    ) -> None:
        self.folder = folder
        self.every_seconds = math.inf if every_seconds is None else every_seconds
        self.every_steps = every_steps
        self.seconds_before = seconds_before
        self._start = self._saved_at = perf_counter()
        self._saved_best = 0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those of earlier processes included."""
        return self.seconds_before + perf_counter() - self._start

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._start = self._saved_at = perf_counter()

    def reads_gradients(self, trainer: Trainer) -> bool:
        """Never."""
        return False

    def on_step_end(self, trainer: Trainer) -> None:
        if perf_counter() - self._saved_at >= self.every_seconds or (
            self.every_steps and trainer.step % self.every_steps == 0
        ):
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        self.folder.append_row(row)

    def on_fit_end(self, trainer: Trainer) -> None:
        self.save(trainer, final=True)

    def save(self, trainer: Trainer, final: bool = False) -> None:
        """Write the state of the run, and the best weights if they are new.

        Args:
            final: nothing is left to do: both slots get this state, so that equal runs leave equal
                files wherever in between they were saved.

        Raises:
            DivergedError: a parameter is not finite; what was saved before stays.
        """
        require_finite(trainer)
        state = capture(trainer, copy=False) | {"finished": length_of(trainer) if final else None}
        folder = self.folder
        if final:
            checkpoint.save(folder.last, state, keep_previous=False)
            checkpoint.save(checkpoint.previous_slot(folder.last), state, keep_previous=False)
        else:
            checkpoint.save(folder.last, state)
        if trainer.best.weights_epoch != self._saved_best:
            checkpoint.save(folder.best, best_state(trainer), keep_previous=False)
            self._saved_best = trainer.best.weights_epoch
        folder.write_json(folder.timing, {"fit_seconds": self.seconds})
        self._saved_at = perf_counter()


def best_state(trainer: Trainer) -> dict[str, Any]:
    """What ``best.safetensors`` holds: weights under their own names, and where they are from."""
    best = trainer.best
    return {
        **(best.weights or trainer.model.state_dict(copy=False)),
        "$run": {"epoch": best.weights_epoch, "monitor": best.monitor, "value": best.value},
    }


def length_of(trainer: Trainer) -> dict[str, int | None]:
    """The length of a run as its configuration gives it: in epochs, or in steps."""
    return {"epochs": None if trainer.steps else trainer.epochs, "steps": trainer.steps}


def require_finite(trainer: Trainer) -> None:
    """Raise a DivergedError if a parameter or buffer is not finite."""
    state = trainer.model.state_dict(copy=False)
    bad = [name for name, array in state.items() if not is_finite(array)]
    if bad:
        raise DivergedError(
            f"training diverged at step {trainer.step}: {', '.join(bad)} not finite after the "
            "update; try a lower optimizer.lr or trainer.clip_norm"
        )
