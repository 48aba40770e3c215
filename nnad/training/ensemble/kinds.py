"""In what the members of a cross-validation, or of an ensemble, differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnad.training.config import Config
from nnad.training.config.schema import MAX_SEED

__all__ = ["CROSSVAL", "ENSEMBLE", "KINDS", "Kind"]

DEFAULT_COUNT = 5


@dataclass(frozen=True)
class Kind:
    """A way to train one job several times.

    Attributes:
        command: its name on the command line.
        member: what one of the runs is called.
        folder: where all of the kind are written.
        settings: of each run, from the job and their number.
    """

    command: str
    member: str
    folder: str
    settings: Callable[[Config, int], list[dict[str, Any]]]

    def count(self, config: Config) -> int:
        """How many runs, where the command does not say."""
        folds = config.data.options.get("folds") if self is CROSSVAL else None
        return folds or DEFAULT_COUNT


def folds(config: Config, count: int) -> list[dict[str, Any]]:
    """Each fold is the test part of one run."""
    return [{"data.folds": count, "data.fold": number} for number in range(count)]


def seeds(config: Config, count: int) -> list[dict[str, Any]]:
    """Each run has a seed of its own, but the same parts of the data; the first one is the job.

    A baseline would be the same, or nearly, in all of them.
    """
    drawn = config.data.options.get("split_seed")
    shared = {"data.split_seed": config.seed if drawn is None else drawn, "baseline": False}
    return [{"seed": (config.seed + i) % (MAX_SEED + 1), **shared} for i in range(count)]


CROSSVAL = Kind("crossval", "fold", "crossvals", folds)
ENSEMBLE = Kind("ensemble", "member", "ensembles", seeds)
KINDS = {kind.command: kind for kind in (CROSSVAL, ENSEMBLE)}
