"""Means over parts of a batch, by what each is divided by, make up the mean over the whole."""

import functools
import inspect

import numpy as np
import pytest

import nnad
from nnad import losses
from nnad.data.dataset import Split
from nnad.layers import Linear
from nnad.losses.divisor import WEIGH_CLASSES, count_rows, divisor_of
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


def test_every_loss_that_knows_classes_is_looked_at():
    knows = {
        f
        for f in vars(losses).values()
        if inspect.isfunction(f)
        and {"weight", "ignore_index"} & set(inspect.signature(f).parameters)
    }
    assert knows - set(WEIGH_CLASSES) <= {  # whose weights are those of outputs: alike in all rows
        losses.binary_cross_entropy,
        losses.binary_cross_entropy_with_logits,
    }


def test_others_count_rows():
    assert divisor_of(lambda prediction, target, sample_weight=None: 0.0) is count_rows
    assert divisor_of(losses.CrossEntropy(label_smoothing=0.1)) is count_rows
    assert count_rows(np.zeros((5, 2)), None) == 5


def test_the_loss_of_a_job_is_known():
    job = ["loss={name: cross_entropy, ignore_index: 0}", "baseline=false"]
    loss = build_loss(load_config("mlp.yaml", job))
    assert divisor_of(loss)(np.array([0, 1, 2]), None) == 2


@pytest.mark.parametrize("kind", ["accumulate", "blocks"])
@pytest.mark.parametrize("settings", [{"weight": WEIGHT}, {"ignore_index": 1}])
def test_training_in_parts_trains_the_same_model(rng, kind, settings):
    x = rng.normal(size=(16, 5))
    split = Split(x, np.concatenate([CLASSES, CLASSES]), None)

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
