"""The threads of native programs: same bits, forks, several callers, failures, a clean end."""

import multiprocessing
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers
from nnad.compiler import choice

pytest.importorskip("llvmlite")
if choice.why_not_native() is not None:
    pytest.skip(str(choice.why_not_native()), allow_module_level=True)

from nnad.compiler.native import backend, inputs, jit, module
from nnad.cores.blas import numpy_blas

RNG = np.random.default_rng(0)
ROWS, CLASSES = 37, 5
BATCHES = [(RNG.normal(size=(ROWS, 16)), RNG.integers(0, CLASSES, ROWS)) for _ in range(3)]


@pytest.fixture(autouse=True)
def everything_is_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("NNAD_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choice, "MAX_THREADS", 8)
    monkeypatch.setattr(module, "SPLIT_FROM", 0)
    monkeypatch.setattr(module, "PRODUCT_SPLIT_FROM", 0)
    monkeypatch.setattr(backend, "SPLIT_PROGRAM_FROM", 0)


class Training:
    """A small network with everything that is summed over parts."""

    def __init__(self, threads: int) -> None:
        nnad.seed(0)
        self.model = layers.Sequential(
            layers.Linear(16, 8), layers.LayerNorm(8), layers.ReLU(), layers.Linear(8, CLASSES)
        )
        optimizer = nnad.optimizers.Adam(self.model.parameters())

        def step(x: np.ndarray, y: np.ndarray) -> Any:
            loss = nnad.losses.cross_entropy(self.model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nnad.optimizers.clip_grad_norm(self.model.parameters(), 0.1)
            optimizer.step()
            return loss

        self.step = nnad.compile(step, backend="native", threads=threads)

    def weights(self, steps: int) -> bytes:
        for i in range(steps):
            x, y = BATCHES[i % len(BATCHES)]
            self.step(x.astype("f4"), y)
        return b"".join(p.data.tobytes() for p in self.model.parameters())


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_same_bits_for_the_same_number_of_threads(threads: int) -> None:
    first = Training(threads).weights(200)
    assert all(Training(threads).weights(200) == first for _ in range(2))


def test_other_numbers_of_threads_agree_to_rounding() -> None:
    few, many = (np.frombuffer(Training(n).weights(20), "f4") for n in (1, 4))
    np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-5)


def test_several_callers_at_once() -> None:
    want = Training(2).weights(150)
    trainings = [Training(2) for _ in range(3)]
    got: list[bytes] = []
    callers = [
        threading.Thread(target=lambda t=t: got.append(t.weights(150)))  # type: ignore[misc]
        for t in trainings
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert got == [want] * 3


@pytest.mark.parametrize("name", ["native", "numpy"])
def test_one_program_called_by_several_threads_at_once(name: str) -> None:
    weight = RNG.normal(size=(16, 16))

    def step(x: Any) -> Any:
        return np.tanh(np.tanh(x @ weight) @ weight)

    compiled = nnad.compile(step, backend=name, threads=2)
    arguments = [RNG.normal(size=(9, 16)) for _ in range(4)]
    compiled(arguments[0])
    right: list[bool] = []

    def call(x: np.ndarray) -> None:
        want = step(x)
        right.extend(np.allclose(compiled(x), want) for _ in range(200))

    callers = [threading.Thread(target=call, args=(x,)) for x in arguments]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(right) == 800
    assert all(right)


def report(training: Training, results: Any) -> None:
    results.put(training.weights(30))


@pytest.mark.filterwarnings("ignore:.*JAX is multithreaded:RuntimeWarning")  # imported before
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="cannot fork")
def test_forked_processes_start_threads_of_their_own() -> None:
    training, other = Training(2), Training(2)
    assert training.weights(30) == other.weights(30)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=report, args=(training, results)) for _ in range(2)]
    for child in children:
        child.start()
    got = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert got == [other.weights(30)] * 2 == [training.weights(30)] * 2


def test_a_failure_leaves_everything_ready_for_the_next_call() -> None:
    training, other = Training(3), Training(3)
    training.weights(6)
    other.weights(6)
    x, y = BATCHES[0]
    with pytest.raises(ValueError, match=r"class"):
        training.step(x.astype("f4"), np.full_like(y, CLASSES))
    blas = numpy_blas()
    assert blas is not None
    assert blas.on_one_thread._users == 0
    assert np.isfinite(np.frombuffer(training.weights(30), "f4")).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_large_arguments_are_read_where_they_lie_or_copied(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "DIRECT_FROM", 0)
    monkeypatch.setattr(backend, "DIRECT_FROM", 0)
    weight = np.linspace(-1, 1, 16)

    def step(x: Any) -> Any:
        return np.tanh(x[1:] * weight).sum(), x[:-1] * 2

    compiled = nnad.compile(step, backend="native", threads=threads)
    x = RNG.normal(size=(9, 16))
    wide = RNG.normal(size=(16, 18))
    for argument in (x, x + 1, wide[:9, ::1][:, :16], wide.T[:9, :], np.asfortranarray(x), x):
        total, doubled = compiled(argument)
        np.testing.assert_allclose(total, np.tanh(argument[1:] * weight).sum())
        np.testing.assert_array_equal(doubled, argument[:-1] * 2)


def test_an_argument_that_the_step_overwrites_is_read_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "DIRECT_FROM", 0)
    results = []
    for backend_name in ("numpy", "native"):
        nnad.seed(0)
        layer = layers.Linear(6, 6, bias=False)
        optimizer = nnad.optimizers.SGD(layer.parameters(), lr=0.5)

        def step(x: Any, layer: Any = layer, optimizer: Any = optimizer) -> Any:
            loss = (layer(x) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        compiled = nnad.compile(step, backend=backend_name)
        losses = [float(compiled(layer.weight.data)) for _ in range(3)]
        results.append(np.array([*losses, *layer.weight.data.flat]))
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_the_process_ends_while_helpers_wait_and_while_they_sleep() -> None:
    code = """
import sys, time, numpy as np, nnad
from nnad.compiler.native import backend, module
module.SPLIT_FROM = module.PRODUCT_SPLIT_FROM = backend.SPLIT_PROGRAM_FROM = 0
step = nnad.compile(lambda x: np.tanh(x).sum(), backend="native", threads=2)
for _ in range(3):
    total = step(np.ones((64, 64)))
time.sleep(float(sys.argv[1]))
print(round(float(total)))
"""
    for pause in ("0", "0.1"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, pause],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "3119\n", "")


def test_a_program_that_is_made_again_shares_its_machine_code() -> None:
    def make() -> int:
        nnad.compile(lambda x: np.tanh(x) * 2, backend="native")(np.ones(300))
        return len(jit._engines)

    assert make() == make()
