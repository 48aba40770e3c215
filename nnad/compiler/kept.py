"""Results of a step that a replay could not renew where the step has put them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import CellType
from typing import Any
from weakref import ref

import numpy as np

from nnad.autodiff.tensor import Tensor, raw_of
from nnad.compiler.program import RESULT
from nnad.errors import CannotCompile

__all__ = ["require_nothing_kept", "require_open"]


def require_open(capture: Any, outputs: list[Any]) -> None:
    """Raise if results are hidden inside an object that the step returns."""
    for x in outputs:
        is_open = isinstance(x, (Tensor, np.ndarray))
        if isinstance(x, Iterator) or (not is_open and _holds_results(capture, x)):
            raise CannotCompile(
                f"the step returns a {type(x).__name__}, into which a replay cannot put its "
                "results; return arrays and Tensors, or tuples, lists, dicts or dataclasses of them"
            )


def require_nothing_kept(capture: Any, returned: list[Any]) -> None:
    """Raise if results that are not `returned` have outlived the step.

    It is the last use of `capture`, of whose program nothing may be held but what is optimized.
    """
    known = {id(x) for x in returned}
    living = [*capture.made.values(), *capture.stand_ins.values()]
    suspects = [ref(x) for x in living if id(x) not in known and _is_result(capture, x)]
    del living
    capture.values, capture.instructions = {}, []  # in which functions hold on to their arguments
    if any(suspect() is not None for suspect in suspects):
        gc.collect()
    kept = [x for x in (suspect() for suspect in suspects) if x is not None]
    if kept:
        raise CannotCompile(
            f"the step keeps a result of shape {raw_of(kept[0]).shape} {_where(kept[0])}, which a "
            "replay would not renew: return it and keep it outside of the step, let go of it (= "
            "None) before the step ends, or write it into an array that is there already "
            "(array[...] = result)"
        )


def _holds_results(capture: Any, x: Any) -> bool:
    """Whether results lie in attributes or slots of an object, or in a container such as a set."""
    parts = [*getattr(x, "__dict__", {}).values(), *gc.get_referents(x)]
    return any(_is_result(capture, part) for part in parts)


def _is_result(capture: Any, x: Any) -> bool:
    """Whether a Tensor or a stand-in holds something that the step has computed."""
    value = capture.values.get(id(raw_of(x)))
    return value is not None and value.kind == RESULT


def _where(x: Any) -> str:
    """The first place that holds `x`, in words."""
    for owner in gc.get_referrers(x):
        if isinstance(owner, CellType):
            return "in a variable around it"
        if isinstance(owner, dict):
            for name, value in owner.items():
                if value is x:
                    return f"as {name!r}"
    return "in a list or another container"
