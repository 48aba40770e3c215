"""How long a step would take, and how much memory, in processes that are not at hand.

One process is measured while it plays one of n whose others are only imagined: it takes the
gradient of its share of a batch (all of it, if `distributed.blocks` is 1), compiled or not as it
would be, reads its own memory where it would read theirs, and the messages of the step are counted
instead of sent.  Then

    step(n) = crowding(n) (gradient(B / n) + update(n)) + sum of message(n, bytes)
    message(n, bytes) = crowding(n) all_reduce(n, bytes) + (crowding(n) - 1) turn
    all_reduce(n, bytes) = the lesser of  r (latency + bytes / bandwidth),  r = ceil(log2 n)
                                     and  2 r latency + 2 (n - 1) / n bytes / bandwidth
    crowding(n) = n / cores where that many processes share one machine's cores, else 1
    efficiency(n) = step(1) / (n step(n))

A turn is what a message waits, in the middle of work, for processes that have to get a core first.
The two forms of all_reduce are recursive doubling, which MPI libraries use for small messages, and
Rabenseifner's algorithm for large ones (Thakur, Rabenseifner and Gropp 2005).
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from nnad.data.batches import Batch
from nnad.data.dataset import DataSplits
from nnad.distributed import Communicator, spread, within, world
from nnad.optimizers import LBFGS
from nnad.training.build import build
from nnad.training.config import Config, load_config
from nnad.training.job import load_data, make_trainer
from nnad.training.processes import limit_threads
from nnad.training.trainer import Trainer

__all__ = ["Network", "Prediction", "Rehearsal", "disturbed", "measure_network", "plan",
           "plan_table"]  # fmt: skip

SECONDS = 0.4  # of measuring, for each number of processes
FEWEST = 5  # measurements at least
IMPLAUSIBLE = 1.15  # efficiency; smaller shares that fit better into a cache come near it
WORK = 20  # small matrix products between two messages: some 200 microseconds
WARM_STEPS, WARM_SECONDS = 25, 2.0  # before: a trainer decides how to compile within as many


@dataclass(frozen=True)
class Network:
    """What a message costs: `latency` seconds, and `bandwidth` bytes a second in each direction.

    Attributes:
        cores: of the machine that all processes share; None where each has a machine of its own.
        turn: seconds that a message waits besides for each further process on a core.
    """

    latency: float
    bandwidth: float
    cores: int | None = None
    turn: float = 1e-4

    def all_reduce(self, size: float, ranks: int) -> float:
        """Seconds to add up `size` bytes over `ranks` processes.

        >>> Network(latency=0.25, bandwidth=8.0).all_reduce(16.0, 4)
        4.0
        """
        if ranks == 1:
            return 0.0
        rounds = math.ceil(math.log2(ranks))
        doubling = rounds * (self.latency + size / self.bandwidth)
        halving = 2 * rounds * self.latency + 2 * (ranks - 1) / ranks * size / self.bandwidth
        return min(doubling, halving)

    def seconds_of(self, sent: Sequence[int], ranks: int) -> float:
        """Seconds of all messages of a step, given their bytes."""
        crowding = self.crowding(ranks)
        waiting = (crowding - 1) * self.turn
        return sum(crowding * self.all_reduce(size, ranks) + waiting for size in sent)

    def crowding(self, ranks: int) -> float:
        """How many times as long everything takes where processes take turns on the cores."""
        return 1.0 if self.cores is None else max(1.0, ranks / self.cores)


@dataclass(frozen=True)
class Prediction:
    """What a step of one number of processes costs; seconds, and bytes in each process."""

    ranks: int
    gradient: float
    message_count: int
    messages: float
    update: float
    memory: int
    measured: float | None = None

    @property
    def step(self) -> float:
        """Seconds of the whole step."""
        return self.gradient + self.messages + self.update


class Rehearsal(Communicator):
    """The last of `size` processes, whose others are only imagined: alike, and always there.

    Args:
        size: of the group.
        together: whether all are on this machine, and see each other's memory.

    Attributes:
        sent: bytes of each message so far.
    """

    def __init__(self, size: int, together: bool) -> None:
        self.size = size
        self.rank = size - 1
        self.local_size = size if together else 1
        self.sent: list[int] = []

    def sum(self, array: np.ndarray) -> np.ndarray:
        self.sent.append(array.nbytes)
        array *= self.size
        return array

    def sum_in_pairs(self, array: np.ndarray) -> np.ndarray:
        return self.sum(array)

    def meet(self) -> None:
        self.sent.append(0)

    def shared_memory(self, bytes_each: int) -> list[np.ndarray] | None:
        if self.local_size < self.size:
            return None
        others = np.zeros(bytes_each, np.uint8)
        return [*(others for _ in range(self.size - 1)), np.zeros(bytes_each, np.uint8)]

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows] * self.size)

    def gather_texts(self, text: str) -> list[str]:
        return [text] * self.size


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
    cost = measure_network(group, parameter_bytes(config, data)) if network is None else network

    def predict(n: int) -> dict[str, Any]:
        return asdict(predict_step(config, data, n, cost))

    wanted = sorted({1, *ranks, *([group.size] if here else [])})
    found: list[Prediction] = []
    for n in wanted:  # one at a time, by one process: others at work would disturb it
        found += [Prediction(**each) for each in spread(predict, [n], group)]
    return [replace(p, measured=here) if p.ranks == group.size else p for p in found]


def parameter_bytes(config: Config, data: DataSplits) -> int:
    """Bytes of all parameters of a job's model."""
    return sum(buffer.data.nbytes for buffer in build(config, data).model.flatten().values())


