"""The walk over what a step may read: odd objects neither stop it nor have their code run."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable
from enum import IntEnum, StrEnum
from functools import cached_property, partial
from types import MethodType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from weakref import proxy

import numpy as np
import pytest

import nnad
from nnad.compiler.reach import MOST_PLACES
from nnad.errors import CannotCompile

X = np.arange(6.0).reshape(2, 3)


class Table:
    """Makes attributes up from a dict, and raises KeyError for those that it lacks."""

    def __init__(self, **items: Any) -> None:
        self.__dict__["items"] = items

    def __getattr__(self, name: str) -> Any:
        return self.items[name]

    def __getitem__(self, name: str) -> Any:
        return self.items[name]


class Endless:
    """Has every attribute: another one of its kind."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            setattr(self, name, Endless())
        return object.__getattribute__(self, name)

    def __call__(self, *args: Any) -> None:
        pass


class Counting:
    """Counts how often its properties are read."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.inner = SimpleNamespace(factor=2.0)

    @property
    def factor(self) -> float:
        self.reads.append("factor")
        return 2.0

    @cached_property
    def twice(self) -> float:
        self.reads.append("twice")
        return self.inner.factor

    @property
    def shape(self) -> Any:
        raise RuntimeError("not for the walk")


class Whole(IntEnum):
    TRAIN = 1


class Text(StrEnum):
    TRAIN = "train"


def with_an_object(thing: Any) -> Callable[[Any], Any]:
    """A step that names an object, but uses it for nothing that changes a result."""
    return lambda x: (thing and 0, x.reshape(x.shape) * SimpleNamespace(info=2.0).info)[1]


def with_a_logger(thing: Any) -> Callable[[Any], Any]:
    return lambda x: (thing.info("step"), x * 2.0)[1]


def gone() -> Any:
    return [proxy(Table())]


MADE_UP = SimpleNamespace(core=1.0, object=2.0)  # names that NumPy warns of
ODD: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "raises KeyError": lambda: with_an_object(Table(factor=1.0)),
    "mock": lambda: with_a_logger(MagicMock()),
    "mock of a dict": lambda: with_an_object(MagicMock(spec=dict)),
    "method of a mock": lambda: partial(
        lambda f, x: x * f(), MethodType(MagicMock(return_value=2.0), 1)
    ),
    "endless": lambda: with_a_logger(Endless()),
    "dead proxy": lambda: with_an_object(gone()),
    "property that raises": lambda: with_an_object(Counting()),
    "names of NumPy's past": lambda: lambda x: np.multiply(x, MADE_UP.core * MADE_UP.object),
    "number as key": lambda: lambda x, d={Whole.TRAIN: 2.0}: x * d[Whole.TRAIN],
    "text as key": lambda: lambda x, d={Text.TRAIN: 2.0}: x * d[Text.TRAIN],
    "text of NumPy as key": lambda: lambda x, d={np.str_("a"): 2.0}: x * d["a"],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_objects_do_not_stop_a_step(name: str) -> None:
    compiled = nnad.compile(ODD[name](), backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(3):
            np.testing.assert_array_equal(compiled(X + i), 2 * (X + i))
    assert compiled.programs == 1


@pytest.mark.parametrize("name", ["factor", "twice"])
def test_properties_are_read_by_the_step_alone(name: str) -> None:
    thing = Counting()
    read = {"factor": lambda: thing.factor, "twice": lambda: thing.twice}[name]

    def step(x: Any) -> Any:
        thing.reads.append("step")
        return x * read()

    nnad.compile(step, backend="numpy")(X)
    assert thing.reads == ["step", name]


@pytest.mark.parametrize("name", ["attribute", "item", "deeper", "key", "function", "cached"])
def test_what_odd_objects_hold_is_seen_to_change(name: str) -> None:
    table, counting = Table(factor=1.0, inner=Table(factor=1.0)), Counting()
    keyed: dict[Any, float] = {Whole.TRAIN: 1.0}
    space = SimpleNamespace(act=lambda x: x)
    steps: dict[str, tuple[Callable[[Any], Any], Callable[[float], Any]]] = {
        "attribute": (lambda x: x * table.factor, lambda v: table.items.update(factor=v)),
        "item": (lambda x: x * table["factor"], lambda v: table.items.update(factor=v)),
        "deeper": (
            lambda x: x * table.inner.factor,
            lambda v: table.items["inner"].items.update(factor=v),
        ),
        "key": (lambda x: x * keyed[Whole.TRAIN], lambda v: keyed.update({Whole.TRAIN: v})),
        "function": (
            lambda x: space.act(x),
            lambda v: setattr(space, "act", lambda x: x * v),
        ),
        "cached": (
            lambda x: x * counting.twice,
            lambda v: (setattr(counting.inner, "factor", v), counting.__dict__.pop("twice", None)),
        ),
    }
    step, put = steps[name]
    compiled = nnad.compile(step, backend="numpy")
    for value in (1.0, 3.0):
        put(value)
        np.testing.assert_array_equal(compiled(X), X * value)


class Handing:
    def scaled(self, x: Any, settings: Any) -> Any:
        return x * settings.factor

    def handed_on(self, x: Any, settings: Any) -> Any:
        return self.scaled(x, settings)


class Calling(Handing):
    __call__ = Handing.handed_on


def scaled(x: Any, settings: Any) -> Any:
    return x * settings.factor


HANDING, SETTINGS = Handing(), SimpleNamespace(factor=1.0)
HANDED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "function": (lambda x: scaled(x, SETTINGS), ()),
    "method": (lambda x: HANDING.handed_on(x, SETTINGS), ()),
    "argument": (scaled, (Handing(),)),
    "argument of a method": (HANDING.handed_on, (Handing(),)),
    "argument of an object": (Calling(), (Handing(),)),
}


@pytest.mark.parametrize("name", HANDED)
def test_numbers_in_objects_that_are_handed_on_are_seen_to_change(name: str) -> None:
    step, others = HANDED[name]
    compiled = nnad.compile(step, backend="numpy")
    for value in (1.0, 3.0, 3.0):
        for owner in (SETTINGS, *others):
            owner.factor = value
        np.testing.assert_array_equal(compiled(X, *others), X * value)
    assert compiled.programs == 2


def test_draws_from_a_generator_among_the_arguments_are_refused() -> None:
    compiled = nnad.compile(lambda x, rng: x + rng.normal(), backend="numpy")
    with pytest.raises(CannotCompile, match="draws random numbers from a Generator"):
        compiled(X, np.random.default_rng(0))


def test_much_data_beside_a_step_costs_little_and_hides_nothing_near() -> None:
    data, space = [[float(i) for i in range(250)] for _ in range(250)], SimpleNamespace(factor=1.0)
    compiled = nnad.compile(lambda x: x * data[0][1] * space.factor, backend="numpy")
    begin = time.perf_counter()
    compiled(X)
    assert time.perf_counter() - begin < 2
    assert len(compiled._require().guards.conditions) < 2 * MOST_PLACES
    space.factor = 3.0
    np.testing.assert_array_equal(compiled(X), X * 3)


class Slot:
    __slots__ = ("loss",)

    def __init__(self, loss: Any) -> None:
        self.loss = loss


@pytest.mark.parametrize("kind", [Slot, lambda loss: deque([loss]), lambda loss: {loss}])
def test_results_in_slots_and_other_containers_are_refused_as_returned(kind: Any) -> None:
    with pytest.raises(CannotCompile, match=r"returns a (Slot|deque|set), .*; return arrays"):
        nnad.compile(lambda x: kind(nnad.Tensor(x).sum()), backend="numpy")(X)
