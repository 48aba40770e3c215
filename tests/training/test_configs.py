"""Every file in configs/ trains: a few steps, on small data where its own do not ship."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from nnad.training.config import parse_config
from nnad.training.forgery import load_meta
from nnad.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

HOUSING = (
    "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,"
    "median_income,median_house_value,ocean_proximity"
)


def idx_folder(folder: Path) -> Path:
    """Ten of each digit as noise, in the format of MNIST."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 28, 28), np.uint8)
    labels = np.arange(100, dtype=np.uint8) % 10
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / f"t10k-{name}-ubyte").write_bytes(head + array.tobytes())
    return folder


def housing_file(folder: Path) -> Path:
    """Rows with the columns of the California census, one cell empty."""
    rng = np.random.default_rng(0)
    rows = [
        ",".join([*(f"{x:.2f}" for x in rng.uniform(1, 9, 9)), ["INLAND", "NEAR BAY"][i % 2]])
        for i in range(60)
    ]
    cells = rows[0].split(",")
    rows[0] = ",".join([*cells[:4], "", *cells[5:]])
    (folder / "housing.csv").write_text("\n".join([HOUSING, *rows]) + "\n")
    return folder / "housing.csv"


def text_file(folder: Path) -> Path:
    (folder / "text.txt").write_text("to be, or not to be: " * 80)
    return folder / "text.txt"


# What stands in for data that do not ship.
STAND_INS = {
    "char_transformer": text_file,
    "lenet": idx_folder,
    "mnist_mlp": idx_folder,
    "tabular_realmlp": housing_file,
}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_few_steps_lead_to_a_summary(config, workplace, nnad_main):
    overrides = ["trainer.epochs=null", "trainer.steps=2", "schedule=constant", "baseline=false",
                 "output.report=true"]  # fmt: skip
    if config.stem in STAND_INS:
        overrides.append(f"data.path={STAND_INS[config.stem](workplace.folder)}")
    status, out, err = nnad_main("train", "--config", config, *overrides)
    assert (status, err) == (0, [])
    run = workplace.folder / "runs" / config.stem
    assert (run / "summary.json").exists()
    assert out
    for command in (["train", "--resume", run, "trainer.steps=3"], ["report", run]):
        status, out, err = nnad_main(*command)  # what it has left is believed
        assert (status, err) == (0, [])
    load_meta(RunFolder(run))


def test_the_examples_of_the_page_about_jobs_are_right():
    page = (ROOT / "docs" / "jobs.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) > 4
    rest = {"data": "digits", "model": "[Linear]", "loss": "cross_entropy"}
    for example in examples:
        given = re.findall(r"^(\w+):", example, re.MULTILINE)
        lines = [f"{key}: {value}" for key, value in rest.items() if key not in given]
        parse_config("\n".join([*lines, example]))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_header_tells_what_to_expect_and_where_data_come_from(config):
    lines = config.read_text().splitlines()
    head = "\n".join(line for line in lines[: lines.index("seed: 0")])
    assert all(line.startswith("# ") for line in head.splitlines())
    assert any(character.isdigit() for character in head.partition("\n")[2])
    needs = config.stem in STAND_INS
    assert ("scripts/fetch_data.py" in head and "data.path=" in head) == needs


def test_quantiles_are_predicted_under_their_names(workplace, nnad_main):
    config, rows = ROOT / "configs" / "quantile_regression.yaml", ROOT / "data" / "rides.csv"
    assert nnad_main("train", "--config", config, "trainer.epochs=1")[0] == 0
    run = "runs/quantile_regression"
    assert nnad_main("predict", run, "--input", rows, "--output", "y.csv")[0] == 0
    head, *lines = (workplace.folder / "y.csv").read_text().splitlines()
    assert head == "prediction_0.1,prediction_0.5,prediction_0.9"
    assert len(lines) == 2016
