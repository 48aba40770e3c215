"""Memory of NumPy programs: no array is made by a replay, none is kept by a capture."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers, losses, ops, optimizers
from nnad.autodiff.table import TABLE, Primitive
from nnad.compiler.arrays import WORTH_PLANNING
from nnad.compiler.choice import why_not_native
from nnad.ops.noise import BLOCK
from nnad.ops.places import FRESH

BUFFER = np.getbufsize() * 4  # bytes of NumPy's own buffer for a cast or a broadcast operand
MODEST = 3 * BUFFER  # three operands of one operation
# What makes arrays for a moment in spite of all, and why.
DRAWS = BLOCK * 6  # dropout's random bits: NumPy's bit generators do not write into given arrays


class Transformer(layers.Module):
    """One block between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = layers.Embedding(50, 64), layers.Embedding(64, 64)
        options = {"dropout": 0.1, "activation": "gelu", "norm_first": True}
        self.block = layers.TransformerEncoderLayer(64, 4, 256, **options)
        self.norm, self.head = layers.LayerNorm(64), layers.Linear(64, 50)

    def forward(self, tokens: Any) -> Any:
        x = self.token(tokens) + self.position(np.arange(tokens.shape[1]))
        return self.head(self.norm(self.block(x, causal=True))).reshape(-1, 50)


