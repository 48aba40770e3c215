"""Callbacks by name: what they pass on, also after a stop; what is told without a library."""

import csv
import json
from pathlib import Path

import pytest

from nnad.errors import ConfigError
from nnad.training import job
from nnad.training.callbacks import Interrupted, Interruption
from nnad.training.config import load_config


class Stop(Interruption):
    """Stops a run after ten steps, which is in its second epoch."""

    def on_step_end(self, trainer) -> None:
        if trainer.step == 10:
            raise Interrupted(2)


def run(place, names: str, stop: bool = False) -> Path:
    """The folder of the workplace's job with these callbacks, perhaps stopped on the way."""
    changes = [f"trainer.callbacks=[{names}]", "trainer.checkpoint_every_steps=7"]
    if stop:
        changes.append("output.name=stopped")
        with pytest.raises(Interrupted):
            job.start("job.yaml", changes, False, Stop())
        job.resume("runs/stopped", [], Interruption())
        return place.folder / "runs" / "stopped"
    job.start("job.yaml", changes, True, Interruption())
    return place.run


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("{name: jsonl, every_steps: 2}", "metrics.jsonl"),
        ("csv", "steps.csv"),
        ("{name: csv, every_steps: 3, path: some.csv}", "some.csv"),
    ],
)
def test_text_files_go_on_exactly_after_a_stop(workplace, name, file) -> None:
    whole = (run(workplace, name) / file).read_text()
    assert (run(workplace, name, stop=True) / file).read_text() == whole
    assert len(whole.splitlines()) > 6
    assert (run(workplace, name) / file).read_text() == whole  # again, in place of the old one


def test_json_lines_hold_the_rows_of_the_history(workplace) -> None:
    folder = run(workplace, "jsonl")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with open(folder / "metrics.csv", newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert lines == rows


def test_lines_that_a_killed_process_wrote_too_much_are_dropped(tmp_path) -> None:
    from nnad.training.loggers import Csv, Jsonl

    file = tmp_path / "lines"
    file.write_text('{"step": 4, "a": 1}\n{"step": 8}\n{"st')
    assert list(Jsonl().lines_until(file, 7)) == ['{"step": 4, "a": 1}\n']
    file.write_text("step,loss,learning_rate\n7,1,1\n8,1,1\n9,1")
    assert list(Csv().lines_until(file, 7)) == ["step,loss,learning_rate\n", "7,1,1\n"]


def test_event_files_are_read_back_by_tensorboard(workplace) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    folder = run(workplace, "{name: tensorboard, every_steps: 5}", stop=True)
    files = sorted((folder / "tensorboard").iterdir(), key=lambda f: f.stat().st_mtime_ns)
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    found: dict[str, list] = {}
    for event in events:
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            found.setdefault(value.tag, []).append((event.step, number))
    with open(folder / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    want = [(int(row["step"]), pytest.approx(float(row["val_loss"]), rel=1e-6)) for row in rows]
    assert found["loss/val"] == want
    assert {"loss/train", "loss/step", "accuracy/val", "learning_rate"} == found.keys() - {
        "loss/val"
    }


# Services: their libraries are played by these.

WANDB = """
import json
calls = []
class Run:
    def __init__(self, given): self.id = given["id"] or "new-id"
    def log(self, row, step): calls.append(("log", step, row))
    def finish(self): calls.append(("finish",))
def init(**given):
    calls.append(("init", given))
    return Run(given)
"""
MLFLOW = """
from types import SimpleNamespace as S
calls = []
class MlflowClient:
    def __init__(self, uri): calls.append(("uri", uri))
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name): return "7"
    def create_run(self, place, run_name): return S(info=S(run_id=f"{place}-{run_name}"))
    def log_param(self, run, name, value): calls.append(("param", run, name, value))
    def log_metric(self, run, name, value, step): calls.append(("metric", run, name, value, step))
    def set_terminated(self, run, status): calls.append(("end", run, status))
"""


def play(folder: Path, monkeypatch, name: str, text: str):
    """A package of that name with this content, importable during the test."""
    import importlib
    import sys

    (folder / "played").mkdir(exist_ok=True)
    (folder / "played" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder / "played"))
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, f"{name}.tracking", module)
    return module


def test_wandb_is_told_of_the_run(workplace, monkeypatch) -> None:
    wandb = play(workplace.folder, monkeypatch, "wandb", WANDB)
    run(workplace, "{name: wandb, project: mine}", stop=True)
    (_, first), *_, (_, again) = [call for call in wandb.calls if call[0] == "init"]
    assert (first["project"], first["name"], first["id"]) == ("mine", "stopped", None)
    assert first["config"]["optimizer.lr"] == 0.02
    assert (again["id"], again["resume"]) == ("new-id", "allow")
    logged = [call[2]["epoch"] for call in wandb.calls if call[0] == "log"]
    assert logged == [1, 2, 3, 4, 5, 6]
    assert wandb.calls[-1] == ("finish",)


def test_mlflow_is_told_of_the_run(workplace, monkeypatch) -> None:
    mlflow = play(workplace.folder, monkeypatch, "mlflow", MLFLOW)
    run(workplace, "mlflow", stop=True)
    assert ("param", "7-stopped", "optimizer.lr", 0.02) in mlflow.calls
    losses = [call[4] for call in mlflow.calls if call[:3] == ("metric", "7-stopped", "val_loss")]
    assert len(losses) == 6 and losses == sorted(losses)
    assert mlflow.calls[-1] == ("end", "7-stopped", "FINISHED")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("jsonn", "trainer.callbacks.0.name: unknown callback 'jsonn'; did you mean 'jsonl'?"),
        ("{name: jsonl, pth: a}", "trainer.callbacks.0.pth: unknown argument; did you mean 'path'"),
        ("{name: csv, every_steps: 0}", "every_steps is 0, expected at least 1"),
        ("csv, csv", "trainer.callbacks.1: csv is listed twice"),
        ("wandb", "needs the package wandb, which is not installed: pip install wandb"),
    ],
)
def test_mistakes_are_told(workplace, monkeypatch, names, message) -> None:
    monkeypatch.setattr("nnad.training.loggers.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        load_config("job.yaml", [f"trainer.callbacks=[{names}]"])
    assert any(message in problem for problem in error.value.problems), error.value.problems
