"""Work shared among threads: every item once, the same results, errors, forks; products."""

import multiprocessing
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nnad.cores import team
from nnad.cores.blas import OneThread, numpy_blas
from nnad.ops import pool, window

BLAS = numpy_blas()
RNG = np.random.default_rng(7)


@pytest.fixture
def allow() -> Iterator[Any]:
    """Sets how many threads BLAS, and so the team, may use."""
    if BLAS is None:
        pytest.skip("NumPy's BLAS is not the one whose threads are known")
    set_threads, before = BLAS.on_one_thread._set, BLAS.on_one_thread.threads()
    yield set_threads
    set_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_item_is_done_once(threads: int, count: int, allow: Any) -> None:
    allow(threads)
    done = np.zeros(count, int)

    def do(i: int) -> None:
        done[i] += 1

    for _ in range(20):
        team.share(do, range(count))
    assert (done == 20).all()
    assert team.threads() == threads


def test_items_are_done_side_by_side_with_one_thread_of_blas_each(allow: Any) -> None:
    allow(2)
    both, seen = threading.Barrier(2, timeout=30), []

    def do(i: int) -> None:
        both.wait()
        seen.append((threading.current_thread().name, team.threads()))

    team.share(do, range(2))
    assert sorted(seen) == [("MainThread", 1), ("nnad helper", 1)]
    assert team.threads() == 2


def test_one_thread_starts_no_helper(allow: Any) -> None:
    allow(1)
    own = team.Team()
    before = threading.active_count()
    team.share(lambda i: None, range(5))
    assert (threading.active_count(), own._helpers) == (before, [])


@pytest.mark.parametrize("bad", [0, 3])
def test_an_error_is_raised_when_all_is_done_and_harms_nothing(bad: int, allow: Any) -> None:
    allow(2)
    done = []

    def do(i: int) -> None:
        if i == bad:
            raise ValueError(f"item {i}")
        done.append(i)

    for _ in range(3):
        done.clear()
        with pytest.raises(ValueError, match=f"item {bad}"):
            team.share(do, range(4))
        assert sorted(done) == sorted({0, 1, 2, 3} - {bad})
    assert BLAS is not None
    assert (BLAS.on_one_thread._users, team.threads()) == (0, 2)


class Interrupted:
    """A lock, or BLAS with four threads: Ctrl-C comes right after one of their calls."""

    def __init__(self, after: str) -> None:
        self.after, self.number, self.lock = after, 4, threading.Lock()

    def come(self, call: str) -> None:
        if call == self.after:
            self.after = ""
            raise KeyboardInterrupt

    def get(self) -> int:
        number = self.number
        self.come("get")
        return number

    def set(self, number: int) -> None:
        self.number = number
        self.come("set")

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self.lock.release()
        self.come("release")


@pytest.mark.parametrize("after", ["get", "set", "release"])
def test_ctrl_c_on_the_way_in_leaves_blas_its_threads(after: str) -> None:
    blas = Interrupted(after)
    one_thread: Any = OneThread(blas.get, blas.set)
    one_thread._lock = blas
    with pytest.raises(KeyboardInterrupt), one_thread:
        raise AssertionError("inside")
    assert (blas.number, one_thread._users) == (4, 0)
    with one_thread:
        assert blas.number == 1
    assert blas.number == 4


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_ctrl_c_leaves_no_helper_at_work(allow: Any) -> None:
    allow(2)
    both, done = threading.Barrier(2, timeout=30), []

    def do(i: int) -> None:
        both.wait()
        if i == 1:  # a helper's; the caller waits for it by now, or soon
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.2)
            done.append(i)

    with pytest.raises(KeyboardInterrupt):
        team.share(do, range(2))
    assert done == [1]
    team.share(done.append, range(2))
    assert sorted(done) == [0, 1, 1]
    assert team.threads() == 2


def test_helpers_treat_floating_point_errors_as_the_caller_does(allow: Any) -> None:
    allow(2)
    both = threading.Barrier(2, timeout=30)

    def do(i: int) -> None:
        both.wait()
        np.zeros(3) / np.zeros(3)

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("error")
        team.share(do, range(2))
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        team.share(do, range(2))


