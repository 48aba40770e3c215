"""Guards: what a program takes for granted, checked before each replay.

A step is captured with the Python values it saw: modes and hyper-parameters of modules, numbers in
its closure, the arrays that parameters lived in.  All of them are read again before a replay, in
one generated expression; where one differs, the step is captured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import CellType
from typing import Any, NamedTuple

import numpy as np

SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """`isinstance`, but by the type alone, not by `__class__`, which mocks and proxies make up."""
    return issubclass(type(value), kinds)


def is_plain(value: Any) -> bool:
    """Whether `value` is a number, a text, None, or a tuple of such: equal ones do as well."""
    return is_a(value, SCALARS) or (type(value) is tuple and all(map(is_plain, value)))


class Condition(NamedTuple):
    """What lies in an attribute or item of `owner`, which is `what` in Python."""

    owner: Any
    what: str
    value: Any
    key: Any = None  # of an item


class Guards:
    """Conditions `owner.attribute == value` for what is plain, `is value` for all else."""

    def __init__(self) -> None:
        self.conditions: dict[Hashable, Condition] = {}

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Demand that `owner.name` stays: equal if it is plain, else the same object."""
        self._add(Condition(owner, f".{name}", value))

    def setting(self, owner: Any, name: str, value: Any) -> None:
        """Demand the same; of a dict of plain values and arrays, also that all of them stay."""
        self.attribute(owner, name, value)
        if type(value) is dict and all(
            is_plain(x) or type(x) is np.ndarray for x in value.values()
        ):
            for key, x in value.items():
                self.item(value, key, x)

    def item(self, owner: Any, key: Any, value: Any) -> None:
        """Demand the same of `owner[key]`."""
        self._add(Condition(owner, f"[{key!r}]", value, key))

    def _add(self, condition: Condition) -> None:
        self.conditions.setdefault((id(condition.owner), condition.what), condition)

    def conclude(self) -> Callable[[], bool]:
        """All conditions as one function."""
        names: dict[str, Any] = {}
        terms = []
        for number, condition in enumerate(self.conditions.values()):
            owner, what, value, key = condition
            names[f"o{number}"], names[f"v{number}"] = owner, value
            if what.startswith("[") and type(key) not in (str, int):  # which are as they are shown
                names[f"k{number}"], what = key, f"[k{number}]"
            terms.append(f"o{number}{what} {'==' if _may_be_equal(value) else 'is'} v{number}")
        text = f"lambda: {' and '.join(terms) or 'True'}"
        return eval(compile(text, "<guards of a compiled step>", "eval"), names)  # noqa: S307

    def broken(self) -> str:
        """The first condition that does not hold, in words."""
        for owner, what, value, key in self.conditions.values():
            now = owner[key] if what.startswith("[") else getattr(owner, what[1:])
            if now is not value and not (_may_be_equal(value) and now == value):
                return f"{_described(owner)}{what} was {_short(value)} and is {_short(now)}"
        return "nothing it depends on"


def _may_be_equal(value: Any) -> bool:
    """Whether another object may do as well: None, True and False are one each, NaN is no equal."""
    return is_plain(value) and not (value is None or isinstance(value, bool)) and value == value


def _described(owner: Any) -> str:
    return "a variable of the step: " if isinstance(owner, CellType) else type(owner).__name__


def _short(value: Any) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
