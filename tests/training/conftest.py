"""A small job that uses everything resumption has to get right, and ways to run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnad.cli import main

ROOT = Path(__file__).resolve().parents[2]

JOB = """
seed: 3
data: {name: iris, test_size: 0.2, validation_size: 0.2, standardize: true, batch_size: 8}
model:
  - Linear: {out_features: 8}
  - ReLU
  - Dropout: {p: 0.2}
  - BatchNorm1d
  - Linear: {out_features: 3}
loss: cross_entropy
optimizer: {name: Adam, lr: 0.02}
schedule: {name: cosine, warmup_steps: 5}
trainer:
  epochs: 6
  accumulate: 2
  clip_norm: 1.0
  early_stopping: {monitor: val_loss, patience: 5}
  checkpoint_every_steps: 5
metrics: [accuracy]
output: {name: job}
"""

RESULTS = (
    "metrics.csv",
    "config.yaml",
    "preprocessing.safetensors",
    "checkpoints/last.safetensors",
    "checkpoints/last.safetensors.previous",
    "checkpoints/best.safetensors",
)


class Workplace:
    """A folder with `job.yaml`, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "job"
        (folder / "job.yaml").write_text(JOB)

    def results(self, name: str = "job") -> dict[str, bytes]:
        """The bytes of what equal runs must leave equal."""
        run = self.folder / "runs" / name
        return {file: (run / file).read_bytes() for file in RESULTS}

    def process(self, *arguments: str, code: str = "", **options) -> subprocess.CompletedProcess:
        """Run `nnad` with `arguments` in a process of its own, after the lines of `code`."""
        return subprocess.run(
            self.command(*arguments, code=code),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    def start(self, *arguments: str, code: str = "") -> subprocess.Popen:
        """The same without waiting for its end."""
        return subprocess.Popen(
            self.command(*arguments, code=code),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str, code: str) -> list[str]:
        script = f"import sys\nfrom nnad.cli import main\n{code}\nsys.exit(main(sys.argv[1:]))"
        return [sys.executable, "-c", script, *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Workplace:
    """An empty folder, made the current one, with `job.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    return Workplace(tmp_path)


@pytest.fixture
def nnad_main(capsys):
    """Run the command line in this process: (exit status, lines on stdout, lines on stderr)."""

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workplace:
    """A workplace whose job has run to its end without a stop."""
    place = Workplace(tmp_path_factory.mktemp("finished"))
    done = place.process("train", "--config", "job.yaml")
    assert done.returncode == 0, done.stderr
    return place
