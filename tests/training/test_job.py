"""Whole runs by the command line: what they leave, how they resume, how they end."""

import csv
import errno
import json
import shutil
import signal

import numpy as np
import pytest

from nnad.errors import UserError
from nnad.training import checkpoint, inference, run_folder


@pytest.fixture
def copied(finished, workplace):
    """A workplace with a copy of the finished run."""
    shutil.copytree(finished.run, workplace.run)
    return workplace


def one_line_each(lines):
    return lines and not any("Traceback" in line for line in lines)


# What a run leaves -------------------------------------------------------------------------------


def test_a_run_leaves_its_folder(finished):
    files = {str(p.relative_to(finished.run)) for p in finished.run.rglob("*") if p.is_file()}
    assert files == {
        ".lock",
        "config.yaml",
        "metrics.csv",
        "summary.json",
        "environment.json",
        "timing.json",
        "preprocessing.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/last.safetensors.previous",
        "checkpoints/best.safetensors",
    }


def test_metrics_have_a_row_an_epoch(finished):
    with open(finished.run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert list(rows[0]) == [
        "epoch",
        "step",
        "learning_rate",
        "train_loss",
        "val_loss",
        "val_accuracy",
    ]


def test_the_summary_tells_scores_times_and_size(finished):
    summary = json.loads((finished.run / "summary.json").read_text())
    assert set(summary["test"]) == {"loss", "accuracy"}
    assert summary["parameters"] == 4 * 8 + 8 + 2 * 8 + 8 * 3 + 3
    assert summary["fit_seconds"] > 0
    with open(finished.run / "metrics.csv", newline="") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert summary["best_epoch"] == int(np.argmin(losses)) + 1
    assert summary["validation"]["loss"] == min(losses)


def test_equal_jobs_leave_equal_files(finished, workplace, nnad_main):
    assert nnad_main("train", "--config", "job.yaml")[0] == 0
    assert workplace.results() == finished.results()


def test_how_often_checkpoints_are_taken_changes_nothing(finished, workplace, nnad_main):
    seldom = "trainer.checkpoint_every_steps=null"
    assert nnad_main("train", "--config", "job.yaml", seldom)[0] == 0
    ours, theirs = workplace.results(), finished.results()
    del ours["config.yaml"], theirs["config.yaml"]
    assert ours == theirs


def test_the_saved_configuration_trains_again(finished, workplace, nnad_main):
    shutil.copy(finished.run / "config.yaml", workplace.folder / "again.yaml")
    assert nnad_main("train", "--config", "again.yaml")[0] == 0
    assert workplace.results() == finished.results()


def test_a_small_job_does_not_wait_for_scikit_learn(workplace):
    code = "import atexit\natexit.register(lambda: print('sklearn' in sys.modules))"
    done = workplace.process("train", "--config", "job.yaml", code=code)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False")


def test_an_existing_run_is_refused_without_overwrite(copied, finished, nnad_main):
    status, out, err = nnad_main("train", "--config", "job.yaml", "seed=4")
    assert (status, out, len(err)) == (2, [], 1)
    assert "--overwrite" in err[0]
    assert copied.results() == finished.results()
    assert nnad_main("train", "--config", "job.yaml", "seed=4", "--overwrite")[0] == 0
    assert copied.results() != finished.results()


def test_bad_data_leaves_no_folder_and_no_old_run_changed(copied, finished, nnad_main):
    (copied.folder / "bad.csv").write_text("a,y\n1,0\nx,1\n")
    bad = ["data={name: csv, path: bad.csv, target: y}"]
    status, _, err = nnad_main("train", "--config", "job.yaml", *bad, "output.name=new")
    assert status == 2
    assert one_line_each(err)
    assert not (copied.folder / "runs" / "new").exists()
    assert nnad_main("train", "--config", "job.yaml", "--overwrite", *bad)[0] == 2
    assert copied.results() == finished.results()


def test_a_metric_that_does_not_fit_leaves_an_old_run_as_it_was(copied, finished, nnad_main):
    status, _, err = nnad_main("train", "--config", "job.yaml", "--overwrite", "metrics=[r2]")
    assert (status, len(err)) == (2, 1)
    assert "metrics.0: r2 is for numbers" in err[0]
    assert copied.results() == finished.results()


def test_problems_with_the_data_name_the_line_of_the_configuration(workplace, nnad_main):
    (workplace.folder / "rows.csv").write_text("a,y\n1,0\n2,1\n3,1\n")
    (workplace.folder / "bad.yaml").write_text(
        "model: [{Linear: {out_features: 2}}]\nloss: cross_entropy\n"
        "data:\n  name: csv\n  path: rows.csv\n  target: z\n"
    )
    assert nnad_main("train", "--config", "bad.yaml") == (
        2, [], ["bad.yaml:6: data.target: rows.csv has no column 'z' (columns: a, y)"]
    )  # fmt: skip
    _, _, err = nnad_main("train", "--config", "bad.yaml", "data.path=row.csv")
    assert err[0].startswith("override data.path=row.csv: data.path: no such file")


def test_a_run_in_use_is_refused(copied, nnad_main):
    from nnad.training.run_folder import RunFolder

    with RunFolder(copied.run) as folder:
        folder.lock()
        for command in (["--config", "job.yaml", "--overwrite"], ["--resume", copied.run]):
            status, _, err = nnad_main("train", *command)
            assert (status, len(err)) == (2, 1)
            assert "another process" in err[0]


# Resuming ----------------------------------------------------------------------------------------

KILL = """
import os, signal
import nnad.training.checkpoint as checkpoint, nnad.training.run_folder as run_folder
from nnad.training.trainer import Trainer
def lethal(owner, name, count, after=False):
    original = getattr(owner, name)
    calls = [0]
    def call(*args, **keywords):
        calls[0] += 1
        result = original(*args, **keywords) if after else None
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result if after else original(*args, **keywords)
    setattr(owner, name, call)
"""

MOMENTS = {
    "before data are loaded": "import nnad.training.job as job; lethal(job, 'load_data', 1)",
    "before the first checkpoint": "lethal(checkpoint.os, 'fsync', 1)",
    "while the run is put in place": "lethal(os, 'replace', 5, after=True)",
    "after the first checkpoint": "lethal(Trainer, 'fit', 1)",
    "within an epoch": "lethal(Trainer, 'run_step', 17)",
    "before a checkpoint is whole": "lethal(checkpoint.os, 'fsync', 7)",
    "between two slots": "lethal(os, 'replace', 12, after=True)",
    "in a row of metrics": "lethal(run_folder, 'csv_line', 4)",
    "before the last checkpoint": "lethal(Trainer, 'notify', 14)",
    "before the summary": "import nnad.training.job as job; lethal(job, 'conclude', 1)",
}


def killed(workplace, moment):
    done = workplace.process("train", "--config", "job.yaml", code=KILL + moment)
    assert done.returncode == -signal.SIGKILL, done.stderr


LESS_OFTEN = {"before the first checkpoint", "after the first checkpoint", "before the summary"}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, id=name, marks=[pytest.mark.faults] if name in LESS_OFTEN else [])
        for name, moment in MOMENTS.items()
    ],
)
def test_kill_and_resume_equals_never_having_stopped(moment, finished, workplace, nnad_main):
    killed(workplace, moment)
    last_has_a_name = moment != MOMENTS["between two slots"]
    status, _, err = nnad_main("train", "--resume", "runs/job")
    assert status == 0
    assert err == [] if last_has_a_name else "using the previous one" in err[0]
    assert workplace.results() == finished.results()
    assert (workplace.run / "summary.json").exists()


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(30))
def test_killed_again_and_again(seed, finished, workplace):
    rng = np.random.default_rng(seed)
    command = ("train", "--config", "job.yaml")
    kills = 0
    while True:
        step = f"lethal(Trainer, 'run_step', {rng.integers(1, 30)})"
        rename = f"lethal(os, 'replace', {rng.integers(2, 30)}, after=True)"
        done = workplace.process(*command, code=KILL + str(rng.choice([step, rename])))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        if workplace.run.exists():
            command = ("train", "--resume", "runs/job")
    assert workplace.results() == finished.results()


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_saves_and_the_run_goes_on_from_there(number, status, finished, workplace):
    code = KILL.replace("SIGKILL", number) + "lethal(Trainer, 'run_step', 20)"
    done = workplace.process("train", "--config", "job.yaml", code=code)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines() == [
        f"interrupted by {number} after step 20 (epoch 4); continue with --resume runs/job"
    ]
    state = checkpoint.load(workplace.run / "checkpoints" / "last.safetensors")
    assert state["counters"]["step"] == 20
    assert workplace.process("train", "--resume", "runs/job").returncode == 0
    assert workplace.results() == finished.results()


