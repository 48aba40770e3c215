"""Passes: constants computed once, operations that change nothing left out; never a bit changed."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers, ops
from nnad.compiler import passes
from nnad.compiler.program import MalformedProgramError

X = np.random.default_rng(0).normal(size=(6, 5))
X[0] = [np.nan, -np.inf, np.inf, -0.0, 0.0]
HELD = np.full((5, 5), 3.0)
OBJECT = SimpleNamespace(table=np.full((5, 5), 3.0))


def compiled(step: Any, x: Any = X) -> Any:
    """`step` as a NumPy program, after a look at whether it replays to the last bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = nnad.compile(step, backend="numpy")
        program(x)
        for other in (x, x[::-1].copy()):
            got, want = np.asarray(program(other)), np.asarray(step(other))
            assert got.tobytes() == want.tobytes()
            assert got.shape == want.shape
    return program


def names(program: Any) -> list[str]:
    return [i.name for i in program.program.instructions]


# Constants ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (lambda x: x + np.sin(np.zeros_like(x) + 2), ["add"]),
        (lambda x: x * (np.ones_like(x) * 3).sum(axis=0), ["multiply"]),
        (lambda x: x + np.log(np.zeros_like(x)), ["add"]),
        (lambda x: np.where(np.ones_like(x) > 2, x, -1.0), ["where"]),
        (lambda x: x @ np.ones_like(x).T, ["matmul"]),
    ],
)
def test_constants_are_computed_once(step: Any, left: list[str]) -> None:
    program = compiled(step)
    assert names(program) == left
    assert program.stats["removed"]["fold_constants"] >= 1


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x * np.sin(x + HELD),
        lambda x: x * np.sin(x + OBJECT.table),
        lambda x: x + np.tanh(x[:1] + 1),
        lambda x: x + ops.dropout_mask(
            shape=x.shape, p=0.5, dtype=x.dtype, generator=np.random.default_rng(0)
        ),
    ],
    ids=["global", "attribute", "argument", "random"],
)  # fmt: skip
def test_what_may_change_is_computed_again(step: Any) -> None:
    program = nnad.compile(step, backend="numpy")
    program(X[1:])
    assert program.stats["removed"]["fold_constants"] == 0


def test_an_array_that_somebody_else_holds_is_read_anew() -> None:
    owner = SimpleNamespace(table=np.full(5, 3.0))
    step = nnad.compile(lambda x: x + np.sin(x * 0 + owner.table), backend="numpy")
    step(X[1:])
    owner.table[...] = 4.0
    np.testing.assert_array_equal(step(X[1:]), X[1:] + np.sin(np.full((5, 5), 4.0)))


def test_folding_takes_no_memory_that_was_not_taken() -> None:
    def step(x: Any) -> Any:
        row = np.zeros_like(x[:1])  # 1 kB, which a large array would be made of
        return x + np.sin(np.broadcast_to(row, x.shape)).sum(axis=0)

    program = compiled(step, np.ones((500, 128)))
    assert "sin" in names(program)


# Identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (lambda x: x * 1, True),
        (lambda x: 1.0 * x, True),
        (lambda x: np.ones_like(x) * x, True),
        (lambda x: x * np.broadcast_to(np.ones_like(x[:1]), x.shape), True),
        (lambda x: x / 1, True),
        (lambda x: x - 0.0, True),
        (lambda x: -(-x), True),
        (lambda x: x.T.T, True),
        (lambda x: x.reshape(-1).reshape(x.shape), True),
        (lambda x: np.transpose(x[None], (2, 0, 1)).transpose(1, 2, 0)[0], False),
        (lambda x: x + 0.0, False),
        (lambda x: x - -0.0, False),
        (lambda x: x * 2 / 2, False),
        (lambda x: x * np.float64(1.0000000000000002), False),
        (lambda x: (-x).reshape(5, 6, order="F").reshape(6, 5), False),
        (lambda x: x.astype(np.float32).astype(np.float64), False),
    ],
)
def test_what_changes_nothing_is_left_out(change: Any, gone: bool) -> None:
    program = compiled(lambda x: np.exp(change(np.tanh(x))))
    assert (names(program) == ["tanh", "exp"]) == gone


def test_a_parameter_that_changes_later_is_not_taken_for_its_copy() -> None:
    w = nnad.Tensor(np.ones(5))

    def step(x: Any) -> Any:
        before = w.data * 1
        w.data += 1
        return before + x

    step = nnad.compile(step, backend="numpy")
    for start in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(step(np.zeros(5)), np.full(5, start))


def test_an_argument_does_not_come_back_as_the_result() -> None:
    step = nnad.compile(lambda x: x * 1, backend="numpy")
    step(X)
    assert not np.may_share_memory(step(X), X)


# Views of what is equal -------------------------------------------------------------------------


def two_looks(x: Any) -> Any:
    total, turned = np.exp(x).sum(), np.exp(x).T
    c = np.tanh(x)
    return turned @ (np.sin(c * 3) + c) + total


def test_a_view_of_what_is_computed_once_keeps_it_alive() -> None:
    compiled(two_looks)


def test_a_view_of_something_that_is_gone_is_noticed(monkeypatch: Any) -> None:
    def careless(program: Any) -> None:
        for instruction in program.instructions:
            for value in instruction.outputs:
                if value.base is not None:
                    value.base = type(value)("result", value.array, "lost")

    monkeypatch.setattr(passes, "dead_code", careless)
    with pytest.raises(MalformedProgramError, match="looks into lost, which is not there"):
        nnad.compile(two_looks, backend="numpy")(X[1:])


# Counting -------------------------------------------------------------------------------------


def multiply_adds(model: Any, *shape: int, **options: Any) -> tuple[int, int]:
    """Multiply-adds of a forward pass, and of one with its backward pass."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def forward(x: Any) -> Any:
        out = model(x, **options)
        return out[0] if isinstance(out, tuple) else out

    def both(x: Any) -> Any:
        model.zero_grad()
        np.square(forward(x)).sum().backward()

    counts = []
    for step in (nnad.no_grad()(forward), both):
        program = nnad.compile(step, backend="numpy")
        program(x)
        counts.append(program.stats["multiply_adds"])
    return counts[0], counts[1]


def test_the_products_of_attention_are_counted() -> None:
    batch, time, width = 2, 7, 8
    forward, both = multiply_adds(layers.MultiHeadAttention(width, 2), batch, time, width)
    maps, attention = batch * time * width * 4 * width, 2 * batch * time * time * width
    assert forward == maps + attention
    assert both == 3 * forward - batch * time * width * 3 * width  # none to the data


@pytest.mark.parametrize(("name", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_the_products_of_recurrent_layers_are_counted(name: str, gates: int) -> None:
    batch, time, inputs, hidden = 2, 5, 3, 4
    forward, both = multiply_adds(getattr(layers, name)(inputs, hidden), batch, time, inputs)
    rows = batch * time * gates * hidden
    assert forward == rows * (inputs + hidden)
    assert both == rows * (2 * inputs + 3 * hidden)
