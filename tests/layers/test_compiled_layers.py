"""Every layer compiled: the same values and gradients as eager, also on new inputs and states."""

from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers as L
from nnad.autodiff.trees import flatten
from tests.layers.samples import ROWS, Row

# Layers whose shapes depend on values: a program cannot follow them, and compile says so.
CALLED = [
    pytest.param(kind, row, id=f"{kind.__name__}-{i}")
    for kind, rows in ROWS.items()
    for i, row in enumerate(rows)
    if row.inputs and "offsets" not in row.kwargs
]


def is_real(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def run(row: Row, compiled: bool, seeds: tuple[int, ...]) -> list[Any]:
    """Outputs, parameter gradients and buffers of several steps on different inputs."""
    nnad.seed(0)
    module = row.make().astype("float64").train(row.training)
    for p in module.parameters():
        p.data = np.random.default_rng(1).normal(size=p.shape)
    module.flatten()
    weights = list(module.parameters())

    def step(*inputs: Any) -> Any:
        module.zero_grad()
        outs = flatten(module(*inputs, **row.kwargs))[0]
        total = (outs[0] * outs[0]).sum()
        if weights:
            total.backward()
        return (*outs, total)

    call = nnad.compile(step) if compiled else step
    results = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        inputs = [
            x + 0.1 * rng.integers(1, 5) * (seed > 0) if is_real(x) and kind_is_open(row) else x
            for x in row.inputs
        ]
        outs = call(*(nnad.Tensor(x) for x in inputs))
        results += [np.array(nnad.autodiff.value_of(y)) for y in outs]
        results += [None if p.grad is None else p.grad.copy() for p in weights]
        results += [array.copy() for _, array in module.named_buffers()]
    return results


def kind_is_open(row: Row) -> bool:
    """Whether the inputs may be shifted: not where columns hold codes."""
    return not isinstance(row.make(), L.ColumnEmbedding)


@pytest.mark.parametrize(("kind", "row"), CALLED)
def test_compiled_equals_eager(kind: Any, row: Row) -> None:
    seeds = (0, 1, 2)
    eager, compiled = run(row, False, seeds), run(row, True, seeds)
    assert len(eager) == len(compiled)
    for a, b in zip(eager, compiled, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_gradient_that_was_read_changes_with_the_next_unless_it_is_copied(compiled: bool) -> None:
    layer = L.Linear(1, 1, bias=False).astype("float64")
    layer.flatten()

    def step(x: Any) -> Any:
        loss = layer(x).sum()
        loss.backward()
        return loss

    call = nnad.compile(step) if compiled else step
    seen = []
    for value in (2.0, 3.0, 5.0):
        layer.weight.grad = None
        call(nnad.Tensor([[value]]))
        seen.append((layer.weight.grad, layer.weight.grad.copy()))
    assert [(float(view.item()), float(copy.item())) for view, copy in seen] == [
        (5.0, 2.0),
        (5.0, 3.0),
        (5.0, 5.0),
    ]
