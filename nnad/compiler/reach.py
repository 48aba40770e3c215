"""What a step may read in Python, found without running it: a walk from its code.

From a function the walk goes to its arguments, the variables around it, the globals that it names
and its default values; from there to the attributes that the function, or one that it may hand its
objects to, names, to the items of lists and dicts, and into the functions, methods and properties
that it may call.  None of these are run: an attribute that `__getattr__` makes up is not asked for,
it is `__getattr__` that is looked into.  Code of nnad and of other installed packages is not
entered.  Modules and losses are asked for their attributes while a step is captured; the walk only
looks for what lies deeper inside of them.
"""

from __future__ import annotations

import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Sequence
from dis import get_instructions
from functools import cached_property, lru_cache, partial
from inspect import getattr_static
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.tensor import Tensor, watched
from nnad.compiler.guards import is_a, is_plain

__all__ = ["MOST_ITEMS", "Place", "attributes_read", "own_places", "reached"]

GLOBAL, VARIABLE = ("LOAD_GLOBAL", "LOAD_NAME"), ("LOAD_DEREF", "LOAD_CLASSDEREF")
ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR")  # the last since Python 3.12
MOST_ITEMS = 256  # of a list or dict; a longer one holds data rather than state
MOST_PLACES = 2048  # of all, the nearest first: each is looked at before every replay
FUNCTIONS = (FunctionType, BuiltinFunctionType, classmethod, staticmethod)
SLOTS = (MemberDescriptorType, GetSetDescriptorType)
USED = frozenset({"__call__", "forward", "__getattr__", "__getitem__"})  # without being named
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})
PACKAGES = frozenset({"site-packages", "dist-packages"})  # of the user, or of a distribution
NOTHING = object()

Names = frozenset[str]


class Place(NamedTuple):
    """Where a value lies: in a variable of a closure, a dict, a list, or an attribute."""

    owner: Any
    key: Any
    is_attribute: bool = False

    def get(self) -> Any:
        """What lies there."""
        if is_a(self.owner, CellType):
            return self.owner.cell_contents
        return getattr(self.owner, self.key) if self.is_attribute else self.owner[self.key]

    def put(self, value: Any) -> None:
        """Let something else lie there; not in an attribute."""
        if is_a(self.owner, CellType):
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


def reached(step: Any, arguments: Sequence[Any] = ()) -> Iterator[Place]:
    """The places that `step`, and what of the user's it calls, may read, the nearest first."""
    walk = _Walk(step, arguments)
    known: set[tuple[int, Any, bool]] = set()
    while walk.todo and len(known) < MOST_PLACES:
        for place in walk.places(*walk.todo.popleft()):
            mark = id(place.owner), place.key, place.is_attribute
            if mark not in known:
                known.add(mark)
                yield place


class _Walk:
    """Values that are still to be looked into, each with the attributes that code reads of it."""

    def __init__(self, step: Any, arguments: Sequence[Any]) -> None:
        self.todo: deque[tuple[Any, Names]] = deque()
        self.seen: dict[int, Names] = {}
        self.held: list[Any] = []  # so that no other object gets the number of one that was seen
        self.called: dict[tuple[int, int], list[tuple[FunctionType, Any]]] = {}
        self.plan(step, frozenset())
        while is_a(step, partial):
            step = step.func
        self.root = getattr(step, "__func__", step)
        self.home = _package(self.root)
        names = self.reads(self.root, getattr(step, "__self__", None))
        for function in _functions_in(self.root, "__call__"):
            names |= self.reads(function, self.root)
        for argument in arguments:
            self.plan(argument, names)

    def plan(self, value: Any, names: Names) -> None:
        """Plan to look into `value`, of which attributes `names` are read."""
        known = self.seen.get(id(value))
        if not is_plain(value) and (known is None or not names <= known):
            self.seen[id(value)] = names | (known or names)
            self.held.append(value)
            self.todo.append((value, self.seen[id(value)]))

    def reads(self, function: Any, owner: Any = None) -> Names:
        """Names of the attributes that a function reads, or one that it may hand its objects to."""
        calls = [(function, owner)] if is_a(function, FunctionType) else []
        known = {(id(function), id(owner))}
        for one, its_owner in calls:
            for call in self.calls(one, its_owner):
                mark = id(call[0]), id(call[1])
                if mark not in known:
                    known.add(mark)
                    calls.append(call)
        return frozenset().union(*(attributes_read(one) for one, _ in calls))

    def calls(self, function: FunctionType, owner: Any) -> list[tuple[FunctionType, Any]]:
        """The user's functions that `function` may call by itself, each with whose method it is."""
        mark = id(function), id(owner)
        if mark not in self.called:
            beside = [owner, *(place.get() for place in own_places(function))]
            names = attributes_read(function) | USED
            found = [(x, None) for x in beside if is_a(x, FunctionType)]
            for x in filter(_has_parts, beside):
                found += [(method, x) for name in names for method in _functions_in(x, name)]
            self.called[mark] = [call for call in found if self.is_users(call[0])]
            self.held += [function, owner]
        return self.called[mark]

    def places(self, value: Any, names: Names) -> Iterator[Place]:
        """The places right inside `value`; it is planned to look into what lies in them."""
        inside: list[Place] = []
        if is_a(value, partial):
            self.plan(value.func, names)
            self.plan((value.args, value.keywords), self.reads(value.func))
        elif is_a(value, MethodType):
            self.plan(value.__func__, names)
            self.plan(value.__self__, self.reads(value.__func__, value.__self__))
        elif is_a(value, FunctionType):
            if value is self.root or self.is_users(value):
                names = self.reads(value)
                inside = own_places(value)
                self.plan((value.__defaults__, value.__kwdefaults__), names)
        elif is_a(value, (list, tuple, dict)):
            inside = _items(value)
        elif _has_parts(value):
            inside = self._attributes(value, names)
            self._plan_calls(value, names)
        if is_nnads(value):
            yield from _settings(inside)
        for place in inside:
            found = place.get()
            if not (is_nnads(value) and is_a(found, (list, tuple, dict))):
                self.plan(found, names)
        yield from inside

    def _attributes(self, owner: Any, names: Names) -> list[Place]:
        """Those of `names` that tell what `owner` holds."""
        found = (Place(owner, name, is_attribute=True) for name in sorted(names))
        return [place for place in found if self._is_state(place)]

    def _is_state(self, place: Place) -> bool:
        """Whether an attribute may be meant to change, and is an object of its own."""
        owner, name, _ = place
        found = getattr_static(owner, name, NOTHING)
        if found is NOTHING or (_runs(found) and not _is_own(owner, name, found)):
            return False  # the walk goes into what is run
        if not hasattr(owner, name):  # a slot that is empty
            return False
        value = place.get()
        is_others = is_a(owner, (type, ModuleType)) and not self.is_users(owner)
        if is_others or is_a(found, property):
            return is_plain(value) or value is np.random
        return is_plain(value) or value is place.get()

    def _plan_calls(self, owner: Any, names: Names) -> None:
        """Plan to look into what reading `names` of `owner`, or calling it, may run."""
        if self.is_users(type(owner)):
            names |= USED
        for name in sorted(names):
            for function in filter(self.is_users, _functions_in(owner, name)):
                self.plan(function, names)
                self.plan(owner, names | self.reads(function, owner))
        if is_a(owner, tuple(watched)):
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
        return file is None or not (
            file.startswith(INSTALLED) or PACKAGES & set(PurePath(file).parts)
        )


