"""Clipping by norm and by value."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest

from nnad import Tensor
from nnad.optimizers import SGD, clip_grad_norm, clip_grad_value, grad_norm

if importlib.util.find_spec("torch"):
    import torch
    import torch._dynamo  # here, because it changes os.environ, which a test may not
else:
    torch = None


def params(rng: np.random.Generator, dtype: Any = np.float64, flat: bool = False) -> list[Tensor]:
    made = [
        Tensor(np.zeros(shape, dtype), requires_grad=True) for shape in [(3, 2), (4,), (), (5, 1)]
    ]
    if flat:
        SGD(made)
    for p in made[:3]:
        p.grad = (3 * rng.normal(size=p.shape)).astype(dtype)
    if flat:  # as backward() leaves them: all in their places
        made[3].grad = np.ones((5, 1))
        for p in made:
            p.node.buffer[...] = p.grad
            p.grad = p.node.buffer
    return made


def whole(tensors: list[Tensor]) -> np.ndarray:
    return np.concatenate([np.ravel(p.grad) for p in tensors if p.grad is not None])


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("flat", [False, True])
def test_as_pytorch(max_norm: float, norm_type: float, flat: bool, rng: Any) -> None:
    ours = params(rng, flat=flat)
    theirs = [torch.zeros(p.shape, dtype=torch.float64, requires_grad=True) for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        q.grad = None if p.grad is None else torch.tensor(p.grad)
    norm = clip_grad_norm(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm == pytest.approx(float(expected), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("flat", [False, True])
def test_by_value(flat: bool, rng: np.random.Generator) -> None:
    made = params(rng, flat=flat)
    before = whole(made)
    assert clip_grad_value(made, 0.7) == pytest.approx(np.linalg.norm(before))
    np.testing.assert_array_equal(whole(made), np.clip(before, -0.7, 0.7))


def test_norms_whose_squares_overflow_or_lose_precision() -> None:
    t = Tensor(np.zeros(2, np.float32), requires_grad=True)
    t.grad = np.array([3e25, 4e25], np.float32)
    assert clip_grad_norm([t], 1.0) == pytest.approx(5e25)
    np.testing.assert_allclose(t.grad, [0.6, 0.8], rtol=1e-6)
    h = Tensor(np.zeros(4096, np.float16), requires_grad=True)
    h.grad = np.ones(4096, np.float16)
    assert grad_norm([h]) == 64.0
    t.grad = np.array([np.inf, 1.0], np.float32)
    assert grad_norm([t]) == math.inf
    t.grad = np.array([np.nan, 1.0], np.float32)
    assert math.isnan(grad_norm([t]))


def test_without_gradients_there_is_nothing_to_clip() -> None:
    t = Tensor([1.0], requires_grad=True)
    assert clip_grad_norm([t], 1.0) == 0.0
    assert clip_grad_norm(t, 1.0) == 0.0
    assert clip_grad_value([t], 1.0) == 0.0
    assert t.grad is None
