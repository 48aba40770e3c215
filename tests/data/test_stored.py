"""CSV files in several parts, and those too large for memory, which are turned into records."""

import csv
import errno
import os
import threading

import numpy as np
import pytest

from nnad.data import BatchIterator, array_files, cells, load, preprocessing, stored
from nnad.data.lazy import LazyRows
from nnad.errors import DataError
from tests.data.test_csv import BAD, FORMS, write


@pytest.fixture(autouse=True)
def on_disk(tmp_path, monkeypatch):
    """Every CSV file counts as too large, and is read in small pieces."""
    monkeypatch.setenv("NNAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(array_files, "IN_MEMORY", -1)
    monkeypatch.setattr(cells, "CHUNK_ROWS", 7)
    monkeypatch.setattr(stored, "BLOCK_BYTES", 100)
    monkeypatch.setattr(preprocessing, "BLOCK_BYTES", 200)
    return monkeypatch


def in_memory(config, monkeypatch, **keywords):
    with monkeypatch.context() as patch:
        patch.setattr(array_files, "IN_MEMORY", 2**30)
        return load(config, **keywords)


@pytest.fixture
def mixed(tmp_path, rng):
    """Three files of a table with gaps, texts and weights."""
    for part in range(3):
        with (tmp_path / f"part-{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["colour", "size", "id", "label", "price", "shape", "w"])
            for row in range(20 + part):
                colour = "" if row % 11 == 3 else rng.choice(["red", "green", "blue"])
                size = "NA" if row % 7 == 5 else rng.normal(5, 3)
                label = ["no", "yes", "maybe"][(row + part) % 3]
                shape = f"s{part * row % 5}"
                price = rng.lognormal() * 1e3
                writer.writerow([colour, size, f"{part}-{row}", label, price, shape, row % 3])
    return {
        "name": "csv",
        "path": str(tmp_path / "part-*.csv"),
        "target": "label",
        "drop": "id",
        "weight_column": "w",
        "missing": "impute",
        "standardize": True,
        "validation_size": 0.2,
    }


VARIANTS = [
    {},
    {"categorical": "codes"},
    {"standardize": False},
    {"standardize": "robust", "smooth_clip": True},
    {"impute": "mean"},
    {"target": "price", "standardize_target": True, "drop": ["id", "label"]},
    {"target": ["price", "w"], "weight_column": None, "task": "regression"},
    {"features": ["shape", "size"]},
    {"features": ["shape", "colour"]},
    {"split": "ordered", "shuffle": "blocks"},
    {"folds": 4, "fold": 2},
    {"task": "autoencoder", "target": None},
]


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_a_table_on_disk_gives_what_one_in_memory_gives(mixed, change, monkeypatch):
    config = {**mixed, **change}
    lazy = load(config, seed=3, dtype="float64")
    whole = in_memory(config, monkeypatch, seed=3, dtype="float64")
    assert isinstance(lazy.train.x, LazyRows)
    assert isinstance(whole.train.x, np.ndarray)
    for part in ("train", "validation", "test"):
        one, other = getattr(lazy, part), getattr(whole, part)
        np.testing.assert_allclose(np.asarray(one.x), other.x, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(np.asarray(one.y), other.y, rtol=1e-12, atol=1e-14)
        if other.weight is not None:
            np.testing.assert_array_equal(one.weight, other.weight)
    for key in ("task", "class_names", "feature_names", "categorical", "fingerprint", "n_outputs"):
        assert getattr(lazy.meta, key) == getattr(whole.meta, key)


def test_several_small_files_are_one_table_in_memory(mixed, tmp_path, monkeypatch):
    names = [str(tmp_path / f"part-{i}.csv") for i in (1, 0, 2)]
    whole = in_memory({**mixed, "test_size": 0, "validation_size": 0}, monkeypatch)
    parts = in_memory({**mixed, "path": names, "test_size": 0, "validation_size": 0}, monkeypatch)
    order = np.r_[20:41, 0:20, 41:63]
    np.testing.assert_allclose(parts.train.x, whole.train.x[order], rtol=1e-6)
    np.testing.assert_array_equal(parts.train.y, whole.train.y[order])
    assert len(parts.meta.fingerprint) == 3


def test_batches_of_every_process_can_be_taken_up_anywhere(mixed):
    train = load(mixed).train
    whole = [(b.x.copy(), b.y.copy()) for b in BatchIterator(train, 8, seed=1).batches(2)]
    for rank in range(2):
        late = BatchIterator(train, 8, seed=1, part=(rank, 2)).batches(2, 3)
        for (x, y), batch in zip(whole[3:], late, strict=True):
            rows = slice(*batch.share[:2])
            np.testing.assert_array_equal(batch.x, x[rows])
            np.testing.assert_array_equal(batch.y, y[rows])


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_the_same_table_are_read_alike(form, tmp_path):
    path = write(tmp_path, *FORMS[form])
    data = load(
        {"name": "csv", "path": str(path), "target": "label", "test_size": 0, "drop": "weight"}
    )
    np.testing.assert_array_equal(
        data.train.x, [[1.5, 0, 0, 1], [2.5, 1, 0, 0], [3.5, 0, 0, 1], [4.5, 0, 1, 0]]
    )
    np.testing.assert_array_equal(data.train.y, [0, 1, 0, 1])


# What is kept -----------------------------------------------------------------------------------


@pytest.fixture
def readings(monkeypatch):
    """How often CSV files are read."""
    found = []
    convert = stored.convert
    monkeypatch.setattr(stored, "convert", lambda *a: found.append(a) or convert(*a))
    return found


def entries(tmp_path):
    return [path for path in (tmp_path / "cache/tables").iterdir() if path.is_dir()]


def test_a_table_is_read_once_until_it_changes(mixed, tmp_path, readings):
    first = load(mixed)
    again = load({**mixed, "batch_size": 7, "standardize": False})
    np.testing.assert_array_equal(first.train.y, again.train.y)
    assert len(readings) == 1
    load({**mixed, "features": ["size"]})  # other columns: an entry of their own
    assert (len(readings), len(entries(tmp_path))) == (2, 2)
    with (tmp_path / "part-2.csv").open("a") as file:
        file.write("red,1,x,yes,1,s0,1\n")
    assert len(load(mixed).train) > len(first.train) - 1
    assert (len(readings), len(entries(tmp_path))) == (3, 1)


@pytest.mark.parametrize("damage", ["cut", "description", "columns", "nothing"])
def test_what_is_not_whole_is_made_again(mixed, tmp_path, readings, damage):
    first = np.asarray(load(mixed).test.x)
    (entry,) = entries(tmp_path)
    rows, description = entry / "rows.bin", entry / "table.json"
    if damage == "cut":
        rows.write_bytes(rows.read_bytes()[:-1])
    elif damage == "description":
        description.write_text(description.read_text()[:-20])
    elif damage == "columns":
        description.write_text('{"header": [], "rows": 9999999999999, "columns": []}')
    else:
        rows.unlink()
    again = load(mixed)
    assert len(readings) == 2
    np.testing.assert_array_equal(first, np.asarray(again.test.x))


def test_what_a_killed_process_left_is_removed(mixed, tmp_path, readings):
    load(mixed)
    (entry,) = entries(tmp_path)
    entry.rename(entry.with_name(f".{entry.name}"))
    load(mixed)
    assert [path.name for path in entries(tmp_path)] == [entry.name]


def test_processes_that_begin_together_read_it_once(mixed, readings):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load(mixed))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(readings) == 1


# What is wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in BAD if case != "one class"])
def test_problems_are_those_of_a_table_in_memory(case, tmp_path, readings):
    text, expected = BAD[case]
    path = write(tmp_path, text)
    for _ in range(2):  # the second time they are known
        with pytest.raises(DataError) as caught:
            load({"name": "csv", "path": str(path), "target": "label", "test_size": 0})
        assert caught.value.problems == [line.format(path) for line in expected]
    at_once = {"empty", "header only", "duplicate", "numbers for names", "nameless"}
    assert len(readings) == (2 if case in at_once else 1)
    path.write_text("a,label\n1,x\n2,y\n")
    assert (
        len(load({"name": "csv", "path": str(path), "target": "label", "test_size": 0}).train) == 2
    )


def test_many_problems_are_counted_also_when_they_are_known(tmp_path):
    path = write(tmp_path, "a,label\n" + "1,x\n" * 10 + "1\n" * 80)
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            load({"name": "csv", "path": str(path), "target": "label"})
        assert len(caught.value.problems) == 51
        assert caught.value.problems[-1] == "... and 30 more of these (ragged)"


def test_a_target_needs_two_classes_and_a_fitting_task(tmp_path):
    path = write(tmp_path, "a,label\n1,x\n2,x\n")
    config = {"name": "csv", "path": str(path), "target": "label", "test_size": 0}
    with pytest.raises(DataError, match="a single class, x; nothing to learn"):
        load(config)
    path.write_text("a,label\n1,x\n2,y\n")
    with pytest.raises(DataError, match="holds text, which cannot be learned as regression"):
        load({**config, "task": "regression"})


def test_problems_name_the_file_of_several(mixed, tmp_path):
    (tmp_path / "part-1.csv").write_text("colour,size,id,label,prize,shape,w\n1,2,3,4,5,6,7\n")
    with (tmp_path / "part-2.csv").open("a") as file:
        file.write("red,big,x,yes,1,s0,1\nred\n")
    with pytest.raises(DataError) as caught:
        load(mixed)
    assert caught.value.problems == [
        f"{tmp_path / 'part-1.csv'}:1: columns differ from those of {tmp_path / 'part-0.csv'}: "
        "'prize' for 'price'",
        f"{tmp_path / 'part-2.csv'}:25: 1 cells, expected 7",
        f"{tmp_path / 'part-2.csv'}:24: column 'size': 'big' is not a number (a column of texts? "
        "categorical_columns: [size])",
    ]


def test_numbers_too_large_for_the_dtype_are_told(tmp_path):
    path = write(tmp_path, "a,b,label\n1,2,x\n1e300,3,y\n2,4,x\n3,5,y\n")
    config = {"name": "csv", "path": str(path), "target": "label", "test_size": 0}
    with pytest.raises(DataError, match=r"too large to compute with in float32 \(columns a\)"):
        load(config)
    load(config, dtype="float64")


def test_texts_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MOST_LEVELS", 10)
    lines = "".join(f"{i},id{i},{'xy'[i % 2]}\n" for i in range(30))
    path = write(tmp_path, f"a,id,label\n{lines}")
    config = {"name": "csv", "path": str(path), "target": "label", "test_size": 0}
    with pytest.raises(DataError, match=r"'id' holds more than 10 different.*data.drop: \[id\]"):
        load(config)
    assert len(load({**config, "drop": "id"}).train) == 30


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "LONGEST_LINE", 20)
    path = write(tmp_path, "a,label\n1,x\n2,y\n" + "1" * 30)
    with pytest.raises(DataError, match=r"a\.csv:4: a line of more than 20 characters"):
        load({"name": "csv", "path": str(path), "target": "label"})


def test_a_table_is_found_in_a_cache_that_cannot_be_written(mixed, readings, monkeypatch):
    load(mixed)

    def locked(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(stored, "locked", locked)
    load(mixed)
    assert len(readings) == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EROFS, "Read-only file system; name another"),
    ],
)
def test_a_cache_that_cannot_be_written_is_told_and_leaves_nothing(
    mixed, tmp_path, monkeypatch, code, told
):
    def write_rows(file, reader, problems):
        file.write(b"part of it")
        raise OSError(code, os.strerror(code), file.name)

    monkeypatch.setattr(stored, "write_rows", write_rows)
    with pytest.raises(DataError, match=told) as caught:
        load(mixed)
    assert "NNAD_CACHE_DIR" in str(caught.value)
    assert entries(tmp_path) == []


def test_a_file_that_changes_while_it_is_read_is_refused(mixed, tmp_path, monkeypatch):
    convert = stored.convert

    def disturbed(*arguments):
        found = convert(*arguments)
        (tmp_path / "part-0.csv").write_text("")
        return found

    monkeypatch.setattr(stored, "convert", disturbed)
    with pytest.raises(DataError, match="was changed while it was read; try again"):
        load(mixed)
    assert entries(tmp_path) == []


def test_who_looks_without_the_lock_removes_nothing(tmp_path):
    (tmp_path / "entry").mkdir()  # another process may be about to complete or replace it
    assert stored.opened(tmp_path / "entry", "a.csv", cells.Problems()) is None
    assert (tmp_path / "entry").exists()
