"""A model on data without learning: evaluation mode, its outputs for many rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnad.autodiff import no_grad
from nnad.autodiff.tensor import value_of
from nnad.data.predicting import BATCH_ROWS
from nnad.distributed import Communicator, share_of
from nnad.errors import CannotCompile

__all__ = ["evaluating", "predict", "predict_together"]

COMPILED_FROM_BATCHES = 8


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within the block the model is in evaluation mode and nothing is recorded."""
    training = model.training
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        model.train(training)


def predict(model: Any, x: Any, batch_size: int = 0, part: tuple[int, int] = (0, 1)) -> np.ndarray:
    """The outputs of `model` for the rows of `x`, in evaluation mode.

    Args:
        model: maps a batch of inputs to outputs.
        x: (rows, ...) inputs.
        batch_size: rows at once, if that is more than `nnad.data.predicting.BATCH_ROWS`: larger
            batches than in training make better use of the machine.
        part: (rank, size): only one process's share of the batches.
    """
    rows = max(batch_size, BATCH_ROWS)
    starts = range(0, len(x), rows)
    mine = starts[share_of(len(starts), *part)]
    with evaluating(model):
        call = _many_times(model) if len(mine) >= COMPILED_FROM_BATCHES else model
        batches = (x[i : i + rows] for i in mine)
        found = [value_of((call if len(b) == rows else model)(b)) for b in batches]
        return np.concatenate(found) if found else model(x[:1]).data[:0]


def predict_together(
    model: Any, x: Any, communicator: Communicator, batch_size: int = 0
) -> np.ndarray:
    """`predict`, its batches dealt out to the processes; every process gets all outputs."""
    outputs = predict(model, x, batch_size, (communicator.rank, communicator.size))
    return communicator.gather_rows(outputs)


def _many_times(model: Any) -> Callable[[Any], Any]:
    """`model` as a NumPy program, which gives the same to the last bit, if it can be compiled."""
    program: Callable[[Any], Any] = model.compiled(backend="numpy")

    def call(batch: Any) -> Any:
        nonlocal program
        try:
            return program(batch)
        except CannotCompile:
            program = model
            return model(batch)

    return call