def fill(result: Any) -> None:
    """In a forked process: share work and report it."""
    made = np.zeros(4)
    team.share(lambda i: made.__setitem__(i, i + 1), range(4))
    result.put((made.tolist(), threading.active_count()))


@pytest.mark.filterwarnings("ignore:.*JAX is multithreaded:RuntimeWarning")  # imported before
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="cannot fork")
def test_forked_processes_start_helpers_of_their_own(allow: Any) -> None:
    allow(2)
    team.share(lambda i: None, range(2))
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    child = context.Process(target=fill, args=(result,))
    child.start()
    made, _ = result.get(timeout=60)
    child.join()
    assert made == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("a", "b"),
    [((40, 30), (30, 20)), ((9, 50), (50, 70)), ((700, 3), (3, 2)), ((60,), (60, 50)),
     ((2, 40, 9), (9, 30)), ((5, 400), (400, 5)), ((33, 1), (1, 47))],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "i4"])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_products_are_those_of_numpy(
    a: Any, b: Any, dtype: str, layout: Any, allow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "ALONE", 100)
    monkeypatch.setattr(team, "LARGE", 20_000)
    x = np.array(RNG.normal(size=a) * 9, dtype, order=layout)
    y = np.array(RNG.normal(size=b) * 9, dtype, order=layout)
    exact = np.matmul(x.astype("c16"), y.astype("c16"))
    for threads in (1, 2, 3):
        allow(threads)
        out = np.empty(exact.shape, dtype)
        for product in (team.matrix_product(x, y), team.matrix_product(x, y, out=out)):
            assert product.dtype == dtype
            np.testing.assert_allclose(product, exact, rtol=2e-5, atol=2e-4)
        assert product is out


def test_matrices_that_do_not_fit_raise_as_in_numpy(
    allow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "ALONE", 0)
    allow(2)
    with pytest.raises(ValueError, match="matmul: Input operand 1 has a mismatch"):
        team.matrix_product(np.ones((4, 5)), np.ones((6, 7)))


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("elements", [1, 10_000, 100_000, 10_000_000])
def test_parts_make_up_the_batch(batch: int, elements: int) -> None:
    parts = team.batch_parts(batch, elements)
    assert [i for part in parts for i in range(batch)[part]] == list(range(batch))
    assert len(parts) == 1 or len(parts) % 2 == 0 or len(parts) == batch
    largest = max(part.stop - part.start for part in parts)
    assert len(parts) == 1 or largest == 1 or (largest - 1) * elements <= team.CACHED


WINDOW: Any = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
STRIDED: Any = {**WINDOW, "stride": (2, 2)}
POOL: Any = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}


def results(channels: int, options: Any, groups: int) -> list[np.ndarray]:
    """Convolution, its gradients and pooling of nine images."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 8, 8, channels)).astype("f4")
    w = rng.normal(size=(3, 3, channels // groups, 8)).astype("f4")
    y = window.conv(x, w, w[0, 0, 0], groups=groups, **options)
    dx = window.conv_input(y, w, sizes=(8, 8), groups=groups, **options)
    dw = window.conv_weight(x, y, kernel=(3, 3), groups=groups, **options)
    z = pool.max_pool(y, **POOL)
    hits = pool.max_pool_hits(y, z, **POOL)
    back = pool.max_pool_scatter(z, hits, sizes=y.shape[1:-1], **POOL)
    return [y, dx, dw, z, hits, back]


@pytest.mark.parametrize("options", [WINDOW, STRIDED], ids=["by rows", "strided"])
@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (8, 1), (8, 2), (8, 8)])
def test_windows_have_the_same_bits_in_any_number_of_threads_and_one_batch_in_any_parts(
    channels: int, groups: int, options: Any, allow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = results(channels, options, groups)
    monkeypatch.setattr(team, "CACHED", 2000)
    monkeypatch.setattr(team, "WORTH_A_PART", 500)
    found = []
    for threads in (1, 2, 3):
        allow(threads)
        found.append(results(channels, options, groups))
    for one, two, three, at_once in zip(*found, whole, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
        np.testing.assert_allclose(one, at_once, rtol=1e-4, atol=1e-4)
