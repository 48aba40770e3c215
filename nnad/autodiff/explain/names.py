"""What the values of a trace are called: x, params['w'], layers[0]; v1, v2, ... of operations."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

from nnad.autodiff.trees import children_of


def argument_names(f: Any, args: Sequence[Any]) -> list[tuple[str, Any]]:
    """(name, value) of every leaf of the arguments of `f`, as Python would write it."""
    names = parameter_names(f, len(args))
    return [pair for name, x in zip(names, args, strict=True) for pair in leaf_paths(x, name)]


def parameter_names(f: Any, count: int) -> list[str]:
    """The names of the first `count` positional parameters of `f`.

    >>> parameter_names(lambda a, *rest: a, 3)
    ['a', 'rest0', 'rest1']
    """
    try:
        found = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        found = []
    names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in found if p.kind is p.VAR_POSITIONAL), "x")
    if not names and count == 1:
        return ["x"]
    return [names[i] if i < len(names) else f"{rest}{i - len(names)}" for i in range(count)]


def leaf_paths(tree: Any, name: str) -> list[tuple[str, Any]]:
    """The leaves of a container with the Python expression that reaches each.

    >>> leaf_paths({"w": [1.0, 2.0]}, "p")
    [("p['w'][0]", 1.0), ("p['w'][1]", 2.0)]
    """
    found = children_of(tree)
    if found is None:
        return [(name, tree)]
    if isinstance(tree, dict):
        keys = [f"[{key!r}]" for key in tree]
    elif hasattr(tree, "_fields"):
        keys = [f".{key}" for key in tree._fields]
    elif isinstance(tree, (list, tuple)):
        keys = [f"[{i}]" for i in range(len(tree))]
    else:
        keys = [f".{field.name}" for field in dataclasses.fields(tree) if field.init]
    pairs = zip(found[0], keys, strict=True)
    return [path for part, key in pairs for path in leaf_paths(part, name + key)]


def call_title(f: Any, count: int) -> str:
    """The call as a heading: micro(a, b); f(x) of a function without a name."""
    name = getattr(f, "__name__", type(f).__name__)
    return f"{'f' if name == '<lambda>' else name}({', '.join(parameter_names(f, count))})"