def test_a_signal_while_data_are_loaded_leaves_a_run_to_resume(finished, workplace, nnad_main):
    code = KILL.replace("SIGKILL", "SIGTERM") + MOMENTS["before data are loaded"]
    done = workplace.process("train", "--config", "job.yaml", code=code)
    assert done.returncode == 143
    assert done.stderr == "interrupted by SIGTERM; continue with --resume runs/job\n"
    assert nnad_main("train", "--resume", "runs/job")[0] == 0
    assert workplace.results() == finished.results()


def test_a_signal_before_a_run_is_replaced_leaves_the_old_one(copied, finished):
    code = KILL.replace("SIGKILL", "SIGTERM") + MOMENTS["before data are loaded"]
    done = copied.process("train", "--config", "job.yaml", "seed=9", "--overwrite", code=code)
    assert (done.returncode, done.stderr) == (143, "interrupted by SIGTERM\n")
    assert copied.results() == finished.results()


def test_a_finished_run_resumes_to_its_end_at_once(copied, finished, nnad_main):
    summary = (copied.run / "summary.json").read_text()
    status, out, err = nnad_main("train", "--resume", "runs/job")
    assert (status, err) == (0, [])
    assert "is finished" in out[0]
    assert copied.results() == finished.results()
    assert (copied.run / "summary.json").read_text() == summary


