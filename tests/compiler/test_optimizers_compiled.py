"""Every optimizer compiled: the eager trajectory, with clipping, decay, changing rates and EMA."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers, losses, optimizers, schedules
from nnad.compiler.choice import why_not_native

KINDS = [
    kind
    for name in optimizers.__all__
    if isinstance(kind := getattr(optimizers, name), type)
    and issubclass(kind, optimizers.Optimizer)
    and kind not in (optimizers.Optimizer, optimizers.LBFGS)
]
STEPS = 9  # from the sixth on RAdam is rectified


def trajectory(
    kind: Any, backend: str | None, dtype: str, last: str = "", **options: Any
) -> list[np.ndarray]:
    """Parameters, averages and losses over several steps; the last layer may be of dtype `last`."""
    nnad.seed(1)
    model = layers.Sequential(
        layers.Linear(6, 5, dtype=dtype), layers.Tanh(), layers.Linear(5, 3, dtype=last or dtype)
    )
    model.flatten()
    optimizer = kind(model.parameters(), **options)
    average = optimizers.EMA(model.parameters(), decay=0.9)
    schedule = schedules.Cosine(STEPS, warmup_steps=2)
    start = optimizer.lr

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        norm = optimizers.clip_grad_norm(model.parameters(), 0.3)
        optimizer.step()
        average.update()
        return loss, norm

    call = step if backend is None else nnad.compile(step, backend=backend)
    rng = np.random.default_rng(0)
    seen: list[np.ndarray] = []
    for number in range(STEPS):
        optimizer.lr = start * schedule(number)
        loss, norm = call(rng.normal(size=(8, 6)).astype(dtype), rng.integers(0, 3, 8))
        seen += [loss.data, np.asarray(norm), *model.state_dict().values()]
        seen += [array.copy() for array in average.averages]
    if backend is not None:
        assert call.programs == 1
        assert call.stats["backend"] == backend
    return seen


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}], ids=["plain", "decay"])
def test_compiled_equals_eager(kind: Any, options: dict[str, float]) -> None:
    if options and "weight_decay" not in kind([nnad.Tensor([1.0], requires_grad=True)]).defaults:
        pytest.skip("has no weight decay")
    eager = trajectory(kind, None, "float32", **options)
    for a, b in zip(eager, trajectory(kind, "numpy", "float32", **options), strict=True):
        np.testing.assert_array_equal(a, b)
    if why_not_native() is None:
        eager = trajectory(kind, None, "float64", **options)
        for a, b in zip(eager, trajectory(kind, "native", "float64", **options), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_layers_may_differ_in_precision(kind: Any) -> None:
    eager = trajectory(kind, None, "float32", "float64")
    for a, b in zip(eager, trajectory(kind, "numpy", "float32", "float64"), strict=True):
        np.testing.assert_array_equal(a, b)
    if why_not_native() is None:
        native = trajectory(kind, "native", "float32", "float64")
        for a, b in zip(eager, native, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_all_optimizers_are_found() -> None:
    assert len(KINDS) >= 13


# What changes between two steps ------------------------------------------------------------------


def in_groups(**hyper: Any) -> Any:
    """A change of hyper-parameters of the last group."""
    return lambda optimizer, model: optimizer.param_groups[-1].update(hyper)


def another_group(optimizer: Any, model: Any) -> None:
    optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.2}


def a_step_of_one_parameter(optimizer: Any, model: Any) -> None:
    model.zero_grad()
    model[0].weight.grad = np.ones(model[0].weight.shape)
    optimizer.step()


def an_older_state(optimizer: Any, model: Any) -> None:
    state = optimizer.state_dict()
    state["state"]["1"]["step"] = 2
    optimizer.load_state_dict(state)


class Rooted(optimizers.SGD):
    """Its kernel makes something of the rate that only NumPy can."""

    def kernel(self, group: Any) -> Any:
        return rooted_kernel


def rooted_kernel(param: Any, grad: Any, work: Any, decay: Any, lr: float, wd: float) -> None:
    np.multiply(grad, math.sqrt(lr), work)
    np.subtract(param, work, param)


CHANGES: list[tuple[Any, dict[str, Any], Any]] = [
    (optimizers.Adam, {}, in_groups(lr=np.float64(0.2))),
    (optimizers.Adam, {}, in_groups(lr=np.float32(0.2))),
    (optimizers.Adam, {}, in_groups(lr=0)),
    (optimizers.Adam, {}, in_groups(betas=[0.5, 0.6], eps=0.1, weight_decay=0.3)),
    (optimizers.Adam, {"weight_decay": 0.3}, in_groups(decoupled_weight_decay=True)),
    (optimizers.Adam, {}, in_groups(maximize=True)),
    (optimizers.Adam, {"maximize": True}, in_groups(maximize=False)),
    (optimizers.Adam, {}, another_group),
    (optimizers.Adam, {}, a_step_of_one_parameter),
    (optimizers.Adam, {}, an_older_state),
    (optimizers.AdamW, {}, in_groups(weight_decay=0.0)),
    (optimizers.RAdam, {}, in_groups(betas=(0.5, 0.5))),
    (optimizers.SGD, {"lr": 1, "weight_decay": 0.5}, in_groups(lr=0.5, weight_decay=1)),
    (optimizers.SGD, {"momentum": 0.9}, in_groups(nesterov=True, dampening=0.5)),
    (optimizers.RMSprop, {"momentum": 0.9}, in_groups(momentum=0.0)),
    (optimizers.RMSprop, {"centered": True}, in_groups(centered=False)),
    (Rooted, {}, in_groups(lr=0.2)),
]


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize(("kind", "options", "change"), CHANGES)
def test_changes_between_steps_are_seen(kind: Any, options: Any, change: Any, backend: str) -> None:
    if backend == "native" and why_not_native() is not None:
        pytest.skip(str(why_not_native()))
    eager = changed_on_the_way(kind, options, change, None)
    compiled = changed_on_the_way(kind, options, change, backend)
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=0 if backend == "numpy" else 1e-7)


def changed_on_the_way(kind: Any, options: Any, change: Any, backend: str | None) -> list[Any]:
    nnad.seed(1)
    model = layers.Sequential(
        layers.Linear(3, 4, dtype="float64"), layers.Tanh(), layers.Linear(4, 2, dtype="float64")
    )
    model.flatten()
    optimizer = kind(model.parameters(), **{"lr": 0.01, **options})

    def step(x: Any) -> None:
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()

    call = step if backend is None else nnad.compile(step, backend=backend)
    rng = np.random.default_rng(0)
    for number in range(12):
        if number == 7:
            change(optimizer, model)
        call(rng.normal(size=(5, 3)))
    return list(model.state_dict().values())


@pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
def test_an_update_that_is_recorded_again_is_counted_once() -> None:
    weights = [nnad.layers.Parameter(np.ones(3)) for _ in range(2)]
    groups = [{"params": [w], "weight_decay": d} for w, d in zip(weights, (0.0, 0.1), strict=True)]
    optimizer = optimizers.AdamW(groups, lr=0.1)
    step = nnad.compile(lambda: optimizer.step(), backend="native")
    made = []
    for number in range(4):
        for w in weights:
            w.grad = np.ones(3)
        optimizer.lr = 0.0 if number == 2 else 0.1  # the second group does not shrink then
        step()
        made.append(step.program)
    assert len(set(map(id, made))) > 1
    assert [slots["step"] for slots in optimizer.state_dict()["state"].values()] == [4, 4]
