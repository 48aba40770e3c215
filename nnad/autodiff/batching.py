"""Many derivatives in one walk: operations on a stack of values at once.

A walk is a chain of ordinary operations, linear in its seeds.  Given `Stacked` seeds, each standing
for as many arrays as it has rows, and a `Batcher` that every operation passes through meanwhile,
one walk does the work of many: an operation that has a rule for stacks runs once on all rows, any
other one row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import STACKED, TABLE, Primitive
from nnad.autodiff.tensor import Tensor, state, value_of, wrap


def derivatives(walk: Callable[[Any], Mapping[Any, Any]], seeds: Any, ends: Any) -> list[Any]:
    """What `walk(seed)` carries to the `ends`, stacked over the rows of `seeds`.

    Args:
        walk: takes one seed, or all of them as one `Stacked`, to a derivative per node.
        seeds: an array of as many seeds as its first axis is long.
        ends: (node, array like its derivative); zero where nothing arrives.
    """
    if state.capture is None:
        with Batcher():
            found = walk(Stacked(seeds))
        return [rows_of(found.get(node, np.zeros_like(like)), len(seeds)) for node, like in ends]
    one_by_one = [walk(seed) for seed in seeds]  # a program that is compiled holds no stacks
    return [
        TABLE["stack"](*[found.get(node, np.zeros_like(like)) for found in one_by_one], axis=0)
        for node, like in ends
    ]


class Stacked(Tensor):
    """As many arrays as `rows` has along its first axis, seen by operations as one of them.

    Attributes:
        rows: an array, or a Tensor if an enclosing transform follows it.
        data: the first row, for its shape and dtype only.
    """

    __slots__ = ("rows",)

    rows: Any

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.data = value_of(rows)[0]
        self.node = None


class Batcher:
    """Stands where the compiler's recorder would: runs operations on stacks inside a `with`."""

    def __enter__(self) -> Batcher:
        self.outer, state.capture = state.capture, self
        return self

    def __exit__(self, *exc: object) -> None:
        state.capture = self.outer

    def apply(self, primitive: Primitive, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation, on all rows at once if it can."""
        state.capture = self.outer
        try:
            if not any(isinstance(x, Stacked) for x in args):
                return self.hide(primitive(*args, **kwargs))
            kind = "elementwise" if primitive.kind == "elementwise" else primitive.name
            rule = STACKED.get(kind)
            out = None if rule is None else rule(primitive, args, **kwargs)
            return tensors(_row_by_row(primitive, args, kwargs) if out is None else out, Stacked)
        finally:
            state.capture = self

    def hide(self, item: Any) -> Any:
        """Arrays as Tensors, so that what is done with them passes through here too."""
        if type(item) in (tuple, list):
            return type(item)(self.hide(x) for x in item)
        return wrap(item, None) if isinstance(item, (np.ndarray, np.generic)) else item

    def refuse_value(self, tensor: Tensor, how: str) -> None:
        """A rule that looks at single values cannot serve many rows."""
        if isinstance(tensor, Stacked):
            raise TypeError(f"{how} in a derivative rule: the rule is given many values at once")


def tensors(out: Any, make: Callable[[Any], Any]) -> Any:
    """The result of an operation, one or several arrays, with `make` applied to each."""
    return tuple(map(make, out)) if type(out) is tuple else make(out)


def _row_by_row(primitive: Primitive, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The operation once per row, results stacked."""
    count = next(len(value_of(x.rows)) for x in args if isinstance(x, Stacked))
    outs = [
        primitive(*[x.rows[i] if isinstance(x, Stacked) else x for x in args], **kwargs)
        for i in range(count)
    ]
    if type(outs[0]) is tuple:
        return tuple(TABLE["stack"](*column, axis=0) for column in zip(*outs, strict=True))
    return TABLE["stack"](*outs, axis=0)


def rows_of(x: Any, count: int) -> Any:
    """The `count` rows that a result stands for, also if it is the same for all."""
    if isinstance(x, Stacked):
        return x.rows
    return TABLE["broadcast_to"](x, shape=(count, *np.shape(value_of(x))))
