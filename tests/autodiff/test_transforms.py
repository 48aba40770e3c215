"""The transforms: nesting in any mix, containers, Jacobians, what escapes and what does not."""

import collections
import dataclasses
import gc
import itertools
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import state
from nnad.autodiff.transforms import Linearization

X = np.arange(12.0).reshape(4, 3)


def f(x):
    return np.sin(x) * x**3


def derivative(order: int, x: float) -> float:
    """d^n/dx^n of sin(x) x^3 by Leibniz's rule."""
    cubic = [x**3, 3 * x**2, 6 * x, 6.0]
    choose = [1.0]
    for k in range(order):
        choose.append(choose[-1] * (order - k) / (k + 1))
    sines = [np.sin(x + (order - k) * np.pi / 2) for k in range(order + 1)]
    return sum(choose[k] * cubic[k] * sines[k] for k in range(min(3, order) + 1))


def reverse(g):
    return nnad.grad(g)


def forward(g):
    return lambda x: nnad.jvp(g, (x,), (np.float64(1.0),))[1]


def by_vjp(g):
    return lambda x: nnad.vjp(g, x)[1](np.float64(1.0))[0]


def by_jacobian(g):
    return nnad.jacobian(g)


MODES = (reverse, forward, by_vjp, by_jacobian)


@pytest.mark.parametrize("modes", list(itertools.product(MODES, repeat=3)))
def test_any_mix_of_modes_nests(modes):
    g = f
    for mode in modes:
        g = mode(g)
    assert float(g(0.7)) == pytest.approx(derivative(3, 0.7), rel=1e-12)


def test_five_fold_nesting():
    g = f
    for _ in range(5):
        g = nnad.grad(g)
    assert float(g(0.7)) == pytest.approx(derivative(5, 0.7), rel=1e-12)


@pytest.mark.parametrize("outer", [reverse, forward])
@pytest.mark.parametrize("inner", [reverse, forward])
def test_no_perturbation_confusion(outer, inner):
    """d/dx (x * d/dy (x + y) at y = 1) is 1, and d/dx (x * d/dy (x y)) is 2 x."""
    assert float(outer(lambda x: x * inner(lambda y: x + y)(1.0))(3.0)) == 1.0
    assert float(outer(lambda x: x * inner(lambda y: x * y)(1.0))(3.0)) == 6.0
    assert float(outer(lambda x: inner(lambda y: x * y**2)(x))(3.0)) == 12.0


def test_an_inner_transform_of_the_outer_variable_alone_is_a_constant_there():
    assert float(nnad.grad(lambda x: x * nnad.grad(np.sin)(2.0))(3.0)) == np.cos(2.0)


@pytest.mark.parametrize("inner", [nnad.grad, nnad.hessian, nnad.jacobian, forward, by_vjp])
def test_results_are_plain_however_transforms_nest(inner):
    def by_w(w):
        return np.sum(inner(lambda x: np.tanh(w * x))(np.float64(1.5)))

    for result in (
        nnad.grad(by_w)(2.0),
        nnad.jvp(by_w, (2.0,), (1.0,))[1],
        nnad.hessian(by_w)(2.0),
    ):
        assert isinstance(result, (np.ndarray, np.generic))
    step = 1e-6
    slope = (by_w(2.0 + step) - by_w(2.0 - step)) / (2 * step)
    assert float(nnad.grad(by_w)(2.0)) == pytest.approx(float(slope), rel=1e-6)


def test_what_parameters_take_part_in_is_followed_except_under_no_grad():
    w = nnad.Tensor(np.array([1.0, 2.0]), requires_grad=True)

    def penalty():
        return np.sum(nnad.grad(lambda x: np.sum(w * x**2))(np.ones(2)) ** 2)

    penalty().backward()
    np.testing.assert_array_equal(w.grad, 8 * w.data)  # d/dw sum (2 w x)**2 at x = 1
    with nnad.no_grad():
        assert isinstance(nnad.grad(lambda x: np.sum(w * x**2))(np.ones(2)), np.ndarray)


