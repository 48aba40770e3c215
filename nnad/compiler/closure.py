"""What a step looks up in Python: variables around it, globals, attributes of its object.

All of it is guarded: numbers and texts must stay equal, other objects the same, also those in lists
and dicts there.  While the step is captured stand-ins lie in place of arrays, so that plain NumPy
statements such as `velocity *= 0.9` enter the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dis import get_instructions
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.tensor import raw_of

GLOBAL, VARIABLE = ("LOAD_GLOBAL", "LOAD_NAME"), ("LOAD_DEREF", "LOAD_CLASSDEREF")
ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
MOST_ITEMS = 256  # of a list or dict; a longer one holds data rather than state


class Place(NamedTuple):
    """Where a value lies: in a variable of a closure, a dict, or a list."""

    owner: Any
    key: Any

    def get(self) -> Any:
        """What lies there."""
        return (
            self.owner.cell_contents if isinstance(self.owner, CellType) else self.owner[self.key]
        )

    def put(self, value: Any) -> None:
        """Let something else lie there."""
        if isinstance(self.owner, CellType):
            self.owner.cell_contents = value
        else:
            self.owner[self.key] = value


def places_of(step: Any) -> Iterator[Place]:
    """The places that `step` looks values up in."""
    while hasattr(step, "func"):  # functools.partial
        step = step.func
    found: list[Place] = []
    if isinstance(step, MethodType):
        attributes = getattr(step.__self__, "__dict__", {})
        found += _named(attributes, step.__func__.__code__, ATTRIBUTE)
        step = step.__func__
    if isinstance(step, FunctionType):
        cells = dict(zip(step.__code__.co_freevars, step.__closure__ or (), strict=True))
        found += [Place(p.get(), "") for p in _named(cells, step.__code__, VARIABLE) if _is_full(p)]
        found += _named(step.__globals__, step.__code__, GLOBAL)
    for place in found:
        yield place
        value = place.get()
        if type(value) is list and len(value) <= MOST_ITEMS:
            yield from (Place(value, i) for i in range(len(value)))
        elif type(value) is dict and isinstance(place.owner, CellType) and len(value) <= MOST_ITEMS:
            yield from (Place(value, key) for key in value if isinstance(key, (str, int)))


def functions_beside(step: Any) -> list[FunctionType]:
    """Functions of its own module that `step` calls, and those that they call."""
    namespace = getattr(step, "__globals__", None)
    found = [step]
    for function in found:
        for place in places_of(function):
            value = place.get()
            is_beside = type(value) is FunctionType and value.__globals__ is namespace
            if is_beside and value not in found:
                found.append(value)
    return found[1:]


def _is_full(place: Place) -> bool:
    try:
        place.get().cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _named(namespace: dict[str, Any], code: CodeType, how: tuple[str, ...]) -> list[Place]:
    """Places of `namespace` that `code`, functions inside it included, reads in this way."""
    return [Place(namespace, name) for name in _names_read(code, how) if name in namespace]


def _names_read(code: CodeType, how: tuple[str, ...]) -> dict[str, None]:
    names = dict.fromkeys(i.argval for i in get_instructions(code) if i.opname in how)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_read(constant, how)
    return names


@contextmanager
def looked_up(capture: Any, step: Any) -> Iterator[None]:
    """Guard what `step` looks up; within the block stand-ins lie in place of its arrays.

    What functions beside it look up is guarded too; arrays there are plain ones to them.
    """
    replaced = []
    for place in places_of(step):
        value = place.get()
        _guard(capture, place, value)
        if isinstance(value, np.ndarray):
            capture.outlives(value)
            replaced.append((place, value, capture.stand_in(value)))
    for function in functions_beside(step):
        for place in places_of(function):
            _guard(capture, place, place.get())
    for place, _, stand_in in replaced:
        place.put(stand_in)
    try:
        yield
    finally:
        for place, value, stand_in in replaced:
            now = place.get()
            place.put(value if now is stand_in else raw_of(now))


def _guard(capture: Any, place: Place, value: Any) -> None:
    if isinstance(place.owner, CellType):
        capture.guards.attribute(place.owner, "cell_contents", value)
    else:
        capture.guards.item(place.owner, place.key, value)
