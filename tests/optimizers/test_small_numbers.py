"""Averages that fade, or that a gradient which stays the same brings to the edge of rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnad
from nnad import optimizers
from nnad.compiler.choice import why_not_native
from nnad.layers import Linear
from nnad.optimizers import flat
from tests.optimizers.test_behaviour import SETTINGS, STEPWISE

LEAST = np.finfo(np.float32).smallest_normal
STEPS = 10 * flat.STEPS_BETWEEN_SWEEPS  # the last step comes after a sweep
SIZES = 10.0 ** -np.arange(40).reshape(8, 5)
NATIVE = pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))


def model_and_optimizer(name: str) -> tuple[Any, Any]:
    """A matrix that stays as it is, whose gradient is all that its optimizer sees."""
    model = Linear(8, 5, bias=False, rng=0)
    model.flatten()
    settings = {**SETTINGS.get(name, {}), "lr": 0.0}
    settings.pop("weight_decay", None)
    return model, getattr(optimizers, name)(model.parameters(), **settings)


def slots_after_fading(name: str, backend: str | None) -> np.ndarray:
    """All slots after one gradient of many sizes and a long time without any."""
    model, optimizer = model_and_optimizer(name)
    step: Any = optimizer.step
    if backend is not None:
        step = nnad.compile(lambda: optimizer.step(), backend=backend)
    model.weight.grad = SIZES
    for _ in range(STEPS):
        step()
        model.weight.grad[...] = 0.0
    slots = optimizer.state_dict()["state"]["0"]
    return np.concatenate([np.ravel(slot) for key, slot in slots.items() if key != "step"])


def lingering(slots: np.ndarray) -> int:
    """How many are not zero, and smaller than the last step can have made them."""
    sizes = np.abs(slots[slots != 0])
    return int((sizes < LEAST / 4).sum())


@pytest.mark.parametrize("name", STEPWISE)
@pytest.mark.parametrize("backend", [None, "numpy", pytest.param("native", marks=NATIVE)])
def test_averages_fade_to_zero(name: str, backend: str | None) -> None:
    assert lingering(slots_after_fading(name, backend)) == 0


@pytest.mark.parametrize("name", ["Adam", "Lion", "NAdam", "RMSprop", "SGD"])
def test_they_would_stay_for_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "STEPS_BETWEEN_SWEEPS", 10**9)
    assert lingering(slots_after_fading(name, None)) > 0


@pytest.mark.parametrize("name", STEPWISE)
def test_a_gradient_that_stays_the_same(name: str) -> None:
    model, optimizer = model_and_optimizer(name)
    gradient = np.random.default_rng(0).normal(size=(8, 5))
    model.weight.grad = gradient
    for _ in range(3000):
        optimizer.step()
        model.weight.grad[...] = gradient
    assert np.isfinite(model.weight.data).all()


@pytest.mark.parametrize("name", STEPWISE)
def test_divisors_without_eps_are_not_swept_away(name: str, monkeypatch: Any) -> None:
    model, optimizer = model_and_optimizer(name)
    if "eps" not in optimizer.defaults or isinstance(optimizer.defaults["eps"], tuple):
        pytest.skip("divides by nothing, or by what is kept above a tuple's numbers")
    paths = []
    for between in (flat.STEPS_BETWEEN_SWEEPS, 10**9):
        monkeypatch.setattr(flat, "STEPS_BETWEEN_SWEEPS", between)
        model, optimizer = model_and_optimizer(name)
        optimizer.param_groups[0] |= {"eps": 1e-30, "lr": 1e-3}
        model.weight.grad = np.full((8, 5), 1e-20)
        for _ in range(100):
            optimizer.step()
        paths.append(model.weight.data.copy())
    np.testing.assert_array_equal(*paths)
