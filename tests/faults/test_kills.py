"""Runs of the shipped configurations, killed at random moments again and again, then resumed.

`NNAD_KILLS=1000 pytest -m faults tests/faults/test_kills.py` makes that many kills in all.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    "mlp",
    "binary",
    "regression",
    "tabular",
    "embedding",
    "multi_label",
    "quantile_regression",
]
KILLS = int(os.environ.get("NNAD_KILLS", "21"))
LEFT = ("metrics.csv", "checkpoints/last.safetensors", "checkpoints/best.safetensors")
JOB = ("baseline=false", "trainer.epochs=12", "trainer.checkpoint_every_steps=3")


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "nnad", "train", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def left(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in LEFT}


@pytest.mark.faults
@pytest.mark.parametrize("config", CONFIGS)
def test_killed_again_and_again(config, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    began = time.monotonic()
    finish(start(whole, "--config", f"{config}.yaml", *JOB))
    seconds = time.monotonic() - began
    expected = left(whole / "runs" / config)
    rng = random.Random(config)
    kills = 0
    while kills < max(1, KILLS // len(CONFIGS)):
        run = broken / "runs" / config
        shutil.rmtree(run, ignore_errors=True)
        arguments = ["--config", f"{config}.yaml", *JOB]
        for _ in range(5):
            process = start(broken, *arguments)
            try:
                process.wait(timeout=rng.uniform(0.2, 1.1) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
            if (run / "config.yaml").exists():
                arguments = ["--resume", str(run)]
        finish(start(broken, *arguments))
        assert left(run) == expected
