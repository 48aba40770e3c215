"""Noise while training, nothing in evaluation mode: Dropout, SpatialDropout, GaussianNoise."""

from __future__ import annotations

from typing import Any

from nnad.layers.module import Module
from nnad.ops.noise import dropout, gaussian_noise, share_argument
from nnad.random import Rng, as_generator, default_generator

__all__ = ["Dropout", "GaussianNoise", "SpatialDropout"]


class _Random(Module):
    """A layer that draws: from its own generator, or from the default one at each call."""

    def __init__(self, rng: Rng) -> None:
        super().__init__()
        self.rng = None if rng is None else as_generator(rng)

    @property
    def generator(self) -> Any:
        """The generator that the next call draws from."""
        return default_generator() if self.rng is None else self.rng


def check_probability(p: float, layer: str) -> float:
    """`p`, refused unless it is a probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"{layer}: p is a probability between 0 and 1, got {p}")
    return p


class Dropout(_Random):
    """While training: each element 0 with probability p, else divided by 1 - p.

    Args:
        p: probability of an element to be dropped.
        rng: generator, or seed of one of its own; None: the default generator (`nnad.seed`).

    Source: Srivastava et al. 2014.
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        super().__init__(rng)
        self.p = check_probability(p, type(self).__name__)

    def forward(self, x: Any) -> Any:
        """Any shape to the same shape."""
        if not self.training or self.p == 0:
            return x
        return dropout(x, self.p, self.generator)

    def extra_repr(self) -> str:
        """The argument."""
        return f"p={self.p}"


class SpatialDropout(Dropout):
    """While training: whole channels of (batch, ..., channels) dropped with probability p.

    Args:
        p, rng: see `Dropout`.

    Source: Tompson et al. 2015; PyTorch's Dropout1d, Dropout2d and Dropout3d.
    """

    def forward(self, x: Any) -> Any:
        """(batch, ..., channels) to the same shape."""
        if not self.training or self.p == 0:
            return x
        return dropout(x, self.p, self.generator, axes=(0, -1))


class GaussianNoise(_Random):
    """While training: adds normal noise of mean 0.

    Args:
        std: standard deviation of the noise.
        rng: see `Dropout`.
    """

    def __init__(self, std: float = 0.1, *, rng: Rng = None) -> None:
        super().__init__(rng)
        if std < 0:
            raise ValueError(f"GaussianNoise: std is 0 or more, got {std}")
        self.std = std

    def forward(self, x: Any) -> Any:
        """Any shape to the same shape."""
        if not self.training or self.std == 0:
            return x
        return x + gaussian_noise(
            shape=x.shape,
            std=self.std,
            dtype=x.dtype,
            generator=self.generator,
            **share_argument(),
        )

    def extra_repr(self) -> str:
        """The argument."""
        return f"std={self.std}"