def test_complex_results_of_real_arguments_have_a_whole_jacobian():
    x = np.array([1.0, 2.0])
    jacobian = nnad.jacobian(lambda x: np.exp(1j * x))(x)
    np.testing.assert_allclose(jacobian, np.diag(1j * np.exp(1j * x)))


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Layer:
    weight: Any
    name: str = dataclasses.field(default="layer", init=False)
    bias: Any = 0.0


def test_containers_of_every_kind_nest():
    tree = {
        "list": [np.array([1.0, 2.0]), 3.0],
        "point": Point(np.float32(0.5), (np.array([[2.0]]),)),
        "layer": Layer(np.array([1.0, -1.0]), 2.0),
        "ordered": collections.OrderedDict(b=1.0, a=np.float64(2.0)),
        "nothing": [],
    }

    def loss(t):
        a, b = t["list"]
        return (
            np.sum(a * t["layer"].weight) * b
            + t["point"].x * np.sum(t["point"].y[0])
            + t["layer"].bias ** 2
            + t["ordered"]["a"] * t["ordered"]["b"]
        )

    g = nnad.grad(loss)(tree)
    np.testing.assert_array_equal(g["list"][0], [3.0, -3.0])
    assert g["list"][1] == -1.0
    assert type(g["point"]) is Point
    assert (g["point"].x, g["point"].x.dtype) == (2.0, np.float32)
    np.testing.assert_array_equal(g["point"].y[0], [[0.5]])
    assert type(g["layer"]) is Layer
    assert (g["layer"].bias, g["layer"].name) == (4.0, "layer")
    assert type(g["ordered"]) is collections.OrderedDict
    assert list(g["ordered"].items()) == [("b", 2.0), ("a", 1.0)]
    assert g["nothing"] == []


def test_jacobians_of_containers_keep_both_structures():
    def g(t):
        return {"sum": t["a"] + t["b"], "product": (np.outer(t["a"], t["b"]),)}

    t = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}
    for mode in ("reverse", "forward", "auto"):
        jacobian = nnad.jacobian(g, mode=mode)(t)
        np.testing.assert_array_equal(jacobian["sum"]["a"], np.eye(2))
        got = jacobian["product"][0]["a"]
        np.testing.assert_array_equal(got, np.einsum("ik,j->ijk", np.eye(2), t["b"]))


def several(x, w):
    y = np.tanh(x @ w)
    return np.concatenate([y.ravel()[::2], np.max(y, axis=0), np.sort(x, axis=None)[:2]])


@pytest.mark.parametrize("mode", ["reverse", "forward", "auto"])
def test_jacobian_is_the_stack_of_pullbacks(mode, rng):
    x, w = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    got = nnad.jacobian(several, (0, 1), mode=mode)(x, w)
    out, pullback = nnad.vjp(several, x, w)
    rows = [pullback(row) for row in np.eye(out.size)]
    for block, column in zip(got, zip(*rows, strict=True), strict=True):
        np.testing.assert_allclose(block, np.stack(column), rtol=1e-13, atol=1e-13)


def test_a_jacobian_runs_rules_once_not_once_per_row():
    calls = []

    @nnad.primitive
    def cube(x):
        return x**3

    def rule(ans, x):
        return lambda g: calls.append(1) or g * 3 * x**2

    nnad.defvjp(cube, rule)
    x = np.arange(50.0)
    jacobian = nnad.jacobian(lambda x: cube(2 * x))(x)
    np.testing.assert_allclose(jacobian, np.diag(24 * x**2))
    assert len(calls) == 1


def test_jacobians_in_parts_are_whole(monkeypatch, rng):
    a, x = rng.normal(size=(7, 5)), rng.normal(size=5)
    monkeypatch.setattr("nnad.autodiff.transforms.ELEMENTS_AT_ONCE", 15)
    for mode in ("reverse", "forward"):
        got = nnad.jacobian(lambda x: a @ np.sin(x), mode=mode)(x)
        np.testing.assert_allclose(got, a * np.cos(x), rtol=1e-14)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_jacobians_of_nothing_constants_and_the_identity(mode):
    x = np.array([1.0, 2.0])
    assert nnad.jacobian(lambda x: x[:0], mode=mode)(x).shape == (0, 2)
    assert nnad.jacobian(np.sin, mode=mode)(np.zeros(0)).shape == (0, 0)
    np.testing.assert_array_equal(nnad.jacobian(lambda x: x, mode=mode)(x), np.eye(2))
    np.testing.assert_array_equal(
        nnad.jacobian(lambda x: np.ones(3), mode=mode)(x), np.zeros((3, 2))
    )
    assert nnad.jacobian(lambda x: 2 * x, mode=mode)(np.float32(1)).dtype == np.float32


