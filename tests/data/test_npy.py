"""Arrays in NPY files, in memory and on disk."""

import io
import subprocess
import sys

import numpy as np
import pytest

from nnad.data import BatchIterator, array_files, load, predicting
from nnad.data.dataset import Features
from nnad.data.lazy import FileRows, LazyRows
from nnad.data.predicting import read_pieces, read_rows
from nnad.errors import DataError


@pytest.fixture
def files(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.normal(size=(50, 6)).astype(np.float32))
    np.save(tmp_path / "y.npy", np.arange(50) % 3)
    np.save(tmp_path / "w.npy", np.arange(1.0, 51))
    names = {"path": "x.npy", "target_path": "y.npy", "weight_path": "w.npy"}
    return {"name": "npy", **{key: str(tmp_path / name) for key, name in names.items()}}


@pytest.mark.parametrize("split", ["random", "ordered"])
def test_rows_from_disk_equal_rows_in_memory(files, split, monkeypatch) -> None:
    config = {**files, "standardize": True, "split": split, "validation_size": 0.2}
    memory = load(config)
    monkeypatch.setattr(array_files, "IN_MEMORY", 0)
    disk = load(config)
    for a, b in [(memory.train, disk.train), (memory.validation, disk.validation)]:
        assert isinstance(b.x, LazyRows) and b.x.shape == a.x.shape
        np.testing.assert_array_equal(np.asarray(b.x), a.x)
        np.testing.assert_array_equal(b.weight, a.weight)
        batches = [BatchIterator(part, 7, seed=1).rest_of_epoch() for part in (a, b)]
        for ours, theirs in zip(*batches, strict=True):
            np.testing.assert_array_equal(ours.x, theirs.x)
            np.testing.assert_array_equal(ours.y, theirs.y)


def test_rows_of_a_file_in_every_way(tmp_path, rng) -> None:
    array = rng.normal(size=(20, 3, 2))
    (tmp_path / "a").write_bytes(b"head" + array.tobytes())
    rows = FileRows(tmp_path / "a", array.dtype, array.shape, 4)
    for key in (slice(None), slice(3, 9), slice(9, 3), slice(None, None, 3), np.array([7, 0, 7])):
        np.testing.assert_array_equal(rows[key], array[key])


@pytest.mark.parametrize("content", ["shorter", "another"])
def test_a_file_that_changes_while_rows_are_read_is_refused(content, tmp_path, rng):
    array = rng.normal(size=(20, 3))
    path = tmp_path / "a"
    path.write_bytes(array.tobytes())
    rows = FileRows(path, array.dtype, array.shape)
    np.testing.assert_array_equal(rows[3:5], array[3:5])
    path.write_bytes(array.tobytes()[:-1] if content == "shorter" else (array + 1).tobytes())
    for key in (slice(3, 5), np.array([7]), slice(None)):
        with pytest.raises(DataError, match="was changed while rows were read from it"):
            rows[key]


def test_numbers_on_disk_that_are_not_finite_are_refused_where_they_are_read(tmp_path, rng):
    array = rng.normal(size=(20, 3))
    array[13, 1], array[17, 0] = np.nan, np.inf
    (tmp_path / "a").write_bytes(array.tobytes())
    rows = FileRows(tmp_path / "a", array.dtype, array.shape)
    np.testing.assert_array_equal(rows[5:13], array[5:13])
    np.testing.assert_array_equal(rows[np.array([0, 19])], array[[0, 19]])
    for key, row in [(slice(5, 18), 13), (np.array([19, 17, 13, 0]), 13), (slice(19, 15, -2), 17)]:
        with pytest.raises(
            DataError, match=rf"a: row {row} \(counted from 0\) holds a number that"
        ):
            rows[key]


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_new_rows_of_a_large_file_are_read_in_pieces(kind, files, tmp_path, rng, monkeypatch):
    meta = load({**files, "standardize": True}).meta
    x = rng.normal(size=(2000, 6)).astype(np.float32)
    path = tmp_path / f"new.{kind}"
    save = np.save if kind == "npy" else lambda path, x: np.savez(path, x=x)
    save(path, x)
    whole = read_rows(path, meta)
    np.testing.assert_array_equal(whole, meta.preprocessor.transform(Features(x)))
    monkeypatch.setattr(array_files, "IN_MEMORY", 0)
    monkeypatch.setattr(predicting, "PIECE_ROWS", 512)
    pieces = [piece for (piece,) in read_pieces(path, [meta])]
    assert [len(piece) for piece in pieces] == [512, 512, 512, 464]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    x[1999, 2] = np.nan
    for most in (0, 2**20):
        monkeypatch.setattr(array_files, "IN_MEMORY", most)
        save(path, x)
        with pytest.raises(DataError, match=r"row 1999 .* holds a number that is not finite"):
            read_rows(path, meta)


def header(shape, descr="<f4", order=False):
    buffer = io.BytesIO()
    fields = {"descr": descr, "fortran_order": order, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


DAMAGED = [
    (b"", "not a readable NPY file"),
    (b"\x93NUMPY\x01\x00\xff\xff{}", "not a readable NPY file"),
    (b"\x93NUMPY\x09\x00\x00\x00", "not a readable NPY file"),
    (b"\x93NUMPY\x01\x00\x12\x00__import__('os')\n", "not a readable NPY file"),
    (header((4, 2)) + b"\0" * 31, r"says \(4, 2\), 32 bytes; the file has 31"),
    (header((2**40, 2**40)), "the file has 0"),
    (header((2,), "|O"), "Python objects, which are not loaded"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_damaged_files_are_refused(content, message, files, tmp_path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(files)


def test_large_arrays_must_be_numbers_in_row_order(files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(array_files, "IN_MEMORY", 0)
    np.save(tmp_path / "x.npy", np.asfortranarray(np.zeros((50, 2))))
    with pytest.raises(DataError, match="in column order cannot be read in pieces"):
        load(files)


def test_a_target_is_needed(files) -> None:
    del files["target_path"]
    with pytest.raises(DataError, match=r"data\.target_path: missing"):
        load(files)
    copied = load({**files, "task": "autoencoder"})
    np.testing.assert_array_equal(copied.train.x, copied.train.y)


@pytest.mark.slow
def test_a_file_larger_than_memory_takes_little_of_it(tmp_path) -> None:
    """8 GB of rows (a sparse file), split, scaled and read in random order: under 500 MB."""
    rows, columns = 2_600_000, 784
    with (tmp_path / "x.npy").open("wb") as file:
        file.write(header((rows, columns)))
        file.truncate(file.tell() + rows * columns * 4)
    np.save(tmp_path / "y.npy", np.arange(rows) % 10)
    code = f"""
import resource
from nnad.data import BatchIterator, batching, load
config = {{"name": "npy", "path": {str(tmp_path / "x.npy")!r}, "batch_size": 128,
          "target_path": {str(tmp_path / "y.npy")!r}, "standardize": True}}
data = load(config)
batches = BatchIterator(data.train, **batching(config, data)).rest_of_epoch()
for _ in range(500):
    next(batches)
batches.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500
