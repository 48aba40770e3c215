"""A sweep from its file to its table and page, and on from where one was left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnad.distributed import world
from nnad.errors import UserError
from nnad.training.crew.ranks import led
from nnad.training.crew.runs import Runs, held, made_room
from nnad.training.crew.trials import Trial, ranked, read_trials, write_trials
from nnad.training.forgery import believing, read_history
from nnad.training.run_folder import write_file
from nnad.training.sweep.results import sweep_page, sweep_table
from nnad.training.sweep.settings import Sweep, load_sweep

__all__ = ["resume", "rounds_of", "start"]


@dataclass(kw_only=True)
class Search(Runs):
    """A sweep under way.

    Attributes:
        sweep: what is to be done.
    """

    sweep: Sweep

    def run(self) -> str:
        """Train what is left to train; returns the table."""
        with self.crew() as crew:
            survivors = self.trials
            for epochs, keep in rounds_of(self.sweep):
                self.advance(crew, survivors, epochs)
                survivors = self.select(survivors, keep)
        write_file(self.folder / "sweep.html", sweep_page(self.sweep, self.folder, self.trials))
        return f"{sweep_table(self.sweep, self.trials)}\npage: {self.folder / 'sweep.html'}"

    def read(self, trial: Trial) -> None:
        history = read_history(self.path_of(trial) / "metrics.csv")
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
        values = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        if trial.status in ("failed", "lost"):
            return f"trial {trial.number} {trial.status} ({values}): {trial.message}"
        got = "-" if trial.objective is None else f"{trial.objective:.4g}"
        objective = self.sweep.settings.objective
        return f"trial {trial.number}, epoch {trial.epochs}: {objective} {got} ({values})"


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
    return led(lambda: search_anew(path, overrides, overwrite, tell), world())


def search_anew(
    path: str, overrides: Sequence[str], overwrite: bool, tell: Callable[[str], None]
) -> str:
    """`start` in the process that leads."""
    sweep = load_sweep(path, overrides)
    folder = sweep.folder
    with made_room(folder, "sweep.yaml", "nnad sweep", overwrite, command(folder)):
        trials = [Trial(i, values) for i, values in enumerate(sweep.choices())]
        write_file(folder / "base.yaml", sweep.base_text())
        write_trials(folder, trials)
        write_file(folder / "sweep.yaml", resolved(sweep))
        return search(sweep, folder, trials, tell).run()


def resume(path: str, tell: Callable[[str], None]) -> str:
    """Go on with a sweep: trials that are done stay, those that were cut off continue.

    Args:
        path: the sweep's folder.
        tell: is given a line whenever a trial has come to an end.

    Raises:
        UserError: there is no such sweep.
    """
    return led(lambda: search_on(Path(path), tell), world())


def search_on(folder: Path, tell: Callable[[str], None]) -> str:
    """`resume` in the process that leads."""
    if not (folder / "sweep.yaml").is_file():
        raise UserError(f"{folder}: no sweep is there; expected a folder that nnad sweep has left")
    with held(folder, command(folder)):
        sweep = load_sweep(folder / "sweep.yaml")
        trials = read_trials(folder)
        with believing(folder / "trials.json"):
            if any(trial.values.keys() != sweep.space.keys() for trial in trials):
                raise ValueError(f"a trial has no value for each of {', '.join(sweep.space)}")
        for trial in trials:
            if trial.status == "lost":
                trial.status = "paused" if trial.epochs else "waiting"
        return search(sweep, folder, trials, tell).run()


def search(sweep: Sweep, folder: Path, trials: list[Trial], tell: Callable[[str], None]) -> Search:
    """The sweep in `folder`, with what has become of its trials so far."""
    count = sweep.settings.workers
    return Search(sweep.base, folder, count, command(folder), tell, trials, sweep=sweep)


def command(folder: Path) -> str:
    """What continues the sweep in `folder`."""
    return f"nnad sweep --resume {folder}"


def resolved(sweep: Sweep) -> str:
    """The sweep's file with every default filled in, for the folder."""
    import yaml

    settings = {**sweep.settings.model_dump(), "base": "base.yaml"}
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