def test_a_run_can_be_lengthened(copied, nnad_main):
    before = (copied.run / "metrics.csv").read_text()
    status, _, err = nnad_main("train", "--resume", "runs/job", "trainer.epochs=7")
    assert (status, err) == (0, [])
    after = (copied.run / "metrics.csv").read_text()
    assert after.startswith(before)
    assert "epochs: 7" in (copied.run / "config.yaml").read_text()
    assert json.loads((copied.run / "summary.json").read_text())["epochs"] == 7


@pytest.mark.parametrize(
    "overrides", [["optimizer.lr=1.0"], ["trainer.epochs=3"], ["seed=1", "data.batch_size=9"]]
)
def test_other_changes_are_refused_and_each_named(overrides, copied, finished, nnad_main):
    status, _, err = nnad_main("train", "--resume", "runs/job", *overrides)
    assert (status, len(err)) == (2, len(overrides))
    assert copied.results() == finished.results()


def test_data_that_have_changed_are_noticed(workplace, nnad_main):
    rows = "".join(f"{i},{i % 2}\n" for i in range(40))
    data = workplace.folder / "rows.csv"
    data.write_text("a,y\n" + rows)
    job = ["data={name: csv, path: rows.csv, target: y}", "model=[{Linear: {out_features: 2}}]"]
    job += ["trainer.early_stopping=null", "trainer.epochs=2", "schedule=constant"]
    status, _, err = nnad_main("train", "--config", "job.yaml", *job)
    assert (status, err) == (0, [])
    data.write_text("a,y\n" + rows.replace("7,1", "7,0"))
    for command in (
        ["train", "--resume", "runs/job", "trainer.epochs=3"],
        ["evaluate", "runs/job"],
    ):
        status, _, err = nnad_main(*command)
        assert (status, len(err)) == (2, 1)
        assert "rows.csv: has changed" in err[0]


def test_files_that_come_or_go_are_noticed(workplace, nnad_main):
    for part in range(3):
        rows = "".join(f"{part}.{i},{i % 2}\n" for i in range(20))
        (workplace.folder / f"part-{part}.csv").write_text("a,y\n" + rows)
    job = ["data={name: csv, path: 'part-*.csv', target: y}"]
    job += ["model=[{Linear: {out_features: 2}}]", "trainer.early_stopping=null"]
    status, _, err = nnad_main(
        "train", "--config", "job.yaml", *job, "trainer.epochs=2", "schedule=constant"
    )
    assert (status, err) == (0, [])
    (workplace.folder / "part-2.csv").rename(workplace.folder / "part-3.csv")
    status, _, err = nnad_main("train", "--resume", "runs/job", "trainer.epochs=3")
    assert (status, len(err)) == (2, 2)
    assert "part-2.csv: is no longer among the files" in err[0]
    assert "part-3.csv: has come to the files" in err[1]


# Damage ------------------------------------------------------------------------------------------


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 16
    elif how == "truncated":
        del content[-100:]
    elif how == "empty":
        content.clear()
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_used(how, copied, finished, nnad_main):
    damage(copied.run / "checkpoints" / "last.safetensors", how)
    (copied.run / "summary.json").unlink()
    status, _, err = nnad_main("train", "--resume", "runs/job")
    assert (status, len(err)) == (0, 1)
    assert "damaged" in err[0] and "using the previous one" in err[0]
    assert copied.results() == finished.results()


def test_two_damaged_checkpoints_end_the_run(copied, nnad_main):
    for name in ("last.safetensors", "last.safetensors.previous"):
        damage(copied.run / "checkpoints" / name, "flipped")
    status, _, err = nnad_main("train", "--resume", "runs/job")
    assert (status, len(err)) == (2, 2)


