"""Means over parts of a batch, by what each is divided by, make up the mean over the whole."""

import functools
import inspect

import numpy as np
import pytest

import nnad
from nnad import losses
from nnad.data.dataset import Split
from nnad.errors import ClassRangeError, ShapeError
from nnad.layers import Linear
from nnad.losses.divisor import WEIGH_CLASSES, WEIGH_ENTRIES, count_rows, divisor_of
from nnad.training.blocks import BlockTrainer
from nnad.training.build import build_loss
from nnad.training.config import load_config
from nnad.training.trainer import Trainer

WEIGHT = [1.0, 3.0, 0.5, 2.0]
CLASSES = np.array([0, 1, 3, 1, 2, 1, 1, 3])
TOKENS = np.stack([CLASSES, CLASSES[::-1], CLASSES], axis=1)
CASES = {  # loss, settings, targets
    "rows": (losses.cross_entropy, {}, CLASSES),
    "weights": (losses.cross_entropy, {"weight": WEIGHT}, CLASSES),
    "ignored": (losses.cross_entropy, {"ignore_index": 1}, CLASSES),
    "ignored -100": (
        losses.cross_entropy,
        {"ignore_index": -100, "weight": WEIGHT},
        np.where(CLASSES == 3, -100, CLASSES),
    ),
    "tokens": (losses.cross_entropy, {"weight": WEIGHT, "ignore_index": 0}, TOKENS),
    "smoothed": (losses.cross_entropy, {"weight": WEIGHT, "label_smoothing": 0.2}, CLASSES),
    "probabilities": (losses.cross_entropy, {"weight": WEIGHT}, np.eye(4)[CLASSES] * 0.6 + 0.1),
    "one hot": (losses.cross_entropy, {"weight": WEIGHT}, np.eye(4)[CLASSES] > 0),
    "nll": (losses.nll, {"weight": WEIGHT, "ignore_index": 1}, CLASSES),
    "hinge": (losses.multiclass_hinge, {"weight": WEIGHT}, CLASSES),
    "binary": (losses.binary_cross_entropy_with_logits, {"weight": WEIGHT}, np.eye(4)[CLASSES]),
    "focal": (losses.focal, {"alpha": WEIGHT}, CLASSES),
}
FORMS = {
    "partial": functools.partial,
    "partials": lambda f, **k: functools.partial(functools.partial(f, **k)),
    "class": lambda f, **k: next(
        kind
        for kind in vars(losses).values()
        if isinstance(kind, type) and getattr(kind, "function", None) is f
    )(**k),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["partial", "partials", "class"])
def test_parts_make_up_the_whole(rng, case, form, weighted):
    function, settings, target = CASES[case]
    loss = FORMS[form](function, **settings)
    axes = (8, 3, 4) if case == "tokens" else (8, 4)
    scores = rng.normal(size=axes)
    weight = rng.integers(0, 3, 8) * 1.0 if weighted else None
    parts = [slice(0, 3), slice(3, 8)]
    divisor = divisor_of(loss)
    sizes = [divisor(target[p], weight[p] if weighted else None) for p in parts]
    means = [
        float(loss(scores[p], target[p], sample_weight=weight[p] if weighted else None))
        for p in parts
    ]
    whole = float(loss(scores, target, sample_weight=weight))
    assert np.dot(sizes, means) / sum(sizes) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    "loss", [losses.binary_cross_entropy, losses.binary_cross_entropy_with_logits]
)
def test_weights_of_entries_meet_those_of_outputs(rng, loss):
    loss = functools.partial(loss, weight=WEIGHT)
    scores, weight = rng.uniform(size=(2, 8, 4))
    target = np.eye(4)[CLASSES]
    batches = [(scores[p], target[p], weight[p]) for p in (slice(0, 3), slice(3, 8))]
    sizes = [divisor_of(loss)(t, w) for _, t, w in batches]
    means = [float(loss(s, t, sample_weight=w)) for s, t, w in batches]
    whole = float(loss(scores, target, sample_weight=weight))
    assert np.dot(sizes, means) / sum(sizes) == pytest.approx(whole, rel=1e-12)


def test_every_loss_that_knows_classes_is_looked_at():
    knows = {
        f
        for f in vars(losses).values()
        if inspect.isfunction(f)
        and {"weight", "ignore_index"} & set(inspect.signature(f).parameters)
    }
    assert knows == {*WEIGH_CLASSES, *WEIGH_ENTRIES}


def test_others_count_rows():
    assert divisor_of(lambda prediction, target, sample_weight=None: 0.0) is count_rows
    assert divisor_of(losses.CrossEntropy(label_smoothing=0.1)) is count_rows
    assert divisor_of(losses.CrossEntropy(WEIGHT, reduction="sum")) is count_rows
    assert count_rows(np.zeros((5, 2)), None) == 5


def test_the_loss_of_a_job_is_known():
    job = ["loss={name: cross_entropy, ignore_index: 0}", "baseline=false"]
    loss = build_loss(load_config("mlp.yaml", job))
    assert divisor_of(loss)(np.array([0, 1, 2]), None) == 2


@pytest.mark.parametrize(
    ("weight", "target", "error", "told"),
    [
        (WEIGHT, CLASSES + 1, ClassRangeError, "class 4 is out of range"),
        (WEIGHT, CLASSES - 1, ClassRangeError, "class -1 is out of range"),
        (WEIGHT, CLASSES * 1.0, TypeError, "class numbers must be integers"),
        (WEIGHT, np.eye(5)[CLASSES], ShapeError, "the target must be class numbers"),
        (WEIGHT[:3], CLASSES, ShapeError, "weight for each of the 4 classes"),
        ([], CLASSES, ShapeError, "weight for each of the 4 classes"),
        ([WEIGHT], CLASSES, ShapeError, "weight for each of the 4 classes"),
    ],
)
def test_the_loss_says_what_is_wrong_with_its_targets(weight, target, error, told):
    model = Linear(5, 4, rng=1).astype("float64")
    optimizer = nnad.optimizers.SGD(model.parameters(), lr=0.5)
    trainer = Trainer(model, losses.CrossEntropy(weight), optimizer, epochs=1)
    with pytest.raises(error, match=told):
        trainer.fit(Split(np.ones((8, 5)), target, None))


@pytest.mark.parametrize("kind", ["accumulate", "blocks"])
@pytest.mark.parametrize(
    ("settings", "one_hot"),
    [({"weight": WEIGHT}, False), ({"weight": WEIGHT}, True), ({"ignore_index": 1}, False)],
)
def test_training_in_parts_trains_the_same_model(rng, kind, settings, one_hot):
    x = rng.normal(size=(16, 5))
    classes = np.concatenate([CLASSES, CLASSES])
    split = Split(x, np.eye(4, dtype=np.int64)[classes] if one_hot else classes, None)

    def trained(make, **options):
        model = Linear(5, 4, rng=1).astype("float64")
        trainer = make(
            model,
            losses.CrossEntropy(**settings),
            nnad.optimizers.SGD(model.parameters(), lr=0.5),
            epochs=3,
            batching={"shuffle": False},
            **options,
        )
        return trainer.fit(split)["train_loss"], model.weight.data

    whole = trained(Trainer, batch_size=16)
    if kind == "blocks":
        parts = trained(
            BlockTrainer, batch_size=16, communicator=nnad.distributed.Communicator(), blocks=4
        )
    else:
        parts = trained(Trainer, batch_size=4, accumulate=4)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
