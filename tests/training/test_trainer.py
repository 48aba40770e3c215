"""The trainer: weighted means everywhere, exact resumption, early stopping, divergence."""

import copy
import math

import numpy as np
import pytest

from nnad import layers, ops, optimizers, schedules
from nnad.data import Split
from nnad.errors import DivergedError
from nnad.training.callbacks import Callback
from nnad.training.early_stopping import BestEpoch
from nnad.training.state import capture, restore
from nnad.training.trainer import Trainer

ROWS, FEATURES = 40, 3


def squared_error(prediction, target, sample_weight=None):
    errors = (prediction[:, 0] - target) ** 2
    if sample_weight is None:
        return errors.mean()
    return (errors * sample_weight).sum() / sample_weight.sum()


def make_split(rows=ROWS, seed=0, weight=None, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, FEATURES)).astype(dtype)
    y = np.sin(x).sum(axis=1) + 0.1 * rng.standard_normal(rows).astype(dtype)
    return Split(x, y.astype(dtype), weight)


def make_model(dropout=0.0, dtype="float64", hidden=5):
    rng = np.random.default_rng(7)
    model = layers.Sequential(
        layers.Linear(FEATURES, hidden, rng=rng),
        layers.Tanh(),
        layers.Dropout(dropout, rng=rng),
        layers.Linear(hidden, 1, rng=rng),
    )
    model.astype(dtype)
    model.flatten()
    return model


def make_trainer(model=None, optimizer=None, **options):
    model = make_model() if model is None else model
    optimizer = optimizer or optimizers.Adam(model.parameters(), lr=0.01)
    options = {"epochs": 3, "batch_size": 8, **options}
    return Trainer(model, options.pop("loss", squared_error), optimizer, **options)


def weights(trainer):
    return np.concatenate([p.data.ravel() for p in trainer.model.parameters()])


def test_training_lowers_the_loss_and_records_it():
    trainer = make_trainer(epochs=30)
    history = trainer.fit(make_split(), make_split(seed=1))
    assert list(history) == ["epoch", "step", "learning_rate", "train_loss", "val_loss"]
    assert history["epoch"] == list(range(1, 31))
    assert history["step"] == [5 * e for e in range(1, 31)]
    assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]


# Weighted means --------------------------------------------------------------------------------


def after_one_step(split, **options):
    model = make_model()
    sgd = optimizers.SGD(model.parameters(), lr=0.1)
    trainer = make_trainer(model, sgd, epochs=1, batching={"shuffle": False}, **options)
    trainer.fit(split)
    return weights(trainer), trainer.history["train_loss"][0]


@pytest.mark.parametrize("rows", [32, 29, 25])
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_batches_equal_one_large_batch(rows, weighted):
    weight = np.random.default_rng(3).uniform(0, 2, rows) if weighted else None
    split = make_split(rows, weight=weight)
    one, loss_of_one = after_one_step(split, batch_size=32)
    four, loss_of_four = after_one_step(split, batch_size=8, accumulate=4)
    np.testing.assert_allclose(four, one, rtol=1e-12)
    assert loss_of_four == pytest.approx(loss_of_one, rel=1e-12)


@pytest.mark.parametrize("batch_size", [64, 7])
def test_a_weight_of_k_equals_the_row_repeated_k_times(batch_size):
    counts = np.array([1, 3, 0, 2] * 5)
    split = make_split(20)
    repeated = Split(np.repeat(split.x, counts, axis=0), np.repeat(split.y, counts))
    weighted = Split(split.x, split.y, counts.astype(float))
    many = {"batch_size": batch_size, "accumulate": 64}
    a, loss_a = after_one_step(repeated, **many)
    b, loss_b = after_one_step(weighted, **many)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    assert loss_a == pytest.approx(loss_b, rel=1e-12)


def test_the_loss_of_an_epoch_is_the_weighted_mean_over_a_short_last_batch():
    split = make_split(21, weight=np.random.default_rng(0).uniform(1, 5, 21))
    frozen = make_model()
    trainer = make_trainer(frozen, optimizers.SGD(frozen.parameters(), lr=0.0), epochs=1)
    expected = float(squared_error(frozen(split.x), split.y, split.weight).data)
    history = trainer.fit(split, split)
    assert history["train_loss"] == [pytest.approx(expected, rel=1e-12)]
    assert history["val_loss"] == [pytest.approx(expected, rel=1e-12)]


def test_rows_without_weight_change_nothing():
    weight = np.ones(16)
    weight[8:] = 0.0  # a whole batch
    trainer = make_trainer(epochs=1, batching={"shuffle": False})
    trainer.fit(make_split(16, weight=weight))
    alone = make_trainer(epochs=1, batching={"shuffle": False})
    whole = make_split(16)
    alone.fit(Split(whole.x[:8], whole.y[:8]))
    np.testing.assert_array_equal(weights(trainer), weights(alone))
    assert trainer.step == 2


