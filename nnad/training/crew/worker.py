"""A worker process of a sweep: trains the trials it is told to, one after another.

It reads a task a line (JSON) from its standard input and answers with a line on its standard
output. When its input ends, whoever started it is gone: it leaves a checkpoint and ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnad.errors import NnadError
from nnad.training.callbacks import Interrupted, Interruption

if TYPE_CHECKING:
    from nnad.training.trainer import Trainer

__all__ = ["serve", "work"]


class Paused(Interrupted):
    """A trial has trained as long as it is to for now."""

    def __init__(self) -> None:
        BaseException.__init__(self, "paused")
        self.exit_status = 0
        self.signal_name = ""


class Pause(Interruption):
    """Ends a run after so many epochs, with a checkpoint from which it goes on.

    Args:
        epochs: None to let the run end by itself.
    """

    def __init__(self, epochs: int | None) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        super().on_epoch_end(trainer, row)
        if self.epochs is not None and trainer.epoch >= self.epochs and not trainer.finished:
            raise Paused


def work(task: Mapping[str, Any]) -> dict[str, str]:
    """Begin a trial or go on with it.

    Args:
        task: ``config`` (a file), ``overrides``, ``path`` of the run and ``epochs`` after which to
            pause, or None.

    Returns:
        ``status`` (done, paused or failed) and ``message``.
    """
    from nnad.training import job

    try:
        with Pause(task["epochs"]) as pause:
            if Path(task["path"], "config.yaml").exists():
                message = job.resume(task["path"], [], pause)
            else:
                message = job.start(task["config"], task["overrides"], False, pause)
        return {"status": "done", "message": message}
    except Paused:
        return {"status": "paused", "message": ""}
    except (NnadError, MemoryError, OSError) as error:
        return {"status": "failed", "message": str(error)}


def serve() -> None:
    """Answer tasks until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a job prints is not an answer
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while line := tasks.get():
        try:
            answer = work(json.loads(line))
        except Interrupted as error:
            sys.exit(error.exit_status)
        print(json.dumps(answer), file=answers, flush=True)


def _listen(tasks: queue.SimpleQueue[str]) -> None:
    """Hand on each line; at the end, stop what is being done."""
    for line in sys.stdin:
        tasks.put(line)
    tasks.put("")
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
