"""Run by several processes: what a group's calls promise, and parallel training beside serial."""

import copy
import os
import pickle
import sys
import time
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import numpy as np

import nnad
from nnad.autodiff import value_of
from nnad.autodiff.checking import check_grads
from nnad.data.dataset import Split
from nnad.distributed import all_reduce_sum, share_of, shared_memory, spread, world
from nnad.errors import CannotCompile, ConfigError, DivergedError, NnadError
from nnad.layers import BatchNorm1d, Dropout, GaussianNoise, Linear, Module, Sequential, Tanh
from nnad.training.callbacks import Callback
from nnad.training.evaluation import predict_together
from nnad.training.parallel import ParallelTrainer
from nnad.training.shared import SharedParameters
from nnad.training.state import capture, restore
from nnad.training.trainer import Trainer

group = world()
RANKS = np.arange(group.size)


@contextmanager
def without_shared_memory():
    """Within the block there is no room for it."""
    kept, shared_memory._available = shared_memory._available, lambda: 0
    try:
        yield
    finally:
        shared_memory._available = kept


def memory_that_all_see():
    assert group.shared_memory(2**60) is None
    assert shared_memory.opened(b"", 5) is None
    memory = group.shared_memory(5)
    assert [part.tolist() for part in memory] == [[0] * 5] * group.size
    group.meet()
    memory[group.rank][:] = group.rank + 1
    group.meet()
    assert [part[4] for part in memory] == [rank + 1 for rank in RANKS]
    made = shared_memory.create(5)
    assert shared_memory.opened(made[1], 5).tolist() == [0] * 5
    wrong = b"x" * shared_memory.TOKEN + made[1][shared_memory.TOKEN :]
    assert shared_memory.opened(wrong, 5) is None
    os.close(made[0])
    assert shared_memory.opened(made[1], 5) is None


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


def trainer_split(rows, weight):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 2))
    return Split(x, y, rng.integers(0, 3, rows).astype(float) if weight else None)


def job(
    kind,
    batch_norm,
    weight,
    rows=53,
    epochs=3,
    rate=0.05,
    optimizer="SGD",
    again=0,
    dtype="float64",
    **keywords,
):
    split = trainer_split(rows, weight)
    model = Sequential(
        Linear(4, 8, rng=1),
        *([BatchNorm1d(8)] if batch_norm else []),
        Tanh(),
        Dropout(0.3, rng=5),
        GaussianNoise(0.1, rng=6),
        Linear(8, 2, rng=2),
    ).astype(dtype)
    trainer = kind(
        model,
        nnad.losses.mse,
        make_optimizer(optimizer, model, rate),
        epochs=epochs,
        batch_size=8,  # the last batch of 53 rows has 5, of 49 rows 1
        seed=7,
        **{"clip_norm": 1.0} | keywords,
    )
    if trainer.ema is not None:
        trainer.ema = nnad.optimizers.EMA(model.parameters(), trainer.ema)
    history = trainer.fit(split, Split(split.x[:20], split.y[:20], None))
    for _ in range(again):
        trainer.epochs += epochs
        history = trainer.fit(split, Split(split.x[:20], split.y[:20], None))
    return history, model


def make_optimizer(name, model, rate):
    more = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(nnad.optimizers, name)(model.parameters(), lr=rate, **more)


def parallel_equals_serial():
    for rows, batch_norm, weight, options in [
        (53, False, False, {}),
        (53, True, True, {}),
        (49, False, True, {"clip_value": 0.02}),
        (49, False, True, {"clip_value": 0.02, "clip_norm": None}),
        (53, False, True, {"accumulate": 2, "clip_norm": None}),
        (53, False, False, {"compile": True}),
        (53, True, False, {"compile": True}),
    ]:
        serial, one = job(Trainer, batch_norm, weight, rows=rows, **options | {"compile": False})
        for shared in (True, False):
            with nullcontext() if shared else without_shared_memory():
                together, many = job(
                    ParallelTrainer, batch_norm, weight, rows=rows, communicator=group, **options
                )
            for name in ("train_loss", "val_loss"):
                np.testing.assert_allclose(together[name], serial[name], rtol=1e-12)
            for name, array in many.state_dict().items():
                np.testing.assert_allclose(array, one.state_dict()[name], rtol=1e-9, atol=1e-12)
        x = np.random.default_rng(0).normal(size=(1300, 4))
        many.eval()
        np.testing.assert_allclose(
            predict_together(many, x, group), many(x).data, rtol=1e-12, atol=1e-14
        )