def test_class_weights_multiply_the_weights_of_rows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 16)
    x = rng.standard_normal((16, FEATURES))
    row_weight = rng.uniform(1, 2, 16)
    class_weight = np.array([0.5, 3.0])
    by_class, _ = after_one_step(Split(x, y, row_weight), class_weight=class_weight)
    by_row, _ = after_one_step(Split(x, y, row_weight * class_weight[y]))
    np.testing.assert_allclose(by_class, by_row, rtol=1e-12)


# Clipping, schedules, steps ----------------------------------------------------------------------


@pytest.mark.parametrize("clip", [{"clip_norm": 0.01}, {"clip_value": 0.001}])
def test_clipping_bounds_the_update(clip):
    model = make_model()
    before = np.concatenate([p.data.ravel() for p in model.parameters()])
    trainer = make_trainer(model, optimizers.SGD(model.parameters(), lr=1.0), steps=1, **clip)
    trainer.fit(make_split())
    update = weights(trainer) - before
    if "clip_norm" in clip:
        assert np.linalg.norm(update) == pytest.approx(0.01, rel=1e-3)
    else:
        assert np.abs(update).max() == pytest.approx(0.001, rel=1e-6)


def test_the_schedule_is_asked_at_every_step():
    model = make_model()
    seen = []

    class Look(Callback):
        def on_step_end(self, trainer):
            seen.append(trainer.optimizer.lr)

    schedule = schedules.Linear(10, start_factor=1.0, end_factor=0.5)
    make_trainer(model, schedule=schedule, epochs=2, callbacks=[Look()]).fit(make_split())
    np.testing.assert_allclose(seen, [0.01 * schedule(step) for step in range(10)])


def test_plateau_is_told_the_monitored_value_once_an_epoch():
    schedule = schedules.Plateau(0.5, patience=0, threshold=1e9, threshold_mode="abs")
    trainer = make_trainer(schedule=schedule, epochs=4, best=BestEpoch("val_loss"))
    history = trainer.fit(make_split(), make_split(seed=1))
    np.testing.assert_allclose(history["learning_rate"], [0.01, 0.01, 0.005, 0.0025])


@pytest.mark.parametrize(("steps", "epochs", "last"), [(7, 2, 7), (10, 2, 10), (1, 1, 1)])
def test_a_run_can_be_limited_in_steps(steps, epochs, last):
    trainer = make_trainer(steps=steps)
    history = trainer.fit(make_split())
    assert (trainer.step, len(history["step"]), history["step"][-1]) == (last, epochs, last)


@pytest.mark.parametrize("steps", [8, 10, 12, 23])
def test_a_run_limited_in_steps_can_be_lengthened_by_any_number(steps):
    first = make_trainer(steps=7)  # ends within its second epoch of five steps
    first.fit(make_split())
    second = make_trainer(steps=steps)
    restore(second, capture(first))
    history = second.fit(make_split())
    assert second.step == history["step"][-1] == steps
    assert history["epoch"] == list(range(1, len(history["step"]) + 1))


def test_a_line_search_evaluates_the_same_batches_again():
    model = make_model()
    lbfgs = optimizers.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    parts = make_split(), make_split(seed=1)
    whole = make_trainer(model, lbfgs, epochs=3, batch_size=16, accumulate=3)
    stop = StopAt(2)
    whole.callbacks.append(stop)
    history = whole.fit(*parts)
    assert history["train_loss"][-1] < 0.1 * history["train_loss"][0]
    model = make_model()
    lbfgs = optimizers.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    resumed = make_trainer(model, lbfgs, epochs=3, batch_size=16, accumulate=3)
    restore(resumed, stop.state)
    resumed.fit(*parts)
    np.testing.assert_array_equal(weights(resumed), weights(whole))


def test_an_epoch_may_end_before_all_rows_were_seen():
    trainer = make_trainer(epochs=4, steps_per_epoch=2)
    assert trainer.fit(make_split())["step"] == [2, 4, 6, 8]
    long = make_trainer(epochs=4, steps_per_epoch=7)
    assert long.fit(make_split())["step"] == [5, 10, 15, 20]


def test_the_average_of_the_weights_is_validated_and_kept():
    seen = []

    class Note(Callback):
        def on_step_end(self, trainer):
            seen.append(weights(trainer).copy())

    model = make_model()
    start = weights(make_trainer(model)).copy()
    ema = optimizers.EMA(model.parameters(), 0.5)
    parts = make_split(), make_split(seed=1)
    trainer = make_trainer(model, epochs=2, ema=ema, callbacks=[Note()])
    history = trainer.fit(*parts)
    average = start
    for step in seen:
        average = 0.5 * average + 0.5 * step
    np.testing.assert_allclose(weights(trainer), average, rtol=1e-12)
    assert history["val_loss"][-1] == trainer.evaluate(parts[1])["loss"]


