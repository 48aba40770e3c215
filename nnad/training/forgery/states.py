"""The state in a checkpoint, compared with that of the trainer which is to go on from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nnad.training.forgery.texts import require_history
from nnad.training.forgery.trees import brief, require_like

__all__ = ["require_state_like"]

ALIKE = ("counters", "generators", "schedule", "model", "ema")  # in every checkpoint of a run
BEST = {"value": 0.0, "epoch": 0, "weights_epoch": 0}
WHOLE = ("epoch", "step", "steps_in_epoch")  # of the counters
MOST = 2**53
PROGRAMS = (None, "eager", "native")


def require_state_like(
    state: Mapping[str, Any], own: Mapping[str, Any], columns: Iterable[str]
) -> None:
    """Raise a ValueError unless a checkpoint's state could be one of a run.

    Args:
        state: what the checkpoint holds.
        own: the state of a trainer of that run, at whatever step.
        columns: the names in a row of its history.
    """
    for part in ALIKE:
        require_like(state[part], own[part], part)
    counters = state["counters"]
    for name in WHOLE:
        _require_count(counters[name], f"counters.{name}")
    _require_optimizer(state["optimizer"], own["optimizer"])
    _require_columns(state["history"], counters["epoch"], columns)
    _require_best(state["best"], own["model"], counters["epoch"])
    if state.get("programs") not in PROGRAMS:
        raise ValueError(f"programs is {brief(state['programs'])}, expected one of {PROGRAMS}")
    watched, known = (tree.get("callbacks", {}).get("Watch") for tree in (state, own))
    if watched is not None and known is not None:
        _require_watched(watched, known, counters["step"])


def _require_count(value: Any, where: str, most: int = MOST) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{where} is {brief(value)}, expected a whole number from 0 to {most}")


def _require_optimizer(found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """The hyper-parameters must be the run's; the rate may have changed."""
    require_like(found["param_groups"], own["param_groups"], "optimizer")
    for one, other in zip(found["param_groups"], own["param_groups"], strict=True):
        for name in set(other) - {"lr", "params"}:
            if not np.array_equal(one[name], other[name]):
                raise ValueError(f"optimizer has {name} {brief(one[name])}, not {other[name]!r}")
    for rate in ("lr", "initial_lr"):
        require_like(found[rate], own[rate], f"optimizer.{rate}")
    for entry in found["state"].values():
        if "step" in entry and not 0 <= int(entry["step"]) < MOST:
            raise ValueError(f"optimizer has made {brief(entry['step'])} steps")


def _require_columns(found: Mapping[str, Any], epochs: int, names: Iterable[str]) -> None:
    """An entry an epoch in every column of the history."""
    for name, column in found.items():
        if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype.kind not in "fi":
            raise ValueError(f"history.{name} is {brief(column)}, expected a column of numbers")
    require_like(dict.fromkeys(found), dict.fromkeys(names if epochs else ()), "history")
    require_history(found)
    if epochs and len(found["epoch"]) != epochs:
        raise ValueError(f"history has {len(found['epoch'])} epochs, expected {epochs}")


def _require_best(found: Mapping[str, Any], model: Mapping[str, Any], epochs: int) -> None:
    known = {name: value for name, value in BEST.items() if found[name] is not None}
    require_like({name: found[name] for name in known}, known, "best")
    for name in ("epoch", "weights_epoch"):
        _require_count(found[name], f"best.{name}", epochs)
    if found["weights"]:
        require_like(found["weights"], model, "best.weights")


def _require_watched(found: Mapping[str, Any], own: Mapping[str, Any], step: int) -> None:
    """Norms of the model's parameters, at steps that have been made."""
    for name in ("names", "sizes", "axes"):
        if not np.array_equal(found[name], own[name]):
            raise ValueError(f"Watch.{name} is {brief(found[name])}, expected those of the model")
    _require_count(found["interval"], "Watch.interval")
    steps, norms = found["steps"], found["norms"]
    for name in ("steps", "norms"):
        require_like(found[name][:0], own[name][:0], f"Watch.{name}")
    made = np.array([0, *steps, step + 1])
    if len(steps) != len(norms) or not (np.diff(made) > 0).all():
        raise ValueError(
            f"Watch.steps is {brief(steps)}, expected {len(norms)} of the {step} steps in order"
        )
