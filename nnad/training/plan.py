"""How long a step would take, and how much memory, in processes that are not at hand.

One process takes the gradient of its share of a batch, adds it up with the others and updates its
copy of the weights:

    step(n) = gradient(B / n) + all_reduce(n, gradient) + all_reduce(n, a few totals) + update
    all_reduce(n, bytes) = 2 ceil(log2 n) latency + 2 (n - 1) / n bytes / bandwidth
    efficiency(n) = step(1) / (n step(n))

The gradient's time, that of making batches included, is measured here for each share, since small
batches take more time a row; the update's too.  The all-reduce is that of Rabenseifner's algorithm,
which MPI libraries use for large messages (Thakur, Rabenseifner and Gropp 2005): halving and
doubling, each byte sent about twice.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from nnad.data.batches import Batch
from nnad.data.dataset import DataSplits
from nnad.distributed import Communicator, share_of, world
from nnad.training.build import build
from nnad.training.config import Config, load_config
from nnad.training.job import load_data, make_trainer
from nnad.training.step_programs import StepPrograms
from nnad.training.trainer import Trainer

__all__ = ["Network", "Prediction", "measure_network", "plan", "plan_table"]

SECONDS = 0.4  # of measuring, for each share
FEWEST = 5  # measurements at least
TOTALS = 40  # bytes of losses, weights and flags that go with a gradient


@dataclass(frozen=True)
class Network:
    """What a message costs: `latency` seconds, and `bandwidth` bytes a second in each direction."""

    latency: float
    bandwidth: float

    def all_reduce(self, size: float, ranks: int) -> float:
        """Seconds to add up `size` bytes over `ranks` processes.

        >>> Network(latency=0.25, bandwidth=8.0).all_reduce(16.0, 4)
        4.0
        """
        if ranks == 1:
            return 0.0
        rounds = math.ceil(math.log2(ranks))
        return 2 * rounds * self.latency + 2 * (ranks - 1) / ranks * size / self.bandwidth


@dataclass(frozen=True)
class Prediction:
    """What a step of one number of processes costs; seconds, and bytes in each process."""

    ranks: int
    gradient: float
    all_reduce: float
    update: float
    memory: int
    measured: float | None = None

    @property
    def step(self) -> float:
        """Seconds of the whole step."""
        return self.gradient + self.all_reduce + self.update


def plan(
    path: str, overrides: Sequence[str], ranks: Sequence[int], network: Network | None
) -> list[Prediction]:
    """Predict the step of a job for each number of processes.

    Args:
        path, overrides: the job, as for training.
        ranks: numbers of processes; 1 is added, to compare with.
        network: what messages cost; None: what they cost among the processes that run this, which
            then also measure a step of theirs.

    Raises:
        UserError: something is wrong with the configuration or the data.
    """
    config = load_config(path, overrides)
    data = load_data(config)
    group = world()
    here = measure_together(config, data, group) if group.size > 1 else None
    wanted = sorted({1, *ranks, *([group.size] if here else [])})
    alone = alone_trainer(config, data)
    alone.prepare(data.train, None)
    size = sum(buffer.nbytes for buffer in alone.flat_gradients)
    if network is None:
        network = measure_network(group, size)
    return [
        predict_step(alone, data, n, network, here if n == group.size else None) for n in wanted
    ]


def alone_trainer(config: Config, data: DataSplits) -> Trainer:
    """A trainer of this process alone, whatever group it is in."""
    return make_trainer(config, build(config, data), data, group=Communicator())


def predict_step(
    trainer: Trainer, data: DataSplits, ranks: int, network: Network, measured: float | None
) -> Prediction:
    """The step of `ranks` processes, from measuring the largest share of a batch."""
    rows = share_of(trainer.batch_size, ranks - 1, ranks)
    whole = trainer.batch_size
    trainer.batch_size = max(1, rows.stop - rows.start)
    trainer.prepare(data.train, None)
    trainer.batch_size = whole
    trainer.model.train()
    if ranks > 1:
        trainer.programs = StepPrograms(trainer, False, 1)  # steps of several are not compiled
    batches = endless_batches(trainer)

    def step() -> None:
        trainer.step = 0  # where every schedule is defined
        trainer.run_step(islice(batches, trainer.accumulate))

    activations = peak_of(step)
    update = seconds_of(trainer.optimizer.step)
    gradient = max(0.0, seconds_of(step) - update)
    size = sum(buffer.nbytes for buffer in trainer.flat_gradients)
    memory = 2 * size + activations + bytes_in(trainer.optimizer.state_dict(copy=False))
    memory += sum(array.nbytes for array in (data.train.x, data.train.y) if in_memory(array))
    messages = network.all_reduce(size, ranks) + network.all_reduce(TOTALS, ranks)
    return Prediction(ranks, gradient, messages, update, memory, measured)


def endless_batches(trainer: Trainer) -> Iterator[Batch]:
    """The batches of one epoch, again and again."""
    while True:
        yield from trainer.iterator.batches(0)


# Measuring ----------------------------------------------------------------------------------------


def measure_together(config: Config, data: DataSplits, group: Communicator) -> float:
    """Seconds of a step of all processes of the group, each with its share of the rows.

    The median step, as in the prediction: steps that other programs hold up tell nothing.
    """
    trainer = make_trainer(config, build(config, data), data, group=group)
    trainer.prepare(data.train, None)
    trainer.model.train()
    batches = endless_batches(trainer)
    times = []
    for _ in range(min(200, 4 * trainer.steps_per_epoch)):
        start = perf_counter()
        trainer.run_step(islice(batches, trainer.accumulate))
        times.append(perf_counter() - start)
    return float(group.sum(np.array([median(times)]))[0] / group.size)


def measure_network(group: Communicator, size: int) -> Network:
    """Latency and bandwidth of all-reduces between the processes of a group."""

    def all_reduce(count: int) -> float:
        array = np.zeros(max(1, count), np.float32)
        times = []
        for _ in range(30):
            start = perf_counter()
            group.sum(array)
            times.append(perf_counter() - start)
        return float(group.sum(np.array([median(times)]))[0] / group.size)

    small, large = all_reduce(1), all_reduce(size // 4)
    rounds = max(1, math.ceil(math.log2(group.size)))
    latency = small / (2 * rounds)
    moved = 2 * (group.size - 1) / group.size * size
    return Network(latency, moved / max(large - small, 1e-9) if moved else math.inf)


def seconds_of(action: Callable[[], Any]) -> float:
    """Seconds that an action takes: the median of several times, after one to warm up."""
    action()
    return median(_times(action))


def _times(action: Callable[[], Any]) -> Iterator[float]:
    spent, count = 0.0, 0
    while count < FEWEST or spent < SECONDS:
        start = perf_counter()
        action()
        took = perf_counter() - start
        spent, count = spent + took, count + 1
        yield took


def peak_of(action: Callable[[], Any]) -> int:
    """Bytes that an action holds at once, at most."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def in_memory(array: Any) -> bool:
    """Whether `array` is there as a whole, not read row by row."""
    return isinstance(array, np.ndarray)


def bytes_in(tree: Any) -> int:
    """Bytes of all arrays in nested dicts and lists."""
    if isinstance(tree, dict):
        return sum(map(bytes_in, tree.values()))
    if isinstance(tree, (list, tuple)):
        return sum(map(bytes_in, tree))
    return tree.nbytes if in_memory(tree) else 0


# Showing ------------------------------------------------------------------------------------------


def plan_table(predictions: Sequence[Prediction]) -> str:
    """The predictions as text, a line for each number of processes."""
    alone = predictions[0].step
    names = ["ranks", "gradient ms", "all-reduce ms", "update ms", "step ms", "speed-up"]
    names += ["efficiency", "MB a rank"]
    rows = [
        [
            str(p.ranks),
            *(f"{1e3 * part:.3f}" for part in (p.gradient, p.all_reduce, p.update, p.step)),
            f"{alone / p.step:.2f}",
            f"{alone / p.step / p.ranks:.0%}",
            f"{p.memory / 2**20:.1f}",
        ]
        for p in predictions
    ]
    if any(p.measured for p in predictions):
        names.append("measured ms")
        for row, p in zip(rows, predictions, strict=True):
            row.append(f"{1e3 * p.measured:.3f}" if p.measured else "")
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in [names, *rows]
    )
