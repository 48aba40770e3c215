"""An optimizer whose work several processes divide: the same bits as one that does it all."""

from itertools import pairwise

import numpy as np
import pytest

from nnad import optimizers
from nnad.distributed import share_of
from nnad.layers import Linear, Sequential, Tanh
from nnad.optimizers.flat import STEPS_BETWEEN_SWEEPS
from tests.optimizers.test_trajectories import CASES

RANKS = 3
STEPS = 5


class Stretches:
    """One of several stand-ins for processes: equal stretches, and vectors that all see."""

    def __init__(self, rank, memory):
        self.rank = rank
        self.memory = memory
        self.asked = 0

    def part(self, flat, rank):
        return share_of(flat.size, rank, RANKS)

    def vectors(self, size, dtype):
        if self.asked == len(self.memory):
            self.memory.append([np.zeros(size, dtype) for _ in range(RANKS)])
        self.asked += 1
        return self.memory[self.asked - 1]


def network():
    rng = np.random.default_rng(0)
    model = Sequential(Linear(5, 4, rng=rng), Tanh(), Linear(4, 3, rng=rng), Linear(3, 2, rng=rng))
    model.flatten()
    return model


def groups(model):
    first, *rest = model.parameters()
    return [{"params": [first], "lr": 0.02}, {"params": rest}]


def flat(model):
    (buffer,) = model.flatten().values()
    return buffer


def set_gradient(model, step):
    """A gradient, which the third parameter does not have in the second step."""
    rng = np.random.default_rng(step)
    for i, p in enumerate(model.parameters()):
        gradient = rng.normal(size=p.shape).astype(np.float32)
        p.grad = None if (i, step) == (2, 1) else gradient


def saved(optimizer):
    state = optimizer.state_dict(copy=True)["state"]
    return [np.asarray(value) for slots in state.values() for value in slots.values()]


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, case) for name, cases in CASES.items() for case in cases]
)
def test_stretches_make_up_the_whole(name, arguments):
    kind = getattr(optimizers, name)
    optimizer = kind(network().parameters(), **arguments)
    if not optimizer.divisible:
        with pytest.raises(ValueError, match=f"{name} needs whole parameters"):
            optimizer.divide(Stretches(0, []))
        return
    alone = network()
    whole = kind(groups(alone), **arguments)
    models = [network() for _ in range(RANKS)]
    parts = [kind(groups(model), **arguments) for model in models]
    memory = []
    for rank, optimizer in enumerate(parts):
        optimizer.divide(Stretches(rank, memory))
    for step in range(STEPS):
        for model, optimizer in zip([alone, *models], [whole, *parts], strict=True):
            set_gradient(model, step)
            before = flat(model).data.copy()
            optimizer.step()
            if optimizer is not whole:
                changed = (flat(model).data != before).mean()
                assert changed < 0.5
        exchange(models)
        np.testing.assert_array_equal(flat(models[1]).data, flat(alone).data)
    for one, other in zip(saved(parts[2]), saved(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def exchange(models):
    """Give every model the stretches that the others have updated: per group, as they lie."""
    edges = np.cumsum([0, 20, flat(models[0]).data.size - 20])
    for begin, end in pairwise(edges):
        for rank, model in enumerate(models):
            mine = flat(model).data[begin:end]
            for other in range(RANKS):
                if other != rank:
                    part = share_of(end - begin, other, RANKS)
                    mine[part] = flat(models[other]).data[begin:end][part]


def test_a_state_is_taken_up_by_other_stretches():
    memory, model = [], network()
    optimizer = optimizers.Adam(model.parameters())
    set_gradient(model, 0)
    optimizer.step()
    before = saved(optimizer)
    optimizer.divide(Stretches(1, memory))
    for by_rank in memory:
        for vector in by_rank:
            vector[...] = by_rank[1]
    for one, other in zip(saved(optimizer), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_stretches_are_swept_as_the_whole_is():
    """What fades to nothing in one process does so in several, at the same step."""
    models = [network() for _ in range(RANKS + 1)]
    whole, *parts = [optimizers.Lion(model.parameters(), lr=0.0) for model in models]
    memory = []
    for rank, optimizer in enumerate(parts):
        optimizer.divide(Stretches(rank, memory))
    for step in range(4 * STEPS_BETWEEN_SWEEPS):
        for model, optimizer in zip(models, [whole, *parts], strict=True):
            for p in model.parameters():
                p.grad = np.full(p.shape, 1e-36 if step == 0 else 0.0)
            optimizer.step()
    for one, other in zip(saved(parts[0]), saved(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(not slot.any() for slot in saved(whole)[1::2])
