"""Guards: what a program takes for granted, checked before each replay.

A step is captured with the Python values it saw: modes and hyper-parameters of modules, numbers in
its closure, the arrays that parameters lived in.  All of them are read again before a replay, in
one generated expression; where one differs, the step is captured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import CellType
from typing import Any

import numpy as np

SCALARS = (bool, int, float, complex, str, bytes, type(None))


class Guards:
    """Conditions `owner.attribute is value` or `== value`."""

    def __init__(self) -> None:
        self.conditions: dict[Hashable, tuple[Any, str, Any]] = {}

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Demand that `owner.name` stays: an equal number or text, else the same object."""
        self._add(owner, f".{name}", value)

    def item(self, owner: Any, key: Any, value: Any) -> None:
        """Demand the same of `owner[key]`."""
        self._add(owner, f"[{key!r}]", value)

    def _add(self, owner: Any, what: str, value: Any) -> None:
        self.conditions.setdefault((id(owner), what), (owner, what, value))

    def conclude(self) -> Callable[[], bool]:
        """All conditions as one function."""
        names: dict[str, Any] = {}
        terms = []
        for number, (owner, what, value) in enumerate(self.conditions.values()):
            names[f"o{number}"], names[f"v{number}"] = owner, value
            relation = "==" if isinstance(value, SCALARS) and not _is_singleton(value) else "is"
            terms.append(f"o{number}{what} {relation} v{number}")
        text = f"lambda: {' and '.join(terms) or 'True'}"
        return eval(compile(text, "<guards of a compiled step>", "eval"), names)  # noqa: S307

    def broken(self) -> str:
        """The first condition that does not hold, in words."""
        for owner, what, value in self.conditions.values():
            now = eval(f"owner{what}", {"owner": owner})  # noqa: S307
            if now is not value and not (isinstance(value, SCALARS) and now == value):
                return f"{_described(owner)}{what} was {_short(value)} and is {_short(now)}"
        return "nothing it depends on"


def _is_singleton(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _described(owner: Any) -> str:
    return "a variable of the step: " if isinstance(owner, CellType) else type(owner).__name__


def _short(value: Any) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
