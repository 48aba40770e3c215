"""The cost model of parallel training: its formulas, its table, its refusals."""

from itertools import islice

import pytest

from nnad.cli import main
from nnad.distributed import within
from nnad.training.build import build
from nnad.training.config import load_config
from nnad.training.job import load_data, make_trainer
from nnad.training.plan import (
    Network,
    Prediction,
    Rehearsal,
    endless_batches,
    messages_of,
    plan,
    plan_table,
)

SLOW = Network(latency=1e-3, bandwidth=1e6)


@pytest.mark.parametrize(("ranks", "rounds"), [(2, 1), (3, 2), (4, 2), (5, 3), (1024, 10)])
def test_an_all_reduce_costs_rounds_and_bytes(ranks, rounds):
    assert SLOW.all_reduce(0, ranks) == pytest.approx(rounds * 1e-3)
    doubling, halving = rounds * 1.001, 2 * rounds * 1e-3 + 2 * (ranks - 1) / ranks
    assert SLOW.all_reduce(1e6, ranks) == pytest.approx(min(doubling, halving))
    assert SLOW.all_reduce(1e6, 1) == 0


def test_processes_that_share_cores_take_turns():
    assert [Network(1, 1, cores=2).crowding(n) for n in (1, 2, 3, 4)] == [1, 1, 1.5, 2]
    assert SLOW.crowding(64) == 1  # each has a machine
    crowded = Network(1.0, 8.0, cores=2, turn=10.0)
    assert crowded.seconds_of([0, 8], 2) == pytest.approx(1 + 2)
    assert crowded.seconds_of([0, 8], 4) == pytest.approx(2 * (2 + 4) + 2 * 10)


def test_a_job_is_predicted_for_every_number_of_processes(monkeypatch):
    monkeypatch.setattr("nnad.training.plan.SECONDS", 0.1)
    job = ["distributed.blocks=null", "data.batch_size=512"]
    found = plan("mlp.yaml", job, [4, 2], Network(1e-9, 1e15))
    assert [p.ranks for p in found] == [1, 2, 4]
    assert found[0].messages == 0 < found[1].messages < found[2].messages < 1e-6
    assert min(p.gradient for p in found) > 0
    assert found[2].memory < found[0].memory  # a quarter of the rows
    parameters = 4 * (64 * 64 + 64 + 64 * 10 + 10)
    assert found[0].memory > 4 * parameters  # weights, gradients, two moments of Adam, and data


def sent(change: str, together: bool) -> list[int]:
    """Bytes of the messages of a step of the last of four processes."""
    config = load_config("mlp.yaml", ["distributed.blocks=null", *change.split(";")])
    data, group = load_data(config), Rehearsal(4, together)
    with within(group):
        trainer = make_trainer(config, build(config, data), data)
        trainer.prepare(data.train, None)
        trainer.model.train()
        batches = endless_batches(trainer)
        trainer.run_step(islice(batches, trainer.accumulate))  # in which it decides how to go on
        return messages_of(lambda: trainer.run_step(islice(batches, trainer.accumulate)), group)


NORM = "model=[Linear: {out_features: 64}, BatchNorm1d, ReLU, Linear: {out_features: 10}]"
GRADIENT = 4 * (64 * 64 + 64 + 64 * 10 + 10)
TOTALS = 6 * 8  # loss, weight, lacking gradients, divergence and two signals


@pytest.mark.parametrize(
    ("change", "together", "expected"),
    [
        ("seed=0", False, [TOTALS, GRADIENT]),
        ("distributed.blocks=1", True, [16]),  # the signals
        ("seed=0", True, [TOTALS, 8, 0, 0]),  # the norm, and two meetings around the exchange
        (NORM, False, [8, 256, 256, 256, 256, TOTALS, GRADIENT + 2 * 256]),
        (f"{NORM};distributed.batch_norm=local", False, [TOTALS, GRADIENT + 2 * 256]),
        ("trainer.accumulate=3", False, [TOTALS, GRADIENT]),
        ("distributed.blocks=4", False, [TOTALS, GRADIENT]),
        ("distributed.blocks=2", False, [TOTALS, GRADIENT]),  # as if there were none
        (f"{NORM};distributed.blocks=8", True, [8, *[256] * 4, TOTALS, 64, 0, 0]),
    ],
)
def test_the_messages_of_a_step_are_counted(change, together, expected):
    assert sent(change, together) == expected


def test_efficiency_is_told_beside_what_was_measured():
    rows = [
        Prediction(1, 3e-3, 0, 0.0, 1e-3, 2**20),
        Prediction(2, 1e-3, 7, 2e-3, 1e-3, 2**21, 5e-3),
    ]
    lines = plan_table(rows).splitlines()
    assert lines[0].split()[-2:] == ["measured", "ms"]
    told = "2 1.000 7 2.000 1.000 4.000 1.00 50% 2.0 5.000"
    assert lines[2].split() == told.split()


@pytest.mark.parametrize(("step", "told"), [(5e-4, False), (2e-4, True)])
def test_what_cannot_be_is_told(step, told, capsys, monkeypatch):
    rows = [Prediction(1, 1e-3, 0, 0.0, 0.0, 0), Prediction(2, step, 1, 0.0, 0.0, 0)]
    monkeypatch.setattr("nnad.training.plan.plan", lambda *_: rows)
    assert main(["plan", "--config", "lstm_text.yaml", "--bandwidth", "1", "--latency", "1"]) == 0
    assert ("other programs disturbed" in capsys.readouterr().out) == told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "0"], "must be more than 0"),
        (["--bandwidth", "1"], "start it by mpiexec"),
        (["--bandwidth", "1", "--latency", "-1"], "must be more than 0"),
        ([], "start it by mpiexec"),
    ],
)
def test_wrong_usage_is_told(options, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["plan", "--config", "mlp.yaml", *options])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_it_is_told_where_nothing_is_divided(capsys, monkeypatch):
    monkeypatch.setattr("nnad.training.plan.SECONDS", 0.01)
    job = ["plan", "--config", "mlp.yaml", "--ranks", "2", "--bandwidth", "1", "--latency", "1"]
    for blocks in ("1", "null"):
        assert main([*job, f"distributed.blocks={blocks}"]) == 0
        told = "every process computes whole batches" in capsys.readouterr().out
        assert told == (blocks == "1")