# Early stopping ----------------------------------------------------------------------------------


def test_patience_ends_the_run_and_the_best_weights_come_back():
    snapshots = []

    class Snapshot(Callback):
        def on_epoch_end(self, trainer, row):
            snapshots.append(weights(trainer).copy())

    model = make_model(hidden=30)
    trainer = make_trainer(
        model,
        optimizers.Adam(model.parameters(), lr=0.05),
        epochs=500,
        best=BestEpoch("val_loss", patience=5),
        callbacks=[Snapshot()],
    )
    history = trainer.fit(make_split(16), make_split(16, seed=1))
    best = int(np.argmin(history["val_loss"]))
    assert trainer.stopped_early
    assert len(history["val_loss"]) == best + 1 + 5 < 500
    np.testing.assert_array_equal(weights(trainer), snapshots[best])


def test_without_a_monitor_the_last_weights_stay():
    trainer = make_trainer()
    trainer.fit(make_split())
    assert trainer.best.weights_epoch == 3
    assert not trainer.best.weights  # no copy beside the model's own


# Resuming ----------------------------------------------------------------------------------------


class StopAt(Callback):
    """Keeps a copy of the state after a number of steps, as a checkpoint would."""

    def __init__(self, step):
        self.at = step

    def on_step_end(self, trainer):
        if trainer.step == self.at:
            self.state = copy.deepcopy(capture(trainer))


def resumable(**options):
    model = make_model(dropout=0.3)
    options["ema"] = optimizers.EMA(model.parameters(), 0.9) if "ema" in options else None
    return make_trainer(
        model,
        optimizers.Adam(model.parameters(), lr=0.02),
        schedule=schedules.Sequence(
            [schedules.Cosine(10, warmup_steps=3), schedules.Cosine(20)], [10]
        ),
        epochs=4,
        batch_size=4,
        accumulate=2,
        clip_norm=1.0,
        best=BestEpoch("val_loss", patience=3),
        **options,
    )


@pytest.mark.parametrize(
    ("step", "options"),
    [
        *((step, {}) for step in (1, 4, 5, 6, 13, 20)),
        *((step, {"ema": 0.9, "steps_per_epoch": 4}) for step in (3, 4, 6)),
    ],
)
def test_resuming_equals_never_having_stopped(step, options):
    parts = make_split(), make_split(seed=1)
    whole = resumable(**options)
    stop = StopAt(step)
    whole.callbacks.append(stop)
    whole.fit(*parts)
    resumed = resumable(**options)
    resumed.model[0].weight.data[...] = 0.0
    restore(resumed, stop.state)
    resumed.fit(*parts)
    np.testing.assert_array_equal(weights(resumed), weights(whole))
    assert resumed.history == whole.history
    assert repr(resumed.optimizer.state_dict()) == repr(whole.optimizer.state_dict())


def test_plateau_resumes_exactly():
    def make():
        schedule = schedules.Plateau(factor=0.5, patience=1, threshold=1.0)
        return make_trainer(schedule=schedule, epochs=8, best=BestEpoch("val_loss"))

    parts = make_split(), make_split(seed=1)
    whole, stop = make(), StopAt(17)
    whole.callbacks.append(stop)
    whole.fit(*parts)
    resumed = make()
    restore(resumed, stop.state)
    resumed.fit(*parts)
    assert resumed.history == whole.history
    np.testing.assert_array_equal(weights(resumed), weights(whole))


# When something is wrong -------------------------------------------------------------------------


IN_ORDER = {"shuffle": False}
NOT_THE_FIRST = np.where(np.arange(ROWS) < 8, 0.0, 1.0)  # batch counts


class Half(layers.Module):
    """Has a parameter that its output does not depend on."""

    def __init__(self):
        super().__init__()
        self.used = layers.Linear(FEATURES, 1, rng=0)
        self.idle = layers.Linear(FEATURES, 1, rng=0)

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_parameters_that_the_loss_does_not_reach_are_named_once(accumulate):
    model = Half()
    trainer = make_trainer(model, epochs=2, accumulate=accumulate, batching=IN_ORDER)
    with pytest.warns(UserWarning, match=r"depend on idle\.weight, idle\.bias") as record:
        trainer.fit(make_split(weight=NOT_THE_FIRST, dtype=np.float32))
    assert len(record) == 1


def test_frozen_parameters_are_not_missed():
    model = Half()
    model.idle.freeze()
    make_trainer(model, optimizers.Adam(model.used.parameters()), epochs=1).fit(
        make_split(dtype=np.float32)
    )