class Lookout(Callback):
    """Keeps the whole state, and the norms of the gradients, after every step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, trainer):
        if group.leads:
            norms = [np.linalg.norm(p.grad) for p in trainer.parameters]
            self.seen.append((capture(trainer)["optimizer"]["state"], norms))


def the_leader_sees_the_whole_state():
    for optimizer in ("Adam", "RMSprop", "Muon"):
        one, many = Lookout(), Lookout()
        settings = {"optimizer": optimizer, "rate": 0.01}
        job(Trainer, False, False, callbacks=[one], **settings)
        job(ParallelTrainer, False, False, callbacks=[many], communicator=group, **settings)
        for (state, norms), (found, others) in zip(one.seen, many.seen, strict=group.leads):
            np.testing.assert_allclose(others, norms, rtol=1e-9, atol=1e-12)
            for number, slots in state.items():
                for name, slot in slots.items():
                    np.testing.assert_allclose(found[number][name], slot, rtol=1e-7, atol=1e-10)


def every_optimizer_trains_alike():
    for name in ("LBFGS", "Adafactor", "Lion", "NAdam"):
        settings = {"optimizer": name, "rate": 1e-3, "ema": 0.9}
        serial, one = job(Trainer, False, False, **settings)
        together, many = job(ParallelTrainer, False, False, communicator=group, **settings)
        np.testing.assert_allclose(together["val_loss"], serial["val_loss"], rtol=1e-9)
        for key, array in many.state_dict().items():
            np.testing.assert_allclose(array, one.state_dict()[key], rtol=1e-6, atol=1e-9)


class Sometimes(Module):
    """Uses a layer only for batches whose first row begins with a positive number."""

    def __init__(self):
        super().__init__()
        self.always, self.sometimes = Linear(4, 2, rng=1), Linear(4, 2, rng=2)

    def forward(self, x):
        y = self.always(x)
        return y + self.sometimes(x) if value_of(x)[:1, :1].sum() > 0 else y


def what_only_some_rows_reach():
    """The first process has positive rows, the others negative ones: half the batch each."""
    x = np.ones((2 * group.size, 4)) * np.repeat([1] + [-1] * (group.size - 1), 2)[:, None]
    y = np.zeros((len(x), 2))
    for without in (False, True):
        model = Sometimes().astype("float64")
        start = model.sometimes.weight.data.copy()
        with without_shared_memory() if without else nullcontext():
            trainer = ParallelTrainer(
                model,
                nnad.losses.mse,
                nnad.optimizers.SGD(model.parameters(), lr=0.1),
                epochs=1,
                batch_size=len(x),
                batching={"shuffle": False},
                communicator=group,
            )
            trainer.fit(Split(x, y, None))
        here = Sometimes().astype("float64")
        loss = np.sum((here(x[:2]) - y[:2]) ** 2) / y.size
        loss.backward()
        np.testing.assert_allclose(
            model.sometimes.weight.data, start - 0.1 * here.sometimes.weight.grad, rtol=1e-12
        )


def groups_of_a_model_that_was_not_flattened():
    def model_and_optimizer():
        model = Sequential(Linear(4, 8, rng=1), Tanh(), Linear(8, 2, rng=2)).astype("float64")
        matrices = [p for p in model.parameters() if p.ndim == 2]
        vectors = [p for p in model.parameters() if p.ndim == 1]
        groups = [{"params": matrices}, {"params": vectors, "lr": 0.3}]
        return model, nnad.optimizers.SGD(groups, lr=0.1, momentum=0.9)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
    found = []
    for kind, more in ((Trainer, {}), (ParallelTrainer, {"communicator": group})):
        model, optimizer = model_and_optimizer()
        kind(model, nnad.losses.mse, optimizer, epochs=2, batch_size=8, **more).fit(
            Split(x, y, None)
        )
        for p in model.parameters():
            p.grad = np.ones(p.shape)
        optimizer.step()  # no longer divided
        found.append((model.state_dict(), copy.deepcopy(optimizer).state_dict()["state"]))
    (serial, slots), (together, others) = found
    for name, array in serial.items():
        np.testing.assert_allclose(together[name], array, rtol=1e-12, atol=1e-14)
    for number, slot in slots.items():
        np.testing.assert_allclose(
            others[number]["momentum_buffer"], slot["momentum_buffer"], rtol=1e-12, atol=1e-14
        )


def a_trainer_fits_again():
    for compile in (False, True):
        serial, _ = job(Trainer, False, False, again=1)
        together, _ = job(
            ParallelTrainer, False, False, again=1, compile=compile, communicator=group
        )
        assert len(together["val_loss"]) == 6
        np.testing.assert_allclose(together["val_loss"], serial["val_loss"], rtol=1e-12)


def messages_are_not_compiled():
    class Sums(Module):
        def forward(self, x):
            return all_reduce_sum(x)

    try:
        nnad.compile(Sums(), backend="numpy")(np.ones(3))
    except CannotCompile as error:
        assert "all_reduce_sum sends messages" in str(error)
    else:
        raise AssertionError("messages were compiled")
    group.meet()


def compiled_steps_repeat_to_the_bit():
    first, one = job(ParallelTrainer, False, False, communicator=group, compile=True)
    second, other = job(ParallelTrainer, False, False, communicator=group, compile=True)
    assert first["train_loss"] == second["train_loss"]
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


class Snapshots(Callback):
    """The leader's state after every step, as all processes get it from a checkpoint."""

    def __init__(self):
        self.states = []

    def on_step_end(self, trainer):
        state = pickle.dumps(capture(trainer)) if group.leads else None
        self.states.append(pickle.loads(group.share(state)))


