"""Folders of ensembles, cross-validations and sweeps, for `tests.faults.forged`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from nnad.training import ensemble, sweep
from nnad.training.crew.runs import Runs
from nnad.training.crew.worker import work

JOB = {
    "data": {"name": "iris", "batch_size": 64, "validation_size": 0.2},
    "model": ["Linear"],
    "loss": "cross_entropy",
    "optimizer": "Adam",
    "trainer": {"epochs": 1, "progress": False},
    "baseline": {"estimator": "DummyClassifier"},
    "output": {"name": "run"},
}
SWEEP = {
    "base": "job.yaml",
    "parameters": {"optimizer.lr": {"log_uniform": [1e-3, 1e-1]}, "seed": [1, 2]},
    "trials": 2,
    "objective": "val_loss",
    "dir": "sweeps",
    "name": "run",
}
GROUPS = {"ensemble": "ensembles", "crossval": "crossvals", "sweep": "sweeps"}
MEANT = {  # what there is to do with them
    "ensemble": ["evaluate", "predict", "go on"],
    "crossval": ["predict", "go on"],
    "sweep": ["go on"],
}
READ_BY = {
    "trials.json": ["evaluate", "predict", "go on"],
    "members.yaml": ["evaluate", "predict", "go on"],
    "sweep.yaml": ["go on"],
    "base.yaml": ["go on"],
    "trials/*/config.yaml": ["evaluate", "predict"],
    "trials/*/checkpoints/best.safetensors": ["evaluate", "predict"],
    "trials/*/preprocessing.safetensors": ["evaluate", "predict", "go on"],
    "trials/*/summary.json": ["go on"],
    "trials/*/metrics.csv": ["go on"],
}
NOT_READ = [
    *("summary.json", "sweep.html", "*.lock", "*/environment.json", "*/timing.json"),
    "trials/*/checkpoints/last.safetensors*",
]


def commands(name: str, file: str) -> list[str]:
    """Those that read a file of such a folder and are meant for it."""
    (found,) = (found for pattern, found in READ_BY.items() if fnmatch(file, pattern))
    return [command for command in found if command in MEANT[name]]


class Here:
    """Trains in this process, in the place of `nnad.training.crew.workers.Workers`."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to give back."""

    def each(
        self, tasks: Sequence[Mapping[str, Any]], tell: Callable[[int, dict[str, str]], None]
    ) -> None:
        for number, task in enumerate(tasks):
            tell(number, work(task))


@contextmanager
def within(place: Path) -> Iterator[None]:
    """Within, relative paths begin at `place`, and nothing is trained by another process."""
    before = Path.cwd()
    os.chdir(place)
    try:
        with patch.object(Runs, "crew", lambda self: Here()):
            yield
    finally:
        os.chdir(before)


def silent(text: str) -> None:
    """Tell nobody."""


def made(name: str, place: Path) -> Path:
    """The folder of an ensemble, a cross-validation or a sweep that is done."""
    (place / "job.yaml").write_text(yaml.safe_dump(JOB))
    (place / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    (place / "kind").write_text(name)
    with within(place):
        if name == "sweep":
            sweep.start("sweep.yaml", [], False, silent)
        else:
            kind = getattr(ensemble, name.upper())
            ensemble.start(kind, "job.yaml", [], 2, 1, False, silent)
    return (place / GROUPS[name] / "run").rename(place / "run")


def resume(folder: Path) -> None:
    """Go on with what is in a folder."""
    name = (folder.parent / "kind").read_text()
    with within(folder.parent):
        if name == "sweep":
            sweep.resume("run", silent)
        else:
            ensemble.resume(getattr(ensemble, name.upper()), "run", silent)
