"""A cross-validation or an ensemble from its job to its summary, and on from where one was left."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnad.distributed import alone, world
from nnad.errors import UserError
from nnad.training.config import load_config, to_yaml
from nnad.training.config.loading import text_of
from nnad.training.config.overrides import override_texts
from nnad.training.crew.ranks import led
from nnad.training.crew.runs import Runs, held, made_room
from nnad.training.crew.trials import Trial, read_trials, write_trials
from nnad.training.ensemble.kinds import ENSEMBLE, KINDS, Kind
from nnad.training.ensemble.scores import spread_of, spread_table
from nnad.training.forgery import believing, read_summary
from nnad.training.inference import MEMBERS, evaluate_together, require_one_data
from nnad.training.job import check, without_nan
from nnad.training.report import number
from nnad.training.run_folder import write_file
from nnad.training.yaml_reader import read_yaml

__all__ = ["resume", "start"]

Tell = Callable[[str], None]


@dataclass(kw_only=True)
class Members(Runs):
    """The runs of a cross-validation or an ensemble under way.

    Attributes:
        kind: which of them.
    """

    kind: Kind

    def run(self) -> str:
        """Train what is left to train, write the summary; returns the table."""
        with self.crew() as crew:
            self.advance(crew, self.trials)
        done = [trial for trial in self.trials if trial.status == "done"]
        if not done:
            raise UserError([f"{self.folder}: no {self.kind.member} is done", *self.failures()])
        runs = [str(self.path_of(trial)) for trial in done]
        require_one_data(runs)
        found = [read_summary(self.path_of(trial) / "summary.json") for trial in done]
        part = "test" if found[0].get("test") else "validation"
        ours = spread_of([summary.get(part, {}) for summary in found])
        baseline = baseline_of(found)
        together = None
        if self.kind is ENSEMBLE and part == "test":
            with alone():  # the other processes wait
                together = without_nan(evaluate_together(runs))
        summary = {"count": len(self.trials), "done": len(done), part: ours, "baseline": baseline,
                   "together": together}  # fmt: skip
        write_file(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        head = f"{self.folder}: {len(done)} of {len(self.trials)} {self.kind.member}s are done"
        return "\n".join([head, spread_table(part, ours, baseline, together), *self.failures()])

    def failures(self) -> list[str]:
        """A line for each run that did not come to a good end."""
        return [self.line(trial) for trial in self.trials if trial.status in ("failed", "lost")]

    def read(self, trial: Trial) -> None:
        summary = read_summary(self.path_of(trial) / "summary.json")
        trial.epochs = int(summary.get("epochs", 0))
        scores = summary.get("test") or summary.get("validation") or {}
        trial.objective = scores.get("loss")

    def line(self, trial: Trial) -> str:
        name = f"{self.kind.member} {trial.number}"
        if trial.status in ("failed", "lost"):
            return f"{name} {trial.status}: {trial.message}; --resume tries again"
        summary = read_summary(self.path_of(trial) / "summary.json")
        part = "test" if summary.get("test") else "validation"
        scores = (f"{part} {key} {number(v)}" for key, v in summary.get(part, {}).items())
        return ", ".join([f"{name}: {trial.epochs} epochs", *scores])


def baseline_of(summaries: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The baseline's scores over all runs, if they have one."""
    found = [summary["baseline"] for summary in summaries if summary.get("baseline")]
    if not found:
        return None
    return {"estimator": found[0]["estimator"], "test": spread_of([b["test"] for b in found])}


def start(
    kind: Kind,
    path: str,
    overrides: Sequence[str],
    count: int | None,
    workers: int,
    overwrite: bool,
    tell: Tell,
) -> str:
    """Train a job several times in a new folder; returns the table of scores.

    Args:
        kind: in what the runs differ.
        path: the job's file.
        overrides: ``key=value`` each, for all runs.
        count: number of runs; None: as the job says, or 5.
        workers: processes that train at once, without MPI.
        overwrite: replace what is there.
        tell: is given a line whenever a run has come to an end.

    Raises:
        UserError: the job is wrong, no run came to a good end, or there is something already.
    """
    arguments = (kind, path, overrides, count, workers, overwrite, tell)
    return led(lambda: members_anew(*arguments), world())


def members_anew(
    kind: Kind,
    path: str,
    overrides: Sequence[str],
    count: int | None,
    workers: int,
    overwrite: bool,
    tell: Tell,
) -> str:
    """`start` in the process that leads."""
    config = load_config(path, overrides)
    settings = kind.settings(config, count or kind.count(config))
    check_one(path, overrides, settings[0])  # before there is a folder
    folder = Path(kind.folder) / config.output.name
    with made_room(folder, MEMBERS, f"nnad {kind.command}", overwrite, command(kind, folder)):
        trials = [Trial(i, values) for i, values in enumerate(settings)]
        write_file(folder / "base.yaml", to_yaml(config))
        write_trials(folder, trials)
        write_file(folder / MEMBERS, f"kind: {kind.command}\nworkers: {workers}\n")
        return members(kind, folder, workers, trials, tell).run()


def resume(kind: Kind, path: str, tell: Tell) -> str:
    """Go on: runs that are done stay, those that were cut off continue, failed ones try again.

    Args:
        kind: in what the runs differ.
        path: their folder.
        tell: is given a line whenever a run has come to an end.

    Raises:
        UserError: there is nothing of the kind, or something is wrong in all that is left.
    """
    return led(lambda: members_on(kind, Path(path), tell), world())


def members_on(kind: Kind, folder: Path, tell: Tell) -> str:
    """`resume` in the process that leads."""
    file = folder / MEMBERS
    with believing(file):
        found = read_yaml(text_of(file)).value if file.is_file() else None
    known: dict[str, Any] = found if isinstance(found, dict) else {}
    left_by, workers = known.get("kind"), known.get("workers")
    if left_by != kind.command or type(workers) is not int or workers < 1:
        others = [name for name in KINDS if name == left_by and name != kind.command]
        raise UserError(
            f"{folder}: expected a folder that nnad {kind.command} has left"
            + "".join(f"; nnad {name} left it" for name in others)
        )
    with held(folder, command(kind, folder)):
        trials = read_trials(folder)
        for trial in trials:
            if trial.status in ("lost", "failed"):
                trial.status = "waiting"
        left = [trial for trial in trials if trial.status != "done"]
        if len(left) > 1:
            check_one(str(folder / "base.yaml"), [], left[0].values)
        return members(kind, folder, workers, trials, tell).run()


def check_one(path: str, overrides: Sequence[str], settings: dict[str, Any]) -> None:
    """Try one run's data and model: what is wrong in one is wrong in all, and so told once."""
    with alone():  # the other processes wait
        check(path, [*overrides, *override_texts(settings)])


def members(kind: Kind, folder: Path, workers: int, trials: list[Trial], tell: Tell) -> Members:
    """The runs in `folder`, with what has become of them so far."""
    base = load_config(folder / "base.yaml")
    return Members(base, folder, workers, command(kind, folder), tell, trials, kind=kind)


def command(kind: Kind, folder: Path) -> str:
    """What continues the runs in `folder`."""
    return f"nnad {kind.command} --resume {folder}"
