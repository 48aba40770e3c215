"""Runs of one job that differ in some settings, trained several at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnad.cores.counting import threads_of_each
from nnad.distributed import world
from nnad.errors import UserError
from nnad.training.callbacks import Interrupted
from nnad.training.config import Config
from nnad.training.config.overrides import override_texts
from nnad.training.crew.ranks import Ranks
from nnad.training.crew.trials import Trial, name_of, write_trials
from nnad.training.crew.workers import Workers
from nnad.training.run_folder import RunFolder

__all__ = ["Runs", "held", "made_room"]

FINAL = ("done", "failed", "dropped")


@dataclass
class Runs:
    """Some runs under way.

    Attributes:
        base: the job whose settings they change.
        folder: where their files are.
        count: of processes that train at once, without MPI.
        command: what continues after a signal.
        tell: is given a line when something has happened.
        trials: all of them.
    """

    base: Config
    folder: Path
    count: int
    command: str
    tell: Callable[[str], None]
    trials: list[Trial] = field(default_factory=list)

    def crew(self) -> Workers | Ranks:
        """Who trains: the processes of the MPI job, or else processes of our own."""
        group = world()
        if group.size > 1:
            return Ranks(group, self.command)
        return Workers(min(self.count, len(self.trials)), self.folder / "workers.log")

    def advance(
        self, crew: Workers | Ranks, trials: Sequence[Trial], epochs: int | None = None
    ) -> None:
        """Train each of `trials` until it has that many epochs, or to its end."""
        todo = [
            t for t in trials if t.status not in FINAL and (epochs is None or t.epochs < epochs)
        ]

        def note(number: int, answer: dict[str, str]) -> None:
            trial = todo[number]
            trial.status, trial.message = answer["status"], answer["message"]
            if trial.status == "done":
                trial.message = ""
            self.read(trial)
            self.save()
            self.tell(self.line(trial))

        crew.each([self.task(trial, epochs) for trial in todo], note)

    def task(self, trial: Trial, epochs: int | None) -> dict[str, Any]:
        """What a worker is told."""
        own = {
            "output.dir": str(self.folder / "trials"),
            "output.name": name_of(trial),
            "trainer.progress": False,
        }
        settings: dict[str, Any] = {}
        if self.base.trainer.threads == "auto":
            group = world()
            settings["trainer.threads"] = threads_of_each(
                group.local_size if group.size > 1 else self.count, group.local_cores
            )
        return {
            "config": str(self.folder / "base.yaml"),
            "overrides": override_texts({**settings, **trial.values, **own}),
            "path": str(self.path_of(trial)),
            "epochs": epochs,
        }

    def path_of(self, trial: Trial) -> Path:
        """The folder of a trial's run."""
        return self.folder / "trials" / name_of(trial)

    def read(self, trial: Trial) -> None:
        """Take what a trial has reached from its folder."""
        raise NotImplementedError

    def line(self, trial: Trial) -> str:
        """What is told of a trial when its training ends or pauses."""
        raise NotImplementedError

    def save(self) -> None:
        """Write down how far all are."""
        write_trials(self.folder, self.trials)


@contextmanager
def held(folder: Path, command: str) -> Iterator[None]:
    """Within, no other job works on the runs in a folder.

    Args:
        folder: theirs.
        command: what continues after a signal.

    Raises:
        UserError: another one does.
    """
    lock = RunFolder(folder)
    lock.lock()
    try:
        yield
    except Interrupted as signal:
        signal.args = (f"{signal}; continue with {command}",)
        raise
    finally:
        lock.release()


@contextmanager
def made_room(
    folder: Path, marker: str, what: str, overwrite: bool, command: str
) -> Iterator[None]:
    """Within, `folder` is an empty one, held; what was there is gone.

    Args:
        folder: the place.
        marker: the file that tells what kind of folder it is.
        what: the command that leaves such folders.
        overwrite: replace what is there.
        command: what continues after a signal.

    Raises:
        UserError: there is something that is not to be replaced.
    """
    if folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise UserError(
                f"{folder} already exists; continue it with --resume {folder}, replace it with "
                "--overwrite, or choose another name"
            )
        if not (folder / marker).exists():
            raise UserError(f"{folder}: was not left by {what}; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, command):
        clear(folder)
        yield


def clear(folder: Path) -> None:
    """Remove what is in a folder, but for the lock, which is held."""
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != ".lock":
            item.unlink()
