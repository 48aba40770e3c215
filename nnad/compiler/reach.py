"""What a step may read in Python, found without running it: a walk from its code.

From a function the walk goes to the variables around it, the globals that it names and its default
values; from there to the attributes that the function names, to the items of lists and dicts, and
into the functions, methods and properties that it may call.  Code of nnad and of other installed
packages is not entered.  Modules and losses are asked for their attributes while a step is
captured; the walk only looks for what lies deeper inside of them.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from dis import get_instructions
from functools import lru_cache, partial
from inspect import getattr_static
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.tensor import Tensor, watched
from nnad.compiler.guards import is_plain

__all__ = ["MOST_ITEMS", "Place", "attributes_read", "own_places", "reached"]

GLOBAL, VARIABLE = ("LOAD_GLOBAL", "LOAD_NAME"), ("LOAD_DEREF", "LOAD_CLASSDEREF")
ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
MOST_ITEMS = 256  # of a list or dict; a longer one holds data rather than state
FUNCTIONS = (FunctionType, BuiltinFunctionType, classmethod, staticmethod)
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})

Names = frozenset[str]


class Place(NamedTuple):
    """Where a value lies: in a variable of a closure, a dict, a list, or an attribute."""

    owner: Any
    key: Any
    is_attribute: bool = False

    def get(self) -> Any:
        """What lies there."""
        if isinstance(self.owner, CellType):
            return self.owner.cell_contents
        return getattr(self.owner, self.key) if self.is_attribute else self.owner[self.key]

    def put(self, value: Any) -> None:
        """Let something else lie there; not in an attribute."""
        if isinstance(self.owner, CellType):
            self.owner.cell_contents = value
        else:
            self.owner[self.key] = value


def own_places(function: FunctionType) -> list[Place]:
    """The variables around a function and the globals that it names."""
    code, namespace = function.__code__, function.__globals__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    variables = [cells[name] for name in sorted(names_read(code, VARIABLE) & cells.keys())]
    named = sorted(names_read(code, GLOBAL) & namespace.keys())
    return [
        *(Place(cell, "") for cell in variables if _is_full(cell)),
        *(Place(namespace, name) for name in named),
    ]


def reached(step: Any) -> Iterator[Place]:
    """All places that `step`, and what of the user's it calls, may read."""
    walk = _Walk(step)
    while walk.todo:
        yield from walk.places(*walk.todo.pop())


class _Walk:
    """Values that are still to be looked into, each with the attributes that code reads of it."""

    def __init__(self, step: Any) -> None:
        self.todo: list[tuple[Any, Names]] = []
        self.seen: set[tuple[int, Names]] = set()
        self.held: list[Any] = []  # so that no other object gets the number of one that was seen
        self.plan(step, frozenset())
        while isinstance(step, partial):
            step = step.func
        self.root = getattr(step, "__func__", step)
        self.home = _package(self.root)

    def plan(self, value: Any, names: Names) -> None:
        """Plan to look into `value`, of which attributes `names` are read."""
        if not is_plain(value) and (id(value), names) not in self.seen:
            self.seen.add((id(value), names))
            self.held.append(value)
            self.todo.append((value, names))

    def places(self, value: Any, names: Names) -> Iterator[Place]:
        """The places right inside `value`; it is planned to look into what lies in them."""
        inside: list[Place] = []
        if isinstance(value, partial):
            self.plan(value.func, names)
            self.plan((value.args, value.keywords), attributes_read(value.func))
        elif isinstance(value, MethodType):
            self.plan(value.__func__, names)
            self.plan(value.__self__, attributes_read(value.__func__))
        elif isinstance(value, FunctionType):
            if value is self.root or self.is_users(value):
                names = attributes_read(value)
                inside = own_places(value)
                self.plan((value.__defaults__, value.__kwdefaults__), names)
        elif isinstance(value, (list, tuple, dict)):
            inside = _items(value)
        elif not isinstance(value, (np.ndarray, Tensor)):
            inside = self._attributes(value, names)
            self._plan_calls(value, names)
        if is_nnads(value):
            yield from _settings(inside)
        for place in inside:
            found = place.get()
            if not (is_nnads(value) and isinstance(found, (list, tuple, dict))):
                self.plan(found, names)
        yield from inside

    def _attributes(self, owner: Any, names: Names) -> list[Place]:
        """Those of `names` that tell what `owner` holds."""
        found = (Place(owner, name, is_attribute=True) for name in sorted(names))
        return [place for place in found if self._is_state(place)]

    def _is_state(self, place: Place) -> bool:
        """Whether an attribute may be meant to change, and is an object of its own."""
        owner, name, _ = place
        found = getattr_static(owner, name, None)
        is_property = isinstance(found, property)
        if is_property and not is_nnads(owner):
            return False  # the walk goes into it
        if isinstance(found, FUNCTIONS) or not hasattr(owner, name):
            return False
        value = place.get()
        is_others = isinstance(owner, (type, ModuleType)) and not self.is_users(owner)
        if is_property or is_others:
            return is_plain(value) or value is np.random
        return is_plain(value) or value is place.get()

    def _plan_calls(self, owner: Any, names: Names) -> None:
        """Plan to look into what reading `names` of `owner`, or calling it, may run."""
        if self.is_users(type(owner)):
            names |= {"__call__", "forward"}
        for name in sorted(names):
            found = getattr_static(owner, name, None)
            function = getattr(found, "fget", None) or getattr(found, "__func__", found)
            if isinstance(function, FunctionType) and self.is_users(function):
                self.plan(function, names)
                self.plan(owner, attributes_read(function))
        if isinstance(owner, tuple(watched)):
            for module in getattr(owner, "modules", tuple)():
                self.plan(module, frozenset())

    def is_users(self, thing: Any) -> bool:
        """Whether a function, class or module is the user's own, or of the step's package."""
        name = _package(thing)
        if name == self.home or name == "__main__":
            return name != "nnad"
        if name == "nnad" or name in sys.stdlib_module_names:
            return False
        file = getattr(sys.modules.get(name), "__file__", None)
        return file is None or not file.startswith(INSTALLED)


def is_nnads(thing: Any) -> bool:
    """Whether an object is one of nnad's that reads its own lists and dicts at every replay."""
    kinds = () if isinstance(thing, (type, *watched)) else type(thing).__mro__
    return any(_package(kind) == "nnad" for kind in kinds)


def _settings(places: list[Place]) -> Iterator[Place]:
    """The items of lists, and of dicts that hold nothing but numbers and texts."""
    for value in (place.get() for place in places):
        numbers = value.values() if isinstance(value, dict) else ()
        if isinstance(value, (list, dict)) and all(map(is_plain, numbers)):
            yield from _items(value)


def _package(thing: Any) -> str:
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    return str(name).partition(".")[0]


def _items(value: Any) -> list[Place]:
    if len(value) > MOST_ITEMS:
        return []
    keys = value if isinstance(value, dict) else range(len(value))
    return [Place(value, key) for key in keys if isinstance(key, (str, int))]


def _is_full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def attributes_read(function: Any) -> Names:
    """Names of the attributes that a function reads, of whatever objects."""
    code = getattr(function, "__code__", None)
    return names_read(code, ATTRIBUTE) if code else frozenset()


@lru_cache(maxsize=1024)
def names_read(code: CodeType, how: tuple[str, ...]) -> Names:
    """The names that code, functions inside it included, reads in this way."""
    names = {i.argval for i in get_instructions(code) if i.opname in how}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_read(constant, how)
    return frozenset(names)
