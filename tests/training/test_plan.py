"""The cost model of parallel training: its formulas, its table, its refusals."""

import pytest

from nnad.cli import main
from nnad.training.plan import Network, Prediction, plan, plan_table

SLOW = Network(latency=1e-3, bandwidth=1e6)


@pytest.mark.parametrize(("ranks", "rounds"), [(2, 1), (3, 2), (4, 2), (5, 3), (1024, 10)])
def test_an_all_reduce_costs_rounds_and_bytes(ranks, rounds):
    assert SLOW.all_reduce(0, ranks) == pytest.approx(2 * rounds * 1e-3)
    assert SLOW.all_reduce(1e6, ranks) == pytest.approx(2 * rounds * 1e-3 + 2 * (ranks - 1) / ranks)
    assert SLOW.all_reduce(1e6, 1) == 0


def test_a_job_is_predicted_for_every_number_of_processes():
    job = ["baseline=false", "data.batch_size=512"]
    found = plan("mlp.yaml", job, [4, 2], Network(1e-9, 1e15))
    assert [p.ranks for p in found] == [1, 2, 4]
    assert found[0].all_reduce == 0 < found[1].all_reduce < found[2].all_reduce < 1e-6
    assert found[2].gradient < found[0].gradient  # a quarter of the rows
    parameters = 4 * (64 * 64 + 64 + 64 * 10 + 10)
    assert found[0].memory > 4 * parameters  # weights, gradients, two moments of Adam, and data


def test_efficiency_is_told_beside_what_was_measured():
    rows = [Prediction(1, 3e-3, 0.0, 1e-3, 2**20), Prediction(2, 1e-3, 2e-3, 1e-3, 2**21, 5e-3)]
    lines = plan_table(rows).splitlines()
    assert lines[0].split()[-2:] == ["measured", "ms"]
    assert lines[2].split() == [
        "2",
        "1.000",
        "2.000",
        "1.000",
        "4.000",
        "1.00",
        "50%",
        "2.0",
        "5.000",
    ]


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
