"""Programs: well-formed after every pass, readable; caches that heal."""

from __future__ import annotations

import linecache
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers, losses, optimizers
from nnad.compiler import choice, passes
from nnad.compiler.choice import why_not_native
from nnad.compiler.program import MalformedProgramError

needs_native = pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
ROOT = Path(__file__).resolve().parents[2]
X = np.random.default_rng(0).normal(size=(512, 32)).astype(np.float32)


def make_step(width: int = 64) -> Any:
    nnad.seed(0)
    model = layers.Sequential(
        layers.Linear(32, width), layers.Tanh(), layers.Linear(width, width), layers.ReLU()
    )
    model.flatten()
    optimizer = optimizers.Adam(model.parameters())
    target = np.zeros((512, width), np.float32)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = losses.mse(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return step


# Passes ---------------------------------------------------------------------------------------


def lose_a_definition(program: Any) -> None:
    del program.instructions[1]


def define_twice(program: Any) -> None:
    program.instructions.append(program.instructions[-2])


def move_a_use_up(program: Any) -> None:
    program.instructions.insert(0, program.instructions.pop(2))


def forget_the_result(program: Any) -> None:
    program.instructions.pop()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lose_a_definition, "before it is defined"),
        (define_twice, "again"),
        (move_a_use_up, "before it is defined"),
        (forget_the_result, "is never computed"),
    ],
)
def test_a_broken_pass_is_noticed(broken: Any, words: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(passes, "dead_code", broken)
    step = nnad.compile(lambda x: np.tanh(np.exp(x) * 2).sum(), backend="numpy")
    with pytest.raises(MalformedProgramError, match=words):
        step(X)


def test_what_is_equal_is_computed_once_and_what_nobody_reads_not_at_all() -> None:
    def step(x: Any) -> Any:
        np.exp(x)
        return np.tanh(x) * np.tanh(x) + np.tanh(x)

    compiled = nnad.compile(step, backend="numpy")
    compiled(X)
    assert [i.name for i in compiled.program.instructions] == ["tanh", "multiply", "add"]
    assert compiled.stats["operations_captured"] == 6
    assert str(compiled.program).startswith("program step(x0):\n  v1 = tanh(x0)  # (512, 32)")


def test_a_write_between_two_equal_expressions_keeps_them_apart() -> None:
    w = nnad.Tensor(np.ones(3))

    def step(x: Any) -> Any:
        before = w.data[1:] * x
        w.data += 1
        return before, w.data[1:] * x

    compiled, x = nnad.compile(step, backend="numpy"), np.ones(2)
    for start in (1.0, 2.0, 3.0):
        before, after = compiled(x)
        np.testing.assert_array_equal(before, start * x)
        np.testing.assert_array_equal(after, (start + 1) * x)


def test_the_numbers_of_a_program() -> None:
    compiled = nnad.compile(make_step(), backend="numpy")
    compiled(X)
    stats = compiled.stats
    assert stats["backend"] == "numpy"
    assert stats["operations"] <= stats["operations_captured"]
    assert stats["bytes_peak"] <= stats["bytes_planned"] <= stats["bytes_without_sharing"]
    # Forward and weight gradient of both layers, input gradient of the second.
    assert stats["multiply_adds"] == 512 * (2 * 32 * 64 + 3 * 64 * 64)


# Replay ---------------------------------------------------------------------------------------


def test_the_source_is_a_file_that_a_debugger_enters() -> None:
    compiled = nnad.compile(make_step(), backend="numpy")
    compiled(X)
    function = compiled.last.run_program
    name = function.__code__.co_filename
    assert linecache.getlines(name) == compiled.source.splitlines(True)
    entered = []

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code is function.__code__ and event == "line":
            entered.append(linecache.getline(name, frame.f_lineno).strip())
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        compiled(X)
    finally:
        sys.settrace(previous)
    assert any(line.startswith("tanh(b_v0, out=") for line in entered)
    assert entered[-1].startswith("return [")


# Without native code, and with caches that are damaged -----------------------------------------


def test_without_llvmlite_a_numpy_program_runs_and_one_line_says_so(monkeypatch, capfd) -> None:
    choice.say_once.cache_clear()
    monkeypatch.setattr(choice, "why_not_native", lambda: "llvmlite is not installed")
    for _ in range(2):
        step = nnad.compile(lambda x: x * 2)
        step(X)
    assert step.stats["backend"] == "numpy"
    told = capfd.readouterr().err.splitlines()
    assert told == ["nnad: compiled steps run as NumPy programs: llvmlite is not installed"]
    choice.say_once.cache_clear()


SCRIPT = """
import sys, numpy as np, nnad
step = nnad.compile(lambda x: np.tanh(x * 3).sum(axis=0))
x = np.arange(12.0).reshape(3, 4)
assert np.allclose(step(x), step(x))
assert step.stats["backend"] == "native", step.stats
"""


def processes(folder: Path, count: int = 1) -> list[tuple[str, int]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NNAD_CACHE_DIR": str(folder)}
    started = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stderr=subprocess.PIPE)
        for _ in range(count)
    ]
    return [(process.communicate()[1].decode(), process.returncode) for process in started]


@needs_native
def test_a_damaged_or_unusable_cache_is_rebuilt_by_several_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert processes(folder, 2) == [("", 0)] * 2
    kernels = sorted((folder / "kernels").glob("*.o"))
    whole = {path: path.read_bytes() for path in kernels}
    for number, path in enumerate(kernels):
        path.write_bytes((b"", whole[path][:100], b"x" + whole[path][1:])[number % 3])
    assert processes(folder, 2) == [("", 0)] * 2
    assert {path: path.read_bytes() for path in kernels} == whole
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert processes(blocked) == [("", 0)]
