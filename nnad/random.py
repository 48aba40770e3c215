"""The default random generator of layers and initialisers, and how `rng=` arguments are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

__all__ = ["as_generator", "default_generator", "drawing_from", "seed"]

Rng = np.random.Generator | int | None

_default = np.random.default_rng()
_here: ContextVar[np.random.Generator | None] = ContextVar("generator", default=None)


def default_generator() -> np.random.Generator:
    """The generator that layers and initialisers draw from when they are given no `rng`.

    It is one object for the life of the process: `seed` sets its state in place.
    """
    return _here.get() or _default


@contextmanager
def drawing_from(generator: np.random.Generator) -> Iterator[None]:
    """Within the block this thread's default generator is `generator`."""
    before = _here.set(generator)
    try:
        yield
    finally:
        _here.reset(before)


def seed(n: int) -> None:
    """Set the default generator to the state that `numpy.random.default_rng(n)` starts in.

    Args:
        n: a non-negative integer.

    >>> import nnad
    >>> nnad.seed(0)
    >>> a = nnad.layers.Linear(2, 2).weight.numpy().copy()
    >>> nnad.seed(0)
    >>> bool((nnad.layers.Linear(2, 2).weight.numpy() == a).all())
    True
    """
    _default.bit_generator.state = np.random.default_rng(n).bit_generator.state


def as_generator(rng: Rng) -> np.random.Generator:
    """The generator that an argument `rng` stands for.

    Args:
        rng: a generator, the seed of a new one, or None for the default generator.

    Raises:
        TypeError: for anything else.
    """
    if rng is None:
        return default_generator()
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        return np.random.default_rng(rng)
    raise TypeError(
        f"rng is a numpy.random.Generator, an integer seed or None, got {type(rng).__name__}"
    )
