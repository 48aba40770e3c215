"""Run by several processes: batches in blocks, or whole ones, give the bits of one process."""

import signal
from contextlib import nullcontext

import numpy as np

import nnad
from nnad.data.dataset import Split
from nnad.distributed import Communicator, alone, world
from nnad.errors import DivergedError
from nnad.layers import BatchNorm1d, Dropout, LayerNorm, Linear, Sequential
from nnad.training.blocks import BlockTrainer
from nnad.training.callbacks import Callback, Interrupted, Interruption
from nnad.training.group import GroupTrainer
from nnad.training.parallel import ParallelTrainer
from nnad.training.state import restore
from nnad.training.trainer import Trainer
from tests.distributed.group import Snapshots, Sometimes, job, run, without_shared_memory

group = world()
CASES = [  # batch norm, weights, options
    (False, False, {}),
    (True, True, {}),
    (True, False, {"synchronize_batch_norm": False, "rows": 48}),
    (True, False, {"synchronize_batch_norm": False, "rows": 6}),  # too few for each its own
    (False, True, {"clip_value": 0.02, "rows": 49}),
    (False, True, {"clip_norm": None, "ema": 0.9}),
    (True, False, {"accumulate": 2, "optimizer": "Adam"}),
    (False, False, {"accumulate": 3, "optimizer": "RMSprop"}),
    (False, False, {"compile": True}),
    (False, True, {"compile": True, "optimizer": "AdamW", "rows": 49}),
    (True, False, {"compile": True}),
    (False, False, {"optimizer": "Muon", "rate": 0.01}),
    (True, False, {"optimizer": "LBFGS", "rate": 1e-3}),
]
KINDS = [(GroupTrainer, {}), (ParallelTrainer, {}), (BlockTrainer, {"blocks": 4})]


def in_blocks(communicator, *arguments, blocks=4, **keywords):
    return job(BlockTrainer, *arguments, communicator=communicator, blocks=blocks, **keywords)


def assert_same_bits(one, other):
    (history, model), (found, other_model) = one, other
    assert history == found
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, other_model.state_dict()[name], err_msg=name)


def bits_are_those_of_one_process():
    for batch_norm, weight, options in CASES:
        with alone():
            one = in_blocks(Communicator(), batch_norm, weight, dtype="float32", **options)
        for shared in (True, False):
            with nullcontext() if shared else without_shared_memory():
                many = in_blocks(group, batch_norm, weight, dtype="float32", **options)
            assert_same_bits(one, many)


def blocks_train_the_model_that_whole_batches_train():
    for batch_norm, weight, options in CASES:
        if options.get("optimizer") == "LBFGS" or "synchronize_batch_norm" in options:
            continue
        serial, _ = job(Trainer, batch_norm, weight, **options | {"compile": False})
        blocks, _ = in_blocks(group, batch_norm, weight, **options)
        np.testing.assert_allclose(blocks["train_loss"], serial["train_loss"], rtol=1e-9)


def whole_batches_give_the_bits_of_one_process():
    for batch_norm, weight, options in CASES:
        options = {k: v for k, v in options.items() if k != "synchronize_batch_norm"}
        with alone():
            one = job(Trainer, batch_norm, weight, dtype="float32", **options)
        many = job(GroupTrainer, batch_norm, weight, dtype="float32", communicator=group, **options)
        assert_same_bits(one, many)


def a_signal_to_one_process_is_heeded_by_all_at_one_step():
    class Signal(Callback):
        def on_step_end(self, trainer):
            if trainer.step == 9 and group.rank == group.size - 1:
                heeding.received = signal.SIGTERM

    for kind, options in KINDS:
        heeding, steps = Interruption(), Steps()
        callbacks = [steps, Signal(), heeding]
        try:
            job(kind, False, False, callbacks=callbacks, communicator=group, **options)
        except Interrupted as end:
            assert end.exit_status == 128 + signal.SIGTERM
        else:
            raise AssertionError("the signal was not heeded")
        assert group.gather_texts(str(steps.last)) == ["10"] * group.size


