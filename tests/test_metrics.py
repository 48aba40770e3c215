"""Metrics against scikit-learn and formulas in plain NumPy."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

import nnad
from nnad import Tensor, losses, metrics

N = 40

SCORES = np.random.default_rng(1).normal(size=(N, 3))
CLASSES = np.random.default_rng(2).integers(0, 3, N)
SCORE = np.random.default_rng(3).normal(size=N)
ANSWER = (np.random.default_rng(4).random(N) > 0.4).astype(int)
QUESTIONS = np.random.default_rng(5).normal(size=(N, 3))
ANSWERS = (np.random.default_rng(6).random((N, 3)) > 0.5).astype(int)
NUMBERS = np.random.default_rng(7).normal(size=(N, 2))
TARGETS = NUMBERS + 0.3 * np.random.default_rng(8).normal(size=(N, 2)) + 0.1
WEIGHT = np.random.default_rng(9).integers(0, 4, N).astype(float)

P = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
P1 = 1 / (1 + np.exp(-SCORE))
TWO = np.stack([np.zeros(N), SCORE], axis=1)  # the same as two scores a row
PICKED = SCORES.argmax(1)
SAID = (SCORE > 0).astype(int)

Formula = Callable[[Any], Any]  # of the weights


def average(values: np.ndarray, w: Any) -> float:
    return float(np.average(values, weights=w))


def ece(confidence: np.ndarray, right: np.ndarray, w: Any, bins: int) -> float:
    w = np.ones(N) if w is None else w
    total = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if w[inside].sum():
            gap = average(right[inside], w[inside]) - average(confidence[inside], w[inside])
            total += w[inside].sum() * abs(gap)
    return total / w.sum()


def one_against_rest(score: Callable[..., float], w: Any) -> float:
    return float(np.mean([score(c == CLASSES, P[:, c], sample_weight=w) for c in range(3)]))


# By metric: (prediction, target, settings, the value as a function of the weights)
CASES: dict[str, list[tuple[Any, Any, dict[str, Any], Formula]]] = {
    "accuracy": [
        (SCORES, CLASSES, {}, lambda w: average(PICKED == CLASSES, w)),
        (PICKED, CLASSES, {}, lambda w: average(PICKED == CLASSES, w)),
        (SCORE, ANSWER, {}, lambda w: average(SAID == ANSWER, w)),
        (SCORE[:, None], ANSWER, {}, lambda w: average(SAID == ANSWER, w)),
        (TWO, ANSWER, {}, lambda w: average(SAID == ANSWER, w)),
        (QUESTIONS, ANSWERS, {}, lambda w: average(((QUESTIONS > 0) == ANSWERS).all(1), w)),
    ],
    "top_k_accuracy": [
        (
            SCORES,
            CLASSES,
            {"k": 2},
            lambda w: average((np.argsort(-SCORES)[:, :2] == CLASSES[:, None]).any(1), w),
        ),
        (SCORES, CLASSES, {}, lambda w: 1.0),
        (TWO, ANSWER, {"k": 1}, lambda w: average(SAID == ANSWER, w)),
    ],
    "balanced_accuracy": [
        (
            SCORES,
            CLASSES,
            {},
            lambda w: sk.recall_score(CLASSES, PICKED, average="macro", sample_weight=w),
        ),
    ],
    "precision": [
        (
            SCORES,
            CLASSES,
            {},
            lambda w: sk.precision_score(CLASSES, PICKED, average="macro", sample_weight=w),
        ),
        (SCORE, ANSWER, {}, lambda w: sk.precision_score(ANSWER, SAID, sample_weight=w)),
        (
            SCORES,
            CLASSES,
            {"average": "weighted"},
            lambda w: sk.precision_score(CLASSES, PICKED, average="weighted", sample_weight=w),
        ),
        (
            QUESTIONS,
            ANSWERS,
            {},
            lambda w: sk.precision_score(ANSWERS, QUESTIONS > 0, average="macro", sample_weight=w),
        ),
    ],
    "recall": [
        (
            SCORES,
            CLASSES,
            {},
            lambda w: sk.recall_score(CLASSES, PICKED, average="macro", sample_weight=w),
        ),
        (TWO, ANSWER, {}, lambda w: sk.recall_score(ANSWER, SAID, sample_weight=w)),
    ],
    "f_beta": [
        (
            SCORES,
            CLASSES,
            {"beta": 2.0},
            lambda w: sk.fbeta_score(CLASSES, PICKED, beta=2.0, average="macro", sample_weight=w),
        ),
        (SCORE, ANSWER, {}, lambda w: sk.f1_score(ANSWER, SAID, sample_weight=w)),
    ],
    "f1": [(SCORES, CLASSES, {"average": "micro"}, lambda w: average(PICKED == CLASSES, w))],
    "mcc": [
        (SCORES, CLASSES, {}, lambda w: sk.matthews_corrcoef(CLASSES, PICKED, sample_weight=w))
    ],
    "roc_auc": [
        (SCORE, ANSWER, {}, lambda w: sk.roc_auc_score(ANSWER, SCORE, sample_weight=w)),
        (TWO, ANSWER, {}, lambda w: sk.roc_auc_score(ANSWER, SCORE, sample_weight=w)),
        (SCORES, CLASSES, {}, lambda w: one_against_rest(sk.roc_auc_score, w)),
        (P, CLASSES, {"from_logits": False}, lambda w: one_against_rest(sk.roc_auc_score, w)),
        (
            QUESTIONS,
            ANSWERS,
            {},
            lambda w: sk.roc_auc_score(ANSWERS, QUESTIONS, sample_weight=w),
        ),
    ],
    "pr_auc": [
        (SCORE, ANSWER, {}, lambda w: sk.average_precision_score(ANSWER, SCORE, sample_weight=w)),
        (SCORES, CLASSES, {}, lambda w: one_against_rest(sk.average_precision_score, w)),
    ],
    "log_loss": [
        (SCORES, CLASSES, {}, lambda w: average(-np.log(P[np.arange(N), CLASSES]), w)),
        (
            P,
            CLASSES,
            {"from_logits": False},
            lambda w: average(-np.log(P[np.arange(N), CLASSES]), w),
        ),
        (SCORE, ANSWER, {}, lambda w: average(-np.log(np.where(ANSWER, P1, 1 - P1)), w)),
        (
            QUESTIONS,
            ANSWERS,
            {},
            lambda w: average(np.log1p(np.exp(QUESTIONS * (1 - 2 * ANSWERS))).mean(1), w),
        ),
    ],
    "brier": [
        (SCORES, CLASSES, {}, lambda w: average(((P - np.eye(3)[CLASSES]) ** 2).sum(1), w)),
        (SCORE, ANSWER, {}, lambda w: sk.brier_score_loss(ANSWER, P1, sample_weight=w)),
        (TWO, ANSWER, {}, lambda w: sk.brier_score_loss(ANSWER, P1, sample_weight=w)),
        (
            QUESTIONS,
            ANSWERS,
            {},
            lambda w: average(((1 / (1 + np.exp(-QUESTIONS)) - ANSWERS) ** 2).mean(1), w),
        ),
    ],
    "calibration_error": [
        (SCORES, CLASSES, {}, lambda w: ece(P.max(1), PICKED == CLASSES, w, 15)),
        (SCORE, ANSWER, {"n_bins": 4}, lambda w: ece(np.maximum(P1, 1 - P1), SAID == ANSWER, w, 4)),
        (
            QUESTIONS[:, :1],
            ANSWERS[:, :1],
            {},
            lambda w: metrics.calibration_error(QUESTIONS[:, 0], ANSWERS[:, 0], w),
        ),
    ],
    "perplexity": [
        (SCORES, CLASSES, {}, lambda w: math.exp(average(-np.log(P[np.arange(N), CLASSES]), w)))
    ],
    "mse": [
        (NUMBERS, TARGETS, {}, lambda w: average(((NUMBERS - TARGETS) ** 2).mean(1), w)),
        (
            NUMBERS[:, :1],
            TARGETS[:, 0],
            {},
            lambda w: average((NUMBERS[:, 0] - TARGETS[:, 0]) ** 2, w),
        ),
    ],
    "rmse": [
        (NUMBERS, TARGETS, {}, lambda w: average(((NUMBERS - TARGETS) ** 2).mean(1), w) ** 0.5)
    ],
    "mae": [(NUMBERS, TARGETS, {}, lambda w: average(np.abs(NUMBERS - TARGETS).mean(1), w))],
    "r2": [(NUMBERS, TARGETS, {}, lambda w: sk.r2_score(TARGETS, NUMBERS, sample_weight=w))],
    "mape": [
        (
            NUMBERS,
            TARGETS,
            {},
            lambda w: average(np.abs(NUMBERS / TARGETS - 1).mean(1), w),
        )
    ],
}

ALL = [
    pytest.param(name, *case, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, case in enumerate(cases)
]
HIGHER = {
    "accuracy",
    "top_k_accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f_beta",
    "f1",
    "mcc",
    "roc_auc",
    "pr_auc",
    "r2",
}


def test_every_metric_has_cases() -> None:
    functions = {
        name
        for name, item in vars(metrics).items()
        if inspect.isfunction(item) and hasattr(item, "higher_is_better")
    }
    assert functions == CASES.keys()
    assert set(metrics.__all__) == functions | {"confusion_matrix"}


@pytest.mark.parametrize(("name", "prediction", "target", "settings", "formula"), ALL)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_value(
    name: str, prediction: Any, target: Any, settings: Any, formula: Formula, weight: Any
) -> None:
    got = getattr(metrics, name)(prediction, target, sample_weight=weight, **settings)
    assert type(got) is float
    assert got == pytest.approx(float(formula(weight)), rel=1e-10)
    tensor = getattr(metrics, name)(Tensor(prediction), target, weight, **settings)
    assert tensor == got


@pytest.mark.parametrize(("name", "prediction", "target", "settings", "formula"), ALL)
def test_a_weight_of_k_equals_the_row_repeated_k_times(
    name: str, prediction: Any, target: Any, settings: Any, formula: Formula
) -> None:
    k = WEIGHT.astype(int)
    function = getattr(metrics, name)
    repeated = function(np.repeat(prediction, k, axis=0), np.repeat(target, k, axis=0), **settings)
    weighted = function(prediction, target, sample_weight=WEIGHT, **settings)
    assert weighted == pytest.approx(repeated, rel=1e-10)


@pytest.mark.parametrize("name", sorted(CASES))
def test_direction_of_better(name: str) -> None:
    assert metrics.is_score(getattr(metrics, name)) == (name in HIGHER)
    assert not metrics.is_score(lambda prediction, target: 0.0)


def test_confusion_matrix() -> None:
    expected = sk.confusion_matrix(CLASSES, PICKED)
    np.testing.assert_array_equal(metrics.confusion_matrix(SCORES, CLASSES), expected)
    weighted = metrics.confusion_matrix(SCORES, CLASSES, WEIGHT)
    assert weighted.sum() == WEIGHT.sum()
    unseen = metrics.confusion_matrix(np.zeros((2, 4)), np.array([0, 1]))
    assert unseen.shape == (4, 4)


def test_time_steps_of_sequences_count_as_rows() -> None:
    scores, classes = SCORES.reshape(8, 5, 3), CLASSES.reshape(8, 5)
    assert metrics.accuracy(scores, classes) == metrics.accuracy(SCORES, CLASSES)
    assert metrics.accuracy(scores.argmax(-1), classes) == metrics.accuracy(SCORES, CLASSES)
    rows = np.arange(8.0)
    assert metrics.perplexity(scores, classes, sample_weight=rows) == pytest.approx(
        math.exp(losses.cross_entropy(scores, classes, sample_weight=rows))
    )
    assert metrics.mse(scores, scores + 1.0, sample_weight=rows) == pytest.approx(1.0)


def test_what_cannot_be_computed_is_nan_without_a_warning() -> None:
    assert math.isnan(metrics.roc_auc([0.5, 0.2], [1, 1]))
    assert math.isnan(metrics.r2([1.0], [2.0]))
    assert metrics.precision([0, 0], [1, 1]) == 0.0
    rare = metrics.roc_auc(SCORES, np.where(CLASSES == 2, 1, CLASSES))
    assert 0.0 <= rare <= 1.0


def test_scores_so_large_that_probabilities_round_to_one() -> None:
    scores = np.array([[0.0, 100.0], [0.0, 200.0], [0.0, 300.0]])
    assert metrics.roc_auc(scores, [0, 1, 1]) == 1.0
    assert math.isfinite(metrics.log_loss(1e3 * SCORES, CLASSES))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy(SCORES, CLASSES + 1), "class 3 is out of range.*3 classes"),
        (lambda: metrics.accuracy(SCORES, CLASSES - 1), "class -1 is out of range"),
        (lambda: metrics.accuracy(SCORES, CLASSES[:-1]), r"\(40, 3\), the target \(39,\)"),
        (lambda: metrics.mse(SCORES, CLASSES), r"\(40, 3\), the target \(40,\)"),
        (lambda: metrics.mse(SCORE, SCORE, np.ones(3)), "one weight a row"),
        (lambda: metrics.top_k_accuracy(PICKED, CLASSES), "a score for each class"),
    ],
)
def test_shapes_that_do_not_fit(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((nnad.ShapeError, nnad.errors.ClassRangeError), match=message):
        call()


def test_scikit_learn_is_loaded_on_first_use() -> None:
    code = "import sys, nnad; nnad.metrics.mse; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
