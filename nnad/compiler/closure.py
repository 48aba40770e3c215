"""What a step looks up in Python: variables around it, globals, attributes of its object.

All of it is guarded: numbers and texts must stay equal, other objects the same, also those in lists
and dicts there.  While the step is captured stand-ins lie in place of arrays, so that plain NumPy
statements such as `velocity *= 0.9` enter the program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np

from nnad.autodiff.tensor import raw_of, watched
from nnad.compiler.draws import refusing_draws
from nnad.compiler.guards import is_a
from nnad.compiler.reach import MOST_ITEMS, Place, attributes_read, own_places, reached


def stand_in_places(step: Any) -> Iterator[Place]:
    """The places of a step's own where stand-ins are put for arrays."""
    while isinstance(step, partial):
        step = step.func
    found: list[Place] = []
    if isinstance(step, MethodType):
        attributes = getattr(step.__self__, "__dict__", {})
        named = attributes_read(step.__func__)
        found += [Place(attributes, name) for name in attributes if name in named]
        step = step.__func__
    if isinstance(step, FunctionType):
        found += own_places(step)
    for place in found:
        yield place
        value = place.get()
        is_items = type(value) is list or (type(value) is dict and type(place.owner) is CellType)
        if is_items and len(value) <= MOST_ITEMS:
            keys = value if type(value) is dict else range(len(value))
            yield from (Place(value, key) for key in keys if isinstance(key, (str, int)))


@contextmanager
def looked_up(capture: Any, step: Any, arguments: Sequence[Any] = ()) -> Iterator[None]:
    """Guard what `step` looks up; within the block stand-ins lie in place of its arrays.

    What it reaches besides is guarded too; arrays there are plain ones to it.

    Raises:
        CannotCompile: it draws random numbers that a replay would not draw.
    """
    values = [*arguments, *(_guard(capture, place) for place in reached(step, arguments))]
    replaced = []
    for place in stand_in_places(step):
        value = place.get()
        if is_a(value, np.ndarray):
            capture.outlives(value)
            replaced.append((place, value, capture.stand_in(value)))
    for place, _, stand_in in replaced:
        place.put(stand_in)
    try:
        with refusing_draws(capture, values):
            yield
    finally:
        for place, value, stand_in in replaced:
            now = place.get()
            place.put(value if now is stand_in else raw_of(now))


def _guard(capture: Any, place: Place) -> Any:
    """Demand that what lies in `place` stays; returns it."""
    owner, key, is_attribute = place
    value = place.get()
    if isinstance(owner, CellType):
        capture.guards.attribute(owner, "cell_contents", value)
    elif not is_attribute:
        if not isinstance(owner, tuple):
            capture.guards.item(owner, key, value)
    elif not isinstance(owner, tuple(watched)):  # those are asked while the step is captured
        capture.guards.attribute(owner, key, value)
    return value
