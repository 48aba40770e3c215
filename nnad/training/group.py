"""Training by several processes that hold the same model and decide together.

Whether to stop early, to give up or to heed a signal is decided from numbers that all hold alike,
at the same step, and the weights of all are compared after every epoch.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, compress
from typing import Any

import numpy as np

from nnad.data.batches import Batch
from nnad.data.dataset import Split
from nnad.distributed import Communicator
from nnad.errors import NnadError
from nnad.training.callbacks import Interruption
from nnad.training.evaluation import predict_together
from nnad.training.state import generators
from nnad.training.trainer import Trainer

__all__ = ["GroupTrainer"]


class GroupTrainer(Trainer):
    """A trainer that is one of several, each of which computes every batch whole.

    That is for networks so small that to divide a batch takes longer than to compute it: nothing
    but signals passes between the processes in a step, and the numbers are those of one process,
    to the last bit.  Evaluation is divided.

    Args:
        communicator: the group.
        arguments: those of `Trainer`, the same in every process.
    """

    def __init__(self, *arguments: Any, communicator: Communicator, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.communicator = communicator
        self.signal: int | None = None  # agreed by all processes to be heeded

    def prepare(self, train: Split, validation: Split | None) -> None:
        super().prepare(train, validation)
        self.flat_weights = [buffer.data for buffer in self.model.flatten().values()]
        statistics = [array for _, array in self.model.named_buffers()]
        averages = [] if self.ema is None else self.ema.averages
        for array in chain(self.flat_weights, statistics, averages):
            self.communicator.broadcast(array)
        self.draw_like(0)

    def draw_like(self, rank: int) -> None:
        """Go on drawing from where the generators of process `rank` are."""
        own = list(generators(self.model))
        states = [generator.bit_generator.state for generator in own]
        told = self.communicator.gather_texts(json.dumps(states, default=np.ndarray.tolist))
        for generator, state in zip(own, json.loads(told[rank]), strict=True):
            generator.bit_generator.state = state

    def accumulate_gradients(self, batches: Iterable[Batch]) -> tuple[float, float]:
        sums = super().accumulate_gradients(batches)
        self.agree()
        return sums

    def agree(self, numbers: Sequence[float] = ()) -> list[float]:
        """The sums of `numbers` over all processes; it is also learnt whether any got a signal."""
        signals = [self.received_signal == number for number in Interruption.SIGNALS]
        sums = self.sum_of_all(np.array([*numbers, *signals], np.float64)).tolist()
        self.signal = next(compress(Interruption.SIGNALS, sums[len(numbers) :]), None)
        return sums[: len(numbers)]

    def sum_of_all(self, array: np.ndarray) -> np.ndarray:
        """Replace `array` by its sum over all processes, the same bits everywhere; returns it."""
        return self.communicator.sum(array)

    @property
    def received_signal(self) -> int | None:
        """The signal that this process has received."""
        return next((c.received for c in self.callbacks if isinstance(c, Interruption)), None)

    def heeded(self, signal_number: int | None) -> int | None:
        return self.signal

    def end_epoch(self) -> None:
        self.agree()
        self.require_equal_weights()
        super().end_epoch()

    def require_equal_weights(self) -> None:
        """Raise unless all processes hold the same weights, to the last bit."""
        digest = 0
        for weights in self.flat_weights:
            digest = zlib.crc32(weights, digest)
        digests = self.communicator.gather_rows(np.array([digest]))
        if (digests != digests[0]).any():
            ranks = ", ".join(map(str, np.flatnonzero(digests != digests[0])))
            raise NnadError(
                f"after epoch {self.epoch + 1} the weights of rank {ranks} differ from those of "
                "rank 0: the processes do not run the same program on the same kind of machine"
            )

    def evaluate(self, split: Split) -> dict[str, float]:
        scores = super().evaluate(split)
        found = np.array(list(scores.values()))
        self.communicator.broadcast(found)  # all decide by them, and a metric may draw numbers
        return dict(zip(scores, found.tolist(), strict=True))

    def outputs(self, x: Any) -> np.ndarray:
        return predict_together(self.model, x, self.communicator, self.batch_size)
