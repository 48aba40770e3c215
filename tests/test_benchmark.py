"""The benchmark itself: what it computes agrees between libraries, and a difference is seen."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benchmarks import harness, job, tables

    return harness, job.LIBRARIES, tables


@pytest.mark.parametrize("workload", ["mlp-small", "scalar", "predict-1"])
def test_nnad_computes_what_its_peers_compute(workload: str) -> None:
    peer = "sklearn" if workload == "predict-1" else "autograd"
    pytest.importorskip(peer)
    script = [sys.executable, ROOT / "scripts/benchmark.py", workload]
    options = [
        "--libraries",
        "nnad",
        peer,
        "--rounds",
        "2",
        "--seconds",
        "0.001",
        "--patience",
        "0",
    ]
    done = subprocess.run([*script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 4, done.stdout  # head, rule, and two libraries


def test_a_job_of_processes_reads_what_they_print(harness, tmp_path: Path) -> None:
    from benchmarks.job import processes
    from benchmarks.workloads import WholeJob

    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('accuracy', sys.argv[1])\n")
    workload = WholeJob("a", "b", accuracy=0.9)
    for accuracy, value in [("0.95", 1.0), ("0.85", 0.0)]:
        job = processes(script, [accuracy], lambda text: workload.reached(float(text.split()[1])))
        job.step()
        assert job.value() == value


def results(harness, libraries, values):
    return [harness.Result(x, value=v) for x, v in zip(libraries, values, strict=False)]


def test_a_library_that_computes_something_else_is_marked(harness) -> None:
    module, libraries, _ = harness
    found = results(module, libraries, [2.0, 2.3, 2.0001, 1.9999, math.nan])
    module.check_agreement(found)
    assert [r.agrees for r in found] == [True, False, True, True, True]


def test_ratios_compare_within_a_round(harness) -> None:
    module, libraries, _ = harness
    slow, fast = (module.Result(x, rounds=r) for x, r in zip(libraries, [[2, 8, 4], [1, 4, 2]]))
    assert (slow.ratio(fast), slow.seconds) == (2.0, 4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.0456, "45.6 ms"), (3.5e-7, "0.35 µs"), (math.nan, "")],
)
def test_durations_have_three_digits(harness, seconds: float, text: str) -> None:
    assert harness[2].duration(seconds) == text


@pytest.mark.parametrize(("busy", "own", "others"), [(0.5, 0.5, 0.0), (1.5, 0.5, 0.5), (2.0, 0, 1)])
def test_what_others_use_of_the_machine_is_seen(
    harness, monkeypatch: pytest.MonkeyPatch, busy: float, own: float, others: float
) -> None:
    from benchmarks import quiet

    clock, used = iter([0.0, 1.0]), iter([10.0, 10.0 + busy])
    monkeypatch.setattr(quiet.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(quiet.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(quiet, "busy_seconds", lambda: next(used))
    assert quiet.Watch().others(own) == others


@pytest.mark.slow
def test_processes_that_share_a_batch_are_timed_beside_one(harness, monkeypatch) -> None:
    from benchmarks import parallel

    pytest.importorskip("mpi4py")
    monkeypatch.setattr(parallel, "SETTINGS", parallel.SETTINGS[:2])
    lines = list(parallel.table(rounds=1, patience=0.0, steps=3))
    if len(lines) == 2:
        pytest.skip(lines[1])
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[3:]]
    assert [row[1:3] for row in cells] == [
        [setting, way] for way in ("eager", "compiled") for setting in ("1 x 1", "2 x 1")
    ]
    assert [float(row[6]) for row in cells[::2]] == [1.0, 1.0]
    assert all(float(row[6]) > 0 for row in cells)
