"""Batches: each row once an epoch, reproducible from any position, aligned, cheap."""

import threading

import numpy as np
import pytest

from nnad.data import BatchIterator, Split, batches
from nnad.data.lazy import LazyRows


def make(rows=10, weight=True, **options):
    x = np.arange(rows, dtype=np.float32)[:, None] * [1, 10]
    split = Split(x, np.arange(rows), np.arange(rows) / 2 if weight else None)
    return BatchIterator(split, options.pop("batch_size", 3), **options)


def rows_of(iterator):
    return [batch.y.tolist() for batch in iterator]


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 9, 10])
def test_each_row_comes_once_an_epoch(rows, prefetch) -> None:
    loader = make(rows, prefetch=prefetch)
    got = rows_of(loader.rest_of_epoch())
    assert len(got) == len(loader) == -(-rows // 3)
    assert sorted(np.concatenate(got).tolist()) == list(range(rows))


def test_inputs_targets_and_weights_stay_together() -> None:
    for batch in make(25, seed=1).rest_of_epoch():
        np.testing.assert_array_equal(batch.x, batch.y[:, None] * [1, 10])
        np.testing.assert_array_equal(batch.weight, batch.y / 2)


def test_orders_differ_by_epoch_and_seed_and_repeat() -> None:
    first, second = make(30, seed=0), make(30, seed=0)
    a, b = rows_of(first.rest_of_epoch()), rows_of(first.rest_of_epoch())
    assert a != b
    assert a == rows_of(second.rest_of_epoch())
    assert a != rows_of(make(30, seed=1).rest_of_epoch())


def test_without_shuffling_batches_are_views() -> None:
    loader = make(7, shuffle=False)
    got = list(loader.rest_of_epoch())
    assert [batch.y.tolist() for batch in got] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(np.shares_memory(batch.x, loader.split.x) for batch in got)


def test_a_short_last_batch_can_be_dropped() -> None:
    loader = make(10, drop_last=True)
    assert [len(rows) for rows in rows_of(loader.rest_of_epoch())] == [3, 3, 3]
    assert loader.state() == {"epoch": 1, "step": 0}


def jitter(x, y, rng):
    return x + rng.normal(size=x.shape).astype(x.dtype), y


@pytest.mark.parametrize("chunk", [1, 60, 10**6])
@pytest.mark.parametrize("augment", [None, jitter])
@pytest.mark.parametrize("prefetch", [False, True])
def test_a_restored_position_continues_to_the_last_bit(
    chunk, augment, prefetch, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk)
    options = {"seed": 5, "augment": augment, "prefetch": prefetch}
    whole, straight = make(20, **options), []
    for _ in range(2):
        straight += [batch.x.copy() for batch in whole.rest_of_epoch()]
    for stop in range(len(straight)):
        first = make(20, **options)
        done = 0
        while done < stop:
            for _ in first.rest_of_epoch():
                done += 1
                if done == stop:
                    break
        second = make(20, **options)
        second.restore(first.state())
        batch = next(second.rest_of_epoch())
        np.testing.assert_array_equal(batch.x, straight[stop])


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_the_size_of_chunks_makes_no_difference(chunk, monkeypatch) -> None:
    expected = rows_of(make(20, seed=2).rest_of_epoch())
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk)
    for prefetch in (False, True):
        assert rows_of(make(20, seed=2, prefetch=prefetch).rest_of_epoch()) == expected


def test_rows_read_on_demand_and_strided_views_equal_arrays() -> None:
    base = np.arange(40.0)
    windows = np.lib.stride_tricks.sliding_window_view(base, 4)
    y = np.arange(len(windows))
    forms = [np.array(windows), windows, LazyRows(windows), LazyRows(base[:, None] + np.arange(4))]
    expected = None
    for x in forms:
        split = Split(x if len(x) == len(y) else LazyRows(x, np.arange(len(y))), y)
        got = [batch.x.copy() for batch in BatchIterator(split, 5, seed=3).rest_of_epoch()]
        expected = expected or got
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_an_error_in_the_thread_reaches_the_caller() -> None:
    def broken(x, y, rng):
        raise ArithmeticError("from the thread")

    with pytest.raises(ArithmeticError, match="from the thread"):
        rows_of(make(augment=broken, prefetch=True).rest_of_epoch())


def test_a_thread_ends_when_its_batches_are_not_wanted(monkeypatch) -> None:
    monkeypatch.setattr(batches, "CHUNK_BYTES", 1)
    before = threading.active_count()
    iterator = make(100, prefetch=True).rest_of_epoch()
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (5, {"batch_size": 0}, "at least 1"),
        (0, {}, "no batch: 0 rows"),
        (2, {"drop_last": True}, "drop_last"),
    ],
)
def test_impossible_sizes_are_refused(rows, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(rows, **options)