class Steps(Callback):
    """The last step that was made."""

    def on_step_end(self, trainer):
        self.last = trainer.step


def parameters_that_only_some_blocks_reach():
    x = np.ones((8, 4)) * np.repeat([1, -1, -1, -1], 2)[:, None]  # the first block's rows reach all

    def trained(communicator):
        model = Sometimes().astype("float64")
        BlockTrainer(
            model,
            nnad.losses.mse,
            nnad.optimizers.SGD(model.parameters(), lr=0.1),
            epochs=2,
            batch_size=8,
            batching={"shuffle": False},
            communicator=communicator,
            blocks=4,
        ).fit(Split(x, np.zeros((8, 2)), None))
        return model.state_dict()

    with alone():
        one = trained(Communicator())
    many = trained(group)
    assert all((many[name] == array).all() for name, array in one.items())
    start = Sometimes().astype("float64").sometimes.weight.data
    assert (one["sometimes.weight"] != start).all()


def parts_count_what_the_mean_loss_is_divided_by():
    """Class weights, tokens that count nothing: in some processes' rows, or in all of a batch."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(40, 4, 5)), rng.integers(0, 3, 40) * 1.0
    tokens = rng.integers(0, 4, (40, 4))  # as many as there are classes
    tokens[:6], tokens[8:16], tokens[21] = 2, 2, 2
    settings = {"weight": [1.0, 3.0, 0.5, 2.0], "ignore_index": 2}
    shares = rng.dirichlet(np.ones(4), (40, 4))
    cases = [(tokens, None, settings), (tokens, weight, settings)]
    cases += [(tokens, weight, {"ignore_index": 2}), (tokens, None, {"weight": settings["weight"]})]
    cases += [(shares, weight, {"weight": settings["weight"]})]

    def trained(kind, y, weight, settings, **keywords):
        model = Sequential(LayerNorm(5), Linear(5, 4, rng=1)).astype("float64")
        trainer = kind(
            model,
            nnad.losses.CrossEntropy(**settings),
            nnad.optimizers.SGD(model.parameters(), lr=0.5, momentum=0.9),
            epochs=2,
            batching={"shuffle": False},
            **keywords,
        )
        return trainer.fit(Split(x, y, weight))["train_loss"], model.state_dict()

    for case in cases:
        with alone():
            plain, one = trained(Trainer, *case, batch_size=8)
        for kind, options in ((ParallelTrainer, {}), (BlockTrainer, {"blocks": 4})):
            for size, accumulate in ((8, 1), (4, 2)):
                options |= {"batch_size": size, "accumulate": accumulate, "communicator": group}
                found, many = trained(kind, *case, **options)
                np.testing.assert_allclose(found, plain, rtol=1e-12)
                for name, array in many.items():
                    np.testing.assert_allclose(array, one[name], rtol=1e-9, atol=1e-12)


class Changes(Callback):
    """What training may do to a model on the way."""

    def on_epoch_end(self, trainer, row):
        dropout = next(m for m in trainer.model.modules() if isinstance(m, Dropout))
        dropout.p /= 2
        trainer.model[1].bias.requires_grad = trainer.epoch % 2 == 1


def models_that_change_while_they_train():
    x, y = np.random.default_rng(0).normal(size=(2, 24, 60))
    draws = (nnad.random.default_generator(), 5)

    def trained(kind, rng, order, **keywords):
        nnad.seed(3)
        model = Sequential(
            LayerNorm(60),
            Linear(60, 8, rng=1),
            BatchNorm1d(8),
            Dropout(0.4, rng=rng),
            Linear(8, 60),
        ).astype("float64")
        trainer = kind(
            model,
            nnad.losses.mse,
            nnad.optimizers.SGD(model.parameters(), lr=0.1),
            epochs=4,
            batch_size=8,
            batching={"shuffle": False},
            callbacks=[Changes()],
            **keywords,
        )
        return trainer.fit(Split(np.asarray(x, order=order), y, None)), model

    for rng, order in zip(draws, "CF", strict=True):
        with alone():
            one = trained(BlockTrainer, rng, order, communicator=Communicator(), blocks=4)
            plain = trained(Trainer, rng, order)
        assert_same_bits(one, trained(BlockTrainer, rng, order, communicator=group, blocks=4))
        np.testing.assert_allclose(one[0]["train_loss"], plain[0]["train_loss"], rtol=1e-9)


def all_expect_the_same_of_native_programs():
    told = []

    class Told(BlockTrainer):
        def prepare(self, *arguments):
            super().prepare(*arguments)
            decide = self.programs.decide
            self.programs.decide = lambda gain: (told.append(float(gain)), decide(gain))

    weight = np.array([1.0, 1, 0, 0, 0, 0, 1, 1])  # two blocks that count, two that do not
    model = Sequential(Linear(4, 600, rng=1), Linear(600, 2, rng=2))
    split = Split(np.ones((8, 4), np.float32), np.ones((8, 2), np.float32), weight)
    for communicator in (Communicator(), group):
        optimizer = nnad.optimizers.SGD(model.parameters(), lr=0.1)
        options = {"epochs": 1, "batch_size": 8, "communicator": communicator, "blocks": 4}
        options["batching"] = {"shuffle": False}
        with alone() if communicator is not group else nullcontext():
            Told(model, nnad.losses.mse, optimizer, **options).fit(split)
    assert told[0] == told[1] != 0


def a_run_goes_on_in_another_number_of_processes_to_the_bit():
    def trainer_of(communicator, batch_norm, callbacks=()):
        nnad.seed(3)
        layers = [nnad.layers.Linear(4, 8, rng=1), nnad.layers.Dropout(0.3), nnad.layers.ReLU()]
        layers += [nnad.layers.BatchNorm1d(8)] * batch_norm + [nnad.layers.Linear(8, 2, rng=2)]
        model = nnad.layers.Sequential(*layers)
        return BlockTrainer(
            model,
            nnad.losses.mse,
            nnad.optimizers.Adam(model.parameters()),
            epochs=2,
            batch_size=8,
            callbacks=callbacks,
            communicator=communicator,
            blocks=4,
            clip_norm=0.1,
        )

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 29, 4)).astype(np.float32)
    split = Split(x, y[:, :2], None)
    for batch_norm in (False, True):
        snapshots = Snapshots()
        straight = trainer_of(group, batch_norm, [snapshots])
        straight.fit(split)
        for state in snapshots.states[::3]:
            with alone():
                resumed = trainer_of(Communicator(), batch_norm)
                restore(resumed, state)
                resumed.fit(split)
            for name, array in straight.model.state_dict().items():
                np.testing.assert_array_equal(resumed.model.state_dict()[name], array)


def divergence_is_told_alike():
    for batch_norm, kind, options in [
        (False, GroupTrainer, {}),
        (False, BlockTrainer, {"blocks": 4}),
        (True, BlockTrainer, {"blocks": 4}),
    ]:
        options = {**options, "rate": 1e200, "epochs": 50, "communicator": group}
        try:
            job(kind, batch_norm, False, **options)
        except DivergedError as error:
            told = group.gather_texts(str(error))
            assert told == [told[0]] * group.size
        else:
            raise AssertionError("did not diverge")


CHECKS = [
    bits_are_those_of_one_process,
    whole_batches_give_the_bits_of_one_process,
    a_signal_to_one_process_is_heeded_by_all_at_one_step,
    blocks_train_the_model_that_whole_batches_train,
    parameters_that_only_some_blocks_reach,
    parts_count_what_the_mean_loss_is_divided_by,
    models_that_change_while_they_train,
    all_expect_the_same_of_native_programs,
    a_run_goes_on_in_another_number_of_processes_to_the_bit,
    divergence_is_told_alike,
]

if __name__ == "__main__":
    run(CHECKS)