class Log(layers.Module):
    """Not finite for inputs below 0."""

    def forward(self, x):
        return ops.log(x)


class Explode(layers.Module):
    """Finite, with a derivative that is not: the square of 1e200 overflows."""

    def forward(self, x):
        return ops.reciprocal(x * 0.0 + 1e-200) * 1e-200


def diverging(*inner):
    model = layers.Sequential(
        layers.Linear(FEATURES, 4, rng=0),
        layers.Residual(layers.Sequential(*inner)),
        layers.Linear(4, 1, rng=0),
    )
    return model.astype("float64")


def test_a_loss_that_is_not_finite_is_traced_to_layer_and_operation():
    trainer = make_trainer(diverging(layers.Tanh(), Log()))
    with pytest.raises(DivergedError) as error:
        trainer.fit(make_split())
    text = str(error.value)
    assert "at step 1 (epoch 1): the loss is nan" in text
    assert "output of operation log in model.1" in text
    assert "Log, in the forward pass" in text


def test_a_gradient_that_is_not_finite_is_traced_to_layer_and_operation():
    trainer = make_trainer(diverging(Explode()), accumulate=2, batching=IN_ORDER)
    before = weights(trainer)
    with pytest.raises(DivergedError) as error:
        trainer.fit(make_split(weight=NOT_THE_FIRST))
    assert "the gradient is not finite" in str(error.value)
    assert "derivative of operation reciprocal in model.1" in str(error.value)
    np.testing.assert_array_equal(weights(trainer), before)


def test_a_parameter_that_is_not_finite_is_named():
    model = make_model()
    model[3].weight.data[0] = np.inf
    with pytest.raises(DivergedError, match=r"parameter 3\.weight, by the update before"):
        make_trainer(model).fit(make_split())


def test_inputs_that_are_not_finite_are_told_from_the_layers_own_numbers():
    split = make_split()
    split.x[:] = np.nan
    with pytest.raises(DivergedError, match=r"an input of operation linear in model\.0\.Linear"):
        make_trainer().fit(split)


def test_masks_of_minus_infinity_are_not_blamed():
    class Masked(layers.Module):
        def forward(self, x):
            mask = np.where(np.arange(4) < 2, 0.0, -np.inf)
            return ops.log(ops.softmax(x + mask) - 2.0)

    with pytest.raises(DivergedError, match="output of operation log in"):
        make_trainer(diverging(Masked())).fit(make_split())


def test_a_norm_that_merely_overflows_is_no_divergence():
    def loss(prediction, target, sample_weight=None):
        return (prediction * np.float32(1e25)).mean()

    model = make_model(dtype="float32")
    trainer = make_trainer(model, optimizers.SGD(model.parameters(), lr=1e-30), loss=loss, epochs=1)
    trainer.fit(make_split(dtype=np.float32))
    assert math.isfinite(trainer.history["train_loss"][0])


def test_a_validation_loss_that_never_was_finite_ends_the_run():
    def loss(prediction, target, sample_weight=None):
        return (
            squared_error(prediction, target)
            + ops.log(prediction * 0.0 + target.mean()).mean() * 0.0
        )

    train, validation = make_split(), make_split(seed=1)
    train.y[:], validation.y[:] = abs(train.y) + 0.1, -1.0
    trainer = make_trainer(loss=loss, epochs=2)
    with pytest.raises(DivergedError) as error:
        trainer.fit(train, validation)
    text = str(error.value)
    assert "by step 10 (epoch 2): the validation loss is nan" in text
    assert "output of operation log in the loss" in text


def test_diagnosis_leaves_the_model_as_it_was():
    trainer = make_trainer(diverging(Log()))
    with pytest.raises(DivergedError):
        trainer.fit(make_split())
    assert not any("forward" in vars(module) for module in trainer.model.modules())


# Callbacks ---------------------------------------------------------------------------------------


def test_hooks_come_in_order_and_close_comes_last():
    calls = []

    class Log(Callback):
        pass

    for hook in ("on_fit_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_fit_end"):
        setattr(Log, hook, lambda self, trainer, *row, hook=hook: calls.append(hook))
    Log.close = lambda self: calls.append("close")
    make_trainer(epochs=1, batch_size=20, callbacks=[Log()]).fit(make_split())
    assert calls == [
        "on_fit_begin",
        "on_epoch_begin",
        "on_step_end",
        "on_step_end",
        "on_epoch_end",
        "on_fit_end",
        "close",
    ]


def test_callbacks_are_closed_after_an_exception():
    closed = []

    class Fail(Callback):
        def on_step_end(self, trainer):
            raise RuntimeError("stop")

        def close(self):
            closed.append(True)

    with pytest.raises(RuntimeError):
        make_trainer(callbacks=[Fail()]).fit(make_split())
    assert closed == [True]
