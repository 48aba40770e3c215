"""The trials of a sweep: what each one tries and how far it is, also as a file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from nnad.errors import UserError
from nnad.files import MOST_TEXT, read_bytes
from nnad.training.forgery import believing
from nnad.training.run_folder import write_file

__all__ = ["Trial", "name_of", "ranked", "read_trials", "write_trials"]

STATUS = "^(waiting|paused|dropped|done|failed|lost)$"


@dataclass
class Trial:
    """One set of values.

    Attributes:
        number: its place among the trials, and the name of its run.
        values: of the settings.
        status: ``waiting``, ``paused`` (of halving: it may go on), ``dropped`` (of halving: it
            did not go on), ``done``, ``failed`` (it raised an error) or ``lost`` (its process
            died).
        message: why it failed or was lost.
        objective: the best value of the objective so far; None where there is none.
        epochs: it has trained.
    """

    number: int
    values: dict[str, Any]
    status: Annotated[str, Field(pattern=STATUS)] = "waiting"
    message: str = ""
    objective: float | None = None
    epochs: Annotated[int, Field(ge=0)] = 0


def ranked(trials: Sequence[Trial], maximize: bool) -> list[Trial]:
    """Trials, best first; those without a value last."""
    sign = -1 if maximize else 1
    return sorted(
        trials, key=lambda t: (math.inf if t.objective is None else sign * t.objective, t.number)
    )


def name_of(trial: Trial) -> str:
    """The name of a trial's run."""
    return f"{trial.number:03d}"


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Write ``trials.json``, whole or not at all."""
    write_file(folder / "trials.json", json.dumps([asdict(t) for t in trials], indent=1) + "\n")


def read_trials(folder: Path) -> list[Trial]:
    """What `write_trials` wrote.

    Raises:
        UserError: the file is missing or holds something else.
    """
    file = folder / "trials.json"
    try:
        text = read_bytes(file, MOST_TEXT)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    with believing(file):
        trials = TypeAdapter(list[Trial]).validate_json(text, strict=True)
        if not trials or [trial.number for trial in trials] != list(range(len(trials))):
            raise ValueError("these are not trials with the numbers 0, 1, 2, ...")
    return trials
