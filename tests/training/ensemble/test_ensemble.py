"""Cross-validation and ensembles: who is in which fold, what the members say, and together."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, StratifiedKFold

from nnad.cli import main
from nnad.data import load
from nnad.data.dataset import Meta
from nnad.data.preprocessing import Preprocessor
from nnad.errors import ConfigError, DataError, UserError
from nnad.training import ensemble
from nnad.training.ensemble.scores import spread_of, spread_table
from nnad.training.inference import answers_of, averaged, prediction_columns

JOB = """
seed: 3
data: {name: iris, batch_size: 16, standardize: true}
model: [{Linear: {out_features: 4}}, ReLU, Linear]
loss: cross_entropy
metrics: [accuracy]
trainer: {epochs: 3}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def started(kind, path="job.yaml", count=3, **changes):
    """Train in this process: its worker does what those of `Workers` do."""
    settings = {"overrides": [], "workers": 1, "overwrite": False, "tell": print} | changes
    return ensemble.start(kind, path, count=count, **settings)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Members train here, one after another: to start processes takes longer than they do."""
    from nnad.training.crew import runs
    from nnad.training.crew.worker import work

    class Here(runs.Workers):
        def each(self, tasks, tell):
            for number, task in enumerate(tasks):
                tell(number, work(task))

    monkeypatch.setattr(runs, "Workers", Here)


# Folds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "splitter"),
    [
        ({}, StratifiedKFold(4, shuffle=True, random_state=7)),
        ({"stratify": False}, KFold(4, shuffle=True, random_state=7)),
        ({"split": "ordered"}, KFold(4)),
        ({"split_seed": 9}, StratifiedKFold(4, shuffle=True, random_state=9)),
    ],
)
def test_folds_are_those_of_scikit_learn(options, splitter):
    x, y = load_iris(return_X_y=True)
    for fold, (rest, held_out) in enumerate(splitter.split(x, y)):
        data = load({"name": "iris", "folds": 4, "fold": fold, **options}, seed=7, dtype="float64")
        np.testing.assert_array_equal(data.test.x, x[held_out])
        np.testing.assert_array_equal(data.train.y, y[rest])


def test_a_fold_leaves_room_for_validation():
    data = load({"name": "iris", "folds": 5, "validation_size": 0.25})
    assert [len(part) for part in (data.train, data.validation, data.test)] == [90, 30, 30]


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"name": "iris", "folds": 3, "fold": 3}, ConfigError, "data.fold: got 3, expected at"),
        ({"name": "iris", "folds": 1}, ConfigError, "data.folds: got 1, expected at least 2"),
        ({"name": "iris", "folds": 51}, DataError, "a class has 50 rows"),
        ({"name": "iris", "folds": 151, "stratify": False}, DataError, "150 rows cannot be dealt"),
        ({"name": "iris", "split_seed": 2**32}, ConfigError, "data.split_seed: got 4294967296"),
    ],
)
def test_folds_that_cannot_be_are_refused(config, kind, message):
    with pytest.raises(kind, match=message):
        load(config)


def test_a_source_that_names_its_parts_has_no_folds(tmp_path):
    (tmp_path / "a.csv").write_text("a\n" + "\n".join(map(str, range(40))))
    series = {"name": "time_series", "path": str(tmp_path / "a.csv"), "target": "a", "window": 2}
    with pytest.raises(ConfigError, match="says itself which rows"):
        load({**series, "folds": 3})


def test_a_seed_of_the_split_keeps_the_parts():
    one, other = (load({"name": "iris", "split_seed": 5}, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(one.test.x, other.test.x)


# Averages ---------------------------------------------------------------------------------------

SCALED = Preprocessor(target_center=np.array(5.0), target_scale=np.array(2.0))
BOTH = ["no", "yes"]
CASES = {  # name -> (task, loss, classes, preprocessor, shape of outputs)
    "softmax": ("classification", "cross_entropy", ["a", "b", "c"], Preprocessor(), (6, 3)),
    "one logit": ("classification", "binary_cross_entropy_with_logits", BOTH, Preprocessor(), (6,)),
    "column": ("classification", "hinge", BOTH, Preprocessor(), (6, 1)),
    "probability": ("classification", "binary_cross_entropy", BOTH, Preprocessor(), (6, 1)),
    "labels": ("multi_label", "binary_cross_entropy_with_logits", BOTH, Preprocessor(), (6, 2)),
    "label probabilities": ("multi_label", "binary_cross_entropy", BOTH, Preprocessor(), (6, 2)),
    "number": ("regression", "mse", None, SCALED, (6, 1)),
    "numbers": ("regression", "quantile", None, SCALED, (6, 3)),
    "image": ("autoencoder", "mse", None, Preprocessor(), (6, 2, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_averaged_outputs_say_the_mean_of_what_each_says(name, rng):
    task, loss, classes, preprocessor, shape = CASES[name]
    meta = Meta(task, (4,), shape[-1], classes, [], [], preprocessor)
    outputs = [rng.normal(size=shape) for _ in range(3)]
    if loss == "binary_cross_entropy":
        outputs = [1 / (1 + np.exp(-x)) for x in outputs]
    together = averaged(outputs, meta, loss)
    assert together.shape == shape
    mean = np.mean([answers_of(x, meta, loss) for x in outputs], axis=0)
    np.testing.assert_allclose(answers_of(together, meta, loss), mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        answers_of(averaged(outputs[:1], meta, loss), meta, loss),
        answers_of(outputs[0], meta, loss),
        rtol=1e-12,
    )
    assert len(next(iter(prediction_columns(mean, meta).values()))) == 6


def test_sure_members_stay_finite():
    meta = Meta("classification", (4,), 2, BOTH, [], [], Preprocessor())
    outputs = [np.array([[200.0, 0.0]], np.float32)] * 2
    together = averaged(outputs, meta, "cross_entropy")
    assert np.isfinite(together).all()
    assert together.dtype == np.float32


def test_spread_is_that_of_a_sample():
    found = spread_of([{"loss": 1.0, "auc": 0.5}, {"loss": 2.0, "auc": None}, {"loss": 6.0}])
    assert found["loss"]["mean"] == 3.0
    assert found["loss"]["std"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert (found["auc"]["mean"], found["auc"]["std"]) == (None, None)
    assert spread_of([{"loss": 1.0}])["loss"]["std"] is None
    lines = spread_table("test", found, None, {"loss": 0.5}).splitlines()
    assert lines[0].split() == ["mean", "std", "lowest", "highest", "together"]
    assert lines[1].split()[2:] == ["3.0000", "2.6458", "1.0000", "6.0000", "0.5000"]
    assert lines[2].split()[2:] == ["-", "-", "0.5000", "0.5000", "-"]


# Whole jobs -------------------------------------------------------------------------------------


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(place):
    x, y = load_iris(return_X_y=True)
    names = [f"{n}" for n in load({"name": "iris"}).meta.feature_names]
    lines = [",".join(names), *(",".join(map(repr, row.tolist())) for row in x)]
    (place / "rows.csv").write_text("\n".join(lines))
    return y


def test_a_cross_validation_is_a_run_for_each_fold(place, capsys):
    table = started(ensemble.CROSSVAL)
    summary = json.loads((place / "crossvals/job/summary.json").read_text())
    assert main(["train", "--config", "job.yaml", "data.folds=3", "data.fold=1"]) == 0
    alone = json.loads((place / "runs/job/summary.json").read_text())
    values = summary["test"]["accuracy"]["values"]
    assert values[1] == alone["test"]["accuracy"]
    assert len(values) == 3
    assert "crossvals/job: 3 of 3 folds are done" in table
    assert "fold 2: 3 epochs, test loss" in capsys.readouterr().out

    write_rows(place)
    output = ["--input", "rows.csv", "--output"]
    assert main(["predict", "crossvals/job", *output, "all.csv"]) == 0
    for i in range(3):
        assert main(["predict", f"crossvals/job/trials/00{i}", *output, f"{i}.csv"]) == 0
    parts = [rows_of(place / f"{i}.csv") for i in range(3)]
    for row, *each in zip(rows_of(place / "all.csv"), *parts, strict=True):
        p = {k: np.mean([float(e[k]) for e in each]) for k in row if k != "prediction"}
        assert {k: float(row[k]) for k in p} == pytest.approx(p, abs=1e-6)
        assert f"probability_{row['prediction']}" == max(p, key=p.get)
    assert main(["evaluate", "crossvals/job"]) == 2
    assert "each fold has a test part of its own" in capsys.readouterr().err


def test_members_of_an_ensemble_are_scored_together(place, capsys):
    started(ensemble.ENSEMBLE, overrides=["trainer.epochs=1"])
    folder = place / "ensembles/job"
    summary = json.loads((folder / "summary.json").read_text())
    assert main(["train", "--config", "job.yaml", "trainer.epochs=1"]) == 0
    first = json.loads((place / "runs/job/summary.json").read_text())["test"]
    assert first["loss"] == summary["test"]["loss"]["values"][0]
    assert len(set(summary["test"]["loss"]["values"])) == 3

    y = write_rows(place)
    assert main(["predict", "ensembles/job", "--input", "rows.csv", "--output", "out.csv"]) == 0
    p = np.array([[float(v) for k, v in row.items() if k != "prediction"]
                  for row in rows_of(place / "out.csv")])  # fmt: skip
    x = load_iris().data
    test = load({"name": "iris"}, seed=3, dtype="float64").test.x
    where = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in test]
    together = summary["together"]
    expected = -np.log(p[where, y[where]]).mean()
    assert together["loss"] == pytest.approx(expected, rel=1e-5)
    assert together["accuracy"] == accuracy_score(y[where], p[where].argmax(axis=1))
    assert together["loss"] <= summary["test"]["loss"]["mean"]  # Jensen: -log is convex
    capsys.readouterr()
    assert main(["evaluate", "ensembles/job", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == together


def test_a_member_that_fails_is_told_and_tried_again(place, monkeypatch, capsys):
    def settings(config, count):
        found = ensemble.ENSEMBLE.settings(config, count)
        found[1]["trainer.class_weight"] = {"nobody": 2}
        return found

    table = started(dataclasses.replace(ensemble.ENSEMBLE, settings=settings))
    assert "2 of 3 members are done" in table
    assert "member 1 failed" in table.splitlines()[-1]
    assert "the target has no class 'nobody'" in table
    trials = place / "ensembles/job/trials.json"
    mended = json.loads(trials.read_text())
    del mended[1]["values"]["trainer.class_weight"]
    trials.write_text(json.dumps(mended))
    before = (place / "ensembles/job/trials/000/metrics.csv").stat().st_mtime_ns
    assert main(["ensemble", "--resume", "ensembles/job"]) == 0
    assert "3 of 3 members are done" in capsys.readouterr().out
    assert (place / "ensembles/job/trials/000/metrics.csv").stat().st_mtime_ns == before


def only_first_done(folder):
    file = folder / "trials.json"
    trials = json.loads(file.read_text())
    trials[1]["status"], trials[2]["status"] = "failed", "waiting"
    file.write_text(json.dumps(trials))


def test_members_that_are_left_out_of_a_mean_are_named(place, capsys):
    started(ensemble.ENSEMBLE, overrides=["trainer.epochs=1"])
    only_first_done(place / "ensembles/job")
    write_rows(place)
    told = "ensembles/job: only 1 of 3 members are done; left out: 1 (failed), 2 (waiting); "
    capsys.readouterr()
    assert main(["evaluate", "ensembles/job", "--json"]) == 0
    said = capsys.readouterr()
    assert told in said.err and "loss" in json.loads(said.out)
    assert main(["predict", "ensembles/job", "--input", "rows.csv", "--output", "out.csv"]) == 0
    assert told in capsys.readouterr().err


def test_a_cross_validation_with_one_fold_done_is_not_scored_on_it(place, capsys):
    started(ensemble.CROSSVAL, overrides=["trainer.epochs=1"])
    only_first_done(place / "crossvals/job")
    assert main(["evaluate", "crossvals/job"]) == 2
    assert "each fold has a test part of its own" in capsys.readouterr().err


def test_where_every_member_fails_the_reasons_are_told(place):
    (place / "job.yaml").write_text(JOB + "optimizer: {name: SGD, lr: 1.0e+30}\n")
    with pytest.raises(UserError) as error:
        started(ensemble.CROSSVAL)
    assert error.value.problems[0] == "crossvals/job: no fold is done"
    assert len(error.value.problems) == 4


@pytest.mark.parametrize(
    ("kind", "count", "override", "message"),
    [
        (ensemble.CROSSVAL, 51, "seed=1", "a class has 50 rows"),
        (ensemble.ENSEMBLE, 2, "trainer.class_weight={nobody: 2}", "has no class 'nobody'"),
    ],
)
def test_a_mistake_of_all_members_is_told_once(kind, count, override, message, place):
    with pytest.raises(UserError, match=message) as error:
        started(kind, count=count, overrides=[override])
    assert len(error.value.problems) == 1
    assert not (place / kind.folder).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crossval", "--config", "job.yaml", "--folds", "1"], "--folds must be at least 2"),
        (["ensemble", "--config", "job.yaml", "--workers", "0"], "--workers at least 1"),
        (["ensemble", "--resume", "x", "--members", "3"], "--resume goes on as it was"),
        (["ensemble"], "one of the arguments --config --resume is required"),
    ],
)
def test_wrong_usage_is_told(arguments, message, place, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_there_is_not_lost(place, capsys):
    (place / "ensembles/job").mkdir(parents=True)
    (place / "ensembles/job/thesis.txt").write_text("")
    assert main(["ensemble", "--config", "job.yaml"]) == 2
    assert main(["ensemble", "--config", "job.yaml", "--overwrite"]) == 2
    assert main(["ensemble", "--resume", "ensembles/job"]) == 2
    assert main(["predict", "ensembles/job", "--input", "a", "--output", "b"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("ensembles/job already exists; continue it with --resume")
    assert told[1] == "ensembles/job: was not left by nnad ensemble; choose another name"
    assert told[2] == "ensembles/job: expected a folder that nnad ensemble has left"
    assert (place / "ensembles/job/thesis.txt").exists()


# What does not belong together -----------------------------------------------------------------


CSV_JOB = """
data: {name: csv, path: rows.csv, target: y, batch_size: 8, stratify: false}
model: [Linear]
loss: mse
trainer: {epochs: 1}
"""


def write_table(count):
    rows = [f"{i},{i % 7},{i / 3}" for i in range(count)]
    Path("rows.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")


def test_folds_of_data_that_changed_in_between_are_not_averaged(place):
    (place / "csv.yaml").write_text(CSV_JOB)
    write_table(40)
    started(ensemble.CROSSVAL, "csv.yaml", overrides=["output.name=mix"])
    trials = place / "crossvals/mix/trials.json"
    trials.write_text(trials.read_text().replace('"done"', '"lost"', 1))
    shutil.rmtree(min((place / "crossvals/mix/trials").iterdir()))
    write_table(30)
    with pytest.raises(UserError, match=r"rows\.csv: changed after .* do not belong together"):
        ensemble.resume(ensemble.CROSSVAL, "crossvals/mix", print)


def test_a_mistake_of_all_that_is_left_is_told_once(place):
    (place / "csv.yaml").write_text(CSV_JOB)
    write_table(40)
    started(ensemble.CROSSVAL, "csv.yaml", overrides=["output.name=moved"])
    trials = place / "crossvals/moved/trials.json"
    trials.write_text(trials.read_text().replace('"done"', '"failed"'))
    shutil.rmtree(place / "crossvals/moved/trials")
    shutil.move("rows.csv", "elsewhere.csv")
    with pytest.raises(UserError, match=r"rows\.csv") as error:
        ensemble.resume(ensemble.CROSSVAL, "crossvals/moved", print)
    assert len(error.value.problems) == 1
    shutil.move("elsewhere.csv", "rows.csv")
    assert "3 of 3" in ensemble.resume(ensemble.CROSSVAL, "crossvals/moved", print)


def test_an_ensemble_on_one_fold_is_scored_on_its_test_part(place):
    table = started(
        ensemble.ENSEMBLE, count=2, overrides=["data.folds=3", "data.fold=1", "output.name=one"]
    )
    assert "2 of 2 members are done" in table and "together" in table


def test_members_without_a_part_to_score_on_say_so(place):
    nothing = ["data.test_size=0", "data.validation_size=0", "trainer.epochs=1"]
    told = started(ensemble.ENSEMBLE, count=2, overrides=nothing).splitlines()
    assert told[0] == "ensembles/job: 2 of 2 members are done"
    assert told[1].startswith("nothing to score on: the data have neither a test nor a validation")


@pytest.mark.parametrize(
    "text",
    [
        "kind: crossval",
        "kind: [a]",
        "3",
        "kind: crossval\nworkers: x",
        "kind: crossval\nworkers: true",
    ],
)
def test_a_damaged_description_is_refused(place, text):
    started(ensemble.CROSSVAL, count=2, overrides=["output.name=broken"])
    (place / "crossvals/broken/members.yaml").write_text(text)
    with pytest.raises(UserError, match="expected a folder that nnad crossval has left"):
        ensemble.resume(ensemble.CROSSVAL, "crossvals/broken", print)