def runs_resume_to_the_bit_from_every_step():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(29, 4)), rng.normal(size=(29, 2))
    weight = np.ones(29)
    weight[9 : 9 + 8 // group.size] = 0  # the first share of the second batch: of one process

    def trainer_of(compile, callbacks=()):
        model = Sequential(Linear(4, 8, rng=1), Dropout(0.3, rng=5), Linear(8, 2, rng=2))
        return ParallelTrainer(
            model.astype("float64"),
            nnad.losses.mse,
            nnad.optimizers.Adam(model.parameters()),
            epochs=2,
            batch_size=8,  # the last of four has 5
            batching={"shuffle": False},
            callbacks=callbacks,
            communicator=group,
            compile=compile,
        )

    for compile in (False, True):
        snapshots = Snapshots()
        straight = trainer_of(compile, [snapshots])
        straight.fit(Split(x, y, weight), None)
        for state in snapshots.states:
            resumed = trainer_of(compile)
            restore(resumed, state)
            resumed.fit(Split(x, y, weight), None)
            for name, array in straight.model.state_dict().items():
                np.testing.assert_array_equal(resumed.model.state_dict()[name], array)


def what_is_shared_must_stay_there():
    model = Sequential(Linear(3, 2))
    optimizer = nnad.optimizers.SGD(model.parameters(), lr=0.1, momentum=0.9)
    shared = SharedParameters.of(model, optimizer, group)
    assert shared is not None
    model.astype("float64")
    for p in model.parameters():
        p.grad = np.ones(p.shape)
    try:
        optimizer.step()
    except NnadError as error:
        assert "moved out of the memory" in str(error)
    else:
        raise AssertionError("parameters elsewhere were updated in parts")


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
    for compile in (False, True):
        settings = {"communicator": group, "rate": 1e200, "epochs": 50, "compile": compile}
        try:
            job(ParallelTrainer, False, False, **settings)
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


def run(checks):
    """Run checks in all processes; the leader prints the names of those that passed."""
    for check in checks:
        check()
        if group.leads:
            print(check.__name__)
    sys.exit(0)


CHECKS = [
    calls,
    memory_that_all_see,
    leading,
    shares,
    dealing,
    a_leader_that_cannot_take_results_tells_all,
    derivative_of_a_sum_over_processes,
    parallel_equals_serial,
    the_leader_sees_the_whole_state,
    every_optimizer_trains_alike,
    compiled_steps_repeat_to_the_bit,
    runs_resume_to_the_bit_from_every_step,
    what_is_shared_must_stay_there,
    what_only_some_rows_reach,
    groups_of_a_model_that_was_not_flattened,
    a_trainer_fits_again,
    messages_are_not_compiled,
    local_batch_norm_is_another_model,
    local_batch_norm_takes_batches_of_any_size,
    divergence_is_told_alike,
]

if __name__ == "__main__":
    run(CHECKS)
