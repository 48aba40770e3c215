"""Arrays in NPY files, in memory and on disk."""

import io
import subprocess
import sys

import numpy as np
import pytest

from nnad.data import BatchIterator, array_files, load
from nnad.data.lazy import FileRows, LazyRows
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
