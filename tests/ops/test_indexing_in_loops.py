"""Many reads of one array: their cotangents are added in place, and what is added stays right."""

import numpy as np
import pytest

import nnad
from nnad.autodiff.table import TABLE

KEYS = [
    2,
    -1,
    (1, 2),
    slice(1, 3),
    (slice(None), 0),
    (Ellipsis, None, 1),
    [0, 2, 2],
    ([0, 3, 3], [1, 1, 1]),
    (slice(None), [2, 2, 0]),
    np.array([True, False, True, True]),
    np.arange(12).reshape(4, 3) % 2 == 0,
]


def reads(x, weights):
    return sum(np.sum(w * x[key]) for w, key in zip(weights, KEYS, strict=True))


def weights_of(shape, rng):
    return [rng.normal(size=np.shape(np.empty(shape)[key])) for key in KEYS]


def expected(shape, weights):
    total = np.zeros(shape)
    for w, key in zip(weights, KEYS, strict=True):
        np.add.at(total, key, w)
    return total


@pytest.mark.parametrize(
    "around",
    [
        lambda x: x,
        lambda x: x * 1.0,
        lambda x: np.transpose(np.transpose(x) * 1.0),
        lambda x: x + np.zeros(3),
    ],
    ids=["leaf", "result", "in-another-order", "sum"],
)
def test_keys_of_every_kind_add_up(around, rng):
    x, weights = rng.normal(size=(4, 3)), weights_of((4, 3), rng)
    found = nnad.grad(lambda x: reads(around(x), weights))(x)
    np.testing.assert_allclose(found, expected((4, 3), weights), rtol=1e-12, atol=1e-14)


def test_a_cotangent_that_others_hold_is_left_alone(rng):
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))

    def f(x, y):
        first = x[0]
        both = x + y  # hands the same array down to x and to y
        return np.sum(both**2) + 3 * np.sum(first)

    dx, dy = nnad.grad(f, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(dy, 2 * (x + y), rtol=1e-14)
    np.testing.assert_allclose(dx, 2 * (x + y) + [[3.0], [0.0]], rtol=1e-14)


def test_the_seed_is_left_alone(rng):
    t = nnad.Tensor(rng.normal(size=(3, 2)), requires_grad=True)
    y = t * 1.0
    total = y[0] * 2.0
    seed = np.ones((3, 2))
    _, pullback = nnad.vjp(lambda x: (x * 1.0, (x * 1.0)[0]), t.data)
    pullback((seed, np.ones(2)))
    np.testing.assert_array_equal(seed, 1.0)
    total.backward(np.ones(2))
    np.testing.assert_array_equal(t.grad, [[2.0, 2.0], [0, 0], [0, 0]])


def test_dtypes_and_higher_derivatives(rng):
    x = rng.normal(size=(5, 2)).astype(np.float32)

    def f(x):
        return sum(np.sum(x[i] ** 3) for i in range(5))

    found = nnad.grad(f)(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 3 * x**2, rtol=1e-5)
    hessian = nnad.hessian(f)(x.astype(np.float64)).reshape(10, 10)
    np.testing.assert_allclose(hessian, np.diag(6 * x.reshape(-1)), rtol=1e-5)
    compiled = nnad.compile(nnad.grad(f), backend="numpy")
    for _ in range(2):
        np.testing.assert_array_equal(compiled(x), found)


def test_a_loop_makes_one_array_of_zeros(rng, monkeypatch):
    made = []
    scatter = TABLE["scatter"]
    forward = scatter.forward
    monkeypatch.setattr(
        scatter, "forward", lambda *args, **kw: made.append(1) or forward(*args, **kw)
    )
    x = rng.normal(size=(50, 3))

    def f(x):
        state = np.zeros(3)
        for t in range(50):
            state = np.tanh(state + x[t])
        return np.sum(state)

    nnad.grad(f)(x)
    assert len(made) == 1
    tensor = nnad.Tensor(x, requires_grad=True)
    f(tensor).backward()
    assert len(made) == 2
