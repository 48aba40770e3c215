"""The texts that a run writes beside its checkpoints, read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from nnad.files import read_text
from nnad.training.forgery.trees import believing

__all__ = ["read_environment", "read_history", "read_summary", "require_history"]

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
Count = Annotated[int, Field(ge=0, le=2**53)]
Scores = dict[str, float | None]  # None: a number that was not finite


class Baseline(BaseModel):
    """What a summary tells of the baseline."""

    model_config = STRICT
    estimator: str
    test: Scores
    fit_seconds: float


class Summary(BaseModel):
    """What ``summary.json`` holds."""

    model_config = STRICT
    test: Scores
    fit_seconds: float
    parameters: Count
    epochs: Count
    steps: Count
    best_epoch: Count
    validation: Scores = {}
    baseline: Baseline | None = None


ENVIRONMENT = TypeAdapter(dict[str, str | int | dict[str, str] | None], config=STRICT)


def read_summary(file: Path) -> dict[str, Any]:
    """What a run has reached, as in its ``summary.json``; nothing before its end.

    Raises:
        CheckpointError: the file holds something else than a run writes.
    """
    return _read(
        file, lambda text: Summary.model_validate(json.loads(text)).model_dump(exclude_unset=True)
    )


def read_environment(file: Path) -> dict[str, Any]:
    """The object in ``environment.json``; nothing where it is missing.

    Raises:
        CheckpointError: the file holds something else than a run writes.
    """
    return _read(file, lambda text: ENVIRONMENT.validate_python(json.loads(text)))


def read_history(file: Path) -> dict[str, list[float]]:
    """The columns of ``metrics.csv``; none where it is missing.

    Raises:
        CheckpointError: the file holds something else than a run writes.
    """
    return _read(file, _history)


def _history(text: str) -> dict[str, list[float]]:
    whole = text[: text.rfind("\n") + 1]  # the last line may be half written
    head, *rows = list(csv.reader(whole.splitlines())) or [[]]
    numbers = np.array([list(map(float, row)) for row in rows]).reshape(len(rows), len(head))
    history = dict(zip(head, numbers.T.tolist(), strict=True))
    require_history(history)
    return history


def require_history(columns: Mapping[str, Sequence[float]]) -> None:
    """Raise a ValueError unless the columns have a row for each epoch, from the first on."""
    epochs = np.arange(1, 1 + max(map(len, columns.values()), default=0))
    alike = all(len(column) == len(epochs) for column in columns.values())
    if not alike or (columns and not np.array_equal(columns.get("epoch", "none"), epochs)):
        raise ValueError("the history is not a row for each epoch, from the first one on")


def _read(file: Path, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `parse` makes of a file's text; nothing where there is no file."""
    if not file.exists():
        return {}
    with believing(file):
        return parse(read_text(file))
