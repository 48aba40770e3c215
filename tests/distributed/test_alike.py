"""What all processes hold alike; `alike.py` holds what they check from within."""

import pytest

from tests.distributed import alike as script


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_all_hold_alike(mpiexec, processes):
    done = mpiexec(processes, "-m", "mpi4py", script.__file__)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [check.__name__ for check in script.CHECKS]
