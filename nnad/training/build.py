"""From a configuration and what is known about the data to a model, a loss, an optimizer, ..."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.errors import ConfigError, ShapeError
from nnad.training.network import build_model
from nnad.training.outputs import metric_problem
from nnad.training.registry import entries

if TYPE_CHECKING:
    from nnad.data.dataset import DataSplits
    from nnad.layers import Module
    from nnad.optimizers import Optimizer
    from nnad.schedules import Schedule
    from nnad.training.config import Component, Config

__all__ = [
    "Job",
    "build",
    "build_loss",
    "build_metrics",
    "build_optimizer",
    "build_schedule",
    "total_steps",
]

SAMPLE_ROWS = 2  # of real data, tried out before training

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Job:
    """Everything that the trainer needs beside the data.

    Attributes:
        model: in training mode, with parameters of the configured dtype in one flat buffer.
        loss: ``loss(prediction, target, sample_weight=None)``.
        optimizer: holds the model's parameters.
        schedule: factor on the optimizer's rate.
        metrics: functions ``metric(prediction, target, sample_weight=None)`` by name.
        class_weight: weight of each class, or None.
    """

    model: Module
    loss: Callable[..., Any]
    optimizer: Optimizer
    schedule: Schedule
    metrics: dict[str, Callable[..., Any]]
    class_weight: np.ndarray | None


def build(config: Config, data: DataSplits) -> Job:
    """Build everything for a job.

    Raises:
        ConfigError: layers do not fit together or to the data; each problem on a line.
    """
    from nnad.data.targets import class_weights

    model = build_model(config, data.meta)
    try:
        if config.trainer.freeze:
            model.freeze(*config.trainer.freeze)
    except ValueError as error:
        raise ConfigError(f"{config.where('trainer', 'freeze')}: {error}") from None
    loss, metrics = build_loss(config), build_metrics(config)
    _try_out(config, model, loss, metrics, data)
    weights = class_weights(
        config.trainer.class_weight,
        data.meta.class_names,
        data.train.y,
        config.where("trainer", "class_weight"),
    )
    return Job(
        model=model,
        loss=loss,
        optimizer=build_optimizer(config, model),
        schedule=build_schedule(config, total_steps(config, len(data.train))),
        metrics=metrics,
        class_weight=weights,
    )


def _try_out(
    config: Config,
    model: Module,
    loss: Callable[..., Any],
    metrics: dict[str, Callable[..., Any]],
    data: DataSplits,
) -> None:
    """Compare two real rows with their targets by the loss and the metrics.

    What does not go together is known before the first step then, and before an old run is
    replaced.
    """
    problems = []
    for i, name in enumerate(metrics):
        if problem := metric_problem(name, data.meta):
            problems.append(f"{config.where('metrics', i)}: {problem}")
    rows = slice(0, SAMPLE_ROWS)
    outputs = _outputs_for(config, model, data.train.x[rows])
    compared: list[tuple[Path, Callable[..., Any]]] = [(("loss",), loss)]
    if not problems:
        compared += [(("metrics", i), metric) for i, metric in enumerate(metrics.values())]
    for path, function in compared:
        try:
            with np.errstate(all="ignore"):
                function(outputs, data.train.y[rows])
        except (ValueError, TypeError, IndexError) as error:
            problems.append(f"{config.where(*path)}: {error}")
    if problems:
        raise ConfigError(problems)


def _outputs_for(config: Config, model: Module, x: Any) -> np.ndarray:
    """What the model returns for real rows, in evaluation mode."""
    from nnad.autodiff import no_grad, value_of

    model.eval()
    try:
        with no_grad(), np.errstate(all="ignore"):
            return np.asarray(value_of(model(x)))
    except (ValueError, TypeError, IndexError) as error:
        raise ConfigError(f"{config.where('model')}: {error}") from None
    finally:
        model.train()


def total_steps(config: Config, rows: int) -> int:
    """Return how many optimizer steps a run over `rows` training rows makes."""
    if config.trainer.steps is not None:
        return config.trainer.steps
    batch_size, settings = config.data.batch_size, config.trainer
    batches = rows // batch_size if config.data.drop_last else -(-rows // batch_size)
    steps = -(-batches // settings.accumulate)
    return int(settings.epochs or 1) * min(steps, settings.steps_per_epoch or steps)


# Loss, metrics, optimizer, schedule ---------------------------------------------------------------


def build_loss(config: Config) -> Callable[..., Any]:
    """Return the loss, its arguments bound: ``loss(prediction, target, sample_weight=None)``."""
    return _bound("loss", config.loss)


def build_metrics(config: Config) -> dict[str, Callable[..., Any]]:
    """Return the metrics by name: ``metric(prediction, target, sample_weight=None)``."""
    return {metric.name: _bound("metric", metric) for metric in config.metrics}


def _bound(kind: str, component: Component) -> Callable[..., Any]:
    """Return a function of predictions and targets with the configured arguments bound.

    A column of predictions (batch, 1) is compared with targets (batch,), not broadcast to a square.
    """
    function = functools.partial(entries(kind)[component.name].make, **component.arguments)

    @functools.wraps(function.func)
    def compare(prediction: Any, target: Any, **keywords: Any) -> Any:
        if prediction.ndim == target.ndim + 1 and prediction.shape[-1] == 1:
            prediction = prediction[..., 0]
        return function(prediction, target, **keywords)

    compare.__wrapped__ = function  # with the arguments
    return compare


def build_optimizer(config: Config, model: Module) -> Optimizer:
    """Return the optimizer of the model's trainable parameters, in groups where they are given."""
    from nnad.optimizers import groups_by_pattern

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    arguments = config.optimizer.arguments
    rules = arguments.pop("groups", None)
    if not trainable:
        raise ConfigError(f"{config.where('model')}: no layer has parameters; nothing to train")
    make_optimizer = entries("optimizer")[config.optimizer.name].make
    try:
        if rules:
            named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
            return make_optimizer(groups_by_pattern(named, rules), **arguments)
        return make_optimizer(trainable, **arguments)
    except (ValueError, TypeError, ShapeError) as error:
        raise ConfigError(f"{config.where('optimizer')}: {error}") from None


def build_schedule(config: Config, steps: int) -> Schedule:
    """Return the schedule of a run of `steps` steps.

    Raises:
        ConfigError: the schedule does not fit the length of the run.
    """
    try:
        return _schedule(config.schedule, steps)
    except (ValueError, TypeError) as error:
        where = config.where("schedule")
        raise ConfigError(f"{where}: {error} (the run makes {steps} steps)") from None


def _schedule(component: Component, steps: int) -> Schedule:
    """Make a schedule, and those inside it; a length that was left out is that of the run."""
    from nnad.training.config import Component

    make = entries("schedule")[component.name].make
    arguments = component.arguments
    if "total_steps" in inspect.signature(make).parameters:
        arguments.setdefault("total_steps", steps)
    if isinstance(arguments.get("schedules"), list):
        parts = map(Component.model_validate, arguments["schedules"])
        arguments["schedules"] = [_schedule(part, steps) for part in parts]
    return make(**arguments)
