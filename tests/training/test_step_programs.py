"""Compiled steps in the trainer: the same run, chosen by counting, resumed to the last bit."""

import copy
import math
from contextlib import nullcontext

import numpy as np
import pytest

from nnad import layers, losses, optimizers
from nnad.compiler.choice import why_not_native
from nnad.data import Split
from nnad.errors import DivergedError
from nnad.training import step_programs
from nnad.training.callbacks import Callback
from nnad.training.evaluation import predict
from nnad.training.state import capture, restore
from nnad.training.step_programs import StepPrograms, worth_native_seconds
from nnad.training.trainer import Trainer

needs_native = pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))


def make_split(rows: int = 70, seed: int = 0, weighted: bool = True) -> Split:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 5)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int64)
    return Split(x, y, rng.uniform(0.5, 2, rows).astype(np.float32) if weighted else None)


def make_trainer(compile, loss=losses.cross_entropy, kind="AdamW", **options) -> Trainer:
    rng = np.random.default_rng(7)
    model = layers.Sequential(
        layers.Linear(5, 16, rng=rng, bias=False),  # a bias would have rounding for a gradient
        layers.BatchNorm1d(16),
        layers.ReLU(),
        layers.Dropout(0.3, rng=rng),
        layers.Linear(16, 2, rng=rng),
    )
    model.flatten()
    optimizer = getattr(optimizers, kind)(model.parameters(), lr=0.01)
    options = {"epochs": 4, "batch_size": 8, "clip_norm": 0.5, **options}
    return Trainer(model, loss, optimizer, compile=compile, **options)


def numbers(trainer: Trainer) -> list[np.ndarray]:
    columns = [np.array(column) for column in trainer.history.values()]
    return [*trainer.model.state_dict().values(), *columns]


@pytest.fixture
def numpy_soon(monkeypatch):
    """The clock finds that NumPy programs pay, after two steps."""
    monkeypatch.setattr(step_programs, "TIMED_STEPS", 2)
    monkeypatch.setattr(step_programs, "NUMPY_MAKING", 0.0)


