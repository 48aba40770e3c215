"""Starting several processes, as a user does: with mpiexec."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Launcher:
    """Runs `python ARGUMENTS` in a number of processes."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder

    def start(self, processes: int, *arguments: object) -> subprocess.Popen:
        """The processes, under way."""
        return subprocess.Popen(
            [self.program, "-n", str(processes), sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, processes: int, *arguments: object, seconds: float = 100
    ) -> subprocess.CompletedProcess:
        """The same, finished."""
        with self.start(processes, *arguments) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def mpiexec(tmp_path):
    """Run `python ARGUMENTS` in a number of processes; returns the finished process."""
    pytest.importorskip("mpi4py")
    program = Path(sys.executable).with_name("mpiexec")
    if not program.exists():
        pytest.skip("no mpiexec beside this Python: pip install 'nnad[mpi]'")
    return Launcher(program, tmp_path)
