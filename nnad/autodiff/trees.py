"""Nested containers of arrays: dicts, lists, tuples, namedtuples and dataclasses.

Anything else is a leaf.  Dicts keep their order of keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Tensor
from nnad.errors import CotangentError

_LEAVES = frozenset({np.ndarray, Tensor, float, np.float64, np.float32})  # seen at one glance


def children_of(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]] | None:
    """The parts of a container and the function that puts such parts together; None: a leaf."""
    kind = type(tree)
    if kind in _LEAVES:
        return None
    if isinstance(tree, dict):
        keys = list(tree)
        return list(tree.values()), lambda parts: _like_dict(tree, dict(zip(keys, parts)))  # noqa: B905
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(tree), lambda parts: kind(*parts)
    if kind in (list, tuple):
        return list(tree), kind
    if hasattr(kind, "__dataclass_fields__"):
        names = [f.name for f in dataclasses.fields(tree) if f.init]
        return [getattr(tree, name) for name in names], lambda parts: dataclasses.replace(
            tree,
            **dict(zip(names, parts)),  # noqa: B905
        )
    return None


def _like_dict(tree: dict[Any, Any], items: dict[Any, Any]) -> Any:
    if type(tree) is dict:
        return items
    copy = tree.copy()
    copy.update(items)
    return copy


def flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of `tree` from left to right, and a function that rebuilds it from new leaves.

    >>> leaves, rebuild = flatten({"w": [1.0, 2.0], "b": 3.0})
    >>> leaves
    [1.0, 2.0, 3.0]
    >>> rebuild([4.0, 5.0, 6.0])
    {'w': [4.0, 5.0], 'b': 6.0}
    """
    found = children_of(tree)
    if found is None:
        return [tree], _only
    parts, build = found
    leaves: list[Any] = []
    rebuilds = []
    for part in parts:
        own, rebuild_part = ([part], _only) if type(part) in _LEAVES else flatten(part)
        leaves += own
        rebuilds.append((rebuild_part, len(own)))

    def rebuild(leaves: list[Any]) -> Any:
        rebuilt, start = [], 0
        for rebuild_part, n in rebuilds:
            rebuilt.append(rebuild_part(leaves[start : start + n]))
            start += n
        return build(rebuilt)

    return leaves, rebuild


def _only(leaves: list[Any]) -> Any:
    return leaves[0]


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """`tree` with `function` applied to every leaf."""
    leaves, rebuild = flatten(tree)
    return rebuild([function(leaf) for leaf in leaves])


def flatten_like(tree: Any, model: Any, what: str) -> list[Any]:
    """The leaves of `tree`, which must have the structure of `model`.

    Raises:
        CotangentError: saying `what` does not fit and where.
    """
    expected, got = children_of(model), children_of(tree)
    if expected is None:
        if got is not None and type(tree) in (dict, list, tuple):
            raise CotangentError(f"{what}: got a {type(tree).__name__}, expected an array or None")
        return [tree]
    if got is None or type(tree) is not type(model) or len(got[0]) != len(expected[0]):
        size = "" if got is None else f" of {len(got[0])}"
        raise CotangentError(
            f"{what}: got {type(tree).__name__}{size}, expected {type(model).__name__} of "
            f"{len(expected[0])}, the structure of what it belongs to"
        )
    if isinstance(model, dict):
        if set(tree) != set(model):
            raise CotangentError(f"{what}: got keys {list(tree)}, expected {list(model)}")
        parts = [tree[key] for key in model]
    else:
        parts = got[0]
    pairs = zip(parts, expected[0], strict=True)
    return [leaf for part, like in pairs for leaf in flatten_like(part, like, what)]