def predict_step(config: Config, data: DataSplits, ranks: int, network: Network) -> Prediction:
    """The step of `ranks` processes, from rehearsing that of the one with most rows."""
    group = Rehearsal(ranks, network.cores is not None) if ranks > 1 else Communicator()
    with ExitStack() as stack:
        stack.enter_context(within(group))
        limit_threads(config, stack)
        trainer = make_trainer(config, build(config, data), data)
        trainer.prepare(data.train, None)
        trainer.model.train()
        batches = endless_batches(trainer)

        def step() -> None:
            trainer.step = 0  # where every schedule is defined
            trainer.run_step(islice(batches, trainer.accumulate))

        warm_up(step)
        activations = peak_of(step)
        sent = messages_of(step, group)
        searches = isinstance(trainer.optimizer, LBFGS)  # whose update is made of gradients
        update = 0.0 if searches else seconds_of(trainer.update_parameters)
        gradient = max(0.0, seconds_of(step) - update)
    size = sum(buffer.nbytes for buffer in trainer.flat_gradients)
    memory = 2 * size + activations + bytes_in(trainer.optimizer.state_dict(copy=False))
    memory += sum(array.nbytes for array in (data.train.x, data.train.y) if in_memory(array))
    crowding = network.crowding(ranks)
    messages = network.seconds_of(sent, ranks)
    return Prediction(ranks, gradient * crowding, len(sent), messages, update * crowding, memory)


def messages_of(step: Callable[[], Any], group: Communicator) -> list[int]:
    """Bytes of each message that a step sends."""
    if not isinstance(group, Rehearsal):
        return []
    before = len(group.sent)
    step()
    return group.sent[before:]


def endless_batches(trainer: Trainer) -> Iterator[Batch]:
    """The batches of one epoch, again and again."""
    while True:
        yield from trainer.iterator.batches(0)


# Measuring ----------------------------------------------------------------------------------------


def measure_together(config: Config, data: DataSplits, group: Communicator) -> float:
    """Seconds of a step of all processes of the group, each of which does its part.

    The median step, as in the prediction: steps that other programs hold up tell nothing.
    """
    with ExitStack() as stack:
        limit_threads(config, stack)
        trainer = make_trainer(config, build(config, data), data)
        trainer.prepare(data.train, None)
        trainer.model.train()
        batches = endless_batches(trainer)
        times = []
        for _ in range(WARM_STEPS + min(200, 4 * trainer.steps_per_epoch)):
            trainer.step = 0
            start = perf_counter()
            trainer.run_step(islice(batches, trainer.accumulate))
            times.append(perf_counter() - start)
    return float(group.sum(np.array([median(times[WARM_STEPS:])]))[0] / group.size)


def measure_network(group: Communicator, size: int) -> Network:
    """What all-reduces between the processes of a group cost.

    Args:
        group: the processes.
        size: bytes of a large message.
    """
    cores = group.local_cores if group.local_size == group.size else None
    crowding = Network(0.0, 1.0, cores).crowding(group.size)
    small = seconds_of_message(group, 1) / crowding
    large = seconds_of_message(group, size // 4) / crowding
    rounds = max(1, math.ceil(math.log2(group.size)))
    doubling = rounds * size / max(large - small, 1e-9)
    halving = 2 * (group.size - 1) / group.size * size / max(large - 2 * small, 1e-9)
    bandwidth = min(doubling, halving) if size and group.size > 1 else math.inf
    network = Network(small / rounds, bandwidth, cores)
    if crowding == 1:
        return network
    met_at_work = seconds_of_message(group, 1, work=WORK, crowding=crowding)
    return replace(network, turn=max(0.0, met_at_work - crowding * small) / (crowding - 1))


def seconds_of_message(
    group: Communicator, count: int, work: int = 0, crowding: float = 1.0
) -> float:
    """Seconds to add up `count` numbers, less those of the `work` that comes before.

    Processes that take turns on the cores find each other at work, and wait for their turns.
    """
    array, matrix = np.zeros(max(1, count), np.float32), np.ones((64, 64))
    whole, worked = [], []
    for _ in range(100):
        start = perf_counter()
        for _ in range(work):
            matrix @ matrix
        worked.append(perf_counter() - start)
        group.sum(array)
        whole.append(perf_counter() - start)
    taken = median(whole) - crowding * median(worked)
    return float(group.sum(np.array([taken]))[0] / group.size)


def warm_up(action: Callable[[], Any]) -> None:
    """Do something several times."""
    begin = perf_counter()
    for _ in range(WARM_STEPS):
        action()
        if perf_counter() - begin > WARM_SECONDS:
            return


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


def disturbed(predictions: Sequence[Prediction]) -> bool:
    """Whether more comes of processes than they can give: what was measured cannot be right."""
    alone = predictions[0].step
    return any(alone / p.step / p.ranks > IMPLAUSIBLE for p in predictions)


def plan_table(predictions: Sequence[Prediction]) -> str:
    """The predictions as text, a line for each number of processes."""
    alone = predictions[0].step
    names = ["ranks", "gradient ms", "messages", "messages ms", "update ms", "step ms", "speed-up"]
    names += ["efficiency", "MB a rank"]
    rows = [
        [
            str(p.ranks),
            f"{1e3 * p.gradient:.3f}",
            str(p.message_count),
            *(f"{1e3 * part:.3f}" for part in (p.messages, p.update, p.step)),
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
