"""Run by several processes: what all of them hold alike, whatever each would hold alone."""

import errno
import itertools
import os

import numpy as np
import pytest

import nnad
from nnad.data.dataset import Split
from nnad.distributed import alone, world
from nnad.errors import ConfigError, DivergedError, NnadError
from nnad.layers import BatchNorm1d, Dropout, GaussianNoise, Linear, Module, Sequential
from nnad.ops import mean, reshape, square
from nnad.training.blocks import BlockTrainer
from nnad.training.crew.ranks import Ranks, led
from nnad.training.early_stopping import BestEpoch
from nnad.training.group import GroupTrainer
from nnad.training.parallel import ParallelTrainer
from nnad.training.trainer import Trainer
from tests.distributed.group import run

group = world()
OTHER_KINDS = [  # of generators
    lambda kind=kind: np.random.Generator(kind(5))
    for kind in (np.random.MT19937, np.random.Philox, np.random.SFC64)
]
KINDS = [(ParallelTrainer, {}), (BlockTrainer, {"blocks": 4}), (GroupTrainer, {})]


class OneByOne(Module):
    """Draws for rows that were merged with times."""

    def __init__(self, batch_norm, rng):
        super().__init__()
        self.normalize = BatchNorm1d(5) if batch_norm else Sequential()
        self.inner = Sequential(
            Linear(5, 6, rng=1), Dropout(0.4, rng=rng), GaussianNoise(0.1, rng=rng)
        )
        self.outer = Linear(6, 2, rng=2)

    def forward(self, x):
        rows = x.shape[0]
        merged = self.inner(reshape(self.normalize(x), (rows * 3, 5)))
        return mean(reshape(self.outer(merged), (rows, 3, 2)), axis=1)


def batches_with_less_rows_than_processes():
    """Whoever has no row of a batch draws on as if it had."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(17, 3, 5)), rng.normal(size=(17, 2))  # the last batch has one row
    cases = zip([lambda: None, lambda: 5, *OTHER_KINDS], itertools.cycle([True, False]))

    def trained(kind, batch_norm, draw, **keywords):
        nnad.seed(11)
        model = OneByOne(batch_norm, draw()).astype("float64")
        optimizer = nnad.optimizers.SGD(model.parameters(), lr=0.05, momentum=0.9)
        options = {"batch_size": 8, "epochs": 3, "seed": 7} | keywords
        return kind(model, nnad.losses.mse, optimizer, **options).fit(Split(x, y, None))[
            "train_loss"
        ]

    for draw, batch_norm in cases:
        with alone():
            one = trained(Trainer, batch_norm, draw)
        for kind, options in KINDS:
            many = trained(kind, batch_norm, draw, communicator=group, **options)
            np.testing.assert_allclose(many, one, rtol=1e-10)


def what_the_leader_begins_with():
    """Weights, their averages, running statistics and generators of the others do not matter."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20, 4))

    def trained(kind, rank, **keywords):
        nnad.seed(rank)
        layers = Linear(4, 8), BatchNorm1d(8), Dropout(0.5), Linear(8, 4)
        model = Sequential(*layers).astype("float64")
        model[1].running_mean[...] = rank
        trainer = kind(
            model,
            nnad.losses.mse,
            nnad.optimizers.SGD(model.parameters(), lr=0.1),
            ema=nnad.optimizers.EMA(model.parameters(), 0.9),
            epochs=2,
            batch_size=8,
            **keywords,
        )
        return trainer.fit(Split(x, y, None), Split(x, y, None))["val_loss"]

    with alone():
        one = trained(Trainer, 0)
    for kind, options in KINDS:
        many = trained(kind, group.rank, communicator=group, **options)
        np.testing.assert_allclose(many, one, rtol=1e-10)


def all_stop_by_the_leaders_scores():
    """A metric may draw numbers: it tells each process something else."""
    x, y = np.ones((8, 4)), np.ones((8, 2))
    for kind, options in KINDS:
        numbers = itertools.count()
        model = Sequential(Linear(4, 2, rng=1))
        trainer = kind(
            model,
            nnad.losses.mse,
            nnad.optimizers.SGD(model.parameters(), lr=0.1),
            epochs=9,
            metrics={"odd": lambda *_, numbers=numbers, **__: next(numbers) * (1 - 2 * group.rank)},
            best=BestEpoch("val_odd", maximize=True, patience=2),
            communicator=group,
            **options,
        )
        history = trainer.fit(Split(x, y, None), Split(x, y, None))
        assert history["val_odd"] == list(range(9))


def errors_of_the_leader():
    """Of what it does alone, and of what it does with the results of others."""

    def fails(*_):
        raise error

    def sweep():
        with Ranks(group, "nnad sweep --resume a") as ranks:
            ranks.each([{"path": "nowhere"}] * 3, fails)

    full = OSError(errno.ENOSPC, "No space left on device", "a.json")
    for error, in_a_sweep in [
        (ConfigError("no room"), "no room"),
        (NnadError("odd"), "odd"),
        (full, "a.json: the disk is full; nothing saved"),
    ]:
        for action, told in [
            (lambda: group.lead(fails), str(error)),
            (lambda: led(sweep, group), in_a_sweep),
        ]:
            with pytest.raises((NnadError, OSError)) as found:
                action()
            texts = group.gather_texts(f"{found.typename} {found.value}")
            assert len(set(texts)) == 1
            assert told in texts[0]


class Power(Module):
    """A layer whose derivative is infinite where its input is zero, beside another layer."""

    def __init__(self):
        super().__init__()
        self.plain = Linear(4, 2, bias=False, rng=1)
        self.root = Linear(4, 2, bias=False, rng=2)

    def forward(self, x):
        return self.plain(x) + square(self.root(x)) ** 0.25


def where_the_first_number_is_that_is_not_finite():
    """It is named as by one process, by the one that has it among its own rows."""
    normalized = [Linear(4, 8, rng=1), BatchNorm1d(8), Linear(8, 2, rng=2)]
    cases = [
        (lambda: Sequential(*normalized), np.nan, "an input of operation linear in model.0.Linear"),
        (Power, np.nan, "an input of operation linear in model.plain.Linear"),
        (Power, 0.0, "derivative of operation power in model.Power"),
    ]
    for (make, value, place), row in itertools.product(cases, (8, 15)):  # in the second batch
        x, y = np.random.default_rng(0).normal(size=(2, 16, 4))
        x[row] = value
        for kind, options in KINDS:
            model = make().astype("float64")
            optimizer = nnad.optimizers.SGD(model.parameters(), lr=1e-3)
            more = {"batch_size": 8, "batching": {"shuffle": False}, "communicator": group}
            trainer = kind(model, nnad.losses.mse, optimizer, **more, **options)
            with pytest.raises(DivergedError, match=place):
                trainer.fit(Split(x, y[:, :2], None))


def cores_that_each_was_given():
    """They are counted over the processes of a machine, whose others are not theirs to use."""
    given = sorted(os.sched_getaffinity(0))
    for kinds in (1, 2):
        mine = [given[rank % kinds % len(given)] for rank in range(group.size)]
        os.sched_setaffinity(0, {mine[group.rank]})
        try:
            assert type(group)().local_cores == len(set(mine))
        finally:
            os.sched_setaffinity(0, given)


CHECKS = [
    batches_with_less_rows_than_processes,
    what_the_leader_begins_with,
    all_stop_by_the_leaders_scores,
    errors_of_the_leader,
    where_the_first_number_is_that_is_not_finite,
    cores_that_each_was_given,
]

if __name__ == "__main__":
    run(CHECKS)
