"""The file that describes a sweep: what it may say, and what is wrong with one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nnad.errors import ConfigError, did_you_mean
from nnad.metrics import is_score
from nnad.training.config import Config, load_config, to_yaml
from nnad.training.config.checks import has_validation
from nnad.training.config.loading import find_config, text_of
from nnad.training.config.locations import Locations
from nnad.training.config.overrides import apply_override, override_texts
from nnad.training.config.problems import messages
from nnad.training.config.schema import MAX_SEED, PositiveInt, Section
from nnad.training.registry import entries
from nnad.training.sweep.space import Choice, Interval, combinations, draws, parse_parameter
from nnad.training.yaml_reader import read_yaml

__all__ = ["Halving", "Sweep", "SweepFile", "load_sweep"]


class Halving(Section):
    """How successive halving drops trials."""

    factor: Annotated[int, Field(ge=2)] = Field(
        default=3, description="of so many trials one goes on, with so many times the epochs"
    )
    min_epochs: PositiveInt = Field(default=1, description="epochs before any trial is dropped")


class SweepFile(Section):
    """A sweep as its YAML file gives it."""

    base: str = Field(description="the job whose settings are varied", min_length=1)
    parameters: dict[str, Any] = Field(
        description="dotted setting: list of values, or {log_uniform: [low, high]}", min_length=1
    )
    method: Literal["grid", "random", "halving"] = Field(
        default="random", description="every combination, draws, or draws that compete"
    )
    trials: PositiveInt = Field(default=20, description="draws of random and halving")
    objective: str = Field(default="val_loss", description="column of metrics.csv to be best in")
    direction: Literal["auto", "min", "max"] = Field(
        default="auto", description="whether smaller or larger is better; auto goes by the metric"
    )
    halving: Halving = Field(default_factory=Halving, description="how trials are dropped")
    workers: PositiveInt = Field(default=1, description="processes that train at once")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="start of the draws")
    dir: str = Field(default="sweeps", description="folder of all sweeps", min_length=1)
    name: str = Field(default="", description="name of the sweep's own folder")


@dataclass(frozen=True)
class Sweep:
    """A sweep that has been checked.

    Attributes:
        settings: what its file says.
        base: the job whose settings are varied.
        space: what each setting may be.
    """

    settings: SweepFile
    base: Config
    space: dict[str, Choice | Interval]

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.settings.dir) / self.settings.name

    @property
    def maximize(self) -> bool:
        """Whether larger values of the objective are better."""
        if self.settings.direction != "auto":
            return self.settings.direction == "max"
        metric = entries("metric").get(self.settings.objective.partition("_")[2])
        return metric is not None and is_score(metric.make)

    def choices(self) -> list[dict[str, Any]]:
        """The values of the settings of every trial."""
        if self.settings.method == "grid":
            return combinations(self.space)
        return draws(self.space, self.settings.trials, self.settings.seed)

    def base_text(self) -> str:
        """The job as YAML that does not depend on where the sweep's file is."""
        return to_yaml(self.base)


def load_sweep(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep's file.

    Args:
        path: the file.
        overrides: ``key=value`` each.

    Raises:
        ConfigError: with every problem found, one line each.
    """
    file = find_config(path)
    document = read_yaml(text_of(file))
    locations = Locations(str(file), str(file.parent), document.lines)
    problems = [f"{file}:{line}: {message}" for _, line, message in document.problems]
    if not isinstance(document.value, dict):
        raise ConfigError(problems or [f"{file}: expected a mapping with base and parameters"])
    raw = document.value
    problems += filter(None, [apply_override(raw, locations, item) for item in overrides])
    raw.setdefault("name", file.stem)
    try:
        settings = SweepFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([*problems, *messages(error, locations, SweepFile)]) from None
    space = {key: parse_parameter(value) for key, value in settings.parameters.items()}
    problems += [
        f"{locations.label(('parameters', key))}: {wrong}"
        for key, wrong in space.items()
        if isinstance(wrong, str)
    ]
    if problems:
        raise ConfigError(problems)
    good = {key: part for key, part in space.items() if not isinstance(part, str)}
    base = load_config(_base(settings.base, file.parent))
    sweep = Sweep(settings, base, good)
    problems = [f"{locations.label((key,))}: {wrong}" for key, wrong in _misfits(sweep)]
    if not problems and (wrong := objective_problem(settings, first_job(sweep))):
        problems = [f"{locations.label(('objective',))}: {wrong}"]
    if problems:
        raise ConfigError(problems)
    return sweep


def _base(name: str, folder: Path) -> Path | str:
    """The base's file: beside the sweep's, else as any configuration is found."""
    return folder / name if (folder / name).is_file() else name


def _misfits(sweep: Sweep) -> list[tuple[str, str]]:
    """(key, problem) where the method does not go with the parameters or the base."""
    settings, found = sweep.settings, []
    drawn = [key for key, part in sweep.space.items() if isinstance(part, Interval)]
    if settings.method == "grid" and drawn:
        found.append(("parameters", f"a grid needs lists of values: {', '.join(drawn)}"))
    if settings.method == "halving" and sweep.base.trainer.epochs is None:
        found.append(("method", f"halving counts epochs, but {settings.base} counts steps"))
    return found


def objective_problem(settings: SweepFile, job: Config) -> str:
    """Say that a trial has no such column, or nothing."""
    objective = settings.objective
    known = ["train_loss", "val_loss", *(f"val_{metric.name}" for metric in job.metrics)]
    if objective not in known:
        hint = did_you_mean(objective, known) or ";"
        return f"{objective!r} is not computed by {settings.base}{hint} known: {', '.join(known)}"
    if objective.startswith("val_") and not has_validation(job.data.options):
        return (
            f"{objective!r} needs a validation part, but data.validation_size of {settings.base} "
            "is 0; set it there, or by parameters: {data.validation_size: [0.1]}"
        )
    return ""


def first_job(sweep: Sweep) -> Config:
    """The job of the first trial whose settings make one.

    Raises:
        ConfigError: no trial's do; the problems of the first one.
    """
    first: ConfigError | None = None
    for values in sweep.choices():
        try:
            return load_config(sweep.base._locations.file, override_texts(values))
        except ConfigError as error:
            first = first or error
    assert first is not None  # there is at least one trial
    raise first
