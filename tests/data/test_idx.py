"""IDX files, whole and damaged."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from nnad.data import load
from nnad.data.sources import idx
from nnad.data.sources.idx import read_idx
from nnad.errors import DataError

MNIST = Path(__file__).resolve().parents[3] / "shared/data/mnist10k"
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def encoded(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path: Path, array: np.ndarray) -> Path:
    content = encoded(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("kind", CODES)
def test_every_type_comes_back(kind, name, tmp_path, rng) -> None:
    array = (rng.normal(size=(3, 4, 5)) * 100).astype(kind)
    got = read_idx(write(tmp_path / name, array))
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype


GOOD = encoded(np.zeros((2, 3), np.uint8))
DAMAGED = {
    "empty": (b"", "not an IDX file .it begins with nothing"),
    "magic": (b"\x89PNG....", "not an IDX file .it begins with 89 50 4e 47"),
    "type": (b"\0\0\x07\x01\0\0\0\1.", "not an IDX file"),
    "axes": (b"\0\0\x08\xff" + b"\0" * 2000, "255 axes; expected 1 to 4"),
    "no axes": (b"\0\0\x08\0", "0 axes"),
    "header": (b"\0\0\x08\x02\0\0", "ends within its header"),
    "short": (GOOD[:-1], r"says \(2, 3\), 6 bytes; the file has only 5"),
    "long": (GOOD + b"!", "6 bytes; the file has more"),
    "huge": (b"\0\0\x08\x04" + b"\xff" * 16, "at most 4,294,967,296"),
    "nothing": (b"\0\0\x08\3" + b"\0" * 4 + b"\xff" * 8, r"says \(0, 4294967295, .* nothing"),
    "gzip cut": (gzip.compress(GOOD)[:-9], "cannot be read"),
    "gzip broken": (gzip.compress(GOOD)[:10] + b"\xff" * 20, "cannot be read"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused(case, tmp_path) -> None:
    content, message = DAMAGED[case]
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch) -> None:
    """A small gzip file of many zeros costs no more than its header says."""
    monkeypatch.setattr(idx, "MAX_BYTES", 1000)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(GOOD + b"\0" * 10**7))
    with pytest.raises(DataError, match="has more"):
        read_idx(path)
    path.write_bytes(gzip.compress(encoded(np.zeros((1001,), np.uint8))))
    with pytest.raises(DataError, match="at most 1,000"):
        read_idx(path)


def folder(path: Path, **parts: int) -> Path:
    for prefix, rows in parts.items():
        pixels = np.arange(rows * 4, dtype=np.uint8).reshape(rows, 2, 2)
        write(path / f"{prefix}-images-idx3-ubyte.gz", pixels)
        write(path / f"{prefix}-labels-idx1-ubyte", np.arange(rows, dtype=np.uint8) % 2)
    return path


def test_training_and_test_files_are_the_parts(tmp_path) -> None:
    path = folder(tmp_path, t10k=3, train=8)
    data = load({"name": "idx", "path": str(path), "validation_size": 2})
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 3)
    assert data.meta.input_shape == (2, 2, 1)
    np.testing.assert_allclose(data.test.x.ravel(), np.arange(12) / 255, rtol=1e-6)


def test_a_single_pair_is_split(tmp_path) -> None:
    path = folder(tmp_path, t10k=8)
    data = load({"name": "idx", "path": str(path), "split": "ordered", "test_size": 2})
    assert (len(data.train), len(data.test)) == (6, 2)
    file = path / "t10k-images-idx3-ubyte.gz"
    (path / "t10k-labels-idx1-ubyte").rename(path / "names")
    given = {"name": "idx", "path": str(file), "labels_path": str(path / "names")}
    assert len(load({**given, "test_size": 0}).train) == 8
    with pytest.raises(DataError, match="no labels found beside"):
        load({"name": "idx", "path": str(file)})
    with pytest.raises(DataError, match="no labels for t10k-images-idx3-ubyte"):
        load({"name": "idx", "path": str(path)})


def test_folders_that_do_not_fit_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="found none"):
        load({"name": "idx", "path": str(tmp_path)})
    folder(tmp_path, train=4)
    write(tmp_path / "train-labels-idx1-ubyte", np.zeros(3, np.uint8))
    with pytest.raises(DataError, match=r"labels of shape \(3,\) for inputs of shape \(4, 2, 2\)"):
        load({"name": "idx", "path": str(tmp_path)})


@pytest.mark.skipif(not MNIST.exists(), reason="the MNIST files are not here")
def test_mnist() -> None:
    data = load({"name": "idx", "path": str(MNIST), "split": "ordered", "test_size": 2000})
    assert data.train.x.shape == (8000, 28, 28, 1)
    pixels = np.concatenate([data.train.x.ravel(), data.test.x.ravel()])
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1325, 0.3105)
    assert data.meta.class_names == [str(digit) for digit in range(10)]
