"""What a step depends on in Python: each thing is changed on the way, and compiled steps see it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers, losses, optimizers
from nnad.compiler.choice import why_not_native

STEPS, CHANGE_AT = 12, 7
World = SimpleNamespace
SCALE: Any = 1.0


def helper(loss: Any) -> Any:
    return loss * SCALE


def world(frozen: bool = False) -> World:
    """A model, what trains it, and a step with variables around it that `put` changes."""
    nnad.seed(1)
    model = layers.Sequential(
        layers.Linear(6, 5, dtype="float64", bias=False),
        layers.BatchNorm1d(5, dtype="float64"),
        layers.Tanh(),
        layers.Dropout(0.3, rng=3),
        layers.Linear(5, 3, dtype="float64"),
    )
    model.flatten()
    if frozen:
        model.freeze("0.*")
    params = list(model.parameters())
    optimizer = optimizers.SGD(params, lr=0.05, momentum=0.9)
    ema = optimizers.EMA(params, decay=0.9, warmup=True)
    loss: Any = losses.CrossEntropy(weight=np.array([1.0, 2.0, 3.0]), label_smoothing=0.1)
    limit, pair, number, table = 0.3, (1.0, 2.0), np.float32(1.0), {"scale": 1.0}

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        found = helper(loss(model(x), y) * pair[0] * number * table["scale"])
        found.backward()
        norm = optimizers.clip_grad_norm(params, limit)
        optimizer.step()
        ema.update()
        return found, norm

    def put(**values: Any) -> None:
        nonlocal limit, pair, number, loss
        limit, pair = values.get("limit", limit), values.get("pair", pair)
        number, loss = values.get("number", number), values.get("loss", loss)

    return World(model=model, loss=loss, ema=ema, step=step, put=put, table=table)


def put(**values: Any) -> Callable[[World], None]:
    return lambda w: w.put(**values)


def on_layer(index: int, **values: Any) -> Callable[[World], None]:
    def change(w: World) -> None:
        for name, value in values.items():
            setattr(w.model[index], name, value)

    return change


def set_global(w: World) -> None:
    global SCALE
    SCALE = 3.0


def set_helper(w: World) -> None:
    global helper
    helper = np.negative


CHANGES: dict[str, Callable[[World], Any]] = {
    "limit": put(limit=0.01),
    "no limit": put(limit=np.inf),
    "tuple": put(pair=(3.0, 2.0)),
    "NumPy number": put(number=np.float32(3.0)),
    "NaN": put(number=np.float64("nan")),
    "item of a dict": lambda w: w.table.update(scale=3.0),
    "another loss": put(loss=losses.CrossEntropy(label_smoothing=0.5)),
    "a function for a loss": put(loss=losses.cross_entropy),
    "option of the loss": lambda w: w.loss.settings.update(label_smoothing=0.5),
    "all options": lambda w: setattr(w.loss, "settings", {"label_smoothing": 0.5}),
    "other class weights": lambda w: w.loss.settings.update(weight=np.ones(3)),
    "changed class weights": lambda w: w.loss.settings["weight"].fill(9.0),
    "global of a helper": set_global,
    "helper": set_helper,
    "freeze": lambda w: w.model.freeze("0.*"),
    "freeze the head": lambda w: w.model.freeze("4.*"),
    "thaw": lambda w: w.model.unfreeze(),
    "evaluation mode": lambda w: w.model.eval(),
    "dropout rate": on_layer(3, p=0.7),
    "NumPy dropout rate": on_layer(3, p=np.float32(0.7)),
    "generator": lambda w: on_layer(3, rng=np.random.default_rng(5))(w),
    "seed": lambda w: w.model[3].rng.bit_generator.advance(5),
    "momentum and eps": on_layer(1, momentum=0.5, eps=0.1),
    "buffer": on_layer(1, running_mean=np.ones(5)),
    "layer": lambda w: setattr(w.model, "2", layers.ReLU()),
    "one more layer": lambda w: w.model.append(layers.Tanh()),
    "parameter": lambda w: setattr(w.model[4], "bias", layers.Parameter(np.ones(3))),
    "no parameter": on_layer(4, bias=None),
    "decay of the average": lambda w: vars(w.ema).update(decay=0.2, warmup=False),
}


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_on_the_way_is_seen(name: str, backend: str) -> None:
    if backend == "native" and why_not_native() is not None:
        pytest.skip(str(why_not_native()))
    eager, compiled = (numbers(name, each) for each in (None, backend))
    tolerance = {"rtol": 0, "atol": 0} if backend == "numpy" else {"rtol": 1e-7, "atol": 1e-10}
    for number, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(y, x, err_msg=f"step {number}", **tolerance)


def numbers(name: str, backend: str | None) -> list[list[np.ndarray]]:
    """For each step the loss, the norm, the model's arrays and the averages."""
    global SCALE, helper
    before = SCALE, helper
    w = world(frozen=name == "thaw")
    call = w.step if backend is None else nnad.compile(w.step, backend=backend)
    rng = np.random.default_rng(0)
    seen = []
    try:
        for number in range(STEPS):
            if number == CHANGE_AT:
                CHANGES[name](w)
            found, norm = call(rng.normal(size=(8, 6)), rng.integers(0, 3, 8))
            arrays = [*w.model.state_dict().values(), *(a.copy() for a in w.ema.averages)]
            seen.append([found.data, np.asarray(norm), *arrays])
    finally:
        SCALE, helper = before
    if backend is not None:
        assert call.programs <= 3
        assert call.stats["backend"] == backend
    return seen


def test_what_a_step_changes_and_puts_back_is_no_change() -> None:
    class Remembering(layers.Linear):
        def forward(self, x: Any) -> Any:
            self.last = [super().forward(x)]
            return self.last.pop()

    model, critic = Remembering(3, 2), layers.Linear(2, 1)
    latest = None

    def step(x: Any) -> Any:
        nonlocal latest
        critic.freeze()
        loss = critic(model(x)).sum()
        latest = loss
        loss.backward()
        critic.unfreeze()
        model.zero_grad()
        latest = None

    compiled = nnad.compile(step, backend="numpy")
    for _ in range(3):
        compiled(np.ones((4, 3), np.float32))
        model.last = [7]
    assert compiled.programs == 1
