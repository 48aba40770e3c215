"""Checks across sections: do the names exist, do arguments fit them, do sections fit each other?"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from nnad.data import options as data_options
from nnad.errors import did_you_mean
from nnad.initializers import TooManyNumbers, room_for
from nnad.training.baseline import unknown_estimator
from nnad.training.config.locations import Path
from nnad.training.config.schema import Component, Config, Data
from nnad.training.layer_entries import LayerEntry, parse_layers
from nnad.training.registry import Entry, entries, make, unknown_name

__all__ = ["check_components", "completed"]

# The run supplies these arguments of schedules where the configuration does not give them.
RUN_LENGTHS = ("total_steps",)
MOST_NUMBERS = 2**22  # in a layer that is made to see whether it can be


def check_components(config: Config, skip: Collection[Any] = ()) -> list[str]:
    """Return a line for each problem that only shows beside the code: names and arguments.

    Args:
        config: a configuration whose sections are right by themselves.
        skip: sections that were not, and that are stand-ins here.
    """
    checks: dict[str, Callable[[Config], Iterator[tuple[Path, str]]]] = {
        "data": _check_data,
        "model": _check_model,
        "loss": _check_loss,
        "optimizer": _check_optimizer,
        "schedule": _check_schedule,
        "metrics": _check_metrics,
        "trainer": _check_callbacks,
        "baseline": _check_baseline,
    }
    found = [
        problem for name, check in checks.items() if name not in skip for problem in check(config)
    ]
    if not {"data", "trainer", "metrics"} & set(skip):
        found += [*_check_early_stopping(config), *_check_short_epochs(config)]
    if not {"data", "distributed"} & set(skip):
        found += _check_blocks(config)
    return [f"{config.where(*path)}: {message}" for path, message in found]


def _check_data(config: Config) -> Iterator[tuple[Path, str]]:
    """Check the section against the table of data sources."""
    for key, message in data_options.check(config.data.model_dump())[1]:
        yield ("data", key), message


def _check_model(config: Config) -> Iterator[tuple[Path, str]]:
    """Check the layers' names and arguments; whether they fit together is seen when building."""
    found: list[tuple[Path, str]] = []
    layers = parse_layers(config.model, ("model",), lambda *problem: found.append(problem))
    wrong = [path for path, _ in found]
    for layer in _all_layers(layers):
        if layer.references:  # known when the layers before are made
            continue
        if not any(path[: len(layer.path)] == layer.path for path in wrong):
            found += _trial(layer.entry, layer.arguments, layer.path)
    yield from found


def _all_layers(layers: Collection[LayerEntry]) -> Iterator[LayerEntry]:
    """Yield every layer that holds no others."""
    for layer in layers:
        for inside in layer.children.values():
            yield from _all_layers(inside)
        if not layer.children:
            yield layer


def _check_loss(config: Config) -> Iterator[tuple[Path, str]]:
    for path, message in _check_component("loss", config.loss, ("loss",)):
        hint = "; set trainer.class_weight" if path == ("loss", "weight") else ""
        yield path, message + hint


def _check_optimizer(config: Config) -> Iterator[tuple[Path, str]]:
    from nnad.layers import Parameter

    component = config.optimizer
    groups = component.arguments.get("groups")
    shared = {k: v for k, v in component.model_dump().items() if k != "groups"}
    supplied = {"params": [Parameter([[0.0]])]}
    found = _check_component(
        "optimizer", Component.model_validate(shared), ("optimizer",), supplied=supplied
    )
    yield from found
    if groups is not None and not found:
        yield from _check_groups(component.name, groups, supplied)


