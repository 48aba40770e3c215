"""Run folders with right checksums that hold wrong things: refused, and told in words."""

import copy
import json
import random
import re
import shutil

import numpy as np
import pytest

from nnad.data.tokenizers import LARGEST_VOCABULARY, BytePair
from nnad.errors import CheckpointError, UserError
from nnad.training import checkpoint, inference
from nnad.training.forgery import require_like, require_state_like
from tests.faults.forged import (
    COMMANDS,
    FOLDERS,
    JOBS,
    READ_BY,
    ROWS,
    attempt,
    commands,
    copied,
    files_of,
    forged,
)
from tests.faults.forged import made as made_run

LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"
DATA = "preprocessing.safetensors"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run of a job by its name."""
    known = {}

    def run_of(job):
        if job not in known:
            known[job] = made_run(job, tmp_path_factory.mktemp(job))
        return known[job]

    return run_of


def test_all_that_is_written_is_read_by_a_command_here(runs):
    assert {file for job in JOBS for file in files_of(runs(job))} == set(READ_BY)
    found = {c for job in FOLDERS for file in files_of(runs(job)) for c in commands(job, file)}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("job", FOLDERS)
def test_whole_runs_are_believed(runs, tmp_path, job):
    for command in {c: None for file in files_of(runs(job)) for c in commands(job, file)}:
        assert not attempt(copied(runs(job), tmp_path / "copy"), command), command


@pytest.mark.parametrize("count", [8, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("job", FOLDERS)
def test_forged_files_are_read_or_refused_in_words(runs, tmp_path, job, count):
    rng, run, refused = random.Random(count), runs(job), 0
    for _ in range(count):
        file = rng.choice(files_of(run))
        content = forged(rng, (run / file).read_bytes(), run / file)
        for command in commands(job, file):
            folder = copied(run, tmp_path / "copy")
            (folder / file).write_bytes(content)
            refused += attempt(folder, command)
    assert refused > count / 4


# The job, where in which file, what is put there (None: nothing), the command, what it says.
FORGERIES = [
    ("plain", LAST, "history train_loss", None, "report", "history is .* expected the entries"),
    ("plain", LAST, "history train_loss", np.zeros(1), "report", "row for each epoch"),
    ("plain", LAST, "history epoch", np.zeros(2, np.complex64), "report", "column of numbers"),
    ("plain", LAST, "counters epoch", 0.5, "resume", "counters.epoch is 0.5"),
    ("plain", LAST, "counters epoch", 1, "resume", "history has 2 epochs, expected 1"),
    ("stopping", LAST, "best weights_epoch", 9, "resume", "best.weights_epoch is 9"),
    ("stopping", LAST, "schedule best", "x", "resume", "schedule.best is 'x'"),
    ("stopping", LAST, "ema averages", [], "resume", "ema.averages is"),
    ("plain", LAST, "programs", "x", "resume", "programs is 'x'"),
    ("plain", LAST, "callbacks Watch names", ["x"], "report", "Watch.names is"),
    ("plain", LAST, "callbacks Watch steps", np.arange(2), "report", "Watch.steps is"),
    ("plain", LAST, "callbacks Watch norms", np.zeros((2, 3, 1)), "resume", "Watch.norms is"),
    ("plain", LAST, "callbacks Watch interval", 0.5, "resume", "Watch.interval is 0.5"),
    ("lbfgs", LAST, "optimizer gradient_differences", [], "resume", "LBFGS: .* 0 differences"),
    ("lbfgs", LAST, "optimizer direction", np.zeros(2), "resume", r"LBFGS: .* shape \(2,\)"),
    ("lbfgs", LAST, "optimizer last_grad", None, "resume", "last_grad"),
    ("lbfgs", LAST, "best weights", {"x": np.zeros(1)}, "evaluate the last", "x: unknown"),
    ("lbfgs", BEST, "0.bias", np.full(3, np.nan), "predict", "0.bias: not finite"),
    ("lbfgs", BEST, "0.bias", np.full(2, 0.5), "evaluate", "0.bias: got shape"),
    ("table", DATA, "arrays preprocessor.fill", np.zeros(3), "predict", "fill is .*shape"),
    ("table", DATA, "arrays preprocessor.scale", np.zeros(2), "predict", "scale .* more than 0"),
    ("table", DATA, "arrays preprocessor.center", None, "predict", "scale .* as center"),
    ("table", DATA, "plain preprocessor fill_categorical", ["red", "x"], "predict", "known text"),
    ("table", DATA, "plain preprocessor categories", [["red"]], "predict", "categories is"),
    ("table", DATA, "plain preprocessor dtype", "x", "predict", "dtype is 'x'"),
    ("table", DATA, "plain n_outputs", "three", "export", "n_outputs: .*got 'three'"),
    ("table", DATA, "plain class_names", ["no"], "predict", "n_outputs is 2, expected 1"),
    ("codes", DATA, "plain categorical", [], "export", "categorical is"),
    ("picture", DATA, "plain preprocessor raw_shape", [63], "predict", "numeric_names is 64"),
    ("picture", DATA, "plain preprocessor row_shape", [8, 9], "predict", "row_shape is"),
    ("series", DATA, "plain extras window", 3, "predict", "window is 3"),
    ("series", DATA, "arrays preprocessor.target_scale", np.ones(3), "predict", "target_scale is"),
    ("autoencoder", DATA, "plain n_outputs", 3, "predict", "n_outputs is 3, expected 4"),
    ("pairs", DATA, "plain extras tokenizer merges", [[7, 256]], "generate", "come later or never"),
    ("pairs", DATA, "plain extras tokenizer merges", [[7, 8]], "generate", "classes as tokens"),
    ("words", DATA, "plain extras tokenizer vocabulary", ["a"], "generate", "classes as tokens"),
    ("plain", "summary.json", "fit_seconds", "x", "report", "fit_seconds: .*got 'x'"),
    ("plain", "summary.json", "test", [], "card", r"test: .*got \[\]"),
    ("stopping", "summary.json", "baseline estimator", 3, "compare", "baseline.estimator: "),
    ("ensemble", "trials.json", "0 number", 1, "predict", "0, 1, 2, ..."),
    ("ensemble", "trials.json", "0 status", "x", "evaluate", "0.status: .*got 'x'"),
    ("ensemble", "trials.json", "1 epochs", -1, "go on", "1.epochs: .*got -1"),
    ("sweep", "trials.json", "0 values seed", None, "go on", "no value for each of .*seed"),
    ("sweep", "trials/001/summary.json", "test", 3, "go on", "test: .*got 3"),
    ("crossval", "trials/001/summary.json", "baseline test", None, "go on", "baseline.test"),
    ("plain", "environment.json", "cores", [[]], "card", r"cores.*got \[\[\]\]"),
]


@pytest.mark.parametrize(
    ("job", "file", "where", "what", "command", "message"),
    FORGERIES,
    ids=[f"{row[0]}-{row[2]}-{i}" for i, row in enumerate(FORGERIES)],
)
def test_what_is_wrong_is_told_with_the_file(
    runs, tmp_path, job, file, where, what, command, message
):
    folder = copied(runs(job), tmp_path / "copy")
    is_json = file.endswith(".json")
    tree = json.loads((folder / file).read_bytes()) if is_json else checkpoint.load(folder / file)
    *way, last = where.split()
    node = tree
    for key in way:
        node = node[int(key) if isinstance(node, list) else key]
    node[last] = what
    if what is None:
        del node[last]
    if is_json:
        (folder / file).write_text(json.dumps(tree))
    else:
        checkpoint.save(folder / file, tree, keep_previous=False)
    named = "best" if command == "evaluate the last" else file
    with pytest.raises(UserError, match=f"(?s){named}.*: .*{message}"):
        COMMANDS[command](folder)


@pytest.mark.parametrize(
    "text",
    [
        "epoch,train_loss\n1,x\n",
        "epoch,train_loss\n2,0.5\n",
        "epoch,train_loss\n1\n",
        "train_loss\n1\n",
    ],
)
def test_rows_that_no_run_wrote_are_told(runs, tmp_path, text):
    folder = copied(runs("plain"), tmp_path / "copy")
    (folder / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=r"metrics.csv: holds something else"):
        COMMANDS["compare"](folder)


def test_a_model_that_gives_no_numbers_is_reported(runs, tmp_path):
    folder = copied(runs("plain"), tmp_path / "copy")
    tree = checkpoint.load(folder / BEST)
    tree["0.weight"][...] = tree["3.weight"][...] = 1e38
    checkpoint.save(folder / BEST, tree)
    assert not attempt(folder, "report")
    assert "Calibration" in (folder / "report.html").read_text()


def test_a_row_that_is_half_written_is_left_out(runs, tmp_path):
    folder = copied(runs("plain"), tmp_path / "copy")
    with open(folder / "metrics.csv", "a") as file:
        file.write("3,9,0.00")
    COMMANDS["compare"](folder)


@pytest.mark.parametrize("tree", [[], None, {"finished": {"epochs": 3, "steps": None}}])
def test_a_checkpoint_of_another_form_is_told(runs, tmp_path, tree):
    folder = copied(runs("plain"), tmp_path / "copy")
    checkpoint.save(folder / LAST, tree, keep_previous=False)
    for command in ("resume", "report", "evaluate the last"):
        with pytest.raises(CheckpointError, match=r"last.safetensors: "):
            COMMANDS[command](folder)


def test_a_setting_that_was_changed_by_hand_is_told_without_names_of_ours(runs, tmp_path):
    folder = copied(runs("plain"), tmp_path / "copy")
    text, count = re.subn(r"(?m)^  lr: .*$", "  lr: 0.77", (folder / "config.yaml").read_text())
    assert count == 1
    (folder / "config.yaml").write_text(text)
    with pytest.raises(
        CheckpointError, match=r"config.yaml: optimizer has initial_lr .*, not 0.77"
    ):
        COMMANDS["resume"](folder)


def test_members_that_do_not_belong_together_are_told(runs, tmp_path):
    folder = copied(runs("ensemble"), tmp_path / "copy")
    shutil.rmtree(folder / "trials/001")
    shutil.copytree(runs("table"), folder / "trials/001")
    shutil.copy(runs("table").parent / "table.csv", folder / "trials/001")
    rows = [line.split(",") for line in (ROWS["plain"], ROWS["table"])[1].splitlines()]
    plain = ROWS["plain"].splitlines()
    joined = [f"{plain[0]},{','.join(rows[0])}", *(f"{plain[1]},{','.join(r)}" for r in rows[1:])]
    (folder.parent / "rows.csv").write_text("\n".join(joined) + "\n")
    with pytest.raises(UserError, match=r"run: its members take different inputs, so"):
        COMMANDS["predict"](folder)
    with pytest.raises(UserError, match=r"run: its members answer in the shapes \("):
        inference.together("run", [np.zeros((2, 3)), np.zeros((2, 2))])


def test_what_is_no_text_is_told(runs, tmp_path):
    for job, file in (("sweep", "sweep.yaml"), ("ensemble", "members.yaml")):
        folder = copied(runs(job), tmp_path / "copy")
        (folder / file).write_bytes(b"kind: \xff")
        with pytest.raises(UserError, match=f"{file}:1: not UTF-8 text"):
            COMMANDS["go on"](folder)


def test_half_a_character_is_written_as_its_number(runs, tmp_path):
    folder = copied(runs("plain"), tmp_path / "copy")
    tree = checkpoint.load(folder / DATA)
    tree["plain"]["class_names"] = ["a", "b", "\ud800"]
    checkpoint.save(folder / DATA, tree)
    COMMANDS["predict"](folder)
    assert r"probability_\ud800" in (folder.parent / "answers.csv").read_text()


def test_tokens_that_double_take_no_memory():
    merges = [(i, i) for i in (0, *range(256, 300))]
    with pytest.raises(ValueError, match=f"more than {LARGEST_VOCABULARY} bytes"):
        BytePair(merges)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": 1}, "expected the entries a, b"),
        ({"a": True, "b": [1.0, 2.0]}, "x.a is True, expected 3"),
        ({"a": 1, "b": [1.0]}, "expected a list of 2"),
        ({"a": 1, "b": [1.0, np.zeros(2)]}, "x.b.1 is an array of float64"),
    ],
)
def test_what_differs_is_told(found, message):
    with pytest.raises(ValueError, match=message):
        require_like(found, {"a": 3, "b": (0.5, np.float32(1))}, "x")


def test_a_state_of_the_run_is_believed(runs):
    state = checkpoint.load(runs("stopping") / LAST)
    require_state_like(state, state, state["history"])
    other = copy.deepcopy(state)
    other["optimizer"]["param_groups"][0]["momentum"] = 7.0
    with pytest.raises(ValueError, match=r"optimizer has momentum 7.0"):
        require_state_like(other, state, state["history"])


def forged_bytes(header, data):
    header["__metadata__"] = {"format": "nnad-1", "sha256": checkpoint.NO_DIGEST, "state": "{}"}
    text = json.dumps(header, separators=(",", ":")).encode()
    head = len(text).to_bytes(8, "little") + text
    digest = checkpoint.digest_of(head, data)
    return head.replace(checkpoint.NO_DIGEST.encode(), digest.encode(), 1) + data


@pytest.mark.parametrize(
    ("offsets", "shape"),
    [
        ([[0, 8], [0, 8]], [1]),  # many arrays of the same bytes would fill the memory
        ([[0, 8], [12, 16]], [1]),
        ([[0, 4]], [1]),
        ([[0, 16]], [2**70]),
        ([[0, 16]], [-2]),
    ],
)
def test_arrays_lie_one_after_the_other(tmp_path, offsets, shape):
    header = {
        str(i): {"dtype": "F64", "shape": shape, "data_offsets": place}
        for i, place in enumerate(offsets)
    }
    with pytest.raises(CheckpointError, match="malformed checkpoint"):
        checkpoint.decode(forged_bytes(header, bytes(16)), tmp_path / "last.safetensors")
