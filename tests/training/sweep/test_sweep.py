"""Sweeps: what is tried, what survives, what is told, and going on where one was left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nnad.cli import main
from nnad.errors import ConfigError
from nnad.training.crew.runs import held
from nnad.training.crew.workers import Workers
from nnad.training.sweep import search, settings
from nnad.training.sweep.space import Choice, Interval, draws, parse_parameter

ROOT = Path(__file__).resolve().parents[3]
BASE = """
data: {name: iris, validation_size: 0.3, batch_size: 16}
model: [{Linear: {out_features: 4}}, ReLU, Linear]
loss: cross_entropy
metrics: [accuracy]
trainer: {epochs: 9}
"""
SWEEP = """
base: base.yaml
parameters: {optimizer.lr: [1e-2, 1e-3, 1e-9], model.0.Linear.out_features: [4, -4]}
method: grid
objective: val_accuracy
workers: 2
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return tmp_path


def trials_in(folder: Path) -> list[dict]:
    return json.loads((folder / "trials.json").read_text())


# What is tried ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "low", "high"),
    [("uniform", -1.0, 3.0), ("log_uniform", 1e-4, 1.0), ("int_uniform", 1, 4),
     ("log_int_uniform", 1, 100)],
)  # fmt: skip
def test_draws_fill_their_interval_evenly(form, low, high) -> None:
    part = parse_parameter({form: [low, high]})
    values = np.array([d["x"] for d in draws({"x": part}, 2000, 0)], float)
    assert low <= values.min() and values.max() <= high
    margin = 0.5 if "int" in form else 0.0
    scaled, ends = values, (low - margin, high + margin)
    if "log" in form:
        scaled, ends = np.log(values), np.log(ends)
    middle = np.mean((scaled - ends[0]) / (ends[1] - ends[0]) < 0.5)
    assert abs(middle - 0.5) < 0.05


def test_draws_do_not_depend_on_their_number() -> None:
    space = {"a": Interval(0.0, 1.0, False, False), "b": Choice([1, 2, 3])}
    assert draws(space, 20, 7)[:5] == draws(space, 5, 7)
    assert draws(space, 5, 7) != draws(space, 5, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("method: bayes", "expected 'grid', 'random' or 'halving', got the text 'bayes'"),
        ("trails: 3", "unknown key; did you mean 'trials'?"),
        ("objective: val_acuracy", "did you mean 'val_accuracy'?"),
        ("method: halving\nhalving: {factr: 2}", "unknown key; did you mean 'factor'?"),
        ("parameters: {optimizer.lr: {log_uniform: [0, 1]}}", "expected 0 < low < high"),
        ("parameters: {optimizer.lr: {log_unifrom: [1, 2]}}", "did you mean 'log_uniform'?"),
        ("parameters: {optimizer.lr: {int_uniform: [0.5, 1]}}", "two whole numbers"),
        (f"parameters: {{optimizer.lr: {{uniform: [1, {10**400}]}}}}", "two numbers"),
        ("parameters: {optimizer.lr: 3}", "expected a list of values"),
        ("method: grid\nparameters: {optimizer.lr: {uniform: [0, 1]}}", "a grid needs lists"),
        ("parameters: {optimizer.lrr: [0.1]}", "unknown argument; did you mean 'lr'?"),
        ("base: nowhere.yaml", "nowhere.yaml: there is no such file"),
    ],
)
def test_mistakes_are_told(place, change, message) -> None:
    keys = {line.partition(":")[0] for line in change.splitlines()}
    kept = [line for line in SWEEP.splitlines() if line.partition(":")[0] not in keys]
    (place / "sweep.yaml").write_text("\n".join([*kept, change]))
    with pytest.raises(ConfigError) as error:
        settings.load_sweep("sweep.yaml")
    assert any(message in problem for problem in error.value.problems), error.value.problems


def test_an_objective_needs_a_validation_part(place) -> None:
    (place / "base.yaml").write_text(BASE.replace("validation_size: 0.3, ", ""))
    with pytest.raises(ConfigError, match="needs a validation part"):
        settings.load_sweep("sweep.yaml")
    sweep = settings.load_sweep("sweep.yaml", ["parameters={data.validation_size: [0.2]}"])
    assert sweep.choices() == [{"data.validation_size": 0.2}]


@pytest.mark.parametrize(
    ("trials", "epochs", "factor", "rounds"),
    [
        (9, 9, 3, [(1, 3), (3, 1), (None, 1)]),
        (9, 3, 3, [(1, 3), (None, 1)]),
        (5, 100, 2, [(25, 2), (50, 1), (None, 1)]),
        (1, 9, 3, [(None, 1)]),
    ],
)
def test_rounds_of_halving(place, trials, epochs, factor, rounds) -> None:
    (place / "base.yaml").write_text(BASE.replace("epochs: 9", f"epochs: {epochs}"))
    changes = ["method=halving", f"trials={trials}", f"halving.factor={factor}",
               "parameters={optimizer.lr: [0.1]}"]  # fmt: skip
    assert search.rounds_of(settings.load_sweep("sweep.yaml", changes)) == rounds


