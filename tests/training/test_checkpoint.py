"""Checkpoints: what goes in comes out, damage is always noticed, and a crash loses nothing."""

import errno
import json
import os

import numpy as np
import pytest

from nnad.errors import CheckpointError
from nnad.training import checkpoint

TREE = {
    "step": 12,
    "name": "Ångström",
    "nothing": None,
    "flag": True,
    "ratio": 0.1,
    "bounds": [float("inf"), float("-inf"), float("nan")],
    "generator": np.random.default_rng(3).bit_generator.state,
    "arrays": {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.float64(2.5),
        "empty": np.zeros((0, 4), np.float32),
        "half": np.ones(3, np.float16),
        "classes": np.array([1, -2], np.int64),
        "mask": np.array([True, False]),
        "complex": np.array([1 + 2j], np.complex64),
        "big_endian": np.arange(3, dtype=">i4"),
    },
    "list": [np.zeros(2), {"deep": np.ones(1)}],
}


def assert_same(a, b):
    assert type(a) is type(b) or isinstance(a, np.generic | tuple)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype.newbyteorder("<") == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b or (a != a and b != b)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.safetensors"


def test_a_tree_comes_back_as_it_was(path):
    checkpoint.save(path, TREE)
    assert_same(TREE, checkpoint.load(path))


def test_loaded_arrays_can_be_written(path):
    checkpoint.save(path, {"a": np.zeros(2)})
    checkpoint.load(path)["a"][0] = 1.0


def test_equal_trees_give_equal_files(tmp_path):
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, TREE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_safetensors_package_reads_it(path):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    checkpoint.save(path, {"0.weight": TREE["arrays"]["weight"], "$run": {"epoch": 3}})
    loaded = numpy_reader.load_file(path)
    assert list(loaded) == ["0.weight"]
    np.testing.assert_array_equal(loaded["0.weight"], TREE["arrays"]["weight"])


def test_what_json_and_safetensors_lack_is_refused(path):
    for bad in (np.array(["text"]), np.zeros(1, np.longdouble), object()):
        with pytest.raises(TypeError):
            checkpoint.save(path, {"bad": bad})
    assert os.listdir(path.parent) == []


SMALL = {"step": 3, "weight": np.arange(3, dtype=np.float32)}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "c"
    checkpoint.save(path, SMALL)
    return path.read_bytes()


def refused(content, path):
    try:
        checkpoint.decode(content, path)
    except CheckpointError:
        return True
    return False


def test_every_flipped_bit_is_noticed(content, path):
    unnoticed = []
    for i in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[i // 8] ^= 1 << i % 8
        if not refused(bytes(damaged), path):
            unnoticed.append(i)
    assert unnoticed == []


def test_every_truncation_is_noticed(content, path):
    assert [n for n in range(len(content)) if not refused(content[:n], path)] == []


def test_anything_appended_is_noticed(content, path):
    assert refused(content + b"\0", path)


def signed(header: dict, data: bytes) -> bytes:
    """A file with a valid checksum and whatever header."""
    header["__metadata__"] = {
        "format": checkpoint.FORMAT,
        "sha256": checkpoint.NO_DIGEST,
        "state": "{}",
        **header.get("__metadata__", {}),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    head = len(text).to_bytes(8, "little") + text
    digest = checkpoint.digest_of(head, data)
    field = checkpoint.digest_field
    return head.replace(field(checkpoint.NO_DIGEST), field(digest), 1) + data


HOSTILE = {
    "a huge shape": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]},
    "a negative size": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]},
    "offsets outside": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    "offsets backwards": {"dtype": "F32", "shape": [0], "data_offsets": [8, 0]},
    "an unknown dtype": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 8]},
    "no shape": {"dtype": "F32", "data_offsets": [0, 8]},
    "a shape of text": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]},
    "no entry": 3,
}


@pytest.mark.parametrize("entry", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_valid_checksum_does_not_make_a_file_trusted(entry, path):
    assert refused(signed({"a": entry}, bytes(8)), path)


@pytest.mark.parametrize("state", ['{"$array": "none"}', "[" * 10**5, "{", '{"$float": "x"}'])
def test_malformed_state_is_refused(state, path):
    assert refused(signed({"__metadata__": {"state": state}}, b""), path)


def test_another_format_is_named(path):
    with pytest.raises(CheckpointError, match=r"'nnad-9'.*expected 'nnad-1'"):
        checkpoint.decode(signed({"__metadata__": {"format": "nnad-9"}}, b""), path)


def test_the_one_before_is_kept(path):
    for step in range(3):
        checkpoint.save(path, {"step": step})
    assert checkpoint.load(path) == {"step": 2}
    assert checkpoint.load(checkpoint.previous_slot(path)) == {"step": 1}
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damage_falls_back_to_the_one_before_and_says_so(path, damage):
    for step in range(2):
        checkpoint.save(path, {"step": step})
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="using the previous one"):
        assert checkpoint.load_newest(path) == {"step": 0}


def test_two_damaged_ones_are_both_named(path):
    for step in range(2):
        checkpoint.save(path, {"step": step})
    for file in path.parent.iterdir():
        file.write_bytes(b"\0" * 40)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load_newest(path)
    assert [line.split(":")[0] for line in error.value.problems] == [
        str(path),
        str(checkpoint.previous_slot(path)),
    ]


@pytest.mark.parametrize("call", ["write_whole", "sync_folder"])
def test_a_full_disk_costs_nothing_that_was_there(path, monkeypatch, call):
    checkpoint.save(path, {"step": 0})
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write_whole":
        monkeypatch.setattr(checkpoint.os, "fsync", full)
    else:
        monkeypatch.setattr(checkpoint, "sync_folder", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        checkpoint.save(path, {"step": 1})
    kept = path if call == "write_whole" else checkpoint.previous_slot(path)
    assert kept.read_bytes() == before
    assert not list(path.parent.glob(".*"))


def test_a_write_that_takes_only_some_bytes_is_continued(path):
    class Slow:
        def __init__(self):
            self.written = b""

        def write(self, view):
            self.written += bytes(view[:3])
            return min(3, len(view))

    file = Slow()
    checkpoint.write_all(file, np.arange(5, dtype=np.int16))
    assert file.written == np.arange(5, dtype=np.int16).tobytes()
