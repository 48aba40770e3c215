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
DATA = ROOT.parent / "shared" / "data"  # sets that are too large for the repository
EPOCHS = ("trainer.epochs=12",)
FEW = ("trainer.epochs=4", "trainer.steps_per_epoch=6")
WARM = "schedule.warmup_steps=4"
MNIST = (*FEW, WARM, f"data.path={DATA / 'mnist10k'}")
CONFIGS = {
    "mlp": EPOCHS,
    "binary": EPOCHS,
    "regression": EPOCHS,
    "tabular": EPOCHS,
    "embedding": EPOCHS,
    "multi_label": EPOCHS,
    "quantile_regression": EPOCHS,
    "autoencoder": FEW,
    "lstm_text": FEW,
    "resnet_small": FEW,
    "time_series": FEW,
    "tabular_realmlp_classes": FEW,
    "tabular_realmlp": (*FEW, f"data.path={DATA / 'california' / 'housing.csv'}"),
    "lenet": MNIST,
    "mnist_mlp": MNIST,
    "char_transformer": (
        "trainer.steps=15",
        "trainer.steps_per_epoch=5",
        "data.validation_size=0.002",
        WARM,
        f"data.path={DATA / 'tinyshakespeare' / 'input.txt'}",
    ),
}
KILLS = int(os.environ.get("NNAD_KILLS", "32"))
LEFT = ("metrics.csv", "checkpoints/last.safetensors", "checkpoints/best.safetensors")
JOB = ("baseline=false", "trainer.checkpoint_every_steps=3")


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
    path = next((o.partition("=")[2] for o in CONFIGS[config] if "data.path" in o), ROOT)
    if not Path(path).exists():
        pytest.skip(f"{path} is not there")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    job = ("--config", f"{config}.yaml", *JOB, *CONFIGS[config])
    began = time.monotonic()
    finish(start(whole, *job))
    seconds = time.monotonic() - began
    expected = left(whole / "runs" / config)
    rng = random.Random(config)
    kills = 0
    while kills < max(1, KILLS // len(CONFIGS)):
        run = broken / "runs" / config
        shutil.rmtree(run, ignore_errors=True)
        arguments = list(job)
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
    print(f"{config}: {kills} kills, all identical")