def test_hessian_and_hvp_agree_with_the_closed_form(rng):
    a, x, v = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)

    def g(x):
        return np.sum(np.exp(a @ x))

    want = a.T @ np.diag(np.exp(a @ x)) @ a
    np.testing.assert_allclose(nnad.hessian(g)(x), want, rtol=1e-12)
    (got,) = nnad.hvp(g, (x,), (v,))
    np.testing.assert_allclose(got, want @ v, rtol=1e-12)


def test_hessian_blocks_of_several_arguments():
    blocks = nnad.hessian(lambda x, y: np.sum(x**2 * y), (0, 1))(np.ones(2), np.array([2.0, 3.0]))
    np.testing.assert_array_equal(blocks[0][0], np.diag([4.0, 6.0]))
    np.testing.assert_array_equal(blocks[0][1], np.diag([2.0, 2.0]))
    np.testing.assert_array_equal(blocks[1][1], np.zeros((2, 2)))


def test_custom_operations_nest_like_built_in_ones():
    @nnad.primitive
    def scaled(x, y, *, factor):
        return factor * np.sin(x) * y

    nnad.defvjp(
        scaled,
        lambda ans, x, y, *, factor: lambda g: g * factor * np.cos(x) * y,
        lambda ans, x, y, *, factor: lambda g: g * factor * np.sin(x),
    )
    x, y = np.array([0.3, -1.0]), np.array([2.0, 0.5])
    nnad.check_grads(lambda x, y: scaled(x, y, factor=3.0), x, y, order=3)
    nnad.defjvp(
        scaled,
        lambda g, ans, x, y, *, factor: g * factor * np.cos(x) * y,
        lambda g, ans, x, y, *, factor: g * factor * np.sin(x),
    )
    nnad.check_grads(lambda x, y: scaled(x, y, factor=3.0), x, y, order=3)
    assert isinstance(scaled(x, y, factor=1.0), np.ndarray)


def test_aux_is_handed_through_and_followed_by_an_enclosing_transform():
    def g(x, w):
        return x**2, {"twice": 2 * x * w, "text": "kept"}

    gradient, aux = nnad.grad(g, has_aux=True)(3.0, 5.0)
    assert (gradient, aux["twice"], aux["text"]) == (6.0, 30.0, "kept")
    assert not isinstance(aux["twice"], nnad.Tensor)
    (value, aux), gradient = nnad.value_and_grad(g, has_aux=True)(3.0, 5.0)
    assert (value, gradient) == (9.0, 6.0)
    outer = nnad.grad(lambda w: nnad.grad(g, has_aux=True)(3.0, w)[1]["twice"])
    assert outer(5.0) == 6.0


def test_results_belong_to_the_caller():
    x = np.arange(3.0)
    gradient = nnad.grad(np.sum)(x)
    gradient += 1  # not a view of anything that is shared
    np.testing.assert_array_equal(nnad.grad(np.sum)(x), np.ones(3))
    (first,) = nnad.vjp(lambda x: x, x)[1](seed := np.ones(3))
    first += 5
    np.testing.assert_array_equal(seed, np.ones(3))


# Checkpoints


def chain(x, layers: int):
    for _ in range(layers):
        x = np.sin(x) + x
    return x


