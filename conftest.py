"""What every test and doctest runs under: one BLAS thread, and nothing global left changed."""

import os

# Before NumPy is imported: one thread is faster for small matrices, and results do not depend on
# the number of cores.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import gc  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

SEED = 20240229

gc.disable()  # what is collected lives to the end: looking through it again and again takes seconds


def pytest_collection_finish() -> None:
    """Let the garbage collector run from the first test on."""
    gc.enable()


def _engine_state() -> dict[str, Any]:
    tensor = sys.modules.get("nnad.autodiff.tensor")
    if tensor is None:
        return {"recording": True, "capture": None, "depth": 0}
    return {name: getattr(tensor.state, name) for name in ("recording", "capture", "depth")}


def _set_engine_state(values: dict[str, Any]) -> None:
    tensor = sys.modules.get("nnad.autodiff.tensor")
    if tensor is not None:
        for name, value in values.items():
            setattr(tensor.state, name, value)


# Set by pytest itself, and by scikit-learn, JAX and PyTorch when they are imported.
_NOT_OURS = ("PYTEST_", "KMP_", "TF_", "TPU_", "XLA_", "JAX_", "GRPC_", "TORCH", "PYTORCH")


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)}


def _set_environment(values: dict[str, str]) -> None:
    for key in set(_environment()) - set(values):
        del os.environ[key]
    os.environ.update(values)


def _numpy_random() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  (the old global generator is what is watched)
    return (kind, keys.tobytes(), *rest)


def _set_numpy_random(state: tuple[Any, ...]) -> None:
    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))  # noqa: NPY002


def _signal_handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _set_signal_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


# What is global, how to read it, how to put it back.
GLOBALS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "nnad's recording state": (_engine_state, _set_engine_state),
    "np.errstate": (np.geterr, lambda old: np.seterr(**old)),
    "np.printoptions": (np.get_printoptions, lambda old: np.set_printoptions(**old)),
    "np.random's global generator": (_numpy_random, _set_numpy_random),
    "random's global generator": (random.getstate, random.setstate),
    "the current folder": (os.getcwd, os.chdir),
    "os.environ": (_environment, _set_environment),
    "signal handlers": (_signal_handlers, _set_signal_handlers),
}


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Any:
    """Fail a test that leaves global state changed, and put it back for the tests after it."""
    before = {what: read() for what, (read, _) in GLOBALS.items()}
    yield
    leaked = []
    for what, (read, restore) in GLOBALS.items():
        after = read()
        if after != before[what]:
            restore(before[what])
            leaked.append(what)
    if leaked:
        pytest.fail(f"the test left changed: {', '.join(leaked)}", pytrace=False)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same default generator of nnad, whatever ran before it."""
    nnad = sys.modules.get("nnad")
    if nnad is not None and "seed" in vars(nnad):
        nnad.seed(SEED)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(SEED)
