"""What a step may do: plain NumPy on raw arrays, writes, gradients, Python values it depends on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers, losses, optimizers
from nnad.autodiff.tensor import state
from nnad.compiler import DataDependentError

X = [np.random.default_rng(seed).normal(size=(6, 3)) for seed in range(4)]


def leaf(seed: int = 7) -> nnad.Tensor:
    return nnad.Tensor(np.random.default_rng(seed).normal(size=3), requires_grad=True)


def loss_of(w: Any, x: Any) -> Any:
    return (np.tanh(x @ w) ** 2).mean()


# Each makes a fresh step and returns it with the arrays that it changes.
Made = tuple[Callable[..., Any], Callable[[], list[Any]]]


def descent_in_place() -> Made:
    w = leaf()

    def step(x: Any) -> Any:
        w.grad = None
        loss = loss_of(w, x)
        loss.backward()
        w.data -= 0.1 * w.grad
        return loss

    return step, lambda: [w.data]


def descent_by_assignment() -> Made:
    p = layers.Parameter(leaf().data)

    def step(x: Any) -> Any:
        p.grad = None
        loss_of(p, x).backward()
        p.data = p.data - 0.1 * np.clip(p.grad, -0.01, 0.01)

    return step, lambda: [p.data]


def descent_of_a_part() -> Made:
    w = leaf()

    def step(x: Any) -> Any:
        w.grad = None
        loss_of(w, x).backward()
        w.data[1:] -= w.grad[1:]
        w.data[0] = w.grad.sum()

    return step, lambda: [w.data]


def momentum_in_a_closure() -> Made:
    w, velocity = leaf(), np.zeros(3)

    def step(x: Any) -> Any:
        w.grad = None
        loss_of(w, x).backward()
        np.add(0.9 * velocity, w.grad, out=velocity)
        w.data -= 0.1 * velocity

    return step, lambda: [w.data, velocity]


def momentum_by_hand() -> Made:
    params = [leaf(1), leaf(2)]
    velocities = [np.zeros(3), np.zeros(3)]

    def step(x: Any) -> Any:
        for w in params:
            w.grad = None
        (loss_of(params[0], x) * loss_of(params[1], x)).backward()
        for w, velocity in zip(params, velocities, strict=True):
            velocity *= 0.9
            velocity += w.grad
            w.data -= 0.1 * velocity

    return step, lambda: [*velocities, *(w.data for w in params)]


def accumulating_gradients() -> Made:
    w = leaf()

    def step(x: Any) -> Any:
        loss_of(w, x).backward()

    return step, lambda: [w.grad]


def functional() -> Made:
    def step(x: Any) -> Any:
        value, gradient = nnad.value_and_grad(loss_of)(np.ones(3), x)
        return value, gradient, nnad.hvp(lambda w: loss_of(w, x), (gradient,), (np.ones(3),))

    return step, list


def raw_values_of_a_tensor() -> Made:
    w = leaf()

    def step(x: Any) -> Any:
        scale = np.abs((w * x).data).max()
        y = x.copy()
        y[0] = scale
        y *= 2
        z = np.zeros_like(y)
        z[:, 1] = y[:, 0]
        return y / (scale + 1), z, w.data, (x - x.mean(0)).T

    return step, list


class Counting(layers.Module):
    """Keeps statistics of its own in raw buffers, by plain NumPy."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", np.zeros(3))
        self.register_buffer("count", np.zeros(()))

    def forward(self, x: Any) -> Any:
        self.mean *= 0.9
        self.mean = self.mean + 0.1 * nnad.autodiff.value_of(x).mean(0)
        self.count += 1
        return x - self.mean


def buffers_of_a_module() -> Made:
    module = Counting()
    return module, lambda: [module.mean, module.count]


def averaged_with_dropout() -> Made:
    nnad.seed(3)
    model = layers.Sequential(
        layers.Linear(3, 8), layers.BatchNorm1d(8), layers.Dropout(0.5), layers.Linear(8, 2)
    )
    optimizer = optimizers.AdamW(model.parameters(), weight_decay=0.1)
    average = optimizers.EMA(model.parameters(), warmup=True)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.mse(model(x), np.zeros((6, 2)))
        loss.backward()
        norm = optimizers.clip_grad_norm(model.parameters(), 0.1)
        optimizer.step()
        average.update()
        return loss, norm

    return step, lambda: [*model.state_dict().values(), *average.averages]


def checkpointed() -> Made:
    w = leaf()

    def step(x: Any) -> Any:
        w.grad = None
        block = nnad.checkpoint(lambda v: np.tanh(v * x).sum(0))
        (block(block(w)) ** 2).sum().backward()
        return w.grad

    return step, lambda: [w.grad]