def test_best_weights_are_found_where_their_file_is_damaged(copied, nnad_main):
    _, before, _ = nnad_main("evaluate", "runs/job", "--json")
    damage(copied.run / "checkpoints" / "best.safetensors", "flipped")
    status, after, err = nnad_main("evaluate", "runs/job", "--json")
    assert (status, after) == (0, before)
    assert "using the best weights in" in err[0]


def test_a_full_disk_keeps_the_checkpoint_before(finished, workplace, nnad_main):
    full = """
import errno
import nnad.training.checkpoint as checkpoint
original, calls = checkpoint.os.fsync, []
def fsync(descriptor):
    calls.append(descriptor)
    if len(calls) > 7:
        raise OSError(errno.ENOSPC, "No space left on device")
    original(descriptor)
checkpoint.os.fsync = fsync
"""
    done = workplace.process("train", "--config", "job.yaml", code=full)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "disk is full" in line]
    assert one_line_each(done.stderr.splitlines())
    checkpoint.load(workplace.run / "checkpoints" / "last.safetensors")
    assert nnad_main("train", "--resume", "runs/job")[0] == 0
    assert workplace.results() == finished.results()


def test_a_diverging_run_keeps_its_last_good_checkpoint(workplace, nnad_main):
    status, _, err = nnad_main("train", "--config", "job.yaml", "optimizer={name: SGD, lr: 1e30}")
    assert (status, len(err)) == (3, 1)
    assert "diverged at step" in err[0]
    assert "in model." in err[0]
    state = checkpoint.load(workplace.run / "checkpoints" / "last.safetensors")
    assert all(np.isfinite(array).all() for array in state["model"].values())
    assert nnad_main("train", "--resume", "runs/job")[0] == 3


# Using a run -------------------------------------------------------------------------------------


def test_evaluate_agrees_with_the_summary(finished, nnad_main):
    status, out, err = nnad_main("evaluate", finished.run, "--json")
    assert (status, err) == (0, [])
    summary = json.loads((finished.run / "summary.json").read_text())
    assert json.loads("\n".join(out)) == summary["test"]


def test_predict_writes_classes_and_probabilities(finished, workplace, nnad_main):
    from sklearn.datasets import load_iris

    iris = load_iris()
    names = iris.feature_names
    order = [2, 0, 3, 1]
    with open("rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["other", *(names[i] for i in order)])
        writer.writerows(["x", *(row[i] for i in order)] for row in iris.data)
    status, _, err = nnad_main(
        "predict", finished.run, "--input", "rows.csv", "--output", "out.csv"
    )
    assert (status, err) == (0, [])
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prediction", *(f"probability_{c}" for c in iris.target_names)]
    p = np.array([[float(row[f"probability_{c}"]) for c in iris.target_names] for row in rows])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert [row["prediction"] for row in rows] == [iris.target_names[i] for i in p.argmax(axis=1)]
    truth = iris.target_names[iris.target]
    assert np.mean([row["prediction"] == t for row, t in zip(rows, truth, strict=True)]) > 0.85


def test_predict_names_columns_that_are_missing(finished, workplace, nnad_main):
    (workplace.folder / "rows.csv").write_text("a,b\n1,2\n")
    status, _, err = nnad_main(
        "predict", finished.run, "--input", "rows.csv", "--output", "out.csv"
    )
    assert (status, len(err)) == (2, 4)
    assert not (workplace.folder / "out.csv").exists()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("nowhere/out.csv", "nowhere/out.csv: there is no folder nowhere"),
        ("runs", "runs: is a folder"),
        ("rows.csv", "rows.csv: is the input"),
    ],
)
def test_where_predictions_cannot_go(output, words, finished, workplace, nnad_main):
    (workplace.folder / "runs").mkdir()
    (workplace.folder / "rows.csv").write_text("a,b\n1,2\n")
    status, _, err = nnad_main("predict", finished.run, "--input", "rows.csv", "--output", output)
    assert (status, len(err)) == (2, 1)
    assert err[0].startswith(words)


def test_predictions_replace_a_file_only_when_they_are_whole(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    def written(*pieces):
        with inference.writing_columns(output) as write:
            for piece in pieces:
                write({"prediction": piece})

    output = tmp_path / "out.csv"
    output.write_text("earlier")
    monkeypatch.setattr(run_folder.os, "replace", full)
    with pytest.raises(UserError, match=r"out\.csv: the disk is full"):
        written(np.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert output.read_text() == "earlier"
    monkeypatch.undo()
    written(np.arange(2), np.arange(1))
    assert output.read_text() == "prediction\n0\n1\n0\n"
