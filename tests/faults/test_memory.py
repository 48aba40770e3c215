"""The memory of a step and of a checkpoint, and that use alone makes no process grow.

By default small; NNAD_FULL_SIZE=1 measures 10^8 parameters, 100,000 predictions and 1,000 fits.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import memory

ROOT = Path(__file__).resolve().parents[2]
FULL = bool(os.environ.get("NNAD_FULL_SIZE"))

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc"),
]


def measured(*arguments):
    """What a process of its own measures."""
    done = subprocess.run(
        [sys.executable, "-m", memory.__name__, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize(("optimizer", "most"), [("adam", 4.5), ("sgd", 3.5)])
def test_a_step_and_its_checkpoints_take_few_times_the_parameters(optimizer, most):
    times = measured("step_and_checkpoint", optimizer, 10_000 if FULL else 4_000)
    print(f"{optimizer}: {times:.2f} times the parameters")
    assert times <= most


@pytest.mark.parametrize(
    ("what", "way", "count"),
    [
        *(("predictions", way, 100_000) for way in ("eager", "compiled", "estimator")),
        *(("fits", way, 1_000) for way in ("trainer", "compiled", "estimator")),
    ],
)
def test_use_does_not_make_a_process_grow(what, way, count):
    megabytes = measured(what, way, count if FULL else count // 10) / 1e6
    print(f"{way} {what}: {megabytes:+.2f} MB")
    assert megabytes < 5
