"""Processes that train one model; `group.py` holds what they check from within."""

import csv
import json
import signal
from pathlib import Path

import pytest

from nnad.distributed import Communicator
from nnad.training.group import GroupTrainer
from nnad.training.parallel import ParallelTrainer
from nnad.training.trainer import Trainer
from tests.distributed import group as script

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT.parent / "shared" / "data" / "tinyshakespeare" / "input.txt"
TRAIN = ("-m", "mpi4py", str(ROOT / "scripts" / "train.py"))
SHORT = ("baseline=false", "trainer.progress=false")
LONG = (
    "resnet_small",
    "lstm_text",
    "time_series",
    "autoencoder",
    "multi_label",
    "quantile_regression",
)
SAME_BITS = (
    "mlp",
    "resnet_small",
    "tabular",
    "tabular_realmlp_classes",
    "quantile_regression",
    "autoencoder",
)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_a_group_promises(mpiexec, processes):
    done = mpiexec(processes, "-m", "mpi4py", script.__file__)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [check.__name__ for check in script.CHECKS]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("kind", [ParallelTrainer, GroupTrainer])
def test_a_group_may_be_of_one(kind, batch_norm):
    serial, one = script.job(Trainer, batch_norm, True, accumulate=2)
    together, other = script.job(kind, batch_norm, True, accumulate=2, communicator=Communicator())
    assert together["train_loss"] == pytest.approx(serial["train_loss"], rel=1e-12)
    for name, array in other.state_dict().items():
        assert array == pytest.approx(one.state_dict()[name], rel=1e-9, abs=1e-12)


def losses(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [
            {key: float(cell) for key, cell in row.items() if "loss" in key}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "length"),
    [
        *((name, ()) for name in ("mlp", "binary", "tabular", "embedding", "regression")),
        *((name, ("trainer.epochs=3", "trainer.steps_per_epoch=8")) for name in LONG),
        ("char_transformer", ("trainer.steps=8", "trainer.steps_per_epoch=4", "schedule=constant")),
    ],
)
def test_a_config_trains_alike_in_1_2_and_4_processes(mpiexec, tmp_path, config, length):
    job = (*TRAIN, "--config", f"{config}.yaml", *SHORT, "trainer.dtype=float64", *length)
    job = (*job, "distributed.blocks=null")  # each process takes its share of a batch
    if config == "char_transformer":
        if not TEXT.exists():
            pytest.skip("the text is not there")
        job = (*job, f"data.path={TEXT}")
    for processes in (1, 2, 4):
        done = mpiexec(processes, *job, f"output.name=p{processes}")
        assert done.returncode == 0, done.stderr
    alone = losses(tmp_path / "runs/p1")
    for processes in (2, 4):
        together = losses(tmp_path / f"runs/p{processes}")
        for one, other in zip(alone, together, strict=True):
            assert other == pytest.approx(one, rel=1e-12, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("config", SAME_BITS)
@pytest.mark.parametrize("blocks", [1, 4])
def test_a_config_gives_the_same_bits(mpiexec, tmp_path, config, blocks):
    job = ("--config", f"{config}.yaml", *SHORT, "trainer.epochs=5", f"distributed.blocks={blocks}")
    for processes in (1, 2, 4):
        done = mpiexec(processes, *TRAIN, *job, f"output.name=p{processes}")
        assert done.returncode == 0, done.stderr
    job = (*job[:-1], "distributed.blocks=null", "output.name=apart")
    done = mpiexec(2, *TRAIN, *job)
    assert done.returncode == 0, done.stderr
    runs = [tmp_path / "runs" / name for name in ("p1", "p2", "p4", "apart")]
    alone, two, four, apart = (losses(run) for run in runs)
    assert alone == two == four
    assert alone != apart  # whose roundings are others: else nothing was compared
    done = mpiexec(3, "-m", "mpi4py", "-m", "nnad", "evaluate", "runs/p2")  # where none are needed
    assert done.returncode == 0, done.stderr
    weights = [(run / "checkpoints/best.safetensors").read_bytes() for run in runs[:3]]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.slow
@pytest.mark.parametrize("blocks", ["1", "null"])
def test_a_run_resumes_in_another_number_of_processes(mpiexec, tmp_path, blocks):
    job = ("--config", "mlp.yaml", *SHORT, "trainer.dtype=float64", f"distributed.blocks={blocks}")
    for processes, name, epochs in [(1, "whole", 20), (2, "parts", 8)]:
        done = mpiexec(processes, *TRAIN, *job, f"output.name={name}", f"trainer.epochs={epochs}")
        assert done.returncode == 0, done.stderr
    done = mpiexec(3, *TRAIN, "--resume", "runs/parts", "trainer.epochs=20")
    assert done.returncode == 0, done.stderr
    parts, whole = losses(tmp_path / "runs/parts"), losses(tmp_path / "runs/whole")
    assert len(parts) == len(whole) == 20
    assert parts[:8] != whole[:8]  # another cosine: the length was another
    assert json.loads((tmp_path / "runs/parts/summary.json").read_text())["test"]["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "mlp.yaml", "optimzer.lr=3"], "did you mean 'optimizer'"),
        (["--config", "mlp.yaml", "--chek"], "unrecognized arguments: --chek"),
    ],
)
def test_problems_that_all_have_are_told_once(mpiexec, arguments, told):
    done = mpiexec(3, *TRAIN, *arguments)
    assert done.returncode == 2
    assert done.stderr.count(told) == 1


