"""What holds for every optimizer: flat vectors, skipped parameters, groups, resuming, errors."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnad import Tensor, optimizers
from nnad.layers import Module, Parameter
from nnad.optimizers import Optimizer

NAMES = sorted(
    name
    for name, item in vars(optimizers).items()
    if inspect.isclass(item) and issubclass(item, Optimizer) and item is not Optimizer
)
STEPWISE = [name for name in NAMES if name != "LBFGS"]
# Settings that switch on every slot an optimizer has.
SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adam": {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.1, "momentum": 0.9, "centered": True, "weight_decay": 0.1},
    "LBFGS": {"lr": 0.5, "max_iter": 2, "line_search_fn": "strong_wolfe"},
}


class Net(Module):
    """Parameters in a matrix, a vector and another matrix, in this order."""

    def __init__(self, seed: int = 0, dtype: Any = np.float64) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.weight = Parameter(rng.normal(size=(3, 4)).astype(dtype))
        self.bias = Parameter(rng.normal(size=4).astype(dtype))
        self.out = Parameter(rng.normal(size=(4, 2)).astype(dtype))

    def forward(self, x: Any) -> Any:
        return np.tanh(x @ self.weight + self.bias) @ self.out


def make(name: str, params: Any, **more: Any) -> Optimizer:
    return getattr(optimizers, name)(params, **{**SETTINGS.get(name, {}), **more})


def batch(step: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(step).normal(size=(5, 3)).astype(dtype)


def train(net: Net, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        x = batch(step, net.weight.dtype)

        def closure(x: np.ndarray = x) -> Tensor:
            optimizer.zero_grad()
            loss = ((net(x) - 1.0) ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)


def values(net: Net) -> np.ndarray:
    return np.concatenate([p.data.ravel() for p in net.parameters()])


@pytest.mark.parametrize("name", STEPWISE)
def test_the_size_of_blocks_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for size in (1000, 7):  # of 24 numbers
        monkeypatch.setattr("nnad.optimizers.flat.BLOCK", size)
        net = Net()
        optimizer = make(name, net.parameters())
        train(net, optimizer, range(4))
        slots = optimizer.state_dict(copy=False)["state"].values()
        arrays = [array for slot in slots for array in slot.values()]
        states.append([*net.state_dict().values(), *arrays])
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_averages_in_blocks_are_those_of_each_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnad.optimizers.averages.BLOCK", 7)
    net = Net()
    net.flatten()
    start = [p.data.copy() for p in net.parameters()]
    ema = optimizers.EMA(net.parameters(), decay=0.75)
    for p in net.parameters():
        p.data[...] += 1.0
    ema.update()
    for average, before in zip(ema.averages, start, strict=True):
        np.testing.assert_allclose(average, before + 0.25, rtol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_resumes_to_the_last_bit(name: str) -> None:
    straight = Net()
    optimizer = make(name, straight.parameters())
    train(straight, optimizer, range(6))

    first = Net()
    before = make(name, first.parameters())
    train(first, before, range(3))
    state = copy.deepcopy(before.state_dict())
    train(first, before, range(3, 4))  # what was saved does not change any more

    resumed = Net()
    train(resumed, make(name, resumed.parameters()), range(3))
    after = make(name, resumed.parameters(), lr=123.0)
    after.load_state_dict(state)
    train(resumed, after, range(3, 6))
    np.testing.assert_array_equal(values(resumed), values(straight))
    assert after.lr == optimizer.lr


@pytest.mark.parametrize("name", NAMES)
def test_state_is_arrays_and_plain_numbers(name: str) -> None:
    net = Net()
    optimizer = make(name, net.parameters())
    train(net, optimizer, range(2))

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            assert all(isinstance(key, str) for key in node)
            return {key: plain(item) for key, item in node.items()}
        if isinstance(node, list):
            return [plain(item) for item in node]
        if isinstance(node, np.ndarray):
            return node.tolist()
        assert node is None or type(node) in (int, float, str, bool)
        return node

    state = plain(optimizer.state_dict())
    assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize("name", STEPWISE)
def test_flat_and_single_parameters_take_the_same_steps(name: str) -> None:
    together, apart = Net(), Net()
    together.flatten()
    one = make(name, together.parameters())
    several = [make(name, [p]) for p in apart.parameters()]
    for step in range(4):
        x = batch(step)
        for net in (together, apart):
            for p in net.parameters():
                p.grad = None
            ((net(x) - 1.0) ** 2).sum().backward()
        one.step()
        for optimizer in several:
            optimizer.step()
    np.testing.assert_allclose(values(together), values(apart), rtol=1e-13)


@pytest.mark.parametrize("name", STEPWISE)
def test_one_call_of_the_kernel_updates_a_flat_model(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net()
    optimizer = make(name, net.parameters())
    kernel, calls = optimizer.kernel, []
    monkeypatch.setattr(optimizer, "kernel", lambda group: counted(kernel(group), calls))
    train(net, optimizer, range(1))
    assert len(calls) == (3 if optimizer.per_parameter else 1)
    assert np.shares_memory(net.weight.data, net.out.data) is False
    assert net.weight.data.base is net.out.data.base


def counted(kernel: Callable[..., None], calls: list[int]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        calls.append(1)
        kernel(*args)

    return call


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_left_as_it_is(name: str, rng: np.random.Generator) -> None:
    params = [Tensor(rng.normal(size=s), requires_grad=True) for s in [(2, 3), (4,), ()]]
    own = [rng.normal(size=p.shape) for p in params]
    before = [g.copy() for g in own]
    for p, g in zip(params, own, strict=True):
        p.grad = g
    optimizer = make(name, params) if name == "LBFGS" else make(name, params, maximize=True)
    for _ in range(3):
        optimizer.step(lambda: 1.0 if name == "LBFGS" else None)
    for p, g, expected in zip(params, own, before, strict=True):
        np.testing.assert_array_equal(g, expected)
        np.testing.assert_array_equal(p.grad, expected)


@pytest.mark.parametrize("name", STEPWISE)
def test_parameters_without_gradient_are_skipped(name: str, rng: np.random.Generator) -> None:
    """The middle one of three gets a gradient at every second step only, as if it were alone."""
    start = [rng.normal(size=(2, 2)), rng.normal(size=3), rng.normal(size=(2, 1))]
    params = [Tensor(a.copy(), requires_grad=True) for a in start]
    alone = Tensor(start[1].copy(), requires_grad=True)
    optimizer, other = make(name, params), make(name, [alone])
    for step in range(6):
        for p in params:
            p.grad = rng.normal(size=p.shape)
        if step % 2:
            params[1].grad = None
            held = params[1].data.copy()
        else:
            alone.grad = params[1].grad.copy()
            other.step()
        optimizer.step()
        if step % 2:
            np.testing.assert_array_equal(params[1].data, held)
    np.testing.assert_allclose(params[1].data, alone.data, rtol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32_without_new_arrays(name: str) -> None:
    net, exact = Net(dtype=np.float32), Net()
    for p, q in zip(net.parameters(), exact.parameters(), strict=True):
        q.data = p.data
    optimizer = make(name, net.parameters())
    buffers = [p.data for p in net.parameters()]
    train(net, optimizer, range(3))
    train(exact, make(name, exact.parameters()), range(3))
    assert all(a is p.data for a, p in zip(buffers, net.parameters(), strict=True))
    for entry in optimizer.state_dict()["state"].values():
        assert all(a.dtype == np.float32 for k, a in entry.items() if k != "step")
    np.testing.assert_allclose(values(net), values(exact), rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("name", STEPWISE)
def test_parameters_that_move_are_followed(name: str) -> None:
    """The optimizer is made first, then the model is flattened, or a Tensor gets new data."""
    straight, moved = Net(), Net()
    train(straight, make(name, straight.parameters()), range(4))
    optimizer = make(name, list(moved.parameters())[::-1])
    train(moved, optimizer, range(2))
    moved.flatten()
    train(moved, optimizer, range(2, 4))
    np.testing.assert_allclose(values(moved), values(straight), rtol=1e-13)
    t = Tensor(np.ones((2, 2)), requires_grad=True)
    optimizer = make(name, [t])
    t.data = np.full((2, 2), 5.0)
    t.grad = np.ones((2, 2))
    optimizer.step()
    assert np.all(np.abs(t.data - 5.0) < 2.0)
    assert np.all(t.data != 5.0)


def test_a_frozen_parameter_keeps_its_value_and_the_others_learn() -> None:
    net, optimizer_of = Net(), {}
    net.bias.requires_grad = False
    optimizer_of["all"] = make("Adam", net.parameters())
    before = net.bias.data.copy(), net.weight.data.copy()
    train(net, optimizer_of["all"], range(2))
    np.testing.assert_array_equal(net.bias.data, before[0])
    assert np.all(net.weight.data != before[1])
    net.bias.requires_grad = True
    train(net, optimizer_of["all"], range(2))
    assert np.all(net.bias.data != before[0])


@pytest.mark.parametrize("name", STEPWISE)
def test_groups_have_their_own_hyper_parameters(name: str, rng: np.random.Generator) -> None:
    start = [rng.normal(size=(2, 2)), rng.normal(size=(2, 3))]
    gradients = [rng.normal(size=a.shape) for a in start]
    params = [Tensor(a.copy(), requires_grad=True) for a in start]
    single = [Tensor(a.copy(), requires_grad=True) for a in start]
    grouped = make(name, [{"params": params[0], "lr": 0.02}, {"params": params[1:]}], lr=0.01)
    pair = [make(name, [single[0]], lr=0.02), make(name, [single[1]], lr=0.01)]
    for p, q, g in zip(params, single, gradients, strict=True):
        p.grad, q.grad = g, g.copy()
    grouped.step()
    grouped.lr = grouped.lr * 0.5
    grouped.step()
    assert [group["lr"] for group in grouped.param_groups] == [0.01, 0.005]
    for optimizer in pair:
        optimizer.step()
        optimizer.lr *= 0.5
        optimizer.step()
    for p, q in zip(params, single, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_rate_of_zero_between_does_not_lose_the_ratio_of_groups() -> None:
    a, b = (Tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optimizers.SGD([{"params": [a], "lr": 0.2}, {"params": [b]}], lr=0.1)
    for rate in (0.0, 0.3):
        optimizer.lr = rate
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.6, 0.3])


def test_hyper_parameters_of_a_group_are_read_at_each_step() -> None:
    t = Tensor([1.0], requires_grad=True)
    optimizer = optimizers.SGD([t], lr=0.5)
    t.grad = np.array([1.0])
    optimizer.param_groups[0]["weight_decay"] = 1.0
    optimizer.step()
    assert t.data[0] == 0.0


def test_zero_grad_forgets_and_the_loss_of_a_closure_comes_back() -> None:
    t = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = optimizers.SGD([t])
    assert optimizer.step(lambda: 3.0) == 3.0
    assert optimizer.step() is None
    (t * t).sum().backward()
    assert t.grad is not None
    optimizer.zero_grad()
    assert t.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_finds_a_minimum(name: str) -> None:
    rates = {"SGD": 0.01, "Adadelta": 100.0, "Adagrad": 1.0, "LBFGS": 1.0, "Rprop": 0.1}
    t = Tensor([[3.0, -2.0], [1.0, 4.0]], requires_grad=True)
    optimizer = getattr(optimizers, name)([t], lr=rates.get(name, 0.05))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ((t - np.array([[1.0, 2.0], [-1.0, 0.5]])) ** 2 * np.array([1.0, 4.0])).sum()
        loss.backward()
        return loss

    first = float(closure().data)
    for step in range(400):
        if step == 300:
            optimizer.lr *= 0.1
        optimizer.step(closure)
    assert float(closure().data) < first / 100


class Dimension(Module):
    """One parameter, to be updated by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(np.ones((2, 2)))
        self.bias = Parameter(np.ones(2))


