"""Every loss against its formula in plain NumPy, PyTorch, weights as repeated rows, and slopes."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import Tensor, losses
from nnad.losses import Loss

if importlib.util.find_spec("torch"):
    import torch
    import torch._dynamo  # here, because it changes os.environ, which a test may not
    import torch.nn.functional as F
else:
    torch = None

N = 4  # rows of every case


@dataclass
class Case:
    """One way to call a loss.

    Attributes:
        operands: makes the positional arguments from a generator.
        formula: the losses row by row, from the operands; independent of nnad.
        torch: the same from PyTorch's tensors, with a keyword `reduction`.
        settings: keyword arguments of the loss.
        smooth: the second derivative exists.
    """

    operands: Callable[[np.random.Generator], tuple[Any, ...]]
    formula: Callable[..., np.ndarray]
    torch: Callable[..., Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x, y[..., None], -1)[..., 0]


def pair(shape: tuple[int, ...] = (N, 3)) -> Callable[..., tuple[Any, ...]]:
    return lambda rng: (rng.normal(size=shape), rng.normal(size=shape))


def scores_and_classes(rng: np.random.Generator) -> tuple[Any, ...]:
    return rng.normal(size=(N, 5)), np.array([3, 0, 0, 4])


def sequences(rng: np.random.Generator) -> tuple[Any, ...]:
    return rng.normal(size=(N, 3, 5)), rng.integers(0, 5, (N, 3))


def scores_and_shares(rng: np.random.Generator) -> tuple[Any, ...]:
    return rng.normal(size=(N, 5)), rng.dirichlet(np.ones(5), N)


def scores_and_answers(rng: np.random.Generator) -> tuple[Any, ...]:
    return 2 * rng.normal(size=(N, 3)), (rng.random((N, 3)) > 0.4).astype(float)


def positive(*, log: bool, zeros: bool = False) -> Callable[..., tuple[Any, ...]]:
    def make(rng: np.random.Generator) -> tuple[Any, ...]:
        target = rng.gamma(2.0, size=(N, 2)).round(2)
        if zeros:
            target[0] = 0.0
        prediction = rng.normal(size=(N, 2))
        return prediction if log else np.exp(prediction), target

    return make


def embeddings(signs: tuple[float, ...]) -> Callable[..., tuple[Any, ...]]:
    return lambda rng: (
        rng.normal(size=(N, 3)),
        rng.normal(size=(N, 3)),
        np.array(list(itertools.islice(itertools.cycle(signs), N))),
    )


def triplets(rng: np.random.Generator) -> tuple[Any, ...]:
    return tuple(rng.normal(size=(N, 3)) for _ in range(3))


def speech(rng: np.random.Generator) -> tuple[Any, ...]:
    target = np.array([[1, 1, 2], [3, 2, 0], [2, 0, 0], [4, 3, 4]])
    lengths = np.array([6, 4, 5, 6]), np.array([3, 2, 1, 3])
    return log_softmax(rng.normal(size=(N, 6, 5))), target, *lengths


def smoothed(x: np.ndarray, y: np.ndarray, share: float) -> np.ndarray:
    q = np.eye(x.shape[-1])[y] * (1 - share) + share / x.shape[-1]
    return -(q * log_softmax(x)).sum(-1)


def pinball(prediction: np.ndarray, target: np.ndarray, q: Any) -> np.ndarray:
    error = target - prediction
    return np.where(error > 0, np.multiply(q, error), np.multiply(q, error) - error)


def huber(d: np.ndarray, delta: float) -> np.ndarray:
    d = np.abs(d)
    return np.where(d < delta, d * d / 2, delta * (d - delta / 2))


def distance(x: np.ndarray, y: np.ndarray, p: float = 2) -> np.ndarray:
    return (np.abs(x - y + 1e-6) ** p).sum(-1) ** (1 / p)


def cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)


def binary_focal(x: np.ndarray, y: np.ndarray, gamma: float, alpha: float = 0.5) -> np.ndarray:
    right = np.where(y == 1, sigmoid(x), sigmoid(-x))
    factor = np.where(y == 1, alpha, 1 - alpha)
    return -factor * (1 - right) ** gamma * np.log(right)


def class_focal(x: np.ndarray, y: np.ndarray, gamma: float) -> np.ndarray:
    p = np.exp(at(log_softmax(x), y))
    return -((1 - p) ** gamma) * np.log(p)


def stirling(count: float) -> float:
    many = count * math.log(count) - count + math.log(2 * math.pi * count) / 2 if count else 0.0
    return many if count > 1 else 0.0


def full_poisson(rate: np.ndarray, count: np.ndarray) -> np.ndarray:
    return rate - count * np.log(rate + 1e-8) + np.vectorize(stirling)(count)


def rival_hinges(s: np.ndarray, y: np.ndarray, p: int, margin: float) -> np.ndarray:
    terms = np.maximum(0, margin - at(s, y)[..., None] + s) ** p
    np.put_along_axis(terms, y[..., None], 0.0, -1)
    return terms.sum(-1) / s.shape[-1]


def all_alignments(
    log_p: np.ndarray, target: np.ndarray, times: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """CTC by brute force: the sum over all paths that collapse to the target."""
    found = []
    for row, labels, time, length in zip(log_p, target, times, lengths, strict=True):
        total = 0.0
        for path in itertools.product(range(log_p.shape[2]), repeat=int(time)):
            collapsed = [label for label, _ in itertools.groupby(path) if label != 0]
            if collapsed == labels[:length].tolist():
                total += math.exp(sum(row[t, label] for t, label in enumerate(path)))
        found.append(-math.log(total))
    return np.array(found)


def torch_ctc(log_p: Any, target: Any, times: Any, lengths: Any, reduction: str) -> Any:
    return F.ctc_loss(log_p.transpose(0, 1), target, times, lengths, reduction=reduction)


def torch_named(name: str, **settings: Any) -> Callable[..., Any] | None:
    return None if torch is None else lambda *a, **k: getattr(F, name)(*a, **settings, **k)


def torch_classes(x: Any, y: Any, **settings: Any) -> Any:
    """PyTorch has the classes on axis 1."""
    return F.cross_entropy(x.transpose(1, -1), y, **settings)


CASES: dict[str, list[Case]] = {
    "cross_entropy": [
        Case(scores_and_classes, lambda x, y: -at(log_softmax(x), y), torch_named("cross_entropy")),
        Case(sequences, lambda x, y: -at(log_softmax(x), y), torch_classes),
        Case(
            scores_and_classes,
            lambda x, y: smoothed(x, y, 0.2),
            torch_named("cross_entropy", label_smoothing=0.2),
            {"label_smoothing": 0.2},
        ),
        Case(
            scores_and_shares,
            lambda x, q: -(q * log_softmax(x)).sum(-1),
            torch_named("cross_entropy"),
        ),
        Case(
            scores_and_shares,
            lambda x, q: -((0.9 * q + 0.02) * log_softmax(x)).sum(-1),
            torch_named("cross_entropy", label_smoothing=0.1),
            {"label_smoothing": 0.1},
        ),
    ],
    "nll": [
        Case(
            lambda rng: (log_softmax(rng.normal(size=(N, 5))), np.array([3, 0, 0, 4])),
            lambda x, y: -at(x, y),
            torch_named("nll_loss"),
        )
    ],
    "binary_cross_entropy_with_logits": [
        Case(
            scores_and_answers,
            lambda x, y: -np.log(np.where(y == 1, sigmoid(x), sigmoid(-x))),
            torch_named("binary_cross_entropy_with_logits"),
        ),
        Case(
            scores_and_answers,
            lambda x, y: (
                -np.where(y == 1, [2.0, 0.5, 1.0], 1.0)
                * np.log(np.where(y == 1, sigmoid(x), sigmoid(-x)))
            ),
            None
            if torch is None
            else lambda x, y, **k: F.binary_cross_entropy_with_logits(
                x, y, pos_weight=torch.tensor([2.0, 0.5, 1.0], dtype=x.dtype), **k
            ),
            {"pos_weight": [2.0, 0.5, 1.0]},
        ),
    ],
    "binary_cross_entropy": [
        Case(
            lambda rng: (rng.uniform(0.05, 0.95, (N, 3)), rng.uniform(size=(N, 3))),
            lambda p, y: -y * np.log(p) - (1 - y) * np.log(1 - p),
            torch_named("binary_cross_entropy"),
        )
    ],
    "focal": [
        Case(scores_and_answers, lambda x, y: 2 * binary_focal(x, y, 2.0)),
        Case(
            scores_and_answers,
            lambda x, y: binary_focal(x, y, 1.5, 0.25),
            settings={"gamma": 1.5, "alpha": 0.25},
        ),
        Case(scores_and_classes, lambda x, y: class_focal(x, y, 2.0)),
        Case(
            scores_and_classes,
            lambda x, y: class_focal(x, y, 0.0) * np.array([1.0, 2.0, 3.0, 4.0, 5.0])[y],
            settings={"gamma": 0.0, "alpha": [1.0, 2.0, 3.0, 4.0, 5.0]},
        ),
    ],
    "kl_div": [
        Case(
            lambda rng: (log_softmax(rng.normal(size=(N, 3))), rng.dirichlet(np.ones(3), N)),
            lambda log_p, q: q * (np.log(q) - log_p),
            torch_named("kl_div"),
        ),
        Case(
            lambda rng: tuple(log_softmax(rng.normal(size=(N, 3))) for _ in range(2)),
            lambda log_p, log_q: np.exp(log_q) * (log_q - log_p),
            torch_named("kl_div", log_target=True),
            {"log_target": True},
        ),
    ],
    "hinge": [
        Case(
            scores_and_answers,
            lambda s, y: np.maximum(0, 1 - (2 * y - 1) * s),
            smooth=False,
        ),
        Case(
            lambda rng: (rng.normal(size=N), np.array([1, -1, -1, 1])),
            lambda s, y: np.maximum(0, 0.5 - y * s),
            settings={"margin": 0.5},
            smooth=False,
        ),
    ],
    "squared_hinge": [
        Case(scores_and_answers, lambda s, y: np.maximum(0, 1 - (2 * y - 1) * s) ** 2)
    ],
    "multiclass_hinge": [
        Case(
            scores_and_classes,
            lambda s, y: rival_hinges(s, y, 1, 1.0),
            torch_named("multi_margin_loss"),
            smooth=False,
        ),
        Case(
            scores_and_classes,
            lambda s, y: rival_hinges(s, y, 2, 0.7),
            torch_named("multi_margin_loss", p=2, margin=0.7),
            {"p": 2, "margin": 0.7},
        ),
    ],
    "mse": [
        Case(pair(), lambda x, y: (x - y) ** 2, torch_named("mse_loss")),
        Case(pair((N,)), lambda x, y: (x - y) ** 2, torch_named("mse_loss")),
    ],
    "mae": [Case(pair(), lambda x, y: np.abs(x - y), torch_named("l1_loss"), smooth=False)],
    "huber": [
        Case(pair(), lambda x, y: huber(x - y, 1.0), torch_named("huber_loss")),
        Case(
            pair(),
            lambda x, y: huber(x - y, 0.4),
            torch_named("huber_loss", delta=0.4),
            {"delta": 0.4},
        ),
    ],
    "smooth_l1": [
        Case(pair(), lambda x, y: huber(x - y, 1.0), torch_named("smooth_l1_loss")),
        Case(
            pair(),
            lambda x, y: huber(x - y, 0.4) / 0.4,
            torch_named("smooth_l1_loss", beta=0.4),
            {"beta": 0.4},
        ),
        Case(
            pair(),
            lambda x, y: np.abs(x - y),
            torch_named("smooth_l1_loss", beta=0.0),
            {"beta": 0.0},
            smooth=False,
        ),
    ],
    "log_cosh": [Case(pair(), lambda x, y: np.log(np.cosh(x - y)))],
    "quantile": [
        Case(pair(), lambda x, y: pinball(x, y, 0.5), smooth=False),
        Case(pair(), lambda x, y: pinball(x, y, 0.9), settings={"q": 0.9}, smooth=False),
        Case(
            lambda rng: (rng.normal(size=(N, 2, 3)), rng.normal(size=(N, 2))),
            lambda x, y: pinball(x, y[..., None], [0.1, 0.5, 0.9]),
            settings={"q": (0.1, 0.5, 0.9)},
            smooth=False,
        ),
    ],
    "poisson_nll": [
        Case(
            lambda rng: (rng.normal(size=(N, 2)), rng.poisson(2.0, (N, 2)).astype(float)),
            lambda x, y: np.exp(x) - y * x,
            torch_named("poisson_nll_loss"),
        ),
        # PyTorch's gradient by a count of 0 is NaN, so it is compared on larger ones.
        Case(
            lambda rng: (rng.gamma(2.0, size=(N, 2)), 2.0 + rng.poisson(2.0, (N, 2))),
            full_poisson,
            torch_named("poisson_nll_loss", log_input=False, full=True),
            {"log_input": False, "full": True},
        ),
        Case(
            lambda rng: (rng.gamma(2.0, size=(N, 2)), rng.poisson(1.0, (N, 2))),
            full_poisson,
            settings={"log_input": False, "full": True},
        ),
    ],
    "gamma_nll": [
        Case(positive(log=True), lambda x, y: y / np.exp(x) + x),
        Case(positive(log=False), lambda m, y: y / m + np.log(m), settings={"log_input": False}),
    ],
    "tweedie": [
        Case(
            positive(log=True, zeros=True),
            lambda x, y: -y * np.exp(x) ** -0.5 / -0.5 + np.exp(x) ** 0.5 / 0.5,
        ),
        Case(
            positive(log=False, zeros=True),
            lambda m, y: -y * m**-0.3 / -0.3 + m**0.7 / 0.7,
            settings={"power": 1.3, "log_input": False},
        ),
        Case(positive(log=True), lambda x, y: np.exp(x) - y * x, settings={"power": 1.0}),
        Case(positive(log=True), lambda x, y: y * np.exp(-x) + x, settings={"power": 2.0}),
        Case(
            positive(log=True),
            lambda x, y: y * np.exp(-2 * x) / 2 - np.exp(-x),
            settings={"power": 3.0},
        ),
    ],
    "gaussian_nll": [
        Case(
            lambda rng: (*pair()(rng), rng.uniform(0.2, 2.0, (N, 3))),
            lambda m, y, v: (np.log(v) + (y - m) ** 2 / v) / 2,
            None if torch is None else F.gaussian_nll_loss,
        ),
        Case(
            lambda rng: (*pair()(rng), rng.uniform(0.2, 2.0, N)),
            lambda m, y, v: (
                (np.log(v[:, None]) + (y - m) ** 2 / v[:, None] + np.log(2 * np.pi)) / 2
            ),
            None if torch is None else lambda *a, **k: F.gaussian_nll_loss(*a, full=True, **k),
            {"full": True},
        ),
    ],
    "cosine_embedding": [
        Case(
            embeddings((1.0, -1.0)),
            lambda x, y, t: np.where(t > 0, 1 - cosine(x, y), np.maximum(0, cosine(x, y))),
            torch_named("cosine_embedding_loss"),
        ),
        Case(
            embeddings((1.0, -1.0)),
            lambda x, y, t: np.where(t > 0, 1 - cosine(x, y), np.maximum(0, cosine(x, y) + 0.4)),
            torch_named("cosine_embedding_loss", margin=-0.4),
            {"margin": -0.4},
        ),
    ],
    "triplet_margin": [
        Case(
            triplets,
            lambda a, p, n: np.maximum(0, distance(a, p) - distance(a, n) + 1),
            torch_named("triplet_margin_loss"),
        ),
        Case(
            triplets,
            lambda a, p, n: np.maximum(
                0, distance(a, p, 3) - np.minimum(distance(a, n, 3), distance(p, n, 3)) + 2
            ),
            torch_named("triplet_margin_loss", p=3, swap=True, margin=2.0),
            {"p": 3, "swap": True, "margin": 2.0},
        ),
        Case(
            triplets,
            lambda a, p, n: np.maximum(0, distance(a, p, 1) - distance(a, n, 1) + 1),
            torch_named("triplet_margin_loss", p=1),
            {"p": 1},
            smooth=False,
        ),
    ],
    "margin_ranking": [
        Case(
            lambda rng: (*pair((N,))(rng), np.array([1.0, -1.0, 1.0, -1.0])),
            lambda x, y, t: np.maximum(0, 0.3 - t * (x - y)),
            torch_named("margin_ranking_loss", margin=0.3),
            {"margin": 0.3},
            smooth=False,
        )
    ],
    "contrastive": [
        Case(
            embeddings((1.0, 0.0)),
            lambda x, y, t: (
                np.where(
                    t > 0,
                    ((x - y) ** 2).sum(-1),
                    np.maximum(0, 3 - np.linalg.norm(x - y, axis=-1)) ** 2,
                )
                / 2
            ),
            settings={"margin": 3.0},
        )
    ],
    "ctc": [Case(speech, all_alignments, torch_ctc)],
}

ALL = [
    pytest.param(name, case, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, case in enumerate(cases)
]


def class_name(name: str) -> str:
    """The class of a loss function: mse is MSE, cross_entropy is CrossEntropy."""
    parts = name.split("_")
    short = {"nll", "mse", "mae", "ctc"}
    return "".join(part.upper() if part in short else part.capitalize() for part in parts)


def exported_functions() -> set[str]:
    return {name for name, item in vars(losses).items() if inspect.isfunction(item)}


def exported_classes() -> set[str]:
    return {
        name
        for name, item in vars(losses).items()
        if inspect.isclass(item) and issubclass(item, Loss) and item is not Loss
    }


def call(name: str, case: Case, operands: tuple[Any, ...], **more: Any) -> Any:
    return getattr(losses, name)(*operands, **case.settings, **more)


def floats(operands: tuple[Any, ...]) -> list[int]:
    """Which operands are differentiated in the tests."""
    return [i for i, x in enumerate(operands) if x.dtype.kind == "f"]


def test_every_loss_has_cases() -> None:
    assert exported_functions() == CASES.keys()
    assert set(losses.__all__) == exported_functions() | exported_classes() | {"Loss"}


def test_every_loss_has_a_class() -> None:
    known = {"KlDiv": "KLDiv", "SmoothL1": "SmoothL1"}
    expected = {known.get(class_name(name), class_name(name)) for name in CASES}
    assert exported_classes() == expected


@pytest.mark.parametrize("name", sorted(exported_classes()))
def test_the_class_holds_the_settings_of_the_function(name: str) -> None:
    kind = getattr(losses, name)
    function = kind.function
    case = CASES[function.__name__][-1]
    operands = case.operands(np.random.default_rng(0))
    weight = np.arange(1.0, N + 1)
    got = kind(**case.settings, reduction="sum")(*operands, sample_weight=weight)
    expected = function(*operands, **case.settings, reduction="sum", sample_weight=weight)
    assert got == expected
    assert repr(kind(**case.settings)).startswith(f"{name}(")
    names = set(inspect.signature(kind).parameters)
    settings = {
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "sample_weight"
    }
    assert names == settings
    with pytest.raises(TypeError):
        kind(no_such_setting=1)


def reduce_by_formula(name: str, values: np.ndarray, operands: tuple[Any, ...]) -> float:
    if name == "ctc":
        values = values / operands[3]
    return float(values.mean())


@pytest.mark.parametrize(("name", "case"), ALL)
def test_value(name: str, case: Case, rng: np.random.Generator) -> None:
    operands = case.operands(rng)
    expected = case.formula(*operands)
    np.testing.assert_allclose(call(name, case, operands, reduction="none"), expected, rtol=1e-8)
    total = call(name, case, operands, reduction="sum")
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-8)
    mean = reduce_by_formula(name, expected, operands)
    np.testing.assert_allclose(call(name, case, operands), mean, rtol=1e-8)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "case"), [p for p in ALL if p.values[1].torch is not None])
def test_value_and_gradients_equal_pytorch(
    name: str, case: Case, reduction: str, rng: np.random.Generator
) -> None:
    assert case.torch is not None
    operands = case.operands(rng)
    which = [i for i in floats(operands) if not (name in ("cosine_embedding",) and i == 2)]
    ours = [Tensor(x, requires_grad=i in which) for i, x in enumerate(operands)]
    theirs = [torch.tensor(x, requires_grad=i in which) for i, x in enumerate(operands)]
    a = call(name, case, tuple(ours), reduction=reduction)
    with warnings.catch_warnings(action="ignore"):
        b = case.torch(*theirs, reduction=reduction)
    np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-8, atol=1e-12)
    seed = rng.normal(size=a.shape)
    a.backward(seed)
    b.backward(torch.tensor(seed))
    for i in which:
        if name == "ctc":  # PyTorch's gradient holds only behind a log_softmax
            np.testing.assert_allclose(
                ours[i].grad - np.exp(operands[0]) * ours[i].grad.sum(-1, keepdims=True),
                theirs[i].grad.numpy()
                - np.exp(operands[0]) * theirs[i].grad.numpy().sum(-1, keepdims=True),
                rtol=1e-8,
                atol=1e-10,
            )
            continue
        if theirs[i].grad is not None:
            np.testing.assert_allclose(ours[i].grad, theirs[i].grad.numpy(), rtol=1e-8, atol=1e-10)


def central_differences(function: Callable[..., Any], x: np.ndarray, step: float) -> np.ndarray:
    slope = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        high, low = x.copy(), x.copy()
        high[index] += step
        low[index] -= step
        slope[index] = (function(high) - function(low)) / (2 * step)
    return slope


@pytest.mark.parametrize(("name", "case"), ALL)
def test_gradient_is_the_slope_of_the_formula(
    name: str, case: Case, rng: np.random.Generator
) -> None:
    operands = case.operands(rng)

    def ours(x: Any) -> Any:
        return call(name, case, (x, *operands[1:]), reduction="sum")

    if name == "ctc":  # its formula is brute force: the gradient is compared with PyTorch's
        expected = central_differences(lambda x: float(ours(x)), operands[0], 1e-5)
    else:
        expected = central_differences(
            lambda x: case.formula(x, *operands[1:]).sum(), operands[0], 1e-5
        )
    np.testing.assert_allclose(nnad.grad(ours)(operands[0]), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "case"), [p for p in ALL if p.values[1].smooth])
@pytest.mark.parametrize("weighted", [False, True])
def test_second_derivative(name: str, case: Case, weighted: bool, rng: np.random.Generator) -> None:
    operands = case.operands(rng)
    weight = rng.uniform(0.5, 2.0, N) if weighted else None
    direction = rng.normal(size=operands[0].shape)

    def ours(x: Any) -> Any:
        return call(name, case, (x, *operands[1:]), sample_weight=weight)

    def slope(x: Any) -> Any:
        return (nnad.grad(ours)(x) * direction).sum()

    expected = central_differences(lambda x: float(slope(x)), operands[0], 1e-5)
    np.testing.assert_allclose(nnad.grad(slope)(operands[0]), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_forward_mode_agrees_with_reverse(name: str, case: Case, rng: np.random.Generator) -> None:
    operands = case.operands(rng)
    direction = rng.normal(size=operands[0].shape)

    def ours(x: Any) -> Any:
        return call(name, case, (x, *operands[1:]))

    _, tangent = nnad.jvp(ours, (operands[0],), (direction,))
    along = (nnad.grad(ours)(operands[0]) * direction).sum()
    np.testing.assert_allclose(tangent, along, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_a_weight_of_k_equals_the_row_repeated_k_times(
    name: str, case: Case, rng: np.random.Generator
) -> None:
    operands = case.operands(rng)
    counts = np.array([1, 3, 0, 2])
    repeated = tuple(np.repeat(x, counts, axis=0) for x in operands)
    for reduction in ("mean", "sum"):
        a = Tensor(operands[0], requires_grad=True)
        b = Tensor(repeated[0], requires_grad=True)
        weighted = call(
            name, case, (a, *operands[1:]), sample_weight=counts.astype(float), reduction=reduction
        )
        rows = call(name, case, (b, *repeated[1:]), reduction=reduction)
        np.testing.assert_allclose(weighted.data, rows.data, rtol=1e-12)
        weighted.backward()
        rows.backward()
        starts = np.cumsum(counts) - counts
        sums = [b.grad[s : s + k].sum(0) for s, k in zip(starts, counts, strict=True)]
        np.testing.assert_allclose(a.grad, np.array(sums), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_weights_that_are_all_zero_give_zero(
    name: str, case: Case, rng: np.random.Generator
) -> None:
    operands = case.operands(rng)
    prediction = Tensor(operands[0], requires_grad=True)
    loss = call(name, case, (prediction, *operands[1:]), sample_weight=np.zeros(N))
    loss.backward()
    assert loss.data == 0
    np.testing.assert_array_equal(prediction.grad, 0)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_the_precision_of_the_prediction_decides(
    name: str, case: Case, rng: np.random.Generator
) -> None:
    operands = case.operands(rng)
    prediction = Tensor(operands[0].astype(np.float32), requires_grad=True)
    loss = call(name, case, (prediction, *operands[1:]), sample_weight=np.ones(N))
    assert loss.dtype == np.float32
    loss.backward()
    assert prediction.grad.dtype == np.float32
    exact = call(name, case, operands)
    np.testing.assert_allclose(loss.data, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_arrays_in_arrays_out(name: str, case: Case, rng: np.random.Generator) -> None:
    operands = case.operands(rng)
    before = [x.copy() for x in operands]
    result = call(name, case, operands)
    assert not isinstance(result, Tensor)
    assert np.ndim(result) == 0
    for x, y in zip(operands, before, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("name", "case"), ALL)
def test_wrong_reduction_and_weights(name: str, case: Case, rng: np.random.Generator) -> None:
    operands = case.operands(rng)
    with pytest.raises(ValueError, match="'mean', 'sum' or 'none', got 'average'"):
        call(name, case, operands, reduction="average")
    with pytest.raises(nnad.ShapeError, match="one weight a row"):
        call(name, case, operands, sample_weight=np.ones(N + 1))