def gradient_of_an_input() -> Made:
    weight = leaf()

    def step(x: Any) -> Any:
        first, twice = nnad.Tensor(x, requires_grad=True), nnad.Tensor(x + 1, requires_grad=True)
        loss_of(weight.data, first).backward()
        for _ in range(2):
            loss_of(weight.data, twice).backward()
        return first.grad, twice.grad, x + np.sign(first.grad)

    return step, lambda: [weight.data]


STEPS = [
    gradient_of_an_input,
    descent_in_place,
    descent_by_assignment,
    descent_of_a_part,
    momentum_in_a_closure,
    momentum_by_hand,
    accumulating_gradients,
    functional,
    raw_values_of_a_tensor,
    buffers_of_a_module,
    averaged_with_dropout,
    checkpointed,
]


def play(make: Callable[[], Made], backend: str | None) -> tuple[list[Any], Any]:
    """All results and states over several steps on different values."""
    step, held = make()
    call = step if backend is None else nnad.compile(step, backend=backend)
    seen: list[Any] = []
    for x in X:
        results = nnad.autodiff.trees.flatten(call(x))[0]
        found = [nnad.autodiff.value_of(y) for y in (*results, *held())]
        seen += [np.array(y) for y in found if y is not None]
    return seen, call


@pytest.mark.parametrize("make", STEPS, ids=lambda make: make.__name__)
def test_a_compiled_step_is_the_step(make: Callable[[], Made]) -> None:
    expected, _ = play(make, None)
    got, compiled = play(make, "numpy")
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    # Only gradients that are added up without zeroing begin otherwise at the second call.
    assert compiled.programs == (2 if make is accumulating_gradients else 1)
    native, _ = play(make, "auto")
    for a, b in zip(native, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_results_are_of_the_kind_that_the_step_returns() -> None:
    w = leaf()

    def step(x: Any, t: Any) -> Any:
        return {"raw": x * 2, "tensor": t * 2, "same": w, "number": 3, "norm": np.abs(x).max()}

    compiled = nnad.compile(step, backend="numpy")
    for result in (compiled(X[0], nnad.Tensor(X[0])), compiled(X[1], nnad.Tensor(X[1]))):
        assert type(result["raw"]) is np.ndarray
        assert type(result["tensor"]) is nnad.Tensor
        assert result["same"] is w
        assert result["number"] == 3
        assert isinstance(result["norm"], np.float64)


# What is refused ------------------------------------------------------------------------------


def branching(x: Any) -> Any:
    return x if x.sum() > 0 else -x  # the line that is named


def converting(x: Any) -> Any:
    return x * float(x[0, 0])


def converting_raw_values(x: Any) -> Any:
    return np.asarray(nnad.Tensor(x).data) * 2


def selecting(x: Any) -> Any:
    return x[x > 0]


def unique(x: Any) -> Any:
    return np.unique(x)


def writing_into_an_argument(x: Any) -> Any:
    x -= x.mean()
    return x


def writing_into_a_view(x: Any) -> Any:
    y = x * 1
    z = y[0]
    z[...] = 0
    return y


def adding_up_in_a_fresh_array(x: Any) -> Any:
    total = np.zeros(3)
    np.add(total, x.sum(0), out=total)
    return total


@pytest.mark.parametrize(
    "step",
    [
        branching,
        converting,
        converting_raw_values,
        selecting,
        unique,
        writing_into_an_argument,
        writing_into_a_view,
        adding_up_in_a_fresh_array,
    ],
)
def test_what_cannot_be_replayed_is_refused_by_its_line(step: Callable[..., Any]) -> None:
    compiled = nnad.compile(step)
    lines = range(step.__code__.co_firstlineno, step.__code__.co_firstlineno + 6)
    with pytest.raises(DataDependentError) as info:
        compiled(X[0].copy())
    assert any(f"{__file__}:{line}:" in str(info.value) for line in lines), str(info.value)
    assert state.capture is None
    assert nnad.Tensor.data is nnad.autodiff.tensor.DATA


def test_a_plain_array_that_changes_unseen_is_refused() -> None:
    holder = SimpleNamespace(total=np.zeros(3))

    def step(x: Any) -> Any:
        y = x + holder.total
        holder.total += 1
        return y

    with pytest.raises(DataDependentError, match=r"shape \(3,\) was changed in place"):
        nnad.compile(step)(X[0])


# What is guarded ------------------------------------------------------------------------------

GLOBAL = 1.0


def test_python_values_that_the_step_looks_up_are_guarded() -> None:
    global GLOBAL
    rate, model = 0.5, layers.Sequential(layers.Linear(3, 2), layers.Dropout(0.5))

    def step(x: Any) -> Any:
        return model(x) * rate * GLOBAL

    compiled = nnad.compile(step, backend="numpy")

    def same() -> None:
        nnad.seed(1)
        got = compiled(X[0]).data
        nnad.seed(1)
        np.testing.assert_array_equal(got, step(X[0]).data)

    try:
        same()
        rate = 0.25
        same()
        GLOBAL = 2.0
        same()
        model.eval()
        same()
        model[1].p = 0.25
        model.train()
        same()
        assert compiled.programs == 5
        rate, GLOBAL = 0.5, 1.0
        model[1].p = 0.5
        same()
        assert compiled.programs == 5
    finally:
        GLOBAL = 1.0


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_an_array_given_twice_is_two_arguments(backend: str) -> None:
    w = leaf()
    compiled = nnad.compile(lambda a, b, c: a - 2 * b + c * w.data, backend=backend)
    x = np.ones(3)
    np.testing.assert_allclose(compiled(x, x, w.data), -1 + w.data**2)
    np.testing.assert_allclose(compiled(x, 3 * x, x), -5 + w.data)
    w.data[...] = 0
    np.testing.assert_allclose(compiled(x, 3 * x, x), -5)


def test_containers_around_a_step_are_looked_into_within_reason() -> None:
    table = {"scale": 2.0, (1, 2): "a key that is no name", 3: np.ones(3)}
    rows = [float(i) for i in range(1000)]  # data: nobody wants a thousand guards

    def step(x: Any) -> Any:
        table[3] += 1
        return x * table["scale"] * table[3] + rows[0]

    compiled = nnad.compile(step, backend="numpy")
    for count in (2, 3, 4):
        np.testing.assert_array_equal(compiled(X[0]), X[0] * 2.0 * np.full(3, count))
    assert compiled.programs == 1
    assert len(compiled.last.guards.conditions) < 20
    table["scale"] = 3.0
    np.testing.assert_array_equal(compiled(X[0]), X[0] * 3.0 * np.full(3, 5))


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_parameters_and_buffers_that_move_are_followed(backend: str) -> None:
    model = layers.Sequential(layers.Linear(3, 2), layers.BatchNorm1d(2))
    optimizer = optimizers.SGD(model.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (model(x) ** 3).sum()
        loss.backward()
        optimizer.step()
        return loss

    compiled = nnad.compile(step, backend=backend)

    def same() -> None:
        before = model.state_dict()
        expected, after = step(X[0]).data, model.state_dict()
        model.load_state_dict(before)
        got = compiled(X[0]).data
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        for a, b in zip(model.state_dict().values(), after.values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    same()
    same()
    model.flatten()
    same()
    model.astype("float64")
    same()
    model.load_state_dict({k: v * 0.5 for k, v in model.state_dict().items()})
    same()
    assert compiled.programs <= 3


def test_another_shape_makes_another_program_and_the_same_none() -> None:
    traced = []

    def step(x: Any) -> Any:
        traced.append(x.shape)
        return x.sum(axis=0)

    compiled = nnad.compile(step)
    for rows in (6, 2, 6, 2, 6):
        np.testing.assert_allclose(compiled(X[0][:rows]), X[0][:rows].sum(axis=0))
    assert traced == [(6, 3), (2, 3)]


def test_values_that_change_at_every_call_are_named() -> None:
    count = 0

    def step(x: Any) -> Any:
        nonlocal count
        count += 1
        return x * count

    compiled = nnad.compile(step, backend="numpy")
    with pytest.raises(RuntimeError, match=r"a variable of the step.* was 15 and is 16"):
        for _ in range(30):
            compiled(X[0])


def test_an_exception_in_a_step_leaves_nothing_changed() -> None:
    model = layers.Linear(3, 2)

    def step(x: Any) -> Any:
        model(x).sum().backward()
        raise KeyError("mine")

    with pytest.raises(KeyError):
        nnad.compile(step)(X[0])
    assert state.capture is None
    assert isinstance(model.weight.grad, np.ndarray)
    assert isinstance(model.weight.data, np.ndarray)
    assert "__getattribute__" not in vars(layers.Module)
    assert nnad.compile(lambda x: model(x))(X[0]).shape == (6, 2)


def test_a_step_may_be_what_first_loads_a_module() -> None:
    code = """
import numpy as np, nnad
weight = nnad.Tensor(np.ones((3, 2)), requires_grad=True)
step = nnad.compile(lambda x: nnad.losses.mse(x @ weight, np.zeros((6, 2))), backend="numpy")
print([float(step(np.ones((6, 3)))) for _ in range(3)])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[9.0, 9.0, 9.0]\n", "")