def peak(function, *args) -> int:
    """Bytes at the height of a call."""
    gc.collect()
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_checkpoints_of_a_long_chain_need_the_root_of_its_memory():
    layers, root = 10_000, 100
    block = nnad.checkpoint(lambda x: chain(x, root))

    def blocks(x):
        for _ in range(layers // root):
            x = block(x)
        return np.sum(x)

    x = np.linspace(0.1, 0.2, 500)
    bytes_used = peak(nnad.grad(blocks), x)
    # Inputs of all blocks, and one block's two operations a layer with what a node takes.
    assert bytes_used < (root + 2 * root) * (x.nbytes + 2000)
    short = 1000
    np.testing.assert_array_equal(
        nnad.grad(lambda x: np.sum(nnad.checkpoint(lambda x: chain(x, short))(x)))(x),
        nnad.grad(lambda x: np.sum(chain(x, short)))(x),
    )


def test_checkpoints_follow_closures_and_nest_with_every_transform(rng):
    w, x = rng.normal(size=(3, 3)), rng.normal(size=3)

    def loss(w, wrap):
        layer = wrap(lambda x: {"y": np.tanh(w @ x), "z": (np.sum(x),)})
        out = layer(np.sin(x))
        out = layer(out["y"])
        return np.sum(out["y"] ** 2) + out["z"][0]

    plain = lambda w: loss(w, lambda f: f)  # noqa: E731
    saved = lambda w: loss(w, nnad.checkpoint)  # noqa: E731
    np.testing.assert_allclose(nnad.grad(saved)(w), nnad.grad(plain)(w), rtol=1e-13)
    np.testing.assert_allclose(nnad.hessian(saved)(w), nnad.hessian(plain)(w), rtol=1e-10)
    got, want = (nnad.jvp(g, (w,), (w,))[1] for g in (saved, plain))
    np.testing.assert_allclose(got, want, rtol=1e-13)


def test_checkpoint_without_inputs_of_its_own():
    w = nnad.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    nnad.checkpoint(lambda: np.sum(np.sin(w) * w))().backward()
    np.testing.assert_allclose(w.grad, np.cos(w.data) * w.data + np.sin(w.data))


def test_checkpoint_leaves_what_is_not_recorded_as_it_is():
    x = np.array([0.3, -1.2])
    w = nnad.Tensor(x, requires_grad=True)
    block = nnad.checkpoint(lambda v, u: {"v": np.tanh(v), "u": np.exp(u), "n": 3})
    plain = block(x, x)
    assert type(plain["v"]) is np.ndarray and type(plain["n"]) is int
    mixed = block(w, x)
    assert mixed["v"].requires_grad and type(mixed["u"]) is np.ndarray and mixed["n"] == 3
    np.sum(mixed["v"] * mixed["u"]).backward()
    np.testing.assert_allclose(w.grad, np.exp(x) / np.cosh(x) ** 2)


# Threads and state


def test_threads_do_not_disturb_each_other():
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            x = rng.normal(size=5)
            with nnad.no_grad():
                constant = np.tanh(nnad.Tensor(x, requires_grad=True))
            got = nnad.grad(lambda x: np.sum(np.sin(x) ** 2))(x)
            if constant.requires_grad or not np.allclose(got, 2 * np.sin(x) * np.cos(x)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_no_grad_restores_what_was_before_however_it_is_nested():
    switch = nnad.no_grad()
    with switch, switch:
        assert not state.recording
    assert state.recording

    @nnad.no_grad()
    def count(n):
        assert not state.recording
        return 0 if n == 0 else 1 + count(n - 1)

    assert count(3) == 3
    assert state.recording
    with pytest.raises(ZeroDivisionError), nnad.no_grad():
        1 / 0
    assert state.recording


# Costs


def test_iterating_and_stacking_cost_one_operation_however_many_the_parts():
    lin = Linearization(lambda x: np.sum(np.stack([r * r for r in x])), (X,), (0,), "test")
    names = [node.primitive.name for node in lin.graph.nodes if node.primitive]
    assert names == ["unstack", *["multiply"] * len(X), "stack", "sum"]
    np.testing.assert_array_equal(nnad.grad(lambda x: sum(r @ r for r in x))(X), 2 * X)


def test_one_value_used_very_often_and_a_very_long_chain():
    often = nnad.grad(lambda x: sum((x for _ in range(20_000)), 0.0))
    assert often(1.0) == 20_000

    def chain(x):
        for _ in range(20_000):
            x = x + 1.0
        return x

    assert nnad.grad(chain)(1.0) == 1.0
