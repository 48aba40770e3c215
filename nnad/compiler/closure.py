"""What a step looks up in Python: variables around it, globals, attributes of its object.

Numbers and texts among them are guarded.  Arrays, also those in lists and dicts there, are guarded
by identity, and while the step is captured stand-ins lie in their places, so that plain NumPy
statements such as `velocity *= 0.9` enter the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np

from nnad.autodiff.tensor import Tensor, raw_of
from nnad.compiler.guards import SCALARS

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
        found += _named(getattr(step.__self__, "__dict__", {}), step.__func__.__code__)
        step = step.__func__
    if isinstance(step, FunctionType):
        found += [Place(cell, "") for cell in step.__closure__ or () if _is_full(cell)]
        found += _named(step.__globals__, step.__code__)
    for place in found:
        yield place
        value = place.get()
        if type(value) is list and len(value) <= MOST_ITEMS:
            yield from (Place(value, i) for i in range(len(value)))
        elif type(value) is dict and isinstance(place.owner, CellType) and len(value) <= MOST_ITEMS:
            yield from (Place(value, key) for key in value if isinstance(key, (str, int)))


def _is_full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _named(namespace: dict[str, Any], code: CodeType) -> list[Place]:
    """Places of `namespace` that `code` names, functions inside it included."""
    found = [Place(namespace, name) for name in code.co_names if name in namespace]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _named(namespace, constant)
    return found


@contextmanager
def looked_up(capture: Any, step: Any) -> Iterator[None]:
    """Guard what `step` looks up; within the block stand-ins lie in place of its arrays."""
    replaced = []
    for place in places_of(step):
        value = place.get()
        if not isinstance(value, (*SCALARS, np.ndarray, Tensor)):
            continue
        if isinstance(place.owner, CellType):
            capture.guards.attribute(place.owner, "cell_contents", value)
        else:
            capture.guards.item(place.owner, place.key, value)
        if isinstance(value, np.ndarray):
            capture.outlives(value)
            replaced.append((place, value, capture.stand_in(value)))
    for place, _, stand_in in replaced:
        place.put(stand_in)
    try:
        yield
    finally:
        for place, value, stand_in in replaced:
            now = place.get()
            place.put(value if now is stand_in else raw_of(now))
