"""Sums in pairs, members that take turns, batches in blocks (`blocks.py`: many processes)."""

import threading

import numpy as np
import pytest

import nnad
from nnad.distributed import Communicator, all_reduce_sum, world
from nnad.distributed.lockstep import Lockstep
from nnad.distributed.pairs import add_in_pairs
from nnad.errors import ConfigError, NnadError
from nnad.training.blocks import BlockTrainer
from nnad.training.config import load_config
from nnad.training.group import GroupTrainer
from nnad.training.processes import kind_of_trainer, require_even_blocks, threads_of
from nnad.training.trainer import Trainer
from tests.distributed import blocks as script


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_bits_do_not_depend_on_the_number_of_processes(mpiexec, processes):
    done = mpiexec(processes, "-m", "mpi4py", script.__file__)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [check.__name__ for check in script.CHECKS]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("place", [None, 0, -1])
def test_pairs_add_up_to_the_sum(rng, count, place):
    terms = list(rng.normal(size=(count, 7)))
    kept = [term.copy() for term in terms]
    out = None if place is None else terms[place]
    found = add_in_pairs(terms, out)
    np.testing.assert_allclose(found, np.sum(kept, axis=0), rtol=1e-13, atol=1e-13)
    assert out is None or found is out
    assert all(found is not term for term in terms) or place is not None
    np.testing.assert_array_equal(terms[1:-1], kept[1:-1])


def test_parts_of_a_sum_in_pairs_are_sums_in_pairs(rng):
    terms = list(rng.normal(size=(8, 100)).astype(np.float32))
    whole = add_in_pairs(terms)
    for size in (2, 4):
        parts = [add_in_pairs(terms[i : i + size]) for i in range(0, 8, size)]
        np.testing.assert_array_equal(add_in_pairs(parts), whole)
    in_order = sum(terms[1:], terms[0])
    assert (whole != in_order).any()  # else the order would not matter here


def test_one_process_is_its_own_sum():
    array = np.array([1.0, 2.0])
    assert Communicator().sum_in_pairs(array) is array


@pytest.mark.parametrize("members", [1, 2, 4])
def test_members_sum_forward_and_backward(members, rng):
    xs = rng.normal(size=(members, 3))

    def job(i):
        group = world()
        assert (group.rank, group.size) == (i, members)
        return nnad.grad(lambda x: np.sum(all_reduce_sum(np.tanh(x)) ** 2))(xs[i])

    found = Lockstep(Communicator(), members).run([lambda i=i: job(i) for i in range(members)])
    total = np.tanh(xs).sum(axis=0)
    np.testing.assert_allclose(found, members * 2 * total * (1 - np.tanh(xs) ** 2), rtol=1e-12)
    assert world().size == 1


@pytest.mark.parametrize("bad", [0, 2])
def test_a_member_that_fails_ends_the_others(bad):
    before = threading.active_count()
    ended = []

    def job(i):
        if i == bad:
            raise ValueError(f"member {i}")
        try:
            world().sum(np.ones(2))
        finally:
            ended.append(i)

    with pytest.raises(ValueError, match=f"member {bad}"):
        Lockstep(Communicator(), 3).run([lambda i=i: job(i) for i in range(3)])
    assert sorted(ended) == sorted({0, 1, 2} - {bad})
    assert threading.active_count() == before


def test_an_interrupt_leaves_no_member_waiting(monkeypatch):
    before = threading.active_count()
    start = threading.Thread.start

    def interrupted(thread):
        if threading.active_count() > before + 1:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Lockstep(Communicator(), 4).run([lambda: world().sum(np.ones(2))] * 4)
    assert threading.active_count() == before


def test_members_sum_arrays_without_axes():
    found = Lockstep(Communicator(), 4).run([lambda: world().sum(np.array(1.5))] * 4)
    assert [(float(total), total.shape) for total in found] == [(6.0, ())] * 4


def test_members_that_need_different_sums_are_told():
    def job(i):
        for _ in range(i):
            world().sum(np.ones(1))

    with pytest.raises(NnadError, match="do not all need the same sums"):
        Lockstep(Communicator(), 2).run([lambda i=i: job(i) for i in range(2)])


@pytest.mark.parametrize("blocks", [0, 3, 6])
def test_blocks_are_a_power_of_two(blocks, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"distributed: {{blocks: {blocks}}}\n")
    with pytest.raises(ConfigError, match=r"a.yaml:1: distributed.blocks"):
        load_config(path, [])


def test_no_block_of_a_batch_is_empty(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data: {name: iris, batch_size: 6}\nmodel: [Linear]\nloss: mse\n")
    load_config(path, ["distributed.blocks=4"])
    with pytest.raises(ConfigError, match=r"distributed.blocks: 8 blocks for batches of 6 rows"):
        load_config(path, ["distributed.blocks=8"])


def test_processes_divide_the_blocks(tmp_path):
    class Three(Communicator):
        size = 3

    path = tmp_path / "a.yaml"
    path.write_text("data: {name: iris}\nmodel: [Linear]\nloss: mse\ndistributed: {blocks: 4}\n")
    with pytest.raises(
        ConfigError, match=r"a.yaml:4: .*4 blocks .* to 3 processes; start one of 1, 2, 4, or set"
    ):
        require_even_blocks(load_config(path, []), Three())
    group = Three()
    config = load_config(path, ["distributed.blocks=1"])
    require_even_blocks(config, group)
    assert kind_of_trainer(config, group).func is GroupTrainer
    assert kind_of_trainer(config, Communicator()) is Trainer
    assert {threads_of(config, g) for g in (group, Communicator())} == {1}
    with pytest.raises(ValueError, match="power of two that the 3 processes divide, got 4"):
        script.job(BlockTrainer, False, False, communicator=Three(), blocks=4)


@pytest.mark.parametrize(
    ("processes", "cores", "setting", "threads"),
    [
        (4, 12, "distributed.blocks=null", 3),
        (4, 3, "distributed.blocks=null", 1),
        (1, 12, "distributed.blocks=null", "auto"),
        (1, 12, "distributed.blocks=2", 6),
        (4, 12, "distributed.blocks=1", 1),
        (4, 12, "trainer.threads=2", 2),
    ],
)
def test_cores_that_may_be_used_are_shared_out(tmp_path, processes, cores, setting, threads):
    class Group(Communicator):
        local_size = processes
        local_cores = cores

    path = tmp_path / "a.yaml"
    path.write_text("data: {name: iris}\nmodel: [Linear]\nloss: mse\n")
    assert threads_of(load_config(path, [setting]), Group()) == threads
