"""Run folders with something wrong in one of their files, through every command that reads it.

Search as long as one likes: `python tests/faults/forged.py table --seconds 600`.  Whatever ends in
anything but a refusal, takes over `SECONDS` or does not fit into `BYTES` is told once for each
place in the source, with the file that did it.  All seconds are the processor's.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nnad.errors import NnadError
from nnad.sharing.runs import SharedRun
from nnad.training import checkpoint
from nnad.training.callbacks import Interrupted, Interruption
from nnad.training.generation import generate_text
from nnad.training.inference import evaluate_run, predict_file
from nnad.training.job import check, resume, start
from nnad.training.reporting import report_run
from nnad.training.reporting.compare import compare_page, compare_table, read_records
from tests.faults import forged_groups
from tests.faults.fuzz import mutate

SECONDS, BYTES = 20, 3 * 2**30
STEPS = 50  # of a run that is resumed: a forged one may be long

TABLE = "a,b,colour,size,y\n" + "".join(
    f"{i % 7},{i * 0.5 if i % 9 else ''},{('red', 'blue', 'green')[i % 3]},"
    f"{('s', 'l', '')[i % 5 % 3]},{('yes', 'no')[i % 4 // 2]}\n"
    for i in range(60)
)
SERIES = "t,u,v,p,q\n" + "".join(
    f"{i},{i % 5},{i % 3 - 0.5},{i % 2},{i // 4 % 2}\n" for i in range(90)
)
TEXT = "to be or not to be, that is the question: whether it is nobler in the mind\n" * 12

COMMON = {"baseline": False, "output": {"name": "run", "report": True}}
SHORT = {"epochs": 2, "progress": False}
JOBS: dict[str, dict[str, Any]] = {
    "plain": {
        "data": {"name": "iris", "batch_size": 64},
        "model": [{"Linear": {"out_features": 4}}, "Dropout", "BatchNorm1d", "Linear"],
        "loss": "cross_entropy",
        "optimizer": "Adam",
        "trainer": SHORT,
    },
    "stopping": {  # all that remembers something
        "data": {"name": "iris", "batch_size": 64, "validation_size": 0.2, "standardize": True},
        "model": [{"Linear": {"out_features": 4}}, "Tanh", "Linear"],
        "loss": "cross_entropy",
        "optimizer": {"name": "SGD", "momentum": 0.9, "lr": 0.1},
        "schedule": "plateau",
        "trainer": SHORT
        | {
            "ema": 0.9,
            "early_stopping": {"monitor": "val_accuracy", "patience": 5},
            "callbacks": ["jsonl", "csv"],
        },
        "metrics": ["accuracy"],
        "baseline": {"estimator": "DummyClassifier"},
    },
    "lbfgs": {
        "data": {"name": "diabetes", "validation_size": 0.2, "batch_size": 1000,
                 "standardize": True, "standardize_target": True},
        "model": [{"Linear": {"out_features": 3}}, "Tanh", "Linear"],
        "loss": "mse",
        "optimizer": {"name": "LBFGS", "max_iter": 3, "history_size": 4},
        "trainer": SHORT,
        "metrics": ["rmse"],
    },
    "table": {
        "data": {"name": "csv", "path": "table.csv", "target": "y", "missing": "impute",
                 "standardize": True, "batch_size": 16},
        "model": [{"Linear": {"out_features": 3}}, "ReLU", "Linear"],
        "loss": "binary_cross_entropy_with_logits",
        "optimizer": "AdamW",
        "trainer": SHORT,
        "metrics": ["accuracy"],
    },
    "codes": {
        "data": {"name": "csv", "path": "table.csv", "target": "y", "missing": "impute",
                 "categorical": "codes", "standardize": "robust", "smooth_clip": True,
                 "batch_size": 16},
        "model": [{"ColumnEmbedding": {"embedding_dim": 2}}, "Linear"],
        "loss": "cross_entropy",
        "optimizer": "AdamW",
        "trainer": SHORT,
    },
    "picture": {
        "data": {"name": "digits", "batch_size": 256, "input_shape": [8, 8, 1]},
        "model": [{"Conv2d": {"out_channels": 2, "kernel_size": 3}}, "ReLU", "Flatten", "Linear"],
        "loss": "cross_entropy",
        "optimizer": "Adam",
        "trainer": SHORT | {"epochs": 1},
    },
    "series": {
        "data": {"name": "time_series", "path": "series.csv", "target": "v", "window": 4,
                 "horizon": 2, "standardize": True, "standardize_target": True},
        "model": [{"GRU": {"hidden_size": 3}}, "LastStep", "Linear"],
        "loss": "huber",
        "optimizer": "Adam",
        "trainer": SHORT,
    },
    "autoencoder": {
        "data": {"name": "iris", "task": "autoencoder", "standardize": True},
        "model": [{"Linear": {"out_features": 2}}, "Linear"],
        "loss": "mse",
        "optimizer": "Muon",
        "trainer": SHORT,
    },
    "labels": {
        "data": {"name": "csv", "path": "series.csv", "target": ["p", "q"], "task": "multi_label",
                 "features": ["u", "v"], "standardize": "robust"},
        "model": [{"Linear": {"out_features": 2}}, "Sigmoid"],
        "loss": "binary_cross_entropy",
        "optimizer": "RMSprop",
        "trainer": SHORT,
        "metrics": ["f1"],
    },
    "quantiles": {
        "data": {"name": "csv", "path": "series.csv", "target": "v", "features": ["p", "u"],
                 "standardize_target": True, "validation_size": 0.1},
        "model": [{"Linear": {"out_features": 4}}, "LayerNorm", "Linear"],
        "loss": {"name": "quantile", "q": [0.1, 0.5, 0.9]},
        "optimizer": "Adafactor",
        "trainer": SHORT | {"compile": True},
    },
    "tokens": {
        "data": {"name": "npz", "path": "tokens.npz", "tokens": True, "task": "classification"},
        "model": [{"Embedding": {"embedding_dim": 2}}, "Flatten", "Linear"],
        "loss": "cross_entropy",
        "optimizer": "Adagrad",
        "trainer": SHORT | {"freeze": ["0.*"], "class_weight": "balanced"},
    },
    "characters": {
        "data": {"name": "text", "path": "text.txt", "context": 6, "stride": 6, "batch_size": 64,
                 "test_size": 0.1},
        "model": [{"Embedding": {"embedding_dim": 4}}, "Linear"],
        "loss": "cross_entropy",
        "optimizer": "Adam",
        "trainer": SHORT,
        "metrics": ["accuracy"],
    },
    "pairs": {
        "data": {"name": "text", "path": "text.txt", "context": 6, "stride": 6, "batch_size": 64,
                 "test_size": 0.1,
                 "tokenizer": "bpe", "vocabulary_size": 270},
        "model": [{"Embedding": {"embedding_dim": 4}}, {"LSTM": {"hidden_size": 4}}, "Linear"],
        "loss": "cross_entropy",
        "optimizer": "Adam",
        "trainer": SHORT,
    },
    "words": {
        "data": {"name": "text", "path": "text.txt", "context": 6, "stride": 6, "batch_size": 64,
                 "test_size": 0.1,
                 "tokenizer": "whitespace", "vocabulary_size": 20},
        "model": [{"Embedding": {"embedding_dim": 4}}, "Linear"],
        "loss": "cross_entropy",
        "optimizer": "Adam",
        "trainer": SHORT,
    },
}  # fmt: skip
ROWS = {
    "plain": "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n1,2,3,4\n",
    "lbfgs": "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6\n1,2,3,4,5,6,7,8,9,0\n",
    "table": "a,b,colour,size\n1,2,red,\n,3,purple,s\n",
    "picture": ",".join(f"pixel_{i}_{j}" for i in range(8) for j in range(8))
    + "\n" + ",".join("3" * 64) + "\n",
    "series": SERIES,
    "labels": SERIES,
    "quantiles": SERIES,
    "tokens": "x0,x1,x2,x3\n1,2,3,4\n",
}  # fmt: skip
ROWS |= {"stopping": ROWS["plain"], "autoencoder": ROWS["plain"], "codes": ROWS["table"]}

ODD = [
    *(None, True, -1, 0, 1, 2, 1e308, 10**7, 10**30, float("nan"), float("inf"), 0.5),
    *("", "x", "../../x", "\ud800", "\x00", [], [[[]]], [1], ["x", "x"], {}, {"a": 1}),
]
ODD_ARRAYS = [
    *(np.zeros(0), np.zeros((2, 2)), np.array(1e300), np.arange(3), np.zeros(1, np.complex64)),
    *(np.array(["1"] * 2).astype(int), np.full(3, np.nan), np.zeros((10**4, 0)), np.array(True)),
]


class Enough(Interruption):
    """Ends a run that is resumed."""

    def on_step_end(self, trainer: Any) -> None:
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps > STEPS:
            raise Interrupted(signal.SIGINT)


def made(name: str, place: Path) -> Path:
    """The folder of a run of a job, with something left to train."""
    for file, content in (("table.csv", TABLE), ("series.csv", SERIES), ("text.txt", TEXT)):
        (place / file).write_text(content)
    (place / "rows.csv").write_text(ROWS.get(name, ROWS["plain"]))
    np.savez(place / "tokens.npz", x=np.arange(240).reshape(60, 4) % 7, y=np.arange(60) % 3)
    if name in forged_groups.GROUPS:
        return forged_groups.made(name, place)
    job = COMMON | JOBS[name]
    (place / "job.yaml").write_text(yaml.safe_dump(job))
    start(str(place / "job.yaml"), [f"output.dir={place}"], False, Interruption())
    last = place / "run/checkpoints/last.safetensors"
    state = checkpoint.load(last)
    config, epochs = place / "run/config.yaml", job["trainer"]["epochs"]
    longer = config.read_text().replace(f"  epochs: {epochs}\n", f"  epochs: {epochs + 1}\n")
    config.write_text(longer)
    state["finished"] = None
    checkpoint.save(last, state, keep_previous=False)
    checkpoint.previous_slot(last).unlink()
    return place / "run"


def export(run: Path) -> None:
    shared = SharedRun(str(run))
    shared.card()
    shared.to_safetensors(str(run.parent / "weights.safetensors"))
    shared.to_standalone(str(run.parent / "predictor.py"))
    shared.to_onnx(str(run.parent / "model.onnx"))


def card(run: Path) -> None:
    SharedRun(str(run)).card()


def compare(run: Path) -> None:
    records = read_records([str(run)])
    compare_table(records)
    compare_page(records)


def again(run: Path) -> None:
    with suppress(Interrupted):
        resume(str(run), [], Enough())


def from_last(run: Path) -> None:
    (run / "checkpoints/best.safetensors").unlink()
    evaluate_run(str(run))


COMMANDS: dict[str, Callable[[Path], Any]] = {
    "resume": again,
    "evaluate": lambda run: evaluate_run(str(run)),
    "evaluate the last": from_last,
    "predict": lambda run: predict_file(
        str(run), str(run.parent / "rows.csv"), str(run.parent / "answers.csv")
    ),
    "report": lambda run: report_run(str(run)),
    "compare": compare,
    "export": export,
    "card": card,
    "generate": lambda run: generate_text(str(run), "to be", 9),
    "go on": forged_groups.resume,
    "check": lambda run: check(str(run / "config.yaml"), []),
}
READ_BY = {
    "checkpoints/last.safetensors": ["resume", "report", "evaluate the last"],
    "checkpoints/best.safetensors": ["evaluate", "predict", "report", "export", "generate"],
    "preprocessing.safetensors": ["resume", "evaluate", "predict", "report", "export", "generate"],
    "config.yaml": ["evaluate", "predict", "report", "compare", "export", "generate", "check"],
    "summary.json": ["report", "compare", "card"],
    "environment.json": ["report", "compare", "card"],
    "timing.json": ["resume"],
    "metrics.csv": ["report", "compare"],
    "metrics.jsonl": ["resume"],
    "steps.csv": ["resume"],
}
NOT_READ = [".lock", "report.html"]
FOLDERS = [*JOBS, *forged_groups.GROUPS]


def commands(job: str, file: str) -> list[str]:
    """Those that read a file of a job's run and are meant for such a job."""
    if job in forged_groups.GROUPS:
        return forged_groups.commands(job, file)
    other = "predict" if JOBS[job]["data"]["name"] == "text" else "generate"
    return [command for command in READ_BY[file] if command != other]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a tree something stands."""
    if not isinstance(node, (dict, list)):
        return []
    inside = node.items() if isinstance(node, dict) else enumerate(node)
    return [p for key, child in inside for p in [(*path, key), *places(child, (*path, key))]]


def changed(rng: random.Random, tree: Any, odd: list[Any]) -> Any:
    """A tree with one thing left out, added or replaced."""
    if not places(tree) or not rng.randrange(50):
        return rng.choice(odd)
    tree = copy.deepcopy(tree)
    *way, last = rng.choice(places(tree))
    node = tree
    for key in way:
        node = node[key]
    kind = rng.randrange(6)
    if kind == 0:
        node.pop(last)
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(["more", ""])] = rng.choice(odd)
    elif kind == 2 and isinstance(node, list):
        node.insert(last, copy.deepcopy(rng.choice([*node, rng.choice(odd)])))
    elif kind == 3 and isinstance(node[last], np.ndarray):
        node[last] = other(rng, node[last])
    else:
        node[last] = rng.choice(odd)
    return tree


def other(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """An array much like another one."""
    kind = rng.randrange(5)
    if kind == 0 and array.size:
        array = array.copy()
        value = rng.choice([0, -1, 1, 120, np.nan, np.inf, 1e30])
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array.reshape(-1)[rng.randrange(array.size)] = np.array(value).astype(array.dtype)
        return array
    if kind == 1:
        return array.astype(rng.choice(["f2", "f4", "f8", "i8", "u1", "c8", "?"]))
    if kind == 2 and array.ndim:
        return array[: rng.randrange(len(array) + 1)]
    if kind == 3 and array.ndim:
        return np.concatenate([array, array])
    return array[None]


def forged(rng: random.Random, content: bytes, file: Path) -> bytes:
    """The content of a file of a run with something wrong in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file.suffix == ".safetensors":
            tree = checkpoint.decode(content, file)
            for _ in range(rng.choice([1, 1, 2])):
                tree = changed(rng, tree, [*ODD, *ODD_ARRAYS])
            head, arrays = checkpoint.encode(tree)
            return head + b"".join(array.tobytes() for array in arrays)
        if file.suffix == ".json" and rng.random() < 0.7:
            return json.dumps(changed(rng, json.loads(content), ODD)).encode()
        if file.suffix == ".yaml" and rng.random() < 0.7:
            return yaml.safe_dump(changed(rng, yaml.safe_load(content), ODD)).encode()
    return mutate(rng, content)


