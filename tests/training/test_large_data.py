"""Training on a file larger than memory allows."""

import sys

import numpy as np
import pytest
from numpy.lib import format as npy

ROWS, COLUMNS = 2**21, 1024  # of float32: 8 GB

JOB = """
data: {name: npy, path: x.npy, target_path: y.npy, test_size: 1000, validation_size: 1000}
model: [{Linear: {out_features: 64}}, ReLU, Linear]
loss: mse
trainer: {steps: 400, steps_per_epoch: 200}
output: {name: large}
"""

MEASURE = """
import atexit, resource
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in kilobytes, as Linux does")
@pytest.mark.parametrize("shuffle", ["true", "blocks"])
def test_a_file_of_8_gb_trains_in_less_than_500_mb(workplace, shuffle):
    with (workplace.folder / "x.npy").open("wb") as file:  # all holes: takes no space on the disk
        head = {"descr": "<f4", "fortran_order": False, "shape": (ROWS, COLUMNS)}
        npy.write_array_header_1_0(file, head)
        file.truncate(file.tell() + 4 * ROWS * COLUMNS)
    np.save(workplace.folder / "y.npy", np.random.default_rng(0).normal(size=ROWS))
    (workplace.folder / "large.yaml").write_text(JOB)
    override = f"data.shuffle={shuffle}"
    done = workplace.process("train", "--config", "large.yaml", override, code=MEASURE)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 500


TABLE = """
data: {name: csv, path: part-*.csv, target: label, standardize: true, test_size: 1000}
model: [{Linear: {out_features: 16}}, ReLU, Linear]
loss: cross_entropy
trainer: {steps: 300, steps_per_epoch: 100, checkpoint_every_steps: 150}
output: {name: large}
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in kilobytes, as Linux does")
def test_tables_of_240_mb_train_in_less_than_300_mb(workplace, monkeypatch):
    monkeypatch.setenv("NNAD_CACHE_DIR", str(workplace.folder / "cache"))
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(10_000, 40)).round(4)
    labels = np.where(numbers[:, 0] > 0, "yes", "no")
    rows = "".join(
        f"{','.join(map(str, row))},{rng.choice(['red', 'blue'])},{label}\n"
        for row, label in zip(numbers.tolist(), labels, strict=True)
    )
    header = ",".join([*(f"x{i}" for i in range(40)), "colour", "label"])
    for part in range(2):
        with (workplace.folder / f"part-{part}.csv").open("w") as file:
            file.write(f"{header}\n")
            for _ in range(40):
                file.write(rows)
    (workplace.folder / "large.yaml").write_text(TABLE)
    for arguments in (["--config", "large.yaml"], ["--resume", "runs/large", "trainer.steps=400"]):
        done = workplace.process("train", *arguments, code=MEASURE)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.splitlines()[-1]) < 300
    assert "test loss" in done.stdout