FAILING = """
import os, signal, sys, time
from nnad.distributed import world
import numpy as np
group = world()
group.timeout_seconds = 2.0
group.announce()
if group.rank == 1:
    {what}
while True:
    group.sum(np.ones(3))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise ZeroDivisionError('oh')", "rank 1 failed:"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "rank 1 is process"),
        ("time.sleep(60)", "rank 1 has not answered for 2 s"),
        ("sys.exit(group.end(2, ['something is wrong']))", "rank 1: something is wrong"),
    ],
    ids=["raises", "killed", "stalls", "ends-alone"],
)
def test_one_process_that_fails_ends_all(mpiexec, tmp_path, what, told):
    (tmp_path / "failing.py").write_text(FAILING.format(what=what))
    done = mpiexec(3, "failing.py", seconds=20)
    assert done.returncode not in (0, -signal.SIGALRM)
    assert told in done.stderr + done.stdout


STOPPED = """
import sys
from nnad.cli import main
from nnad.training import job
from nnad.training.callbacks import Interrupted
def load_data(config):
    raise Interrupted(15)
job.load_data = load_data
sys.exit(main(["train", "--config", "mlp.yaml", "--overwrite"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_all_say_alike_whether_a_stopped_run_may_be_resumed(mpiexec, tmp_path, older):
    (tmp_path / "stopped.py").write_text(STOPPED)
    if older:
        (tmp_path / "runs/mlp").mkdir(parents=True)
        (tmp_path / "runs/mlp/config.yaml").write_text("seed: 7\n")
    done = mpiexec(2, "stopped.py")
    assert done.returncode == 143
    told = "interrupted by SIGTERM" + ("" if older else "; continue with --resume runs/mlp")
    assert done.stderr.splitlines()[1:] == [told]


@pytest.mark.slow
def test_evaluation_and_prediction_are_shared_and_written_once(mpiexec, tmp_path):
    done = mpiexec(1, *TRAIN, "--config", "tabular.yaml", *SHORT, "trainer.epochs=2")
    assert done.returncode == 0, done.stderr
    rows = (ROOT / "data" / "tabular.csv").read_text()
    (tmp_path / "rows.csv").write_text(rows)
    told = {}
    for processes in (1, 3):
        scores = mpiexec(processes, "-m", "mpi4py", "-m", "nnad", "evaluate", "runs/tabular")
        output = ("--input", "rows.csv", "--output", f"p{processes}.csv")
        predicted = mpiexec(
            processes, "-m", "mpi4py", "-m", "nnad", "predict", "runs/tabular", *output
        )
        assert (scores.returncode, predicted.returncode) == (0, 0), predicted.stderr
        told[processes] = scores.stdout
    assert told[1] == told[3]
    assert (tmp_path / "p1.csv").read_bytes() == (tmp_path / "p3.csv").read_bytes()