def _check_groups(name: str, groups: Any, supplied: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Check ``{pattern of parameter names: {hyper-parameters of their own}}``."""
    path: Path = ("optimizer", "groups")
    if not isinstance(groups, dict):
        yield path, f"expected {{pattern: {{lr: ...}}}}, such as '*.bias', got {groups!r}"
        return
    for pattern, hyper in groups.items():
        if isinstance(hyper, dict):
            component = Component.model_validate({**hyper, "name": name})
            yield from _check_component("optimizer", component, (*path, pattern), supplied)
        else:
            yield (*path, pattern), f"expected hyper-parameters, as {{lr: 1e-3}}, got {hyper!r}"


def _check_schedule(config: Config) -> Iterator[tuple[Path, str]]:
    yield from check_schedule(config.schedule, ("schedule",))


def check_schedule(schedule: Component, path: Path) -> Iterator[tuple[Path, str]]:
    """Check a schedule, and those inside it where it is a sequence."""
    arguments = schedule.arguments
    parts = arguments.get("schedules")
    if isinstance(parts, list):
        for index, part in enumerate(parts):
            below: Path = (*path, "schedules", index)
            name = part.get("name") if isinstance(part, dict) else part
            if isinstance(name, str):
                yield from check_schedule(Component.model_validate(part), below)
            else:
                yield below, f"expected a schedule's name or {{name: ...}}, got {part!r}"
        return
    yield from _check_component(
        "schedule", schedule, path, supplied=dict.fromkeys(RUN_LENGTHS, 10**9)
    )


def _check_metrics(config: Config) -> Iterator[tuple[Path, str]]:
    for index, metric in enumerate(config.metrics):
        yield from _check_component("metric", metric, ("metrics", index))
        if metric.name in [other.name for other in config.metrics[:index]]:
            yield ("metrics", index), f"{metric.name} is listed twice"


def _check_callbacks(config: Config) -> Iterator[tuple[Path, str]]:
    for index, callback in enumerate(config.trainer.callbacks):
        path: Path = ("trainer", "callbacks", index)
        yield from _check_component("callback", callback, path)
        if callback.name in [other.name for other in config.trainer.callbacks[:index]]:
            yield path, f"{callback.name} is listed twice"


def _check_baseline(config: Config) -> Iterator[tuple[Path, str]]:
    """Check the estimator's name; its arguments are checked where scikit-learn is loaded."""
    if config.baseline and (problem := unknown_estimator(config.baseline.estimator)):
        yield ("baseline", "estimator"), problem


def _check_component(
    kind: str, component: Component, path: Path, supplied: dict[str, Any] | None = None
) -> list[tuple[Path, str]]:
    """Check name and arguments of a component, then try to make it."""
    entry = entries(kind).get(component.name)
    if entry is None:
        return [((*path, "name"), unknown_name(kind, component.name))]
    supplied = supplied or {}
    found = [
        ((*path, name), problem)
        for name, problem in entry.problems(component.arguments, tuple(supplied))
    ]
    known = {n: v for n, v in supplied.items() if n in inspect.signature(entry.make).parameters}
    return found or _trial(entry, component.arguments, path, known)


def _trial(
    entry: Entry, arguments: dict[str, Any], path: Path, supplied: Mapping[str, Any] | None = None
) -> list[tuple[Path, str]]:
    """Make a component to see whether it accepts the values of its arguments.

    Functions, and layers that wait for what follows from the data or are large, are left for later.
    """
    if (
        not inspect.isclass(entry.make)
        or entry.required - arguments.keys() - (supplied or {}).keys()
    ):
        return []
    try:
        with room_for(MOST_NUMBERS, "left for later"):
            make(entry, [], {**(supplied or {}), **arguments})
    except TooManyNumbers:
        return []
    except (ValueError, TypeError) as error:
        message = str(error)
        named = [name for name in arguments if re.search(rf"\b{re.escape(name)}\b", message)]
        blamed = max(named, key=message.rfind, default=None)
        return [(path if blamed is None else (*path, blamed), message)]
    return []


def _check_early_stopping(config: Config) -> list[tuple[Path, str]]:
    """Check that the monitored column will be there."""
    stopping = config.trainer.early_stopping
    if stopping is None:
        return []
    path: Path = ("trainer", "early_stopping", "monitor")
    known = ["train_loss", "val_loss", *(f"val_{metric.name}" for metric in config.metrics)]
    if stopping.monitor not in known:
        hint = did_you_mean(stopping.monitor, known) or ";"
        return [(path, f"{stopping.monitor!r} is not computed{hint} known: {', '.join(known)}")]
    values, problems = data_options.check(config.data.model_dump())
    if stopping.monitor.startswith("val_") and not problems and not has_validation(values):
        message = (
            f"{stopping.monitor!r} needs a validation part, but data.validation_size is 0; set it "
            "to a share such as 0.1, or monitor train_loss"
        )
        return [(path, message)]
    return []


def _check_short_epochs(config: Config) -> list[tuple[Path, str]]:
    """Check that epochs which end before all rows were seen do not begin with the same ones."""
    values, _ = data_options.check(config.data.model_dump())
    if config.trainer.steps_per_epoch is None or values.get("shuffle", True):
        return []
    message = (
        "with data.shuffle: false every epoch takes the same first rows; leave one of them out"
    )
    return [(("trainer", "steps_per_epoch"), message)]


def _check_blocks(config: Config) -> list[tuple[Path, str]]:
    """Check that no block of a full batch is empty."""
    values, problems = data_options.check(config.data.model_dump())
    blocks, rows = config.distributed.blocks, values.get("batch_size")
    if blocks is None or rows is None or problems or blocks <= rows:
        return []
    message = f"{blocks} blocks for batches of {rows} rows; at most one a row (data.batch_size)"
    return [(("distributed", "blocks"), message)]


def has_validation(values: dict[str, Any]) -> bool:
    """Whether a ``data`` section sets rows apart for validation."""
    return any(value for key, value in values.items() if key.startswith("validation"))


def completed(config: Config) -> Config:
    """Return the configuration with the defaults of its data source and components filled in."""
    values, _ = data_options.check(config.data.model_dump())
    update = {
        "data": Data.model_validate(_with_paths(values, config.folder)),
        "loss": _with_defaults("loss", config.loss),
        "optimizer": _with_defaults("optimizer", config.optimizer),
        "schedule": _with_defaults("schedule", _with_direction(config)),
        "metrics": [_with_defaults("metric", metric) for metric in config.metrics],
        "trainer": config.trainer.model_copy(
            update={"callbacks": [_with_defaults("callback", c) for c in config.trainer.callbacks]}
        ),
    }
    return config.model_copy(update=update)


def _with_paths(values: dict[str, Any], folder: str) -> dict[str, Any]:
    """Spell out paths that are relative to the configuration's folder.

    The configuration is saved with the run, in another folder, and must find its data from there.
    """
    found = dict(values)
    for key, value in values.items():
        if key.endswith("path") and isinstance(value, str):
            found[key] = _spelt_out(value, folder)
        elif key.endswith("path") and isinstance(value, list):
            found[key] = [_spelt_out(each, folder) for each in value]
    return found


def _spelt_out(path: str, folder: str) -> str:
    """`path`, or where it is in `folder` if it is only there; it may be a pattern."""
    beside = FilePath(folder, path)

    def leads_anywhere(place: FilePath) -> bool:
        return place.exists() or any(data_options.matches(place))

    if not leads_anywhere(FilePath(path)) and leads_anywhere(beside):
        return os.path.abspath(beside)
    return path


def _with_direction(config: Config) -> Component:
    """Let the plateau schedule wait for what early stopping watches to rise, if that is better."""
    schedule, stopping = config.schedule, config.trainer.early_stopping
    if schedule.name != "plateau" or "mode" in schedule.arguments or stopping is None:
        return schedule
    from nnad.metrics import is_score

    metric = entries("metric").get(stopping.monitor.partition("_")[2])
    rises = stopping.mode == "max" or (
        stopping.mode == "auto" and metric is not None and is_score(metric.make)
    )
    return Component(name="plateau", **{**schedule.arguments, "mode": "max" if rises else "min"})


def _with_defaults(kind: str, component: Component) -> Component:
    """Fill in the arguments that were left out, as far as YAML can write their values."""
    defaults = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in entries(kind)[component.name].defaults().items()
        if isinstance(value, (bool, int, float, str, tuple, type(None)))
    }
    return Component.model_validate({"name": component.name, **defaults, **component.arguments})
