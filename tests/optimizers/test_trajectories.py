"""Every optimizer walks the same path as PyTorch's, in float64, over 50 steps."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from typing import Any

import numpy as np
import pytest

from nnad import Tensor, optimizers
from nnad.optimizers import Optimizer

STEPS = 50

if importlib.util.find_spec("torch"):
    import torch
    import torch._dynamo  # here, because it changes os.environ, which a test may not
    import torch.optim._muon
else:
    torch = None

# Keyword arguments to try, by optimizer. One that is exported and not named here fails the test.
CASES: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {},
        {"lr": 0.01, "momentum": 0.9},
        {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"lr": 0.01, "momentum": 0.9, "dampening": 0.3},
        {"lr": 1e-4, "weight_decay": 0.1, "maximize": True},
    ],
    "Adam": [
        {},
        {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-3},
        {"lr": 0.05, "amsgrad": True, "maximize": True},
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "AdamW": [{}, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}],
    "Adamax": [{}, {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.95)}],
    "NAdam": [
        {},
        {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "RAdam": [
        {},
        {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.95)},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "RMSprop": [
        {},
        {"lr": 0.02, "weight_decay": 0.1, "alpha": 0.8},
        {"lr": 0.02, "momentum": 0.9},
        {"lr": 0.02, "centered": True, "eps": 1e-3},
        {"lr": 0.02, "centered": True, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.1},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
    ],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}],
    "Adafactor": [{}, {"lr": 0.05, "weight_decay": 0.1, "d": 1.5, "eps": (1e-8, 1e-2)}],
    "Rprop": [{}, {"lr": 0.1, "etas": (0.6, 1.3), "step_sizes": (1e-3, 0.5)}],
    "Muon": [
        {},
        {"lr": 0.05, "nesterov": False, "momentum": 0.8, "weight_decay": 0.0},
        {"lr": 0.05, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    ],
    "LBFGS": [
        {"lr": 0.1, "max_iter": 2},
        {"max_iter": 3, "line_search_fn": "strong_wolfe"},
        {"max_iter": 4, "line_search_fn": "strong_wolfe", "history_size": 2, "lr": 0.3},
    ],
    "Lion": [{}, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}],
}


def exported() -> list[str]:
    return sorted(
        name
        for name, item in vars(optimizers).items()
        if inspect.isclass(item) and issubclass(item, Optimizer) and item is not Optimizer
    )


def test_every_optimizer_has_cases() -> None:
    assert exported() == sorted(CASES)


def start(name: str) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    shapes: list[tuple[int, ...]] = [(4, 3), (2, 5)]
    if name != "Muon":  # PyTorch's takes matrices only
        shapes += [(3,), (), (2, 3, 2)]
    return [rng.normal(size=shape) for shape in shapes]


def value(params: list[Any]) -> Any:
    """A smooth function with curvature of all kinds; works for Tensors of both libraries."""
    total = 0.0
    for i, p in enumerate(params):
        shifted = p - 0.5 * (i + 1)
        total = total + ((i + 1.0) * shifted**2 + 0.1 * shifted**4).sum() + (p**3).sum() / 10
    return total + (params[0].sum() * params[1].sum()) ** 2 / 50


def run_ours(name: str, arguments: dict[str, Any]) -> list[list[np.ndarray]]:
    params = [Tensor(a.copy(), requires_grad=True) for a in start(name)]
    optimizer = getattr(optimizers, name)(params, **arguments)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = value(params)
        loss.backward()
        return loss

    path = []
    for _ in range(STEPS):
        optimizer.step(closure)
        path.append([p.data.copy() for p in params])
    return path


def run_torch(name: str, arguments: dict[str, Any]) -> list[list[np.ndarray]]:
    params = [torch.tensor(a, requires_grad=True) for a in start(name)]
    kind = getattr(torch.optim, name)
    optimizer = kind(params, **arguments)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = value(params)
        loss.backward()
        return loss

    path = []
    for _ in range(STEPS):
        optimizer.step(closure)
        path.append([p.detach().numpy().copy() for p in params])
    return path


def run_lion(arguments: dict[str, Any]) -> list[list[np.ndarray]]:
    """Algorithm 2 of Chen et al., 2023, as printed."""
    settings = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0, **arguments}
    beta1, beta2 = settings["betas"]
    values = start("Lion")
    averages = [np.zeros_like(a) for a in values]
    path = []
    for _ in range(STEPS):
        tensors = [Tensor(a, requires_grad=True) for a in values]
        value(tensors).backward()
        for i, t in enumerate(tensors):
            c = beta1 * averages[i] + (1 - beta1) * t.grad
            values[i] = values[i] - settings["lr"] * (
                np.sign(c) + settings["weight_decay"] * values[i]
            )
            averages[i] = beta2 * averages[i] + (1 - beta2) * t.grad
        path.append([a.copy() for a in values])
    return path


def full_precision_newton_schulz(grad: Any, coefficients: Any, steps: int, eps: float) -> Any:
    """PyTorch's iteration without its cast to bfloat16."""
    a, b, c = coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if grad.size(0) > grad.size(1) else x


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, case) for name in CASES for case in CASES[name]]
)
def test_same_path_as_the_reference(
    name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "Lion" and torch is None:
        pytest.skip("PyTorch is not installed")
    if name == "NAdam":  # PyTorch keeps a product of momenta in the default dtype
        module = sys.modules["torch.optim.nadam"]
        monkeypatch.setattr(module, "_get_scalar_dtype", lambda *_: torch.float64)
    if name == "Muon":
        target = "torch.optim._muon._zeropower_via_newtonschulz"
        monkeypatch.setattr(target, full_precision_newton_schulz)
    expected = run_lion(arguments) if name == "Lion" else run_torch(name, arguments)
    got = run_ours(name, arguments)
    moved = max(np.abs(a - b).max() for a, b in zip(expected[-1], start(name), strict=True))
    assert moved > 1e-3
    for ours, theirs in zip(got, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_muon_gives_vectors_the_steps_of_adamw(rng: np.random.Generator) -> None:
    matrix, vector = rng.normal(size=(3, 2)), rng.normal(size=4)
    ours = [Tensor(matrix.copy(), requires_grad=True), Tensor(vector.copy(), requires_grad=True)]
    alone = Tensor(vector.copy(), requires_grad=True)
    muon = optimizers.Muon(ours, lr=0.1, aux_lr_ratio=0.5, weight_decay=0.2)
    adamw = optimizers.AdamW([alone], lr=0.05, betas=(0.9, 0.95), weight_decay=0.2)
    for _ in range(5):
        gradient = rng.normal(size=4)
        ours[0].grad, ours[1].grad, alone.grad = rng.normal(size=(3, 2)), gradient, gradient
        muon.step()
        adamw.step()
    np.testing.assert_allclose(ours[1].data, alone.data, rtol=1e-12)


def test_muon_sees_a_convolution_kernel_as_a_matrix(rng: np.random.Generator) -> None:
    kernel, gradient = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    a = Tensor(kernel.copy(), requires_grad=True)
    b = Tensor(kernel.reshape(6, 4).copy(), requires_grad=True)
    a.grad, b.grad = gradient, gradient.reshape(6, 4)
    optimizers.Muon([a]).step()
    optimizers.Muon([b]).step()
    np.testing.assert_array_equal(a.data.reshape(6, 4), b.data)


def test_orthogonalized_matrix_has_singular_values_near_one(rng: np.random.Generator) -> None:
    from nnad.optimizers.matrix import orthogonalized

    for shape in [(5, 3), (3, 5)]:
        result = orthogonalized(rng.normal(size=shape), (3.4445, -4.7750, 2.0315), 5, 1e-7)
        singular = np.linalg.svd(result, compute_uv=False)
        assert singular.shape == (3,)
        assert np.all((singular > 0.5) & (singular < 1.5))
