"""Cross entropy and its kin: forms of target, class weights, ignored rows, extremes, errors."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import Tensor, losses
from nnad.errors import ClassRangeError, ShapeError

if importlib.util.find_spec("torch"):
    import torch
    import torch._dynamo  # here, because it changes os.environ, which a test may not
    import torch.nn.functional as F
else:
    torch = None

CLASSES = np.array([2, 0, 3, 0, 1, 2])
WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])


@pytest.fixture
def logits(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 4))


def value_and_slope(function: Callable[[Any], Any], x: np.ndarray) -> tuple[Any, np.ndarray]:
    value, slope = nnad.value_and_grad(function)(x)
    return value, slope


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("sample_weight", [None, np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_class_numbers_and_one_hot_rows_agree(
    logits: np.ndarray, weight: Any, sample_weight: Any, smoothing: float, reduction: str
) -> None:
    one_hot = np.eye(4)[CLASSES]
    settings: dict[str, Any] = {
        "weight": weight,
        "sample_weight": sample_weight,
        "label_smoothing": smoothing,
        "reduction": reduction,
    }
    a = value_and_slope(lambda x: losses.cross_entropy(x, CLASSES, **settings), logits)
    b = value_and_slope(lambda x: losses.cross_entropy(x, one_hot, **settings), logits)
    c = value_and_slope(lambda x: losses.cross_entropy(x, one_hot.astype(int), **settings), logits)
    np.testing.assert_allclose(a[0], b[0], rtol=1e-12)
    np.testing.assert_allclose(a[1], b[1], rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(b[1], c[1])


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignore_index", [None, 0, -100])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_class_weights_and_ignored_rows_as_in_pytorch(
    logits: np.ndarray, weight: Any, ignore_index: int | None, smoothing: float, reduction: str
) -> None:
    classes = np.where(CLASSES == 3, ignore_index or 3, CLASSES)
    ours = Tensor(logits, requires_grad=True)
    theirs = torch.tensor(logits, requires_grad=True)
    a = losses.cross_entropy(
        ours,
        classes,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    b = F.cross_entropy(
        theirs,
        torch.tensor(classes),
        weight=None if weight is None else torch.tensor(weight),
        ignore_index=-1000 if ignore_index is None else ignore_index,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-10)
    a.backward(np.ones(a.shape))
    b.backward(torch.ones(a.shape, dtype=torch.float64))
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", ["nll", "multiclass_hinge", "binary_cross_entropy_with_logits"])
def test_other_class_weights(name: str, logits: np.ndarray) -> None:
    """A weighted mean divides by the sum of the weights, also where PyTorch counts rows."""
    weight = torch.tensor(WEIGHT)
    if name == "nll":
        log_p = losses.cross_entropy(logits, CLASSES, reduction="none")[:, None] - logits
        own = losses.nll(-log_p, CLASSES, weight=WEIGHT, ignore_index=0)
        theirs = F.nll_loss(
            torch.tensor(-log_p), torch.tensor(CLASSES), weight=weight, ignore_index=0
        )
    elif name == "multiclass_hinge":
        own = losses.multiclass_hinge(logits, CLASSES, weight=WEIGHT)
        total = F.multi_margin_loss(
            torch.tensor(logits), torch.tensor(CLASSES), weight=weight, reduction="sum"
        )
        theirs = total / WEIGHT[CLASSES].sum()
    else:
        target = np.eye(4)[CLASSES]
        own = losses.binary_cross_entropy_with_logits(logits, target, weight=WEIGHT)
        total = F.binary_cross_entropy_with_logits(
            torch.tensor(logits), torch.tensor(target), weight=weight, reduction="sum"
        )
        theirs = total / (6 * WEIGHT.sum())
    np.testing.assert_allclose(own, float(theirs), rtol=1e-10)


def test_sample_weights_of_rows_and_of_single_classes_in_sequences(
    rng: np.random.Generator,
) -> None:
    logits, classes = rng.normal(size=(3, 5, 4)), rng.integers(0, 4, (3, 5))
    each = losses.cross_entropy(logits, classes, reduction="none")
    rows = np.array([1.0, 0.0, 2.0])
    np.testing.assert_allclose(
        losses.cross_entropy(logits, classes, sample_weight=rows),
        np.average(each, weights=np.broadcast_to(rows[:, None], (3, 5))),
    )
    single = rng.uniform(size=(3, 5))
    np.testing.assert_allclose(
        losses.cross_entropy(logits, classes, sample_weight=single),
        np.average(each, weights=single),
    )


@pytest.mark.parametrize("target", [CLASSES, np.eye(4)[CLASSES]])
@pytest.mark.parametrize("which", ["weight", "sample_weight"])
def test_weights_have_gradients_too(logits: np.ndarray, target: np.ndarray, which: str) -> None:
    start = {"weight": WEIGHT, "sample_weight": np.arange(1.0, 7.0)}[which]

    def function(w: Any) -> Any:
        return losses.cross_entropy(logits, target, **{which: w}, label_smoothing=0.1)

    slope = nnad.grad(function)(start)
    for i in range(len(start)):
        step = np.zeros_like(start)
        step[i] = 1e-6
        expected = (function(start + step) - function(start - step)) / 2e-6
        np.testing.assert_allclose(slope[i], expected, rtol=1e-6, atol=1e-9)


def test_soft_targets_have_gradients_too(logits: np.ndarray) -> None:
    shares = np.full((6, 4), 0.25)
    slope = nnad.grad(lambda q: losses.cross_entropy(logits, q))(shares)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(slope, -log_p / 6, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_any_size_give_finite_losses_and_gradients(dtype: Any) -> None:
    x = Tensor(np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype), requires_grad=True)
    loss = losses.cross_entropy(x, np.array([0, 0]), reduction="none")
    np.testing.assert_array_equal(loss.data, [0.0, 2e4])
    loss.backward(np.ones(2, dtype))
    np.testing.assert_array_equal(x.grad, [[0, 0, 0], [-1, 1, 0]])
    y = Tensor(np.array([1e4, -1e4, 1e4, -1e4], dtype), requires_grad=True)
    binary = losses.binary_cross_entropy_with_logits(y, [1.0, 0.0, 0.0, 1.0], reduction="none")
    np.testing.assert_array_equal(binary.data, [0.0, 0.0, 1e4, 1e4])
    binary.backward(np.ones(4, dtype))
    np.testing.assert_allclose(y.grad, [0, 0, 1, -1], atol=1e-30)
    z = losses.log_cosh(np.array([1e4, -1e4], dtype), [0.0, 0.0], reduction="none")
    np.testing.assert_allclose(z, 1e4 - np.log(2))


def test_masked_classes_may_have_minus_infinity() -> None:
    x = Tensor(np.array([[0.0, -np.inf, 0.0]]), requires_grad=True)
    loss = losses.cross_entropy(x, np.array([0]))
    loss.backward()
    np.testing.assert_allclose(loss.data, np.log(2))
    np.testing.assert_allclose(x.grad, [[-0.5, 0.0, 0.5]])


def test_probabilities_of_zero_and_one_are_bounded_as_in_pytorch() -> None:
    with warnings.catch_warnings(action="error"):
        loss = losses.binary_cross_entropy([0.0, 1.0, 0.0], [1.0, 0.0, 0.0], reduction="none")
    np.testing.assert_array_equal(loss, [100.0, 100.0, 0.0])


def test_batchmean_of_kl_div_is_the_divergence_of_the_rows(rng: np.random.Generator) -> None:
    p, q = rng.dirichlet(np.ones(3), 4), rng.dirichlet(np.ones(3), 4)
    q[0] = [1.0, 0.0, 0.0]
    positive = np.where(q > 0, q, 1.0)
    rows = (q * (np.log(positive) - np.log(p))).sum(1)
    np.testing.assert_allclose(losses.kl_div(np.log(p), q, reduction="batchmean"), rows.mean())
    weighted = losses.kl_div(np.log(p), q, reduction="batchmean", sample_weight=[1, 2, 0, 1])
    np.testing.assert_allclose(weighted, np.average(rows, weights=[1, 2, 0, 1]))


def test_any_integer_dtype_and_lists_will_do(logits: np.ndarray) -> None:
    expected = losses.cross_entropy(logits, CLASSES)
    for dtype in (np.int8, np.uint8, np.int32, np.uint64):
        assert losses.cross_entropy(logits, CLASSES.astype(dtype)) == expected
    assert losses.cross_entropy(logits.tolist(), CLASSES.tolist()) == expected
    assert losses.cross_entropy(logits[::-1], CLASSES[::-1]) == pytest.approx(expected, rel=1e-12)


def test_an_empty_batch_and_a_single_row() -> None:
    assert losses.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)) == 0
    assert losses.cross_entropy(np.zeros(4), np.array(2)) == pytest.approx(np.log(4))


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "focal", "multiclass_hinge"])
@pytest.mark.parametrize("wrong", [4, 7, -1])
def test_a_class_out_of_range_is_named(name: str, wrong: int, logits: np.ndarray) -> None:
    with pytest.raises(ClassRangeError, match=f"class {wrong} is out of range.*4 classes"):
        getattr(losses, name)(logits, np.array([0, 1, wrong, 2, 0, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: losses.cross_entropy(x, CLASSES[:3]),
            r"logits have shape \(6, 4\).*class numbers of shape \(6,\).*got shape \(3,\)",
        ),
        (lambda x: losses.cross_entropy(x, np.ones((6, 3))), r"got shape \(6, 3\)"),
        (lambda x: losses.cross_entropy(x, CLASSES, weight=np.ones(3)), "each of the 4 classes"),
        (lambda x: losses.mse(x[:, :1], np.ones(6)), r"drop the prediction's last axis"),
        (lambda x: losses.mse(x[:, 0], np.ones((6, 1))), r"drop the target's last axis"),
        (lambda x: losses.quantile(x, np.ones(6), q=[0.1, 0.9]), r"expected \(6, 2\)"),
        (lambda x: losses.gaussian_nll(x, x, np.ones((6, 3))), r"var has shape \(6, 3\)"),
        (lambda x: losses.contrastive(x, x, np.ones((6, 1))), r"target must have shape \(6,\)"),
        (lambda x: losses.ctc(x, CLASSES[:, None]), r"shape \(batch, time, classes\)"),
        (lambda x: losses.ctc(x[None], np.array([[1, 2]]), [7]), "from 1 to 6, got 7"),
        (lambda x: losses.ctc(x[None], np.array([1, 2, 3]), None, [2]), "add up to 2"),
    ],
)
def test_shapes_that_do_not_fit(
    call: Callable[[Any], Any], message: str, logits: np.ndarray
) -> None:
    with pytest.raises(ShapeError, match=message):
        call(logits)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: losses.cross_entropy(x, CLASSES + 0.5), "must be integers, got float64"),
        (lambda x: losses.cross_entropy(x, x, ignore_index=0), "sample_weight of 0"),
        (lambda x: losses.quantile(x, x, q=1.0), "q must lie between 0 and 1"),
        (lambda x: losses.huber(x, x, delta=0.0), "delta must be positive"),
        (lambda x: losses.smooth_l1(x, x, beta=-1.0), "beta must be at least 0"),
        (lambda x: losses.tweedie(x, x, power=0.5), "power must be at least 1"),
        (lambda x: losses.multiclass_hinge(x, CLASSES, p=3), "p must be 1 or 2"),
        (lambda x: losses.ctc(x[None], np.array([[1, 0]])), "label 0 cannot be a target"),
        (lambda x: losses.ctc(x[None], np.array([[1, 4]])), "label 4 cannot be a target"),
    ],
)
def test_settings_that_cannot_be_meant(
    call: Callable[[Any], Any], message: str, logits: np.ndarray
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(logits)


def test_a_target_that_its_input_is_too_short_for(rng: np.random.Generator) -> None:
    x = Tensor(rng.normal(size=(2, 2, 4)), requires_grad=True)
    target, lengths = np.array([[1, 1, 1], [2, 3, 0]]), np.array([3, 2])
    each = losses.ctc(x, target, None, lengths, reduction="none")
    assert np.isinf(each.data[0])
    assert np.isfinite(each.data[1])
    loss = losses.ctc(x, target, None, lengths, zero_infinity=True)
    loss.backward()
    assert loss.data == pytest.approx(each.data[1] / 2 / 2)
    np.testing.assert_array_equal(x.grad[0], 0)
    assert np.all(np.isfinite(x.grad))


def test_ctc_takes_labels_in_one_row_and_ignores_what_is_past_the_lengths(
    rng: np.random.Generator,
) -> None:
    log_p = rng.normal(size=(2, 5, 4))
    padded = losses.ctc(log_p, np.array([[1, 2, 3], [3, 9, -4]]), [5, 3], [3, 1])
    joined = losses.ctc(log_p, np.array([1, 2, 3, 3]), [5, 3], [3, 1])
    assert padded == joined
    changed = log_p.copy()
    changed[1, 3:] = 100.0
    assert losses.ctc(changed, np.array([1, 2, 3, 3]), [5, 3], [3, 1]) == joined
    empty = losses.ctc(log_p, np.array([[1], [0]]), None, [1, 0], reduction="none")
    assert empty[1] == pytest.approx(-log_p[1, :, 0].sum())
