"""What a checkpoint holds: everything that decides the next number a run computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.random import default_generator
from nnad.training.history import History

if TYPE_CHECKING:
    from nnad.training.trainer import Trainer

__all__ = ["capture", "generators", "restore"]

COUNTERS = ("epoch", "step", "steps_in_epoch", "loss_sum", "weight_sum", "stopped_early")


def capture(trainer: Trainer, copy: bool = True) -> dict[str, Any]:
    """The state of a run as a tree of arrays, numbers and strings.

    Args:
        copy: False: the run's own arrays, which change with its next step, instead of copies.
    """
    return {
        "counters": {name: getattr(trainer, name) for name in COUNTERS},
        "generators": [generator.bit_generator.state for generator in generators(trainer.model)],
        "schedule": trainer.schedule.state_dict(),
        "history": {name: np.array(column) for name, column in trainer.history.items()},
        "best": trainer.best.state_dict(),
        "optimizer": trainer.optimizer.state_dict(copy),
        "ema": None if trainer.ema is None else trainer.ema.state_dict(copy),
        "model": trainer.model.state_dict(copy),
        "programs": trainer.programs.recorded,
        "callbacks": {
            type(callback).__name__: state
            for callback in trainer.callbacks
            if (state := callback.state_dict())
        },
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Put a run into the state that :func:`capture` described.

    Raises:
        ValueError: the state belongs to another model or optimizer.
    """
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    if trainer.ema is not None:
        trainer.ema.load_state_dict(state["ema"])
    trainer.best.load_state_dict(state["best"])
    trainer.programs.take_up(state.get("programs"))
    trainer.history = History((name, c.tolist()) for name, c in state["history"].items())
    for generator, saved in zip(generators(trainer.model), state["generators"], strict=True):
        generator.bit_generator.state = saved
    for callback in trainer.callbacks:
        kept = state.get("callbacks", {}).get(type(callback).__name__)
        if kept is not None:
            callback.load_state_dict(kept)
    for name in COUNTERS:
        setattr(trainer, name, state["counters"][name])


def generators(model: Any) -> Iterator[np.random.Generator]:
    """The generators that training draws from, nnad's own first, each once, in a fixed order."""
    seen: set[int] = set()
    for generator in (default_generator(), *(found for _, found in model.named_generators())):
        if id(generator) not in seen:
            seen.add(id(generator))
            yield generator