OPTIONS = [
    {},
    {"accumulate": 3},
    {"clip_norm": None},
    {"clip_norm": None, "clip_value": 0.01},
    {"class_weight": np.array([1.0, 3.0])},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_numpy_programs_change_no_bit(options, numpy_soon):
    eager = make_trainer(False, **options)
    eager.fit(make_split(), make_split(seed=1))
    compiled = make_trainer("auto", **options)
    compiled.fit(make_split(), make_split(seed=1))
    assert (eager.programs.kind, compiled.programs.kind) == ("eager", "numpy")
    assert compiled.programs.recorded == "eager"  # what files hold must not depend on the clock
    for a, b in zip(numbers(eager), numbers(compiled), strict=True):
        np.testing.assert_array_equal(a, b)


@needs_native
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_native_programs_agree_to_rounding_and_repeat_to_the_bit(options):
    eager = make_trainer(False, **options)
    eager.fit(make_split(), make_split(seed=1))
    first, second = make_trainer(True, **options), make_trainer(True, **options)
    for trainer in (first, second):
        trainer.fit(make_split(), make_split(seed=1))
        for call in (*trainer.programs._gradients.values(), trainer.programs.update):
            assert call.args[0].stats["backend"] == "native"
    for a, b in zip(numbers(eager), numbers(first), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    for a, b in zip(numbers(first), numbers(second), strict=True):
        np.testing.assert_array_equal(a, b)


class Snapshot(Callback):
    """Keeps the state after one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            self.state = copy.deepcopy(capture(trainer))


@pytest.fixture
def native_pays(monkeypatch):
    """Native programs pay at once."""
    monkeypatch.setattr(step_programs, "worth_native_seconds", lambda loss, steps: 1.0)


class Changing(Callback):
    """Changes something from one step on."""

    def __init__(self, change, step: int) -> None:
        self.change, self.step = change, step

    def on_fit_begin(self, trainer: Trainer) -> None:
        self.on_step_end(trainer)

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step >= self.step:
            self.change(trainer)


CHANGES = {
    "nothing": lambda trainer: None,
    "dropout rate": lambda trainer: setattr(trainer.model[3], "p", 0.6),
    "momentum": lambda trainer: setattr(trainer.model[1], "momentum", 0.5),
    "frozen layer": lambda trainer: trainer.model.freeze("0.*"),
    "option of the loss": lambda trainer: trainer.loss.settings.update(label_smoothing=0.3),
    "clipping": lambda trainer: setattr(trainer, "clip_norm", 0.01),
    "clipping by value": lambda trainer: setattr(trainer, "clip_value", 0.01),
    "rate and decay": lambda trainer: trainer.optimizer.param_groups[0].update(
        betas=(0.5, 0.9), weight_decay=0.0
    ),
    "maximize": lambda trainer: trainer.optimizer.param_groups[0].update(maximize=True),
}


@needs_native
@pytest.mark.parametrize("compile", ["auto", True])
@pytest.mark.parametrize(
    ("kind", "change", "options"),
    [
        *(("AdamW", change, {}) for change in CHANGES),
        ("RAdam", "nothing", {}),  # changes its program by itself
        ("AdamW", "dropout rate", {"accumulate": 2}),
    ],
)
def test_a_native_run_resumes_to_the_last_bit_from_every_step(
    compile, kind, change, options, native_pays
):
    rows = 27  # four batches, the last of three rows

    def trainer(*callbacks) -> Trainer:
        changing = Changing(CHANGES[change], step=4)
        loss = losses.CrossEntropy()
        return make_trainer(compile, loss, kind, callbacks=[changing, *callbacks], **options)

    snapshots = [Snapshot(step) for step in range(1, 8)]
    straight = trainer(*snapshots)
    straight.fit(make_split(rows), make_split(seed=1))
    for snapshot in snapshots:
        assert snapshot.state["programs"] == "native"
        resumed = trainer()
        restore(resumed, snapshot.state)
        resumed.fit(make_split(rows), make_split(seed=1))
        for a, b in zip(numbers(straight), numbers(resumed), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"from step {snapshot.step}")


@pytest.mark.parametrize("compile", [False, "auto", True])
def test_what_changes_at_every_step_is_computed_operation_by_operation(compile, numpy_soon):
    def anneal(trainer: Trainer) -> None:
        trainer.model[3].p = 0.5 / (1 + trainer.step)

    options = {"steps": 30, "clip_norm": None}
    eager = make_trainer(False, callbacks=[Changing(anneal, 0)], **options)
    eager.fit(make_split())
    annealed = make_trainer(compile, callbacks=[Changing(anneal, 0)], **options)
    with pytest.warns(UserWarning, match="different sets") if compile else nullcontext():
        annealed.fit(make_split())
    assert annealed.programs.kind == "eager"
    for a, b in zip(numbers(eager), numbers(annealed), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_what_could_not_be_compiled_stays_so_when_resumed():
    snapshots = [Snapshot(step) for step in (1, 3)]
    straight = make_trainer(True, branching_loss, callbacks=snapshots)
    with pytest.warns(UserWarning, match="not compiled"):
        straight.fit(make_split(27))
    for snapshot in snapshots:
        resumed = make_trainer(True, branching_loss)
        restore(resumed, snapshot.state)
        resumed.fit(make_split(27))
        for a, b in zip(numbers(straight), numbers(resumed), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_choice_of_a_checkpoint_is_kept(native_pays):
    programs = make_trainer("auto").programs
    programs.take_up("eager")
    assert programs.kind == "eager"
    forced = make_trainer(False).programs
    forced.take_up("native")
    assert forced.kind == "eager"


def branching_loss(prediction, target, sample_weight=None):
    loss = losses.cross_entropy(prediction, target, sample_weight=sample_weight)
    return loss * 2 if float(loss.data) > 1e9 else loss


def test_a_step_that_cannot_be_compiled_runs_eagerly_and_says_so_once():
    eager = make_trainer(False, branching_loss)
    eager.fit(make_split())
    fallen_back = make_trainer(True, branching_loss)
    with pytest.warns(
        UserWarning, match=r"not compiled: .*test_step_programs.py:\d+: float"
    ) as told:
        fallen_back.fit(make_split())
    assert len(told) == 1
    for a, b in zip(numbers(eager), numbers(fallen_back), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("compile", [False, True])
def test_divergence_is_told_alike(compile):
    trainer = make_trainer(compile)
    split = make_split()
    split.x[30:] = np.inf
    with pytest.raises(
        DivergedError, match=r"the loss is nan; first .*an input of operation linear"
    ):
        trainer.fit(split)


def first_loss(hidden: int, rows: int = 32):
    model = layers.Sequential(layers.Linear(64, hidden), layers.ReLU(), layers.Linear(hidden, 10))
    x = np.zeros((rows, 64), np.float32)
    return losses.cross_entropy(model(x), np.zeros(rows, np.int64))


def test_short_runs_and_large_products_do_not_wait_for_native_code():
    assert worth_native_seconds(first_loss(64), 400) < 0
    assert worth_native_seconds(first_loss(64), 10**6) > 0
    assert worth_native_seconds(first_loss(2**14), 10**6) < 0


def test_the_choice_is_made_by_counting():
    loss = first_loss(64)
    assert len({worth_native_seconds(first_loss(64), 1000) for _ in range(3)}) == 1
    assert math.isfinite(worth_native_seconds(loss, 1))
    assert isinstance(make_trainer("auto").programs, StepPrograms)


class Branching(layers.Module):
    """A layer that looks at values."""

    def forward(self, x):
        return x * 2 if float(x.sum()) > 0 else x


@pytest.mark.parametrize("layer", [layers.Tanh, Branching])
def test_predictions_of_many_rows_are_those_of_the_model(layer, monkeypatch):
    model = layers.Sequential(layers.Linear(5, 3), layers.Dropout(0.5), layer())
    made = []
    compiled = layers.Module.compiled
    monkeypatch.setattr(
        layers.Module, "compiled", lambda self, **o: made.append(compiled(self, **o)) or made[-1]
    )
    x = np.random.default_rng(0).standard_normal((12 * 512 + 100, 5)).astype(np.float32)
    got = predict(model, x)
    assert model.training
    model.eval()
    expected = np.concatenate([model(x[i : i + 512]).data for i in range(0, len(x), 512)])
    np.testing.assert_array_equal(got, expected)
    assert made[0].program.programs == (0 if layer is Branching else 1)
    predict(model, x[:100])
    assert len(made) == 1
