"""What a report is made from, gathered from a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.autodiff import value_of
from nnad.data.dataset import DataSplits, Meta, Split
from nnad.training.config.loading import text_of
from nnad.training.evaluation import evaluating, predict
from nnad.training.forgery import read_environment, read_summary
from nnad.training.watch import Norms, Watch

if TYPE_CHECKING:
    from nnad.training.config import Config
    from nnad.training.run_folder import RunFolder

__all__ = ["Activity", "Evidence", "gather"]

MOST_ROWS, FEWEST_ROWS = 20_000, 100  # of the part that is looked at
MOST_NUMBERS = 2_000_000  # that the model gives for them
ACTIVITY_ROWS = 1000
RECTIFIERS = ("ReLU", "ReLU6")
SATURATED = {"Tanh": (-0.99, 0.99), "Sigmoid": (0.01, 0.99)}  # outputs beyond are flat


@dataclass(frozen=True)
class Activity:
    """What one layer gives for many rows.

    Attributes:
        path, layer: where and what it is.
        mean, std: of all its outputs.
        units: entries of the last axis.
        dead: units of a rectifier that are 0 for every row.
        saturated: share of a sigmoid's or tanh's outputs that are at its ends.
    """

    path: str
    layer: str
    mean: float
    std: float
    units: int
    dead: int | None
    saturated: float | None


@dataclass(frozen=True)
class Evidence:
    """All that a report tells of.

    Attributes:
        name: of the run.
        config, config_text: how it was made.
        environment, summary: what the JSON files in its folder hold; empty before its end.
        history: columns of numbers, an entry an epoch.
        norms: of weights, gradients and updates, if they were recorded.
        meta: what is known of the data.
        part: the name of the part of the data that was looked at: the test part if there is one.
        split: its rows.
        outputs: what the model, with its best weights, gives for them.
        train_target: the training part's targets.
        activity: of each layer, for the same rows.
    """

    name: str
    config: Config
    config_text: str
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    norms: Norms | None
    meta: Meta
    part: str
    split: Split
    outputs: np.ndarray
    train_target: np.ndarray
    activity: list[Activity]


def gather(
    folder: RunFolder,
    config: Config,
    model: Any,
    data: DataSplits,
    history: Mapping[str, Sequence[float]],
    watched: Mapping[str, Any] | None,
) -> Evidence:
    """Look at a run.

    Args:
        folder: where its files are.
        config: its configuration.
        model: with the weights to look at.
        data: the data it was trained on.
        history: its columns of numbers.
        watched: the state of its `Watch`, if it had one.
    """
    parts = {"test": data.test, "validation": data.validation, "training": data.train}
    name, whole = next((n, part) for n, part in parts.items() if part is not None and len(part))
    numbers = predict(model, whole.x[:1]).size
    split = first_rows(whole, min(MOST_ROWS, max(FEWEST_ROWS, MOST_NUMBERS // numbers)))
    return Evidence(
        name=folder.path.name,
        config=config,
        config_text=text_of(folder.config),
        environment=read_environment(folder.environment),
        summary=read_summary(folder.summary),
        history=history,
        norms=Watch.norms(watched) if watched and len(watched["steps"]) else None,
        meta=data.meta,
        part=name,
        split=split,
        outputs=predict(model, split.x),
        train_target=np.asarray(data.train.y),
        activity=activity_of(model, split.x[:ACTIVITY_ROWS]),
    )


def first_rows(split: Split, count: int) -> Split:
    """At most `count` rows of a part."""
    weight = None if split.weight is None else split.weight[:count]
    return Split(split.x[:count], np.asarray(split.y)[:count], weight)


def activity_of(model: Any, x: Any) -> list[Activity]:
    """What each layer that has no layers in it gives for the rows of `x`."""
    found: list[Activity] = []
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        for path, module in model.named_modules():
            if next(module.named_children(), None) is None:
                stack.enter_context(_overheard(path, module, found.append))
        model(x)
    return found


@contextmanager
def _overheard(path: str, module: Any, report: Callable[[Activity], Any]) -> Iterator[None]:
    """Within, the outputs of every call of `module` are reported."""
    forward = module.forward

    def calling(*arguments: Any, **keywords: Any) -> Any:
        output = forward(*arguments, **keywords)
        first = output[0] if isinstance(output, tuple) else output
        report(_activity(path, type(module).__name__, np.asarray(value_of(first))))
        return output

    object.__setattr__(module, "forward", calling)
    try:
        yield
    finally:
        object.__delattr__(module, "forward")


def _activity(path: str, layer: str, values: np.ndarray) -> Activity:
    units = values.reshape(-1, values.shape[-1])
    ends = SATURATED.get(layer)
    flat = None if ends is None else float(((values < ends[0]) | (values > ends[1])).mean())
    dead = int((units <= 0).all(axis=0).sum()) if layer in RECTIFIERS else None
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return Activity(path, layer, mean, std, units.shape[1], dead, flat)
