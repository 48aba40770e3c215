"""Run by several processes: what a group's calls promise, and parallel training beside serial."""

import sys
import time
from itertools import pairwise

import numpy as np

import nnad
from nnad.autodiff.checking import check_grads
from nnad.data.dataset import Split
from nnad.distributed import all_reduce_sum, share_of, spread, world
from nnad.errors import ConfigError, DivergedError
from nnad.layers import BatchNorm1d, Dropout, GaussianNoise, Linear, Sequential, Tanh
from nnad.training.parallel import ParallelTrainer, predict_together
from nnad.training.trainer import Trainer

group = world()
RANKS = np.arange(group.size)


def calls():
    assert group.size > 1
    assert group.sum(np.array([group.rank, 1.0])).tolist() == [RANKS.sum(), group.size]
    seen = np.full(3, group.rank)
    group.broadcast(seen)
    assert seen.tolist() == [0, 0, 0]
    rows = np.full((group.rank, 2), group.rank)  # none of rank 0
    assert group.gather_rows(rows)[:, 0].tolist() == np.repeat(RANKS, RANKS).tolist()
    assert group.gather_texts("ä" * group.rank) == ["ä" * rank for rank in RANKS]
    assert group.share(b"abc" if group.leads else None) == b"abc"


def dealing():
    """Whoever is idle takes the next job, alone in its own world; the leader hears of each."""
    told = {}

    def do(job):
        time.sleep(0.6 if job == 0 else 0.02)
        return [job, group.rank, world().size]

    found = spread(do, range(12), group, told.__setitem__)
    assert [job for job, _, _ in found] == list(range(12))
    assert {size for _, _, size in found} == {1}
    done = np.bincount([rank for _, rank, _ in found], minlength=group.size)
    assert done[found[0][1]] == 1  # others take the rest while that one is at the long job
    assert told == (dict(enumerate(found)) if group.leads else {})
    assert spread(do, [], group) == []
    assert world() is group


def a_leader_that_cannot_take_results_tells_all():
    done = []

    def tell(number, result):
        raise ConfigError("no room")

    try:
        spread(lambda job: done.append(job) or time.sleep(0.05), range(100), group, tell)
    except ConfigError as error:
        assert error.problems == ["no room"]
        assert len(done) < 10
    else:
        raise AssertionError("nobody was told of the leader's error")


def leading():
    done = []
    assert group.lead(lambda: done.append(1) or "result") == ("result" if group.leads else None)
    assert len(done) == group.leads

    def fails():
        raise ConfigError(["a", "b"])

    try:
        group.lead(fails)
    except ConfigError as error:
        assert error.problems == ["a", "b"]
    else:
        raise AssertionError("nobody was told of the leader's error")


def derivative_of_a_sum_over_processes():
    x = np.random.default_rng(group.rank).normal(size=3)
    total = sum(np.tanh(np.random.default_rng(rank).normal(size=3)) for rank in RANKS)
    # Each process adds sum(total**2) to the objective, so d/dx = size * 2 total * (1 - tanh(x)**2).
    found = nnad.grad(lambda x: np.sum(all_reduce_sum(np.tanh(x)) ** 2))(x)
    np.testing.assert_allclose(found, group.size * 2 * total * (1 - np.tanh(x) ** 2), rtol=1e-12)
    if group.size == 1:
        check_grads(lambda x: all_reduce_sum(np.tanh(x)), x)


def job(kind, batch_norm, weight, rows=53, epochs=3, rate=0.05, **keywords):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 2))
    model = Sequential(
        Linear(4, 8, rng=1),
        *([BatchNorm1d(8)] if batch_norm else []),
        Tanh(),
        Dropout(0.3, rng=5),
        GaussianNoise(0.1, rng=6),
        Linear(8, 2, rng=2),
    ).astype("float64")
    trainer = kind(
        model,
        nnad.losses.mse,
        nnad.optimizers.SGD(model.parameters(), lr=rate, momentum=0.9),
        epochs=epochs,
        batch_size=8,  # the last batch of 53 rows has 5, of 49 rows 1
        clip_norm=1.0,
        seed=7,
        **keywords,
    )
    split = Split(x, y, rng.integers(0, 3, rows).astype(float) if weight else None)
    history = trainer.fit(split, Split(x[:20], y[:20], None))
    return history, model


def parallel_equals_serial():
    for rows, batch_norm, weight, accumulate in [
        (53, False, False, 1),
        (53, True, True, 1),
        (49, False, True, 1),
        (53, False, True, 2),
    ]:
        settings = {"rows": rows, "accumulate": accumulate}
        serial, one = job(Trainer, batch_norm, weight, **settings)
        together, many = job(ParallelTrainer, batch_norm, weight, communicator=group, **settings)
        for name in ("train_loss", "val_loss"):
            np.testing.assert_allclose(together[name], serial[name], rtol=1e-12)
        for name, array in many.state_dict().items():
            np.testing.assert_allclose(array, one.state_dict()[name], rtol=1e-9, atol=1e-12)
        x = np.random.default_rng(0).normal(size=(1300, 4))
        many.eval()
        np.testing.assert_allclose(
            predict_together(many, x, group), many(x).data, rtol=1e-12, atol=1e-14
        )


def local_batch_norm_is_another_model():
    settings = {"communicator": group, "synchronize_batch_norm": False}
    local, _ = job(ParallelTrainer, True, False, rows=48, **settings)
    serial, _ = job(Trainer, True, False, rows=48)
    assert abs(local["train_loss"][-1] - serial["train_loss"][-1]) > 1e-6


def local_batch_norm_takes_batches_of_any_size():
    """Less than two rows for each: as if synchronised; and all evaluate what the leader has."""
    settings = {"communicator": group, "batch_norm": True, "weight": False}
    few = 2 * group.size - 1  # the last process may have one row, the first none
    for rows in (2, few):
        local, one = job(ParallelTrainer, rows=rows, synchronize_batch_norm=False, **settings)
        shared, other = job(ParallelTrainer, rows=rows, **settings)
        assert local["train_loss"] == shared["train_loss"]
        np.testing.assert_array_equal(one(np.ones((3, 4))).data, other(np.ones((3, 4))).data)
    _, model = job(ParallelTrainer, rows=50, synchronize_batch_norm=False, **settings)
    model.eval()
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert (found := group.gather_rows(model(x).data[None]))[0].tolist() == found[-1].tolist()


def divergence_is_told_alike():
    try:
        job(ParallelTrainer, False, False, communicator=group, rate=1e200, epochs=50)
    except DivergedError as error:
        told = group.gather_texts(str(error))
        assert told == [told[0]] * group.size
        assert "diverged at step" in told[0]
    else:
        raise AssertionError("did not diverge")


def shares():
    for count in (0, 1, 5, 64):
        parts = [share_of(count, rank, group.size) for rank in RANKS]
        assert parts[0].start == 0
        assert parts[-1].stop == count
        assert all(a.stop == b.start for a, b in pairwise(parts))


CHECKS = [
    calls,
    leading,
    shares,
    dealing,
    a_leader_that_cannot_take_results_tells_all,
    derivative_of_a_sum_over_processes,
    parallel_equals_serial,
    local_batch_norm_is_another_model,
    local_batch_norm_takes_batches_of_any_size,
    divergence_is_told_alike,
]

if __name__ == "__main__":
    for check in CHECKS:
        check()
        if group.leads:
            print(check.__name__)
    sys.exit(0)
