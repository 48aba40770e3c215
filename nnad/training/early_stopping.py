"""The memory of the best epoch, and the decision to stop when it lies too far back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["BestEpoch"]

STATE = ("value", "epoch", "weights", "weights_epoch")


class BestEpoch:
    """Watches one column of the history and keeps the weights of its best epoch.

    Args:
        monitor: the watched column, such as ``val_loss``; None: the latest epoch is the best.
        maximize: whether larger is better.
        patience: epochs without improvement after which :meth:`exhausted` is true; None: never.
        min_delta: an improvement smaller than this does not count.
        keep_best: keep the weights of the best epoch; else those of the latest one.

    Attributes:
        value: best value so far, None before the first.
        epoch: number of the best epoch, counted from 1.
        weights: parameters and buffers at the end of the epoch that is kept, by dotted path; none
            where they are what the model itself holds.
        weights_epoch: number of that epoch, 0 before the first.

    >>> best = BestEpoch("val_loss", patience=2)
    >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, float("nan")], 1):
    ...     _ = best.update(epoch, {"val_loss": loss}, dict)
    >>> best.epoch, best.value, best.exhausted(4)
    (2, 0.5, True)
    """

    def __init__(
        self,
        monitor: str | None,
        maximize: bool = False,
        patience: int | None = None,
        min_delta: float = 0.0,
        keep_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.maximize = maximize
        self.patience = patience
        self.min_delta = min_delta
        self.keep_best = keep_best
        self.value: float | None = None
        self.epoch = 0
        self.weights: dict[str, np.ndarray] = {}
        self.weights_epoch = 0

    @property
    def keeps_latest(self) -> bool:
        """Whether the weights of the latest epoch are those that are kept."""
        return self.monitor is None or not self.keep_best

    def update(
        self,
        epoch: int,
        row: Mapping[str, float],
        weights: Callable[[], dict[str, np.ndarray]],
    ) -> bool:
        """Take an epoch into account; returns whether it is the best so far.

        Args:
            epoch: its number, counted from 1.
            row: its row of the history.
            weights: returns copies of the model's parameters and buffers, or nothing where the
                model itself keeps them; called if they are kept.

        Raises:
            KeyError: the row lacks the monitored column.
        """
        value = None if self.monitor is None else row[self.monitor]
        is_best = value is None or self._improves(value)
        if is_best:
            self.value, self.epoch = value, epoch
        if is_best or not self.keep_best:
            self.weights = {}  # the old copies go before the new ones come: they may be large
            self.weights, self.weights_epoch = weights(), epoch
        return is_best

    def exhausted(self, epoch: int) -> bool:
        """Whether `epoch` lies `patience` epochs or more after the best one."""
        return self.patience is not None and epoch - self.epoch >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, for a checkpoint."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        for name in STATE:
            setattr(self, name, state[name])

    def _improves(self, value: float) -> bool:
        if self.value is None or not np.isfinite(value):
            return bool(np.isfinite(value))
        gain = value - self.value if self.maximize else self.value - value
        return gain > self.min_delta
