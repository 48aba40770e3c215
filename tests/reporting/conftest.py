"""Runs to report on: two classes, ten, numbers, several labels."""

from pathlib import Path

import pytest

from nnad.cli import main

MODEL = "model: [{Linear: {out_features: 8}}, ReLU, Linear]\n"
COMMON = "trainer: {epochs: 4}\n"
JOBS = {
    "binary": "data: {name: breast_cancer, standardize: true, validation_size: 0.1}\n"
    "loss: binary_cross_entropy_with_logits\nmetrics: [accuracy, roc_auc]\n"
    "baseline: {estimator: LogisticRegression}\n",
    "classes": "data: {name: digits, validation_size: 0.1}\nloss: cross_entropy\n"
    "metrics: [accuracy]\n",
    "numbers": "data: {name: diabetes, standardize: true, validation_size: 0.1}\nloss: mse\n"
    "metrics: [r2]\n",
    "quantiles": "data: {name: diabetes, standardize: true}\n"
    "loss: {name: quantile, q: [0.1, 0.5, 0.9]}\n",
}
LABELS = """
data: {name: csv, path: labels.csv, target: [a, b], task: multi_label, standardize: true}
loss: binary_cross_entropy_with_logits
"""


def write_labels(path: Path) -> None:
    """A table of two inputs and two labels that follow from them."""
    rows = [(i % 7, i % 5, int(i % 7 > 3), int(i % 5 > 2)) for i in range(120)]
    path.write_text("x,y,a,b\n" + "".join(f"{x},{y},{a},{b}\n" for x, y, a, b in rows))


ODD = """
data: {name: csv, path: odd.csv, target: t, test_size: 0.3}
loss: cross_entropy
"""


def write_odd(path: Path) -> None:
    """A table whose names would be markup, with a constant input and a class of two rows."""
    rows = [f"{i % 7},1,{'<b>&' if i in (3, 9) else chr(34) + '<i>' + chr(34)}" for i in range(40)]
    path.write_text("<a>,b,t\n" + "\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with one run of each kind, each with its report."""
    folder = tmp_path_factory.mktemp("reporting")
    write_labels(folder / "labels.csv")
    write_odd(folder / "odd.csv")
    for name, job in {**JOBS, "labels": LABELS, "odd": ODD}.items():
        output = f"output: {{dir: '{folder}/runs', name: {name}, report: true}}\n"
        config = folder / f"{name}.yaml"
        config.write_text(job + MODEL + COMMON + output)
        assert main(["train", "--config", str(config)]) == 0
    return folder / "runs"
