"""A sweep from its file to its table and page, and on from where one was left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnad.distributed import world
from nnad.errors import UserError
from nnad.training.callbacks import Interrupted
from nnad.training.reporting.compare import read_history
from nnad.training.run_folder import RunFolder, write_file
from nnad.training.sweep.results import sweep_page, sweep_table
from nnad.training.sweep.settings import Sweep, load_sweep, override_texts
from nnad.training.sweep.trials import Trial, name_of, ranked, read_trials, write_trials
from nnad.training.sweep.workers import Workers, threads_of_each

__all__ = ["resume", "rounds_of", "start"]

FINAL = ("done", "failed", "dropped")


@dataclass
class Search:
    """A sweep under way.

    Attributes:
        sweep: what is to be done.
        folder: where its files are.
        trials: all of them.
        tell: is given a line when something has happened.
    """

    sweep: Sweep
    folder: Path
    tell: Callable[[str], None]
    trials: list[Trial] = field(default_factory=list)

    def run(self) -> str:
        """Train what is left to train; returns the table."""
        count = self.sweep.settings.workers
        with Workers(count, self.folder / "workers.log") as workers:
            survivors = self.trials
            for epochs, keep in rounds_of(self.sweep):
                self.advance(workers, survivors, epochs)
                survivors = self.select(survivors, keep)
        write_file(self.folder / "sweep.html", sweep_page(self.sweep, self.folder, self.trials))
        return f"{sweep_table(self.sweep, self.trials)}\npage: {self.folder / 'sweep.html'}"

    def advance(self, workers: Workers, trials: Sequence[Trial], epochs: int | None) -> None:
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

        workers.each([self.task(trial, epochs) for trial in todo], note)

    def task(self, trial: Trial, epochs: int | None) -> dict[str, Any]:
        """What a worker is told."""
        settings: dict[str, Any] = {
            "output.dir": str(self.folder / "trials"),
            "output.name": name_of(trial),
            "trainer.progress": False,
        }
        if self.sweep.base.trainer.threads == "auto":
            settings["trainer.threads"] = threads_of_each(self.sweep.settings.workers)
        return {
            "config": str(self.folder / "base.yaml"),
            "overrides": override_texts({**settings, **trial.values}),
            "path": str(self.folder / "trials" / name_of(trial)),
            "epochs": epochs,
        }

    def read(self, trial: Trial) -> None:
        """Take what a trial has reached from its folder."""
        history = read_history(self.folder / "trials" / name_of(trial) / "metrics.csv")
        column = np.array(history.get(self.sweep.settings.objective, []), np.float64)
        finite = column[np.isfinite(column)]
        best = np.max if self.sweep.maximize else np.min
        trial.objective = float(best(finite)) if finite.size else None
        trial.epochs = len(column)

    def select(self, trials: Sequence[Trial], keep: int) -> list[Trial]:
        """The best `keep` of those that can go on; the others are dropped."""
        able = [t for t in trials if t.status in ("paused", "done", "dropped")]
        best = ranked(able, self.sweep.maximize)[:keep]
        for trial in able:
            if trial not in best and trial.status == "paused":
                trial.status = "dropped"
        self.save()
        return best

    def line(self, trial: Trial) -> str:
        """What is told of a trial when its training ends or pauses."""
        values = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        if trial.status in ("failed", "lost"):
            return f"trial {trial.number} {trial.status} ({values}): {trial.message}"
        got = "-" if trial.objective is None else f"{trial.objective:.4g}"
        objective = self.sweep.settings.objective
        return f"trial {trial.number}, epoch {trial.epochs}: {objective} {got} ({values})"

    def save(self) -> None:
        """Write down how far the sweep is."""
        write_trials(self.folder, self.trials)


def rounds_of(sweep: Sweep) -> list[tuple[int | None, int]]:
    """(epochs to train to, trials that go on) of each round; None: to the end.

    Successive halving with factor f trains all n trials for R / f^k epochs, the best n/f of them
    for R / f^(k-1), ..., the last for all R (Jamieson and Talwalkar 2016).
    """
    count = len(sweep.choices())
    if sweep.settings.method != "halving":
        return [(None, count)]
    factor, least = sweep.settings.halving.factor, sweep.settings.halving.min_epochs
    whole = sweep.base.trainer.epochs or 1
    rounds = 0
    while count // factor ** (rounds + 1) >= 1 and whole // factor ** (rounds + 1) >= least:
        rounds += 1
    found: list[tuple[int | None, int]] = [
        (max(least, whole // factor ** (rounds - k)), max(1, count // factor ** (k + 1)))
        for k in range(rounds)
    ]
    return [*found, (None, 1)]


def start(path: str, overrides: Sequence[str], overwrite: bool, tell: Callable[[str], None]) -> str:
    """Do a sweep in a new folder; returns its table.

    Args:
        path: its file.
        overrides: ``key=value`` each.
        overwrite: replace the sweep that is there.
        tell: is given a line whenever a trial has come to an end.

    Raises:
        UserError: the file is wrong, or there is a sweep already.
    """
    sweep = load_sweep(path, overrides)
    folder = sweep.folder
    if folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise UserError(
                f"{folder} already exists; continue it with --resume {folder}, replace it with "
                "--overwrite, or choose another name"
            )
        if not (folder / "sweep.yaml").exists():
            raise UserError(f"{folder}: is not the folder of a sweep; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        clear(folder)
        trials = [Trial(i, values) for i, values in enumerate(sweep.choices())]
        write_file(folder / "base.yaml", sweep.base_text())
        write_trials(folder, trials)
        write_file(folder / "sweep.yaml", resolved(sweep))
        return Search(sweep, folder, tell, trials).run()


def resume(path: str, tell: Callable[[str], None]) -> str:
    """Go on with a sweep: trials that are done stay, those that were cut off continue.

    Args:
        path: the sweep's folder.
        tell: is given a line whenever a trial has come to an end.

    Raises:
        UserError: there is no such sweep.
    """
    folder = Path(path)
    if not (folder / "sweep.yaml").is_file():
        raise UserError(f"{path}: no sweep is there; expected a folder that nnad sweep has left")
    with held(folder):
        sweep = load_sweep(folder / "sweep.yaml")
        trials = read_trials(folder)
        for trial in trials:
            if trial.status == "lost":
                trial.status = "paused" if trial.epochs else "waiting"
        return Search(sweep, folder, tell, trials).run()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within, no other process works on the sweep in a folder.

    Raises:
        UserError: another one does, or this one is one of several under mpiexec.
    """
    if world().size > 1:
        raise UserError("nnad sweep starts processes of its own: set workers, without mpiexec")
    lock = RunFolder(folder)
    lock.lock()
    try:
        yield
    except Interrupted as signal:
        signal.args = (f"{signal}; continue with nnad sweep --resume {folder}",)
        raise
    finally:
        lock.release()


def clear(folder: Path) -> None:
    """Remove an old sweep, but for the lock, which is held."""
    for item in folder.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != ".lock":
            item.unlink()


def resolved(sweep: Sweep) -> str:
    """The sweep's file with every default filled in, for the folder."""
    import yaml

    settings = {**sweep.settings.model_dump(), "base": "base.yaml"}
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