def test_decay_groups_leave_out_vectors_or_names() -> None:
    net = Dimension()
    groups = optimizers.decay_groups(net.named_parameters(), 0.1)
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (1, 0.0)]
    groups = optimizers.decay_groups(net.named_parameters(), 0.1, exclude=["weig*"])
    assert groups[0]["params"][0] is net.bias
    optimizer = optimizers.AdamW(groups, lr=0.5)
    for p in net.parameters():
        p.grad = np.zeros(p.shape)
    optimizer.step()
    np.testing.assert_allclose(net.bias.data, 0.95)
    np.testing.assert_allclose(net.weight.data, 1.0)


def test_groups_by_pattern() -> None:
    net = Dimension()
    groups = optimizers.groups_by_pattern(net.named_parameters(), {"bias": {"lr": 1.0}})
    assert [g.get("lr") for g in groups] == [1.0, None]
    with pytest.raises(ValueError, match=r"'biass'; the parameters are weight, bias"):
        optimizers.groups_by_pattern(net.named_parameters(), {"biass": {"lr": 1.0}})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: optimizers.Adam([]), ValueError, "got no parameters"),
        (lambda t: optimizers.Adam(t), TypeError, "put a single one in a list"),
        (lambda t: optimizers.Adam(Dimension()), TypeError, r"pass model.parameters\(\)"),
        (lambda t: optimizers.Adam([t, t]), ValueError, "given twice"),
        (lambda t: optimizers.Adam([t * 2]), ValueError, "the result of an operation"),
        (lambda t: optimizers.Adam([np.ones(3)]), TypeError, "parameter 0 is a ndarray"),
        (lambda t: optimizers.Adam([Tensor([1, 2])]), TypeError, "dtype int64"),
        (lambda t: optimizers.Adam([Tensor([1j])]), TypeError, "real and imaginary"),
        (lambda t: optimizers.Adam([t], lr=-1.0), ValueError, "lr must be at least 0, got -1"),
        (lambda t: optimizers.Adam([t], lr=float("nan")), ValueError, "lr must be at least 0"),
        (lambda t: optimizers.Adam([t], betas=(0.9, 1.0)), ValueError, "betas .* below 1"),
        (lambda t: optimizers.Adam([{"params": [t], "beta": 1}]), ValueError, "parameter beta;"),
        (lambda t: optimizers.Adam([{"lr": 1.0}]), ValueError, "no key 'params'"),
        (lambda t: optimizers.SGD([t], nesterov=True), ValueError, "needs momentum above 0"),
        (lambda t: optimizers.Rprop([t], etas=(1.2, 0.5)), ValueError, r"etas\[0\] < 1"),
        (lambda t: optimizers.Adafactor([t], d=0.5), ValueError, "d must be at least 1"),
        (lambda t: optimizers.Adafactor([t], beta2_decay=1.0), ValueError, "at most 0"),
        (lambda t: optimizers.Muon([t], adjust_lr_fn="x"), ValueError, "adjust_lr_fn"),
        (lambda t: optimizers.LBFGS([t], line_search_fn="x"), ValueError, "line_search_fn"),
        (lambda t: optimizers.LBFGS([t]).step(), TypeError, "needs a closure"),
        (lambda t: optimizers.LBFGS([{"params": t}, {"params": Tensor([1.0])}]), ValueError, "one"),
        (lambda t: optimizers.LBFGS([{"params": t, "maximize": True}]), ValueError, "maximize"),
        (lambda t: optimizers.EMA([t], decay=1.5), ValueError, "decay must be from 0 to 1"),
        (lambda t: optimizers.clip_grad_norm([t], -1.0), ValueError, "max_norm"),
        (lambda t: optimizers.clip_grad_value([t], -1.0), ValueError, "limit"),
    ],
)
def test_wrong_arguments(call: Callable[[Tensor], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(Tensor([1.0, 2.0], requires_grad=True))


def test_state_of_something_else_is_refused() -> None:
    a, b = Tensor([1.0], requires_grad=True), Tensor([1.0, 2.0], requires_grad=True)
    adam = optimizers.Adam([a])
    with pytest.raises(ValueError, match="hyper-parameters"):
        adam.load_state_dict(optimizers.SGD([a]).state_dict())
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \(1,\)"):
        adam.load_state_dict(optimizers.Adam([b]).state_dict())
    with pytest.raises(ValueError, match=r"groups of \[2\]"):
        adam.load_state_dict(optimizers.Adam([a, b]).state_dict())
    with pytest.raises(ValueError, match="needs the state"):
        adam.load_state_dict(optimizers.Adam([a], amsgrad=True).state_dict())
    t = Tensor(np.ones((2, 2)), requires_grad=True)
    optimizer = optimizers.SGD([t])
    t.node.grad = np.ones(4)  # as no assignment to .grad allows
    with pytest.raises(ValueError, match=r"gradient has shape \(4,\)"):
        optimizer.step()


def test_averages_follow_the_parameters(rng: np.random.Generator) -> None:
    net = Net()
    ema = optimizers.EMA(net.parameters(), decay=0.8)
    expected = values(net)
    for step in range(5):
        if step == 3:
            net.flatten()
        for p in net.parameters():
            p.data = rng.normal(size=p.shape)
        ema.update()
        expected = 0.8 * expected + 0.2 * values(net)
    own = values(net)
    np.testing.assert_allclose(np.concatenate([a.ravel() for a in ema.averages]), expected)
    with ema.applied():
        np.testing.assert_allclose(values(net), expected)
    np.testing.assert_array_equal(values(net), own)
    other = optimizers.EMA(Net(seed=1).parameters(), decay=0.8)
    other.load_state_dict(ema.state_dict())
    np.testing.assert_array_equal(other.averages[2], ema.averages[2])
    assert other.updates == 5
    with pytest.raises(ValueError, match="shapes"):
        optimizers.EMA([Tensor([1.0])]).load_state_dict(ema.state_dict())


def test_averages_with_warm_up_forget_the_start() -> None:
    p = Tensor([0.0])
    ema = optimizers.EMA([p], decay=0.9, warmup=True)
    p.data[...] = 1.0
    ema.update()
    np.testing.assert_allclose(ema.averages[0], 1 - 2 / 11)
