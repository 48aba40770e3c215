"""Does a plain value, as YAML gives it, fit a type hint? And how is that hint put in words?"""

from __future__ import annotations

import collections.abc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["describe", "fits"]

_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping)
_WORDS: dict[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    NoneType: "nothing",
}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of plain dicts, lists and scalars may stand where `hint` is asked for.

    Integers pass as floats, lists as tuples; booleans are no numbers. A hint about something that
    plain values cannot express (a callable, an array) accepts everything: its owner knows better.

    >>> fits([0.9, 1], tuple[float, float]), fits(True, int), fits("much", float | None)
    (True, False, False)
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return fits(value, arguments[0])
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in arguments)
    if origin is tuple and arguments and Ellipsis not in arguments:
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(arguments)
            and all(map(fits, value, arguments))
        )
    if origin in _LISTS:
        inner = arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(fits(item, inner) for item in value)
    if origin in _MAPPINGS:
        return isinstance(value, dict)
    return _fits_scalar(value, origin)


def _fits_scalar(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str, NoneType, None):
        return isinstance(value, NoneType if kind is None else kind)
    return True


def describe(hint: Any) -> str:
    """Put a type hint in words, for messages.

    >>> describe(int | tuple[float, float] | None)
    'a whole number or a list of 2 entries, each a number'
    >>> describe(Literal["min", "max"])
    'min or max'
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return describe(arguments[0])
    if origin in (Union, UnionType):
        options = [option for option in arguments if option is not NoneType]
        if set(options) == {int, float}:
            return _WORDS[float]
        return " or ".join(dict.fromkeys(map(describe, options)))
    if origin is Literal:
        return " or ".join(str(option) for option in arguments)
    if origin in _LISTS:
        return _describe_list(origin, arguments)
    if origin in _MAPPINGS:
        return "a mapping"
    return _WORDS.get(origin, "as described")


def _describe_list(origin: Any, arguments: tuple[Any, ...]) -> str:
    inner = [argument for argument in arguments if argument is not Ellipsis]
    if origin is tuple and inner and Ellipsis not in arguments:
        kinds = " and ".join(dict.fromkeys(map(describe, inner)))
        return f"a list of {len(inner)} entries, each {kinds}"
    return f"a list, each entry {describe(inner[0])}" if inner else "a list"