def is_nnads(thing: Any) -> bool:
    """Whether an object is one of nnad's that reads its own lists and dicts at every replay."""
    kinds = () if is_a(thing, (type, *watched)) else type(thing).__mro__
    return any(_package(kind) == "nnad" for kind in kinds)


def _runs(found: Any) -> bool:
    """Whether reading an attribute that is `found` in a class may run code that is not nnad's."""
    if is_a(found, property):
        return _package(found.fget) != "nnad"
    is_descriptor = getattr_static(type(found), "__get__", None) is not None
    return is_a(found, FUNCTIONS) or (is_descriptor and not is_a(found, SLOTS))


def _is_own(owner: Any, name: str, found: Any) -> bool:
    """Whether an attribute lies in the object itself, where reading it runs nothing."""
    if is_a(owner, type):
        return False
    try:
        return object.__getattribute__(owner, "__dict__").get(name, NOTHING) is found
    except AttributeError:
        return False


def _functions_in(owner: Any, name: str) -> list[FunctionType]:
    """The functions that an attribute may run: those of classes above are for `super()`."""
    kind = owner if is_a(owner, type) else type(owner)
    found = [getattr_static(owner, name, None), *(vars(x).get(name) for x in kind.__mro__)]
    return [x for x in map(_function, found) if is_a(x, FunctionType)]


def _function(found: Any) -> Any:
    """What an attribute runs: of a property, also one that is cached, and of a method."""
    if is_a(found, property):
        return found.fget
    if is_a(found, cached_property):
        return found.func
    return found.__func__ if is_a(found, (classmethod, staticmethod)) else found


def _has_parts(value: Any) -> bool:
    """Whether attributes of an object may be the user's."""
    return not (is_plain(value) or is_a(value, (FunctionType, np.ndarray, Tensor)))


def _settings(places: list[Place]) -> Iterator[Place]:
    """The items of lists, and of dicts that hold nothing but numbers and texts."""
    for value in (place.get() for place in places):
        numbers = value.values() if is_a(value, dict) else ()
        if is_a(value, (list, dict)) and all(map(is_plain, numbers)):
            yield from _items(value)


def _package(thing: Any) -> str:
    name = thing.__name__ if is_a(thing, ModuleType) else getattr(thing, "__module__", None)
    return str(name).partition(".")[0]


def _items(value: Any) -> list[Place]:
    if len(value) > MOST_ITEMS:
        return []
    keys = list(value) if is_a(value, dict) else range(len(value))
    return [Place(value, key) for key in keys if is_a(key, (str, int))]


def _is_full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def attributes_read(function: Any) -> Names:
    """Names of the attributes that a function reads, of whatever objects."""
    return names_read(function.__code__, ATTRIBUTE) if is_a(function, FunctionType) else frozenset()


@lru_cache(maxsize=1024)
def names_read(code: CodeType, how: tuple[str, ...]) -> Names:
    """The names that code, functions inside it included, reads in this way."""
    names = {i.argval for i in get_instructions(code) if i.opname in how}
    for constant in code.co_consts:
        if is_a(constant, CodeType):
            names |= names_read(constant, how)
    return frozenset(names)
