"""What a step reads far from its own code is seen when it changes; what cannot be is refused."""

from __future__ import annotations

import gc
import random
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np
import pytest

import nnad
from nnad import layers, losses, optimizers
from nnad.errors import CannotCompile, LostGradientError

X = np.arange(6.0).reshape(2, 3)


@dataclass(slots=True)
class Slots:
    factor: float = 1.0


class Config:
    factor = 1.0


class Scaler:
    """Multiplies in several ways."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.inner = SimpleNamespace(factor=1.0, table={"factor": 1.0})
        self.factors = [1.0]

    def scaled(self, x: Any) -> Any:
        return x * self.factor

    def in_a_table(self, x: Any) -> Any:
        return x * self.inner.table["factor"]

    def by_a_helper(self, x: Any) -> Any:
        return self.scaled(x)

    @property
    def double(self) -> float:
        return 2 * self.factor

    def by_a_property(self, x: Any) -> Any:
        return x * self.double / 2

    @staticmethod
    def by_the_class(x: Any) -> Any:
        return x * TABLE["factor"]

    __call__ = scaled


class Above(Scaler):
    def in_a_table(self, x: Any) -> Any:
        return super().in_a_table(x)

    def by_another_name(self, x: Any) -> Any:
        return super().in_a_table(x)


class ScalingModule(layers.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scaler, self.factors = Scaler(), [1.0]

    def forward(self, x: Any) -> Any:
        return x * self.scaler.inner.factor * self.factors[0]


TABLE: dict[str, Any] = {"factor": 1.0, "deeper": {"factor": 1.0}}
SPACE, SLOTS, FILE = SimpleNamespace(factor=1.0), Slots(), ModuleType("settings")
FILE.factor, FILE.space = 1.0, Namespace(factor=1.0)  # type: ignore[attr-defined]

Case = tuple[Callable[[Any], Any], Callable[[float], Any]]


def setter(owner: Any, name: str = "factor") -> Callable[[float], Any]:
    return lambda value: setattr(owner, name, value)


def putter(owner: Any, key: Any) -> Callable[[float], Any]:
    return lambda value: owner.__setitem__(key, value)


def of_a_scaler(use: Callable[[Scaler], Callable[[Any], Any]]) -> Case:
    scaler = Scaler()
    return use(scaler), setter(scaler)


def of_a_class_above(use: Callable[[Above], Callable[[Any], Any]]) -> Case:
    above = Above()
    return use(above), putter(above.inner.table, "factor")


def in_a_closure() -> Case:
    scaler = Scaler()
    return lambda x: x * scaler.inner.factor, setter(scaler.inner)


def in_a_default() -> Case:
    table = {"factor": 1.0}
    return lambda x, table=table: x * table["factor"], putter(table, "factor")


def in_a_partial() -> Case:
    space = SimpleNamespace(factor=1.0)
    return partial(lambda space, x: x * space.factor, space), setter(space)


def in_a_decorated_one() -> Case:
    space = SimpleNamespace(factor=1.0)

    def step(x: Any) -> Any:
        return x * space.factor

    @wraps(step)
    def outer(*args: Any) -> Any:
        return step(*args)

    return outer, setter(space)


def under_a_transform() -> Case:
    space = SimpleNamespace(factor=1.0)
    return nnad.grad(lambda x: (x * x / 2 * space.factor).sum()), setter(space)


def in_a_loss() -> Case:
    class Loss:
        factor = 1.0

        def __call__(self, x: Any) -> Any:
            return x * self.factor

    loss = Loss()
    return lambda x: loss(x), setter(loss)


def in_a_module(place: Callable[[ScalingModule], tuple[Any, Any]], nested: bool) -> Case:
    module = ScalingModule()
    owner, key = place(module)
    model = layers.Sequential(module) if nested else module
    put = putter if isinstance(owner, list) else setter
    return lambda x: model(x).data, put(owner, key)


def rate_of_an_optimizer() -> Case:
    optimizer = optimizers.SGD([nnad.Tensor(np.ones(1), requires_grad=True)], lr=1.0)
    return lambda x: x * optimizer.lr, setter(optimizer, "lr")


CASES: dict[str, Callable[[], Case]] = {
    "global dict": lambda: (lambda x: x * TABLE["factor"], putter(TABLE, "factor")),
    "dict in a dict": lambda: (
        lambda x: x * TABLE["deeper"]["factor"],
        putter(TABLE["deeper"], "factor"),
    ),
    "global object": lambda: (lambda x: x * SPACE.factor, setter(SPACE)),
    "slots": lambda: (lambda x: x * SLOTS.factor, setter(SLOTS)),
    "class": lambda: (lambda x: x * Config.factor, setter(Config)),
    "file": lambda: (lambda x: x * FILE.factor, setter(FILE)),
    "object in a file": lambda: (lambda x: x * FILE.space.factor, setter(FILE.space)),
    "object in an object": in_a_closure,
    "default value": in_a_default,
    "partial": in_a_partial,
    "decorated": in_a_decorated_one,
    "transform": under_a_transform,
    "callable object": in_a_loss,
    "step that is an object": lambda: of_a_scaler(lambda s: s),
    "method": lambda: of_a_scaler(lambda s: s.scaled),
    "method of a variable": lambda: of_a_scaler(lambda s: lambda x: s.scaled(x)),
    "method that calls a method": lambda: of_a_scaler(lambda s: s.by_a_helper),
    "method of a class above": lambda: of_a_class_above(lambda a: lambda x: a.in_a_table(x)),
    "another one of it": lambda: of_a_class_above(lambda a: lambda x: a.by_another_name(x)),
    "property": lambda: of_a_scaler(lambda s: s.by_a_property),
    "static method": lambda: (lambda x: Scaler.by_the_class(x), putter(TABLE, "factor")),
    "object in a module": lambda: in_a_module(lambda m: (m.scaler.inner, "factor"), False),
    "list in a module": lambda: in_a_module(lambda m: (m.factors, 0), False),
    "module in a model": lambda: in_a_module(lambda m: (m.scaler.inner, "factor"), True),
    "rate of an optimizer": rate_of_an_optimizer,
}


@pytest.mark.parametrize("name", CASES)
def test_a_number_that_a_step_comes_upon_is_seen_to_change(name: str) -> None:
    step, put = CASES[name]()
    compiled = nnad.compile(step, backend="numpy")
    try:
        for value in (1.0, 1.0, 3.0, 3.0, 1.0):
            put(value)
            np.testing.assert_array_equal(compiled(X), X * value)
        assert compiled.programs == 2
    finally:
        put(1.0)


class Noisy(layers.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def forward(self, x: Any) -> Any:
        return x + self.rng.normal()


RNG, LEGACY, PLAIN = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)
NOISY = Noisy()
DRAWS: dict[str, Callable[[Any], Any]] = {
    "a Generator": lambda x: x + RNG.normal(size=x.shape),
    "a RandomState": lambda x: x + LEGACY.normal(),
    "a Random": lambda x: x + PLAIN.random(),
    "numpy.random": lambda x: x + np.random.normal(),  # noqa: NPY002
    "random": lambda x: x + random.random(),
    "a Generator of a module": lambda x: NOISY(x).data,
}


@pytest.fixture
def _global_generators_as_before() -> Iterator[None]:
    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    yield
    np.random.set_state(before[0])  # noqa: NPY002
    random.setstate(before[1])


@pytest.mark.usefixtures("_global_generators_as_before")
@pytest.mark.parametrize("name", DRAWS)
def test_numbers_that_would_be_drawn_once_are_refused(name: str) -> None:
    source = name.removesuffix(" of a module")
    with pytest.raises(CannotCompile, match=f"draws random numbers from {source}: .*argument"):
        nnad.compile(DRAWS[name], backend="numpy")(X)


def test_what_nnad_draws_or_nobody_draws_is_not_refused() -> None:
    rng = np.random.default_rng(0)
    dropout = layers.Dropout(0.5, rng=rng)
    compiled = nnad.compile(lambda x: (dropout(x).data, rng, RNG, np.random), backend="numpy")
    masks = {compiled(np.ones((4, 9)))[0].tobytes() for _ in range(5)}
    assert len(masks) == 5
    assert compiled.programs == 1


class Found:
    def __init__(self, loss: Any) -> None:
        self.loss = loss


@dataclass
class Open:
    loss: Any


def in_an_iterator(x: Any) -> Iterator[Any]:
    return (part for part in [x.sum()])


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (lambda x: Found(x.sum()), "Found"),
        (lambda x: SimpleNamespace(loss=nnad.Tensor(x).sum()), "SimpleNamespace"),
        (in_an_iterator, "generator"),
    ],
)
def test_results_where_a_replay_cannot_put_them_are_refused(step: Any, kind: str) -> None:
    with pytest.raises(CannotCompile, match=f"returns a {kind}, .*; return arrays"):
        nnad.compile(step, backend="numpy")(X)


class Remembering(layers.Module):
    def forward(self, x: Any) -> Any:
        self.last = nnad.Tensor(x) * 2
        return self.last


def kept_in_a_variable() -> Callable[[Any], Any]:
    latest = None

    def step(x: Any) -> Any:
        nonlocal latest
        latest = (x * 2).sum()
        return latest

    return step


def kept_in_a_list() -> Callable[[Any], Any]:
    history: list[Any] = []
    return lambda x: history.append(x.sum())


KEPT: dict[str, tuple[Callable[[], Callable[[Any], Any]], str]] = {
    "variable": (kept_in_a_variable, "in a variable around it"),
    "list": (kept_in_a_list, "in a list or another container"),
    "attribute": (lambda: lambda x: setattr(SPACE, "last", nnad.Tensor(x).sum()), "as 'last'"),
    "item": (lambda: lambda x: TABLE.update(found=x.mean()), "as 'found'"),
    "attribute of a module": (lambda: lambda x, model=Remembering(): model(x), "as 'last'"),
}


@pytest.mark.parametrize("name", KEPT)
def test_results_that_a_replay_would_not_renew_are_refused(name: str) -> None:
    make, where = KEPT[name]
    with pytest.raises(CannotCompile, match=rf"keeps a result of shape .* {where}, .*return it"):
        nnad.compile(make(), backend="numpy")(X)


def test_programs_hold_no_results_of_the_call_that_made_them() -> None:
    held: list[Any] = []

    def step(x: Any) -> Any:
        weight = nnad.Tensor(x, requires_grad=True)
        hidden = nnad.checkpoint(lambda w: np.tanh(w * x))(weight)
        hidden.sum().backward()
        held.append(ref(hidden))
        return {"loss": Open(hidden)}

    compiled = nnad.compile(step, backend="numpy")
    for _ in range(2):
        compiled(X)
    gc.collect()
    assert [found() for found in held] == [None]


def test_results_in_dataclasses_are_those_of_each_call() -> None:
    compiled = nnad.compile(lambda x: Open(x.sum()), backend="numpy")
    assert [float(compiled(X * i).loss) for i in range(3)] == [0.0, 15.0, 30.0]


def test_a_lost_gradient_is_explained_by_arguments_that_are_constants() -> None:
    weight = nnad.Tensor(np.ones(3), requires_grad=True)

    def step(weight: Any, x: Any) -> Any:
        losses.mse(x @ weight, np.zeros(2)).backward()

    with pytest.raises(LostGradientError) as caught:
        nnad.compile(step, backend="numpy")(weight, X)
    assert "arguments of a compiled step are constants" in caught.value.__notes__[0]
