"""Starting several processes, as a user does: with mpiexec."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mpiexec(tmp_path):
    """Run `python ARGUMENTS` in a number of processes; returns the finished process."""
    pytest.importorskip("mpi4py")
    launcher = Path(sys.executable).with_name("mpiexec")
    if not launcher.exists():
        pytest.skip("no mpiexec beside this Python: pip install 'nnad[mpi]'")

    def run(processes, *arguments, seconds=100):
        return subprocess.run(
            [launcher, "-n", str(processes), sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    return run
