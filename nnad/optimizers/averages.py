"""Moving averages of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnad.autodiff import Tensor
from nnad.autodiff.tensor import perform
from nnad.errors import ShapeError
from nnad.optimizers.base import parameter_list
from nnad.optimizers.flat import BLOCK, flat_view

__all__ = ["EMA"]


Vectors = tuple[np.ndarray, np.ndarray, np.ndarray]


class EMA:
    """Exponential moving average of parameters: often better to predict with than the last ones.

    ``average = decay * average + (1 - decay) * parameter`` at every :meth:`update`, from the
    parameters' values at construction (Polyak and Juditsky, 1992; torch.optim.swa_utils).

    Args:
        params: parameters to average.
        decay: weight of the past, from 0 to 1.
        warmup: use ``min(decay, (1 + t) / (10 + t))`` at update t, so that early averages forget
            the initial values sooner.

    >>> p = Tensor([0.0])
    >>> ema = EMA([p], decay=0.5)
    >>> p.data[...] = 1.0
    >>> ema.update()
    >>> with ema.applied():
    ...     print(p.data)
    [0.5]
    >>> print(p.data)
    [1.]
    """

    def __init__(
        self, params: Iterable[Tensor] | Tensor, decay: float = 0.999, warmup: bool = False
    ) -> None:
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"EMA: decay must be from 0 to 1, got {decay}")
        self.params = parameter_list(params, "EMA")
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        self.averages = [p.data.copy() for p in self.params]
        self._pairs: list[Vectors] = []
        self._sources: list[np.ndarray] = []

    def update(self) -> None:
        """Take the parameters' present values into the averages."""
        perform("EMA.update", self._update)

    def _update(self) -> None:
        self.updates += 1
        decay = self.decay
        if self.warmup:
            decay = min(decay, (1.0 + self.updates) / (10.0 + self.updates))
        for value, average, scratch in self._vectors():
            np.subtract(value, average, scratch)
            np.multiply(scratch, 1.0 - decay, scratch)
            np.add(average, scratch, average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold their averages in the block, their own values again after it."""
        own = [p.data.copy() for p in self.params]
        self.copy_to_params()
        try:
            yield
        finally:
            for p, values in zip(self.params, own, strict=True):
                p.data[...] = values

    def copy_to_params(self) -> None:
        """Overwrite the parameters with their averages."""
        for p, average in zip(self.params, self.averages, strict=True):
            p.data[...] = average

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        """The averages, as copies unless `copy` is False, and the number of updates."""
        averages = [a.copy() if copy else a for a in self.averages]
        return {"updates": self.updates, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        saved = [np.shape(a) for a in state["averages"]]
        own = [a.shape for a in self.averages]
        if saved != own:
            raise ShapeError(f"EMA: the saved averages have the shapes {saved}, expected {own}")
        for average, values in zip(self.averages, state["averages"], strict=True):
            average[...] = values
        self.updates = int(state["updates"])

    def _vectors(self) -> list[Vectors]:
        """(values, average, scratch): blocks of parameters that lie end to end, else one each."""
        sources = [p.data for p in self.params]
        if not self._pairs or any(a is not b for a, b in zip(sources, self._sources, strict=True)):
            self._sources = sources
            self._pairs = self._pair_up(sources)
        return self._pairs

    def _pair_up(self, sources: list[np.ndarray]) -> list[Vectors]:
        flat = flat_view(sources)
        if flat is None:
            pairs = zip(sources, self.averages, strict=True)
            return [(value, average, np.empty_like(average)) for value, average in pairs]
        joined = np.concatenate([average.reshape(-1) for average in self.averages])
        bounds = np.cumsum([0, *(source.size for source in sources)])
        self.averages = [
            joined[begin:end].reshape(source.shape)
            for begin, end, source in zip(bounds, bounds[1:], sources, strict=False)
        ]
        scratch = np.empty(min(BLOCK, joined.size), joined.dtype)
        parts = (slice(i, i + BLOCK) for i in range(0, joined.size, BLOCK))
        return [(flat[p], joined[p], scratch[: joined[p].size]) for p in parts]
