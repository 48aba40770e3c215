"""Random numbers that a step draws by itself: a replay would not draw them anew, so it is refused.

What nnad draws, as for dropout, is part of the program.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from nnad.compiler.guards import is_a
from nnad.errors import CannotCompile

__all__ = ["refusing_draws"]

KINDS = (np.random.Generator, np.random.RandomState, random.Random)


@contextmanager
def refusing_draws(capture: Any, found: Iterable[Any]) -> Iterator[None]:
    """Raise if generators among the objects `found` were drawn from within the block.

    Raises:
        CannotCompile: by other means than instructions of `capture`.
    """
    sources = {id(x): x for x in found if is_a(x, KINDS) or x is np.random or x is random}
    before = {key: _state(source) for key, source in sources.items()}
    yield
    drawn_by_program = {id(line.kwargs.get("generator")) for line in capture.instructions}
    for key, source in sources.items():
        if key not in drawn_by_program and _state(source) != before[key]:
            raise CannotCompile(
                f"the step draws random numbers from {_name(source)}: compiled, it would use the "
                "same ones in every call; draw them outside and pass them as an argument, or let "
                "nnad.layers.Dropout or GaussianNoise draw them"
            )


def _state(source: Any) -> Any:
    """The state of a generator as something that tells quickly whether it is another's."""
    if isinstance(source, np.random.Generator):
        return _plain(source.bit_generator.state)
    if isinstance(source, np.random.RandomState) or source is np.random:  # the module's own one
        return _plain(source.get_state(legacy=False))
    return source.getstate()


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(part) for name, part in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _name(source: Any) -> str:
    return source.__name__ if isinstance(source, ModuleType) else f"a {type(source).__name__}"
