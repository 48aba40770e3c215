"""Run folders with right checksums that hold wrong things: refused, and told in words."""

import copy
import json
import random
import shutil

import numpy as np
import pytest

from nnad.errors import CheckpointError, NnadError
from nnad.sharing.runs import SharedRun
from nnad.training import checkpoint
from nnad.training.callbacks import Interruption
from nnad.training.forgery import load_meta, require_like, require_state_like
from nnad.training.inference import evaluate_run, predict_file
from nnad.training.job import resume, start
from nnad.training.run_folder import RunFolder

JOB = """
data: {name: iris, batch_size: 64}
model: [Linear: {out_features: 4}, Dropout, BatchNorm1d, Linear: {out_features: 3}]
loss: cross_entropy
optimizer: Adam
trainer: {epochs: 2, progress: false, early_stopping: {monitor: train_loss}}
baseline: false
"""
ROWS = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n1,2,3,4\n"
ODD = [
    *(None, True, -1, 0, 1e308, 10**30, float("nan"), "", "x", "../../x", [], [[[]]], [1]),
    *({}, {"a": 1}, np.zeros(0), np.zeros((2, 2)), np.array(1e300), np.arange(3)),
]
FILES = {
    "checkpoints/last.safetensors": ["resume"],
    "checkpoints/best.safetensors": ["evaluate", "predict"],
    "preprocessing.safetensors": ["resume", "evaluate", "predict"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forgery")
    (folder / "job.yaml").write_text(JOB)
    (folder / "rows.csv").write_text(ROWS)
    options = [f"output.dir={folder}", "output.name=run"]
    start(str(folder / "job.yaml"), options, False, Interruption())
    last = folder / "run/checkpoints/last.safetensors"
    state = checkpoint.load(last)
    state["counters"]["epoch"], state["finished"] = 1, None  # there is an epoch left
    checkpoint.save(last, state, keep_previous=False)
    checkpoint.previous_slot(last).unlink(missing_ok=True)
    return folder / "run"


def commands(run):
    rows, answers = run.parent / "rows.csv", run.parent / "answers.csv"
    return {
        "resume": lambda: resume(str(run), [], Interruption()),
        "evaluate": lambda: evaluate_run(str(run)),
        "predict": lambda: predict_file(str(run), str(rows), str(answers)),
    }


def places(node, path=()):
    """Where in a tree something stands."""
    inside = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in inside:
        yield (*path, key)
        if isinstance(child, (dict, list)):
            yield from places(child, (*path, key))


def changed(rng, tree):
    """A tree with one thing left out, added or replaced."""
    tree = copy.deepcopy(tree)
    *way, last = rng.choice(list(places(tree)))
    node = tree
    for key in way:
        node = node[key]
    kind = rng.randrange(4)
    if kind == 0:
        node.pop(last)
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(["more", ""])] = rng.choice(ODD)
    else:
        node[last] = rng.choice(ODD)
    return tree


@pytest.mark.parametrize("count", [60, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.filterwarnings("ignore")  # of the weights that are used instead
def test_forged_files_are_refused_in_words(run, tmp_path, file, count):
    rng, refused = random.Random(count), 0
    tree = checkpoint.load(run / file)
    for _ in range(count):
        forged = shutil.copytree(run, tmp_path / "run", dirs_exist_ok=True)
        checkpoint.save(forged / file, changed(rng, tree), keep_previous=False)
        for name in FILES[file]:
            try:
                commands(forged)[name]()
            except NnadError:
                refused += 1
    assert refused > count / 4


def test_the_file_is_named(run, tmp_path):
    folder = RunFolder(str(shutil.copytree(run, tmp_path / "run")))
    tree = checkpoint.load(folder.preprocessing)
    tree["plain"]["n_outputs"] = "three"
    checkpoint.save(folder.preprocessing, tree)
    for read in (load_meta, lambda folder: SharedRun(str(folder.path))):  # which is exported
        with pytest.raises(CheckpointError, match=r"preprocessing.safetensors: .*n_outputs"):
            read(folder)


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


def test_a_state_of_the_run_is_believed(run):
    state = checkpoint.load(run / "checkpoints/last.safetensors")
    require_state_like(state, state)
    other = copy.deepcopy(state)
    other["optimizer"]["param_groups"][0]["betas"][1] = 7.0
    with pytest.raises(ValueError, match=r"optimizer has betas .*7.0"):
        require_state_like(other, state)


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
