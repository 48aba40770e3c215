"""Processes of an MPI job as workers, as far as one process can show it."""

import json

import pytest

from nnad.distributed import Communicator, alone, within, world
from nnad.errors import UserError
from nnad.training.callbacks import Interrupted
from nnad.training.crew import ranks


class Leader(Communicator):
    """The leader of two processes; keeps what it says to the other."""

    size = 2

    def __init__(self):
        self.said = []

    def share(self, content):
        self.said.append(content)
        return content


def test_a_mistake_of_ours_in_a_trial_is_told_and_ends_no_other(monkeypatch, capsys):
    monkeypatch.setattr(ranks, "work", lambda task: 1 // task["zero"])
    answers = {}
    group = Leader()
    tasks = [{"path": "trials/000", "zero": 0}, {"path": "trials/001", "zero": 1}]
    ranks.Ranks(group, "nnad sweep --resume x").each(tasks, answers.__setitem__)
    assert answers[0]["status"] == "lost"
    assert answers[0]["message"].startswith("ZeroDivisionError: ")
    assert answers[1] == 1
    assert "trials/000:\nTraceback" in capsys.readouterr().err
    assert json.loads(group.said[0]) == ["nnad sweep --resume x", tasks]


def test_a_signal_is_told_without_the_place_in_a_trial(monkeypatch):
    def work(task):
        error = Interrupted(15)
        error.args = ("interrupted by SIGTERM after step 3; continue with --resume trials/000",)
        raise error

    monkeypatch.setattr(ranks, "work", work)
    with pytest.raises(Interrupted, match=r"^interrupted by SIGTERM$") as caught:
        ranks.train({"path": "trials/000"})
    assert caught.value.exit_status == 143


@pytest.mark.parametrize(
    ("error", "told"),
    [(UserError(["a", "b"]), ["a", "b"]), (OSError(28, "No space", "x"), ["x: the disk is full"])],
)
def test_what_ends_the_leader_ends_all(error, told):
    group = Leader()

    def action():
        raise error

    with pytest.raises(UserError) as caught:
        ranks.led(action, group)
    assert [p[: len(t)] for p, t in zip(caught.value.problems, told, strict=True)] == told
    assert group.said == [b""]  # the others are to end
    assert ranks.led(lambda: "table", group) == "table"


def test_a_process_belongs_to_one_group_at_a_time():
    outside, group = world(), Leader()
    with within(group):
        assert world() is group
        with alone():
            assert world().size == 1
        assert world() is group
    assert world() is outside