class Recurrent(layers.Module):
    """The last output of a recurrent layer, classified."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.scan, self.head = kind(64, 96), layers.Linear(96, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.scan(x)[0][:, -1])


def perceptron() -> Any:
    return layers.Sequential(
        layers.Linear(64, 256), layers.BatchNorm1d(256), layers.GELU("tanh"), layers.Dropout(0.3),
        layers.Linear(256, 256), layers.RMSNorm(256), layers.GELU(), layers.Linear(256, 10),
    )  # fmt: skip


def lenet() -> Any:
    return layers.Sequential(
        layers.Conv2d(1, 8, 5, padding=2), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(8, 16, 3, padding=1), layers.GroupNorm(4, 16), layers.ReLU(),
        layers.AvgPool2d(2), layers.Flatten(), layers.Linear(784, 64), layers.ReLU(),
        layers.Linear(64, 10),
    )  # fmt: skip


RNG = np.random.default_rng(0)
ROWS, CLASSES = RNG.normal(size=(512, 64)).astype(np.float32), RNG.integers(0, 10, 512)
IMAGES = RNG.normal(size=(64, 28, 28, 1)).astype(np.float32)
SEQUENCES = RNG.normal(size=(64, 24, 64)).astype(np.float32)
TEXT = RNG.integers(0, 50, (16, 65))

WORKLOADS: dict[str, Any] = {
    "perceptron": (perceptron, ROWS, CLASSES, MODEST + DRAWS),
    "transformer": (Transformer, TEXT[:, :-1], TEXT[:, 1:].reshape(-1), MODEST + DRAWS),
    "rnn": (lambda: Recurrent(layers.RNN), SEQUENCES, CLASSES[:64], MODEST),
    # Gates that stand side by side are one array to NumPy, which copies a step's part of them.
    "gru": (lambda: Recurrent(layers.GRU), SEQUENCES, CLASSES[:64], 2 * MODEST),
    "lstm": (lambda: Recurrent(layers.LSTM), SEQUENCES, CLASSES[:64], 2 * MODEST),
    # Convolutions lay windows out as columns, in memory that threads have for themselves.
    "lenet": (lenet, IMAGES, CLASSES[:64], None),
}


def training_step(model: Any) -> Any:
    model.flatten()
    optimizer = optimizers.AdamW(model.parameters())

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizers.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def traced(call: Any) -> tuple[int, int]:
    """Bytes of arrays that a call leaves, and bytes that it had at once at most."""
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    gc.collect()
    tracemalloc.start()
    try:
        call()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        peak = tracemalloc.get_traced_memory()[1] - before
        kept = tracemalloc.take_snapshot().filter_traces([arrays])
    finally:
        tracemalloc.stop()
    return sum(trace.size for trace in kept.traces), peak


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_replay_makes_no_array(name: str) -> None:
    make, x, y, limit = WORKLOADS[name]
    nnad.seed(0)
    step = nnad.compile(training_step(make()), backend="numpy")
    for _ in range(2):
        step(x, y)
    kept, peak = traced(lambda: step(x, y))
    assert kept <= 8  # a clipping norm, a loss
    sizes = sorted(v.nbytes for i in step.program.instructions for v in i.outputs)
    if limit is not None:
        assert peak < limit < 3 * sizes[-1]
    own = {"conv", "conv_input", "conv_weight"}  # whose results, too, are their own
    for i in step.program.instructions:
        if i.action is None and i.name not in own and not i.is_view:
            unplanned = [v for v in i.outputs if v not in step.last.plan.arrays and v.shape]
            assert sum(v.nbytes for v in unplanned) < WORTH_PLANNING, i


@pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
def test_a_native_replay_makes_no_array() -> None:
    model = layers.Sequential(layers.Linear(64, 64), layers.Tanh(), layers.Linear(64, 10))
    step = nnad.compile(training_step(model), backend="native")
    for _ in range(3):
        step(ROWS, CLASSES)
    kept, peak = traced(lambda: step(ROWS, CLASSES))
    assert kept <= 8
    assert peak < 1.5 * BUFFER < ROWS.nbytes


# Places ---------------------------------------------------------------------------------------


ELEMENTWISE = sorted(
    name for name, entry in TABLE.items() if entry.kind == "elementwise" and entry.samples
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_operation_may_write_over_its_input(name: str) -> None:
    for case in TABLE[name].samples(np.random.default_rng(0)):  # type: ignore[misc]
        for dtype in (np.float32, np.float64):
            given = [np.asarray(x) for x in case.args]
            arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in given]
            check_in_place(lambda *xs, case=case: TABLE[name](*xs, **case.kwargs), arrays)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_may_write_over_its_input(approximate: Any) -> None:
    check_in_place(lambda x: ops.gelu(x, approximate), [ROWS])


def check_in_place(function: Any, arrays: list[np.ndarray]) -> None:
    """`function` of results that nobody else reads, compiled and not."""

    def step(*xs: Any) -> Any:
        return function(*(x + 0 for x in xs))

    step(*arrays)
    program = nnad.compile(step, backend="numpy")
    program(*arrays)
    np.testing.assert_array_equal(program(*arrays), step(*arrays))


def test_an_array_that_holds_a_result_and_more_is_made_anew() -> None:
    def halves(x: Any, *, place: Any = FRESH) -> Any:
        both = place(np.empty, (2, *x.shape), x.dtype)
        np.multiply(x, [[[2.0]], [[3.0]]], out=both)
        return both[0] + place(np.exp, x), (both[1],)

    entry = Primitive(
        "halves", halves, "explicit", residuals=True, vjps=(lambda g, *_, saved: g * saved[0],)
    )

    def step(x: Any, y: Any) -> Any:
        x, y = nnad.Tensor(x, requires_grad=True), nnad.Tensor(y, requires_grad=True)
        (entry(x) * entry(y)).sum().backward()
        return x.grad, y.grad

    x, y = ROWS[:16].astype(float), ROWS[16:32].astype(float)
    program = nnad.compile(step, backend="numpy")
    for _ in range(3):
        for got, want in zip(program(x, y), step(x, y), strict=True):
            np.testing.assert_array_equal(got, want)
    assert [v is None for _, v in program.program.instructions[0].places] == [True, False]


# Capture --------------------------------------------------------------------------------------


def chain(x: Any) -> Any:
    for _ in range(20):
        x = np.tanh(x) + 1
    return x.sum()


def gradient_of_chain(x: Any) -> Any:
    w = nnad.Tensor(x, requires_grad=True)
    y = w
    for _ in range(20):
        y = 2.0 - y + x
    y.sum().backward()
    return w.grad


@pytest.mark.parametrize("step", [chain, gradient_of_chain])
def test_a_capture_keeps_no_array_that_nobody_reads(step: Any) -> None:
    large = np.ones(100_000)
    program = nnad.compile(step, backend="numpy")
    tracemalloc.start()
    try:
        program(large)
        assert tracemalloc.get_traced_memory()[1] < 6 * large.nbytes
    finally:
        tracemalloc.stop()
    assert program.stats["operations_captured"] >= 40
