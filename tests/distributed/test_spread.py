"""Sweeps whose trials are spread over processes: what one process alone leaves, to the last bit."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

SWEEP = ("-m", "mpi4py", "-m", "nnad", "sweep")
BASE = """
data: {name: iris, validation_size: 0.3, batch_size: 16}
model: [{Linear: {out_features: 4}}, ReLU, Linear]
loss: cross_entropy
metrics: [accuracy]
trainer: {epochs: 9}
"""
GRID = """
base: base.yaml
parameters: {optimizer.lr: [1e-2, 1e-3, 1e-9], model.0.Linear.out_features: [4, -4]}
method: grid
objective: val_accuracy
"""
HALVING = """
base: base.yaml
parameters: {optimizer.lr: {log_uniform: [1e-3, 1e-1]}}
method: halving
trials: 5
"""
CLOCKED = {"timing.json", "environment.json", "summary.json", "workers.log", ".lock", "config.yaml",
           "sweep.yaml", "members.yaml", "sweep.html", "base.yaml"}  # fmt: skip


@pytest.fixture
def place(tmp_path) -> Path:
    for name, text in {"base": BASE, "grid": GRID, "halving": HALVING}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def files_of(folder: Path) -> dict[str, bytes]:
    """All that tells neither the time nor the folder's name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in CLOCKED
    }


@pytest.mark.parametrize(
    ("name", "processes"),
    [("grid", 2), *(pytest.param("halving", n, marks=pytest.mark.slow) for n in (2, 3))],
)
def test_spread_trials_are_those_of_one_process(mpiexec, place, name, processes):
    sweep = (*SWEEP, "--config", f"{name}.yaml")
    alone = mpiexec(1, *sweep, "name=alone", "workers=2")
    done = mpiexec(processes, *sweep, "name=spread")
    assert (alone.returncode, done.returncode) == (0, 0), done.stderr
    found = files_of(place / "sweeps/spread")
    assert found == files_of(place / "sweeps/alone")
    assert len(found) > 15
    lines = done.stdout.splitlines()
    assert sorted(lines[:-1]) == sorted(alone.stdout.splitlines()[:-1])  # each told once
    assert lines[-1] == "page: sweeps/spread/sweep.html"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["crossval", "ensemble"])
def test_spread_members_are_those_of_one_process(mpiexec, place, command):
    nnad = ("-m", "mpi4py", "-m", "nnad", command, "--config", "base.yaml")
    alone = mpiexec(1, *nnad, "output.name=alone", "--workers", "2")
    done = mpiexec(2, *nnad, "output.name=spread")
    assert (alone.returncode, done.returncode) == (0, 0), done.stderr
    found = files_of(place / f"{command}s/spread")
    assert found == files_of(place / f"{command}s/alone")
    assert len(found) > 25
    scores = [
        (place / f"{command}s" / name / "summary.json").read_text() for name in ("alone", "spread")
    ]
    assert scores[0] == scores[1]
    assert done.stdout.splitlines()[-2:] == alone.stdout.splitlines()[-2:]


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_in_another_number_of_processes(mpiexec, place):
    (place / "base.yaml").write_text(BASE.replace("epochs: 9", "epochs: 1500"))
    changes = ["method=random", "trials=5", "parameters={optimizer.lr: [1e-3, 1e-4]}"]
    sweep = (*SWEEP, "--config", "grid.yaml", *changes)
    assert mpiexec(1, *sweep, "name=whole").returncode == 0
    running = mpiexec.start(2, *sweep, "name=parts")
    wait_for(lambda: (place / "sweeps/parts/trials/002/metrics.csv").exists())
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert "continue with nnad sweep --resume sweeps/parts" in err
    assert "trials/00" not in err
    before = json.loads((place / "sweeps/parts/trials.json").read_text())
    assert {t["status"] for t in before} > {"done"}
    done = mpiexec(3, *SWEEP, "--resume", "sweeps/parts")
    assert done.returncode == 0, done.stderr
    assert files_of(place / "sweeps/parts") == files_of(place / "sweeps/whole")


@pytest.mark.slow
def test_a_killed_process_ends_the_sweep_which_goes_on(mpiexec, place):
    (place / "base.yaml").write_text(BASE.replace("epochs: 9", "epochs: 3000"))
    changes = ["method=random", "trials=3", "parameters={optimizer.lr: [1e-3, 1e-4]}"]
    running = mpiexec.start(2, *SWEEP, "--config", "grid.yaml", *changes)
    folder = place / "sweeps/grid"
    locks = [folder / f"trials/00{i}/.lock" for i in (0, 1)]
    wait_for(lambda: all(lock.exists() and lock.read_text() for lock in locks))
    wait_for(lambda: (folder / "trials/001/metrics.csv").exists())
    begin = time.monotonic()
    killed = int(locks[1].read_text())
    os.kill(killed, signal.SIGKILL)
    out, err = running.communicate(timeout=30)
    assert time.monotonic() - begin < 10
    assert running.returncode != 0
    assert f"is process {killed} on" in err
    assert f"PID {killed}" in out + err
    done = mpiexec(2, *SWEEP, "--resume", "sweeps/grid")
    assert done.returncode == 0, done.stderr
    trials = json.loads((folder / "trials.json").read_text())
    assert [(t["status"], t["epochs"]) for t in trials] == [("done", 3000)] * 3


@pytest.mark.slow
def test_what_is_wrong_with_a_sweep_is_told_once(mpiexec, place):
    done = mpiexec(2, *SWEEP, "--config", "grid.yaml", "objective=val_acuracy")
    assert done.returncode == 2
    announced, told = done.stderr.splitlines()
    assert announced.startswith("2 processes work together")
    assert "did you mean 'val_accuracy'" in told
    assert "rank" not in told


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