def files_of(run: Path) -> list[str]:
    """The files of a run that a command may read."""
    found = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    others = forged_groups.NOT_READ if "trials.json" in found else NOT_READ
    return sorted(name for name in found if not any(fnmatch(name, other) for other in others))


def attempt(run: Path, command: str) -> bool:
    """Run a command; returns whether it refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            COMMANDS[command](run)
        return False
    except NnadError as error:
        assert str(error).strip()
        return True


def copied(run: Path, place: Path) -> Path:
    """A copy of a run, and of what lies beside it, to do harm to."""
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(run.parent, place) / run.name


# Searching by hand --------------------------------------------------------------------------------


class Slow(BaseException):
    """A command that takes too long."""


def too_slow(*_: Any) -> None:
    raise Slow(f"over {SECONDS} s")


def place_of(error: BaseException) -> str:
    """Where in the package an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = ([frame for frame in frames if "/nnad/" in frame.filename] or frames)[-1]
    return f"{frame.filename.rpartition('/nnad/')[2]}:{frame.lineno}"


def failure(run: Path, command: str) -> tuple[str, str] | None:
    """Where and how a command ends in anything but an answer or a refusal."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        attempt(run, command)
    except (Exception, Slow) as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return place_of(error), f"{error!r:.200}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def search(job: str, seconds: float, seed: int) -> int:
    """Try random changes; returns how many different things went wrong."""
    place = Path(tempfile.mkdtemp())
    (place / "whole").mkdir()
    run = made(job, place / "whole")
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGPROF, too_slow)
    rng, end, cases = random.Random(seed), time.process_time() + seconds, 0
    found: set[str] = set()
    while time.process_time() < end:
        file = rng.choice(files_of(run))
        content = forged(rng, (run / file).read_bytes(), run / file)
        for command in commands(job, file):
            folder = copied(run, place / "copy")
            (folder / file).write_bytes(content)
            cases += 1
            failed = failure(folder, command)
            if failed and failed[0] not in found:
                found.add(failed[0])
                kept = place / f"{len(found)}-{Path(file).name}"
                kept.write_bytes(content)
                print(f"{job}, {command}, {kept}: {': '.join(failed)}", flush=True)
    print(f"{job}: {cases} cases, {len(found)} places where something went wrong", flush=True)
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", choices=FOLDERS, nargs="+")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(sum(search(n, options.seconds, options.seed) for n in options.jobs))


if __name__ == "__main__":
    main()
