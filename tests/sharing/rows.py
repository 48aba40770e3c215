"""The sample calls of layers that take one array: what is exported in the tests."""

from typing import Any

import numpy as np
import pytest

import nnad
from nnad.autodiff.trees import flatten
from tests.layers.samples import ROWS

SAMPLES = [
    pytest.param(row, id=f"{kind.__name__}-{i}")
    for kind, rows in ROWS.items()
    for i, row in enumerate(rows)
    if len(row.inputs) == 1 and not row.kwargs
]


def sample(row: Any) -> tuple[Any, np.ndarray]:
    """A module in float32 with weights that differ from its initial ones, and its input."""
    nnad.seed(0)
    module = row.make().astype("float32").eval()
    rng = np.random.default_rng(1)
    for p in module.parameters():
        p.data = (0.5 * rng.normal(size=p.shape)).astype(np.float32)
    x = row.inputs[0]
    return module, x.astype(np.float32) if x.dtype.kind == "f" else x


def of_rows(x: np.ndarray, rows: int) -> np.ndarray:
    """`x` with another number of rows."""
    return np.resize(x, (rows, *x.shape[1:]))


def outputs(module: Any, x: np.ndarray) -> list[np.ndarray]:
    return [y.data for y in flatten(module(x))[0]]
