"""Folders that vanish or cannot be written, clocks that go backwards."""

import os
import shutil
import sys
import time

import pytest

from nnad.cli import main

JOB = [
    "train",
    "--config",
    "mlp.yaml",
    "baseline=false",
    "trainer.epochs=3",
    "trainer.progress=false",
]


def told(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert not any("Traceback" in line for line in lines)
    return "\n".join(lines)


@pytest.mark.parametrize("what", ["runs/mlp", "runs/mlp/checkpoints"])
def test_a_folder_that_vanishes_during_training_ends_the_run(tmp_path, monkeypatch, capsys, what):
    from nnad.training.recorder import Recorder

    monkeypatch.chdir(tmp_path)
    once = Recorder.on_step_end

    def vanish(self, trainer):
        if trainer.step == 30:
            shutil.rmtree(what)
        once(self, trainer)

    monkeypatch.setattr(Recorder, "on_step_end", vanish)
    assert main([*JOB, "trainer.checkpoint_every_steps=10"]) == 2
    assert "runs/mlp" in told(capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir(mode=0o555)
    assert main(JOB) == 2
    assert "Permission denied" in told(capsys)


def test_output_in_the_place_of_a_file_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("not a folder")
    assert main(JOB) == 2
    assert "runs" in told(capsys)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_predictions_to_a_full_disk_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "tabular.yaml", *JOB[3:]]) == 0
    capsys.readouterr()
    data = os.path.join(os.path.dirname(__file__), "..", "..", "data", "tabular.csv")
    assert main(["predict", "runs/tabular", "--input", data, "--output", "/dev/full"]) == 2
    assert told(capsys)


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*JOB, "output.name=a"]) == 0
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 1e6)
    for module in [m for name, m in sys.modules.items() if name.startswith("nnad")]:
        if "perf_counter" in vars(module):
            monkeypatch.setattr(module, "perf_counter", lambda: -time.perf_counter())
    assert main([*JOB, "output.name=b"]) == 0
    for name in ("metrics.csv", "checkpoints/last.safetensors"):
        assert (tmp_path / "runs/a" / name).read_bytes() == (
            tmp_path / "runs/b" / name
        ).read_bytes()