# Processes --------------------------------------------------------------------------------------

FRAGILE = """
import json, os, signal, sys
for line in sys.stdin:
    task = json.loads(line)
    if task["do"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task["do"] == "exit":
        sys.exit(5)
    print(json.dumps({"status": "done", "message": os.environ["OMP_NUM_THREADS"]}), flush=True)
"""


def test_workers_outlive_each_other(tmp_path) -> None:
    answers: dict[int, dict] = {}
    command = (sys.executable, "-c", FRAGILE)
    tasks = [{"do": what} for what in ("work", "die", "work", "exit", "work", "die", "work")]
    with Workers(2, tmp_path / "log", command) as workers:
        workers.each(tasks, answers.__setitem__)
    assert [answers[i]["status"] for i in range(7)] == [
        "done", "lost", "done", "lost", "done", "lost", "done"]  # fmt: skip
    log = f"; see {tmp_path / 'log'}"
    assert answers[1]["message"] == f"its worker process ended by SIGKILL{log}"
    assert answers[3]["message"] == f"its worker process ended with exit status 5{log}"


def test_a_sweep_survives_a_failing_trial(place, capsys) -> None:
    assert main(["sweep", "--config", "sweep.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "3 failed: trials 1, 3, 5" in lines
    assert any(line.startswith("trial 1 failed") and "out_features" in line for line in lines)
    folder = place / "sweeps" / "sweep"
    found = trials_in(folder)
    assert [t["status"] for t in found] == ["done", "failed"] * 3
    column = np.genfromtxt(folder / "trials/000/metrics.csv", delimiter=",", names=True)
    assert found[0]["objective"] == column["val_accuracy"].max()
    page = (folder / "sweep.html").read_text()
    assert page.count("is-warning'") == 3 and 'data-figure="optimizer.lr"' in page

    before = (folder / "trials/000/metrics.csv").stat().st_mtime_ns
    assert main(["sweep", "--resume", "sweeps/sweep"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("page: ")
    assert (folder / "trials/000/metrics.csv").stat().st_mtime_ns == before
    assert main(["sweep", "--config", "sweep.yaml"]) == 2
    assert "already exists; continue it with --resume" in capsys.readouterr().err


def test_a_sweep_that_another_process_works_on_is_left_alone(place, capsys) -> None:
    folder = place / "sweeps" / "sweep"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").touch()
    with held(folder, ""):
        assert main(["sweep", "--config", "sweep.yaml", "--overwrite"]) == 2
        assert main(["sweep", "--resume", str(folder)]) == 2
    assert capsys.readouterr().err.count("is being written by another process") == 2
    assert (folder / "sweep.yaml").exists()


def test_halving_gives_what_whole_runs_give(place, capsys) -> None:
    changes = ["method=halving", "trials=4", "halving.factor=3", "workers=1",
               "parameters={optimizer.lr: {log_uniform: [1e-3, 1e-1]}}"]  # fmt: skip
    assert main(["sweep", "--config", "sweep.yaml", *changes]) == 0
    folder = place / "sweeps" / "sweep"
    found = trials_in(folder)
    assert sorted(t["epochs"] for t in found) == [3, 3, 3, 9]
    (best,) = [t for t in found if t["status"] == "done"]
    lr = best["values"]["optimizer.lr"]
    whole = ["--config", "base.yaml", f"optimizer.lr={lr}", "trainer.threads=1"]
    assert main(["train", *whole, "output.name=whole"]) == 0
    run = folder / "trials" / f"{best['number']:03d}"
    assert (run / "metrics.csv").read_text() == (place / "runs/whole/metrics.csv").read_text()


@pytest.mark.faults
def test_a_sweep_survives_killed_workers_and_a_stop(place) -> None:
    (place / "base.yaml").write_text(BASE.replace("epochs: 9", "epochs: 3000"))
    arguments = [sys.executable, "-m", "nnad", "sweep"]
    changes = ["method=random", "trials=4", "parameters={optimizer.lr: [1e-3, 1e-4]}"]
    process = subprocess.Popen(
        [*arguments, "--config", "sweep.yaml", *changes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = place / "sweeps" / "sweep"
    lock = folder / "trials/000/.lock"
    wait_for(lambda: lock.exists() and lock.read_text() and
             (folder / "trials/000/metrics.csv").exists())  # fmt: skip
    os.kill(int(lock.read_text()), signal.SIGKILL)
    wait_for(lambda: trials_in(folder)[0]["status"] == "lost")
    wait_for(lambda: (folder / "trials/002/metrics.csv").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "continue with nnad sweep --resume" in err
    done = subprocess.run([*arguments, "--resume", str(folder)], capture_output=True, text=True,
                          check=False, timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [t["status"] for t in trials_in(folder)] == ["done"] * 4
    assert {t["epochs"] for t in trials_in(folder)} == {3000}


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
