"""The folder of a run: nothing is overwritten or lost, one process writes it at a time."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnad.errors import UserError
from nnad.training import checkpoint, run_folder
from nnad.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "mlp")
    yield folder
    folder.release()


def begin(folder, text="seed: 0\n", step=0, overwrite=False):
    with folder:
        folder.reserve(text, overwrite)
        folder.begin(text, {"plain": {}}, {"step": step})


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}


def test_a_reserved_folder_can_be_resumed_from_its_configuration(folder):
    folder.reserve("seed: 3\n", overwrite=False)
    assert folder.config.read_text() == "seed: 3\n"
    assert not folder.has_checkpoint


def test_a_run_that_never_began_leaves_nothing(folder):
    with pytest.raises(RuntimeError), folder:
        folder.reserve("seed: 3\n", overwrite=False)
        raise RuntimeError("bad data")
    assert not folder.path.exists()


def test_a_run_that_began_stays_after_an_exception(folder):
    with pytest.raises(RuntimeError), folder:
        folder.reserve("a: 1\n", overwrite=False)
        folder.begin("a: 1\n", {}, {"step": 0})
        raise RuntimeError
    assert checkpoint.load(folder.last) == {"step": 0}


def test_an_existing_run_is_refused_as_it_is(folder):
    begin(folder)
    before = contents(folder)
    with pytest.raises(UserError, match=r"--resume .*--overwrite"):
        RunFolder(folder.path).reserve("other: 1\n", overwrite=False)
    assert contents(folder) == before


def test_a_folder_with_something_else_in_it_is_refused(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.txt").write_text("important")
    with pytest.raises(UserError, match="already exists"):
        folder.reserve("a: 1\n", overwrite=False)
    assert contents(folder) == {"thesis.txt": b"important"}


def test_a_file_in_the_place_of_the_folder_is_refused(folder):
    folder.path.parent.mkdir()
    folder.path.write_text("a file")
    with pytest.raises(UserError, match="File exists"):
        folder.reserve("a: 1\n", overwrite=False)
    assert folder.path.read_text() == "a file"


def test_overwriting_replaces_what_a_run_wrote_and_keeps_the_rest(folder):
    begin(folder, "old: 1\n")
    for file in (folder.best, folder.metrics, folder.summary, folder.timing):
        file.write_text("old")
    checkpoint.previous_slot(folder.last).write_text("old")
    (folder.path / "notes.txt").write_text("mine")
    begin(RunFolder(folder.path), "new: 1\n", step=7, overwrite=True)
    assert folder.config.read_text() == "new: 1\n"
    assert checkpoint.load(folder.last) == {"step": 7}
    assert sorted(contents(folder)) == [
        ".lock",
        "config.yaml",
        "last.safetensors",
        "notes.txt",
        "preprocessing.safetensors",
    ]


def test_overwriting_with_bad_data_leaves_the_old_run(folder):
    begin(folder)
    before = contents(folder)
    with pytest.raises(RuntimeError), RunFolder(folder.path) as other:
        other.reserve("new: 1\n", overwrite=True)
        raise RuntimeError("bad data")
    assert contents(folder) == before


@pytest.mark.parametrize("when", [1, 2])
def test_a_full_disk_while_overwriting_leaves_the_old_run(folder, monkeypatch, when):
    begin(folder)
    before = contents(folder)
    calls = []
    sync = os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2 * when - 1:  # each save syncs the file and its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        begin(RunFolder(folder.path), "new: 1\n", step=7, overwrite=True)
    assert contents(folder) == before


HOLD = """
import sys
from nnad.training.run_folder import RunFolder
folder = RunFolder(sys.argv[1])
folder.lock()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(run_folder.fcntl is None, reason="needs flock")
def test_two_processes_cannot_write_one_run(folder):
    begin(folder)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder.path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=rf"another process \(number {other.pid}\)"):
            RunFolder(folder.path).lock()
        other.kill()
        other.wait()
        folder.lock()  # the system has dropped the lock of the killed process
        folder.release()


def test_rows_are_written_and_appended_alike(folder):
    folder.path.mkdir(parents=True)
    rows = [{"epoch": e, "val_loss": 1 / (e + 3), "val_auc": float("nan")} for e in range(3)]
    for row in rows:
        folder.append_row(row)
    appended = folder.metrics.read_bytes()
    folder.write_rows({name: [row[name] for row in rows] for name in rows[0]})
    assert folder.metrics.read_bytes() == appended
    table = np.genfromtxt(folder.metrics, delimiter=",", names=True)
    np.testing.assert_array_equal(table["val_loss"], [row["val_loss"] for row in rows])


def test_seconds_that_are_not_known_count_as_none(folder):
    folder.path.mkdir(parents=True)
    assert folder.read_seconds() == 0.0
    folder.timing.write_text("{broken")
    assert folder.read_seconds() == 0.0
    folder.write_json(folder.timing, {"fit_seconds": 1.5})
    assert folder.read_seconds() == 1.5


@pytest.mark.parametrize(
    ("make", "words"),
    [("nothing", "no such run"), ("folder", "not the folder of a run"), ("file", "is a file")],
)
def test_what_is_no_run_is_told(folder, make, words):
    if make == "folder":
        folder.path.mkdir(parents=True)
    elif make == "file":
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        folder.path.write_text("")
    with pytest.raises(UserError, match=words):
        folder.require()


@pytest.mark.parametrize("run", [True, False])
def test_a_file_of_a_run_is_told_with_the_run(folder, run):
    folder.path.mkdir(parents=True)
    folder.config.write_text("seed: 0\n")
    file = folder.config if run else folder.path.parent / "notes.txt"
    file.write_text("seed: 0\n")
    with pytest.raises(UserError, match=f"such as {folder.path if run else 'runs/mlp'}$"):
        RunFolder(file).require()
