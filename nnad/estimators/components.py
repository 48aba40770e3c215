"""Optimizers and schedules from what a user writes: a name, a mapping, a class or an object."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nnad.errors import did_you_mean
from nnad.optimizers import Optimizer
from nnad.training.registry import Entry, entries, snake_case, unknown_name

__all__ = ["make_optimizer", "make_schedule"]


def make_optimizer(
    spec: Any, params: Iterable[Any], settings: Mapping[str, Any], rate: float | None = None
) -> Optimizer:
    """An optimizer of `params`.

    Args:
        spec: a name such as "AdamW", a mapping with `name` and hyper-parameters, or a class.
        params: what it updates.
        settings: more hyper-parameters.
        rate: the learning rate, unless `spec` or `settings` says one.

    Raises:
        ValueError: unknown name or hyper-parameter.
    """
    entry, arguments = _read("optimizer", spec, settings)
    if rate is not None:
        arguments.setdefault("lr", rate)
    _check(entry, arguments)
    return entry.make(params, **arguments)


def make_schedule(
    spec: Any, settings: Mapping[str, Any], total_steps: int
) -> Callable[[int], float] | None:
    """A schedule: a function from the step to a factor on the rate.

    Args:
        spec: None, a name such as "cosine", a mapping with `name` and arguments, or a function.
        settings: more arguments.
        total_steps: of the training, for schedules that need to know.

    Raises:
        ValueError: unknown name or argument.
    """
    if spec is None:
        return None
    if callable(spec) and not inspect.isclass(spec):
        return spec
    entry, arguments = _read("schedule", spec, settings)
    if "total_steps" in entry.parameters:
        arguments.setdefault("total_steps", total_steps)
    _check(entry, arguments)
    return entry.make(**arguments)


def _read(kind: str, spec: Any, settings: Mapping[str, Any]) -> tuple[Entry, dict[str, Any]]:
    """The registered component that `spec` names, and all its arguments."""
    arguments: dict[str, Any] = {}
    if isinstance(spec, Mapping):
        arguments = dict(spec)
        spec = arguments.pop("name", None)
    arguments |= settings
    if inspect.isclass(spec):
        return Entry(kind, spec.__name__, spec), arguments
    known = entries(kind)
    name = snake_case(spec) if kind == "schedule" and isinstance(spec, str) else spec
    if name not in known:
        raise ValueError(unknown_name(kind, spec))
    return known[name], arguments


def _check(entry: Entry, arguments: Mapping[str, Any]) -> None:
    unknown = [name for name in arguments if name not in entry.parameters]
    if unknown:
        raise ValueError(
            f"{entry.name} has no argument {unknown[0]!r}"
            f"{did_you_mean(unknown[0], entry.parameters) or ';'} it takes "
            f"{', '.join(entry.parameters)}"
        )
