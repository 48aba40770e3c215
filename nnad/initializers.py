"""Initial values of parameters.

Every initialiser is a function `f(shape, *, rng=None, dtype="float32", ...) -> ndarray`.  Layers
take one as `weight_init=` or `bias_init=`: the function, its name, or
`{"name": ..., argument: value}`.

The scale of the random ones follows from the numbers of inputs and outputs of a unit ("fans"), read
off the shape `(*kernel, inputs, outputs)`: for a matrix (inputs, outputs) those two, for a
convolution both times the number of kernel positions.  `_normal` draws from a normal distribution,
`_uniform` from a uniform one of the same variance.

| name | variance | for | source |
| --- | --- | --- | --- |
| glorot | 2 / (inputs + outputs) | tanh, sigmoid, softmax | Glorot and Bengio 2010 |
| he | 2 / inputs | relu and its kin | He et al. 2015 |
| lecun | 1 / inputs | selu, linear units | LeCun et al. 1998 |
| torch | 1 / (3 inputs) | the default of Linear and convolutions | PyTorch |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nnad.errors import ShapeError
from nnad.random import Rng, as_generator

__all__ = [
    "INITIALIZERS",
    "TooManyNumbers",
    "constant",
    "fans",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initializer",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "room_for",
    "torch_uniform",
    "uniform",
    "zeros",
]

Shape = Sequence[int]
Initializer = Callable[..., np.ndarray]


class TooManyNumbers(ShapeError):
    """Initial values that there is no room for."""


@dataclass
class _Room:
    """How many numbers there may still be, and why."""

    left: int
    why: str


_room: ContextVar[_Room | None] = ContextVar("room", default=None)


@contextmanager
def room_for(numbers: int, why: str) -> Iterator[None]:
    """Within, initial values of more than so many numbers, all together, are not made.

    Args:
        numbers: the most.
        why: ends the message, such as "the file has no more".

    Raises:
        TooManyNumbers: before memory is taken for them.
    """
    token = _room.set(_Room(numbers, why))
    try:
        yield
    finally:
        _room.reset(token)


def _take_room(shape: Shape) -> None:
    room = _room.get()
    if room is None:
        return
    count = math.prod(shape)
    if count > room.left:
        raise TooManyNumbers(f"{count:,} initial values of shape {tuple(shape)}: {room.why}")
    room.left -= count


def fans(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs of one unit of a weight `(*kernel, inputs, outputs)`.

    >>> fans((64, 10)), fans((3, 3, 8, 16)), fans((7,))
    ((64, 10), (72, 144), (7, 7))
    """
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    positions = math.prod(shape[:-2])
    return positions * shape[-2], positions * shape[-1]


def zeros(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """All 0; `rng` is not used."""
    _take_room(shape)
    return np.zeros(shape, dtype)


def ones(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """All 1; `rng` is not used."""
    _take_room(shape)
    return np.ones(shape, dtype)


def constant(
    shape: Shape, *, value: float = 0.0, rng: Rng = None, dtype: Any = "float32"
) -> np.ndarray:
    """All `value`; `rng` is not used."""
    _take_room(shape)
    return np.full(shape, value, dtype)


def normal(
    shape: Shape, *, mean: float = 0.0, std: float = 1.0, rng: Rng = None, dtype: Any = "float32"
) -> np.ndarray:
    """Independent draws from a normal distribution."""
    _take_room(shape)
    return (mean + std * as_generator(rng).standard_normal(shape)).astype(dtype)


def uniform(
    shape: Shape, *, low: float = -0.05, high: float = 0.05, rng: Rng = None, dtype: Any = "float32"
) -> np.ndarray:
    """Independent draws from a uniform distribution on [low, high)."""
    _take_room(shape)
    return as_generator(rng).uniform(low, high, shape).astype(dtype)


def glorot_uniform(
    shape: Shape, *, gain: float = 1.0, rng: Rng = None, dtype: Any = "float32"
) -> np.ndarray:
    """Uniform with variance gain² 2 / (inputs + outputs)."""
    return _uniform(shape, gain * gain * 2 / sum(fans(shape)), rng, dtype)


def glorot_normal(
    shape: Shape, *, gain: float = 1.0, rng: Rng = None, dtype: Any = "float32"
) -> np.ndarray:
    """Normal with variance gain² 2 / (inputs + outputs)."""
    return _normal(shape, gain * gain * 2 / sum(fans(shape)), rng, dtype)


def he_uniform(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Uniform with variance 2 / inputs."""
    return _uniform(shape, 2 / fans(shape)[0], rng, dtype)


def he_normal(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Normal with variance 2 / inputs."""
    return _normal(shape, 2 / fans(shape)[0], rng, dtype)


def lecun_uniform(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Uniform with variance 1 / inputs."""
    return _uniform(shape, 1 / fans(shape)[0], rng, dtype)


def lecun_normal(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Normal with variance 1 / inputs."""
    return _normal(shape, 1 / fans(shape)[0], rng, dtype)


def torch_uniform(shape: Shape, *, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Uniform on ±1/sqrt(inputs), the variance being 1 / (3 inputs)."""
    return _uniform(shape, 1 / (3 * fans(shape)[0]), rng, dtype)


def orthogonal(
    shape: Shape, *, gain: float = 1.0, rng: Rng = None, dtype: Any = "float32"
) -> np.ndarray:
    """A random matrix with orthonormal rows or columns (whichever are fewer), times `gain`.

    More than two axes are taken as a matrix of the last axis against the others.  The QR factors
    of a normal matrix, signs fixed by the diagonal of R, are uniform over the orthogonal group
    (Mezzadri 2007; for networks Saxe et al. 2014).

    >>> q = orthogonal((4, 2), rng=0, dtype="float64")
    >>> bool(np.allclose(q.T @ q, np.eye(2)))
    True
    """
    if len(shape) < 2:
        raise ShapeError(f"orthogonal needs a shape of two axes or more, got {tuple(shape)}")
    _take_room(shape)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    draw = as_generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draw)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


def _normal(shape: Shape, variance: float, rng: Rng, dtype: Any) -> np.ndarray:
    return normal(shape, std=math.sqrt(variance), rng=rng, dtype=dtype)


def _uniform(shape: Shape, variance: float, rng: Rng, dtype: Any) -> np.ndarray:
    limit = math.sqrt(3 * variance)
    return uniform(shape, low=-limit, high=limit, rng=rng, dtype=dtype)


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f
    for f in (
        zeros,
        ones,
        constant,
        normal,
        uniform,
        glorot_uniform,
        glorot_normal,
        he_uniform,
        he_normal,
        lecun_uniform,
        lecun_normal,
        torch_uniform,
        orthogonal,
    )
}


def initializer(spec: Any) -> Initializer:
    """The initialiser that `spec` stands for.

    Args:
        spec: an initialiser, its name, a number (that constant), or a mapping with `name` and the
            initialiser's arguments.

    Raises:
        ValueError: for an unknown name, listing the known ones.
    """
    if callable(spec):
        return spec
    if isinstance(spec, (int, float)):
        return partial(constant, value=float(spec))
    arguments: dict[str, Any] = {}
    if isinstance(spec, Mapping):
        arguments = dict(spec)
        spec = arguments.pop("name", None)
    if spec not in INITIALIZERS:
        raise ValueError(
            f"no initialiser is named {spec!r}; the names are {', '.join(INITIALIZERS)}"
        )
    return partial(INITIALIZERS[spec], **arguments) if arguments else INITIALIZERS[spec]
