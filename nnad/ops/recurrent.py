"""Recurrent layers over time, each one operation: the loop over time runs inside, in NumPy.

The part of the gates that comes from the input is computed before, for all times in one product.
All take it as `x` (batch, time, gates), the first state (batch, hidden), the weight of the state
(hidden, gates), its bias, and a mask (batch, time) or None: where it is False the state stays and
the output is 0.  They return the outputs (batch, time, hidden) and the last state.

Backward through time, only what depends on the gradient stands in the loop; the factors that depend
on the gates alone are computed for all times at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit
from nnad.ops.activations import sigmoid
from nnad.ops.elementwise import relu, tanh, where
from nnad.ops.linalg import matmul
from nnad.ops.places import FRESH, filled
from nnad.ops.reference import kernel, reference_jvp, with_reference

__all__ = ["gru_scan", "lstm_scan", "rnn_scan"]


def _times(x: Any, reverse: bool) -> Sequence[int]:
    return range(x.shape[1] - 1, -1, -1) if reverse else range(x.shape[1])


def _blend(mask: Any, t: int, new: Any, old: Any) -> Any:
    """`new` where the mask at time t is True, else `old`; also for Tensors."""
    return new if mask is None else where(mask[:, t, None], new, old)


class _Skipped:
    """The steps that a mask leaves out, and what a gradient passes by them; None: no step."""

    def __init__(self, mask: Any, place: Any, *gradients: np.ndarray) -> None:
        self.steps = None if mask is None else place(np.logical_not, mask)[:, :, None]
        self.gradients = gradients
        self.passed = () if mask is None else [place(np.empty, g.shape, g.dtype) for g in gradients]

    def hold(self, t: int, new: np.ndarray, old: np.ndarray) -> None:
        """Put `old` into `new` where the step at time t is skipped."""
        if self.steps is not None:
            np.copyto(new, old, where=self.steps[:, t])

    def take_out(self, t: int) -> None:
        """Set aside, and make zero in place, the part of the gradients that goes by step t."""
        for g, passed in zip(self.gradients, self.passed, strict=False):
            np.multiply(g, self.steps[:, t], out=passed)  # type: ignore[index]
            np.copyto(g, 0, where=self.steps[:, t])  # type: ignore[index]

    def put_back(self) -> None:
        """Add what was set aside."""
        for g, passed in zip(self.gradients, self.passed, strict=False):
            g += passed

    def blank(self, x: np.ndarray) -> None:
        """Make an array (batch, time, features) zero at the skipped steps."""
        if self.steps is not None:
            np.copyto(x, 0, where=self.steps)


def _incoming(dy: np.ndarray, skipped: _Skipped, place: Any) -> np.ndarray:
    """The gradient of the outputs, zero where they were made zero."""
    if skipped.steps is None:
        return dy
    dy = place(np.positive, dy)
    skipped.blank(dy)
    return dy


def _weight_gradients(previous: np.ndarray, dgates: np.ndarray, place: Any) -> tuple[Any, Any]:
    """Of weight and bias of the state, over all times in one product."""
    rows = dgates.reshape(-1, dgates.shape[-1])
    states = previous.reshape(-1, previous.shape[-1])
    ones = filled(len(rows), 1, rows.dtype)
    return place(np.matmul, states.T, rows), place(np.matmul, ones, rows)


def _sample(gates: int, states: int, **options: Any) -> Callable[[np.random.Generator], Any]:
    def samples(rng: np.random.Generator) -> list[Any]:
        batch, time, hidden = 2, 3, 2
        mask = np.array([[True, True, False], [True, True, True]])
        cases = []
        for reverse, used in ((False, None), (True, None), (False, mask), (True, mask)):
            arrays = [rng.normal(size=(batch, time, gates * hidden))]
            arrays += [rng.normal(size=(batch, hidden)) for _ in range(states)]
            arrays.append(rng.normal(size=(hidden, gates * hidden)))
            arrays.append(rng.normal(size=(gates * hidden,)))
            cases.append(case(*arrays, used, reverse=reverse, **options))
        return cases

    return samples


# Elman's network ------------------------------------------------------------------------------


def _rnn_reference(
    x: Any, h: Any, w: Any, b: Any, mask: Any, *, reverse: bool, nonlinearity: str
) -> Any:
    act = tanh if nonlinearity == "tanh" else relu
    outputs: list[Any] = [None] * x.shape[1]
    for t in _times(x, reverse):
        new = act(x[:, t] + matmul(h, w) + b)
        outputs[t] = _blend(mask, t, new, new * 0.0)
        h = _blend(mask, t, new, h)
    return np.stack(outputs, axis=1), h


def _rnn(
    x: Any,
    h: Any,
    w: Any,
    b: Any,
    mask: Any,
    *,
    reverse: bool,
    nonlinearity: str,
    place: Any = FRESH,
) -> Any:
    shape = (*x.shape[:2], h.shape[-1])
    y, previous = place(np.empty, shape, x.dtype), place(np.empty, shape, x.dtype)
    new, other = place(np.empty, h.shape, x.dtype), place(np.empty, h.shape, x.dtype)
    skipped = _Skipped(mask, place)
    for t in _times(x, reverse):
        previous[:, t] = h
        np.matmul(h, w, out=new)
        new += b
        new += x[:, t]
        if nonlinearity == "tanh":
            np.tanh(new, out=new)
        else:
            np.maximum(new, 0, out=new)
        skipped.hold(t, new, h)
        y[:, t] = h = new
        new, other = other, new
    states = y if mask is None else place(np.positive, y)
    skipped.blank(y)
    return (y, h), (states, previous)


def _rnn_gradient(
    dy: Any,
    dh: Any,
    w: Any,
    mask: Any,
    states: Any,
    previous: Any,
    *,
    reverse: bool,
    nonlinearity: str,
    place: Any = FRESH,
) -> Any:
    slope = place(np.empty, dy.shape, dy.dtype)
    if nonlinearity == "tanh":
        np.subtract(1, np.multiply(states, states, out=slope), out=slope)
    else:
        np.greater(states, 0, out=slope)
    dx, dh = place(np.empty, dy.shape, dy.dtype), place(np.positive, dh)
    skipped = _Skipped(mask, place, dh)
    dy = _incoming(dy, skipped, place)
    for t in reversed(_times(dy, reverse)):
        skipped.take_out(t)
        dh += dy[:, t]
        np.multiply(dh, slope[:, t], out=dx[:, t])
        np.matmul(dx[:, t], w.T, out=dh)
        skipped.put_back()
    return (dx, dh, *_weight_gradients(previous, dx, place))


_rnn_kernel = kernel("rnn_scan_gradient", _rnn_gradient, outputs=4)


def _rnn_backward(
    g: Any, ans: Any, x: Any, h: Any, w: Any, b: Any, mask: Any, *, saved: Any, **options: Any
) -> tuple[Any, ...]:
    return (*_rnn_kernel(*g, w, mask, *saved, **options), None)


rnn_scan = explicit(
    "rnn_scan",
    _rnn,
    vjp=with_reference(_rnn_reference, _rnn_backward),
    jvp=reference_jvp(_rnn_reference),
    residuals=True,
    outputs=2,
    differentiable=(True, True, True, True, False),
    formula="h[t] = tanh(x[t] + h[t-1] @ w + b) or relu",
    partials=("g carried back through time",) * 4,
    samples=lambda rng: [
        *_sample(1, 1, nonlinearity="tanh")(rng),
        *_sample(1, 1, nonlinearity="relu")(rng)[:1],
    ],
)


# Gated recurrent unit -------------------------------------------------------------------------


def _gru_reference(x: Any, h: Any, w: Any, b: Any, mask: Any, *, reverse: bool) -> Any:
    n = h.shape[-1]
    outputs: list[Any] = [None] * x.shape[1]
    for t in _times(x, reverse):
        own, state = x[:, t], matmul(h, w) + b
        reset = sigmoid(own[:, :n] + state[:, :n])
        update = sigmoid(own[:, n : 2 * n] + state[:, n : 2 * n])
        candidate = tanh(own[:, 2 * n :] + reset * state[:, 2 * n :])
        new = candidate + update * (h - candidate)
        outputs[t] = _blend(mask, t, new, new * 0.0)
        h = _blend(mask, t, new, h)
    return np.stack(outputs, axis=1), h


def _sigmoid_in_place(x: np.ndarray) -> None:
    """(1 + tanh(x / 2)) / 2: one transcendental function and no overflow."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def _gru(x: Any, h: Any, w: Any, b: Any, mask: Any, *, reverse: bool, place: Any = FRESH) -> Any:
    batch, time, width = x.shape
    n = h.shape[-1]
    y, previous = (place(np.empty, (batch, time, n), x.dtype) for _ in range(2))
    gates = place(np.empty, (time, batch, width), x.dtype)  # reset, update, candidate
    inner = place(np.empty, (time, batch, n), x.dtype)  # what the reset gate multiplies
    state = place(np.empty, (batch, width), x.dtype)
    new, other = place(np.empty, h.shape, x.dtype), place(np.empty, h.shape, x.dtype)
    skipped = _Skipped(mask, place)
    for t in _times(x, reverse):
        previous[:, t] = h
        np.matmul(h, w, out=state)
        state += b
        gate = gates[t]
        np.add(x[:, t, : 2 * n], state[:, : 2 * n], out=gate[:, : 2 * n])
        _sigmoid_in_place(gate[:, : 2 * n])
        inner[t] = state[:, 2 * n :]
        candidate = np.multiply(gate[:, :n], inner[t], out=gate[:, 2 * n :])
        candidate += x[:, t, 2 * n :]
        np.tanh(candidate, out=candidate)
        np.subtract(h, candidate, out=new)
        new *= gate[:, n : 2 * n]
        new += candidate
        skipped.hold(t, new, h)
        y[:, t] = h = new
        new, other = other, new
    skipped.blank(y)
    return (y, h), (gates, inner, previous)


def _gru_gradient(
    dy: Any,
    dh: Any,
    w: Any,
    mask: Any,
    gates: Any,
    inner: Any,
    previous: Any,
    *,
    reverse: bool,
    place: Any = FRESH,
) -> Any:
    batch, time, n = dy.shape
    reset, update, candidate = gates[..., :n], gates[..., n : 2 * n], gates[..., 2 * n :]
    rest = place(np.subtract, 1, update)
    by_update = place(np.subtract, previous.swapaxes(0, 1), candidate)
    by_update *= update
    by_update *= rest
    by_candidate = place(np.multiply, candidate, candidate)
    np.subtract(1, by_candidate, out=by_candidate)
    by_candidate *= rest
    by_reset = place(np.multiply, inner, reset)
    by_reset *= np.subtract(1, reset, out=rest)
    dx, dstate = (place(np.empty, (batch, time, 3 * n), dy.dtype) for _ in range(2))
    dh, carried = place(np.positive, dh), place(np.empty, dh.shape, dy.dtype)
    skipped = _Skipped(mask, place, dh)
    dy = _incoming(dy, skipped, place)
    for t in reversed(_times(dy, reverse)):
        skipped.take_out(t)
        dh += dy[:, t]
        dgate = dx[:, t]
        dcandidate = np.multiply(dh, by_candidate[t], out=dgate[:, 2 * n :])
        np.multiply(dcandidate, by_reset[t], out=dgate[:, :n])
        np.multiply(dh, by_update[t], out=dgate[:, n : 2 * n])
        dstate[:, t, : 2 * n] = dgate[:, : 2 * n]
        np.multiply(dcandidate, reset[t], out=dstate[:, t, 2 * n :])
        dh *= update[t]
        dh += np.matmul(dstate[:, t], w.T, out=carried)
        skipped.put_back()
    return (dx, dh, *_weight_gradients(previous, dstate, place))


_gru_kernel = kernel("gru_scan_gradient", _gru_gradient, outputs=4)


def _gru_backward(
    g: Any, ans: Any, x: Any, h: Any, w: Any, b: Any, mask: Any, *, saved: Any, **options: Any
) -> tuple[Any, ...]:
    return (*_gru_kernel(*g, w, mask, *saved, **options), None)


gru_scan = explicit(
    "gru_scan",
    _gru,
    vjp=with_reference(_gru_reference, _gru_backward),
    jvp=reference_jvp(_gru_reference),
    residuals=True,
    outputs=2,
    differentiable=(True, True, True, True, False),
    formula="h[t] = (1 - z) n + z h[t-1], z = sigmoid(.), n = tanh(x + r (h[t-1] @ w + b))",
    partials=("g carried back through time",) * 4,
    samples=_sample(3, 1),
)


# Long short-term memory -----------------------------------------------------------------------


def _lstm_reference(x: Any, h: Any, c: Any, w: Any, b: Any, mask: Any, *, reverse: bool) -> Any:
    n = h.shape[-1]
    outputs: list[Any] = [None] * x.shape[1]
    for t in _times(x, reverse):
        gates = x[:, t] + matmul(h, w) + b
        i, f, o = (sigmoid(gates[:, k * n : (k + 1) * n]) for k in (0, 1, 3))
        new_c = f * c + i * tanh(gates[:, 2 * n : 3 * n])
        new_h = o * tanh(new_c)
        outputs[t] = _blend(mask, t, new_h, new_h * 0.0)
        h, c = _blend(mask, t, new_h, h), _blend(mask, t, new_c, c)
    return np.stack(outputs, axis=1), h, c


def _lstm(
    x: Any, h: Any, c: Any, w: Any, b: Any, mask: Any, *, reverse: bool, place: Any = FRESH
) -> Any:
    batch, time, width = x.shape
    n = width // 4
    y, previous = (place(np.empty, (batch, time, n), x.dtype) for _ in range(2))
    gates = place(np.empty, (time, batch, width), x.dtype)  # input, forget, cell, output
    cells, bent = (
        place(np.empty, (time, batch, n), x.dtype) for _ in range(2)
    )  # before, tanh after
    new_h, other_h, new_c, other_c, part = (place(np.empty, (batch, n), x.dtype) for _ in range(5))
    skipped = _Skipped(mask, place)
    half = np.full(width, 0.5, x.dtype)  # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2
    half[2 * n : 3 * n] = 1
    shift = np.where(half == 1, 0, half).astype(x.dtype)
    for t in _times(x, reverse):
        previous[:, t], cells[t] = h, c
        gate = np.matmul(h, w, out=gates[t])
        gate += b
        gate += x[:, t]
        gate *= half
        np.tanh(gate, out=gate)
        gate *= half
        gate += shift
        np.multiply(gate[:, n : 2 * n], c, out=new_c)
        new_c += np.multiply(gate[:, :n], gate[:, 2 * n : 3 * n], out=part)
        np.multiply(np.tanh(new_c, out=bent[t]), gate[:, 3 * n :], out=new_h)
        skipped.hold(t, new_h, h)
        skipped.hold(t, new_c, c)
        y[:, t] = h = new_h
        c = new_c
        new_h, other_h, new_c, other_c = other_h, new_h, other_c, new_c
    skipped.blank(y)
    return (y, h, c), (gates, cells, bent, previous)


def _lstm_gradient(
    dy: Any,
    dh: Any,
    dc: Any,
    w: Any,
    mask: Any,
    gates: Any,
    cells: Any,
    bent: Any,
    previous: Any,
    *,
    reverse: bool,
    place: Any = FRESH,
) -> Any:
    batch, time, n = dy.shape
    i, f, g, o = (gates[..., k * n : (k + 1) * n] for k in range(4))
    by_cell = place(
        np.empty, (time, batch, 3, n), dy.dtype
    )  # d gate / d cell of input, forget, cell
    part = place(np.empty, (time, batch, n), dy.dtype)
    np.multiply(g, _bend(i, part), out=by_cell[:, :, 0])
    np.multiply(cells, _bend(f, part), out=by_cell[:, :, 1])
    np.subtract(1, np.multiply(g, g, out=part), out=part)
    np.multiply(i, part, out=by_cell[:, :, 2])
    by_output = place(np.multiply, bent, o)
    by_output *= np.subtract(1, o, out=part)
    through = place(np.multiply, bent, bent)
    np.subtract(1, through, out=through)
    through *= o
    dx = place(np.empty, (batch, time, 4, n), dy.dtype)
    dh, dc = place(np.positive, dh), place(np.positive, dc)
    skipped = _Skipped(mask, place, dh, dc)
    dy = _incoming(dy, skipped, place)
    for t in reversed(_times(dy, reverse)):
        skipped.take_out(t)
        dh += dy[:, t]
        dc += np.multiply(dh, through[t], out=part[t])
        np.multiply(dc[:, None], by_cell[t], out=dx[:, t, :3])
        np.multiply(dh, by_output[t], out=dx[:, t, 3])
        np.matmul(dx[:, t].reshape(batch, 4 * n), w.T, out=dh)
        dc *= f[t]
        skipped.put_back()
    dx = dx.reshape(batch, time, 4 * n)
    return (dx, dh, dc, *_weight_gradients(previous, dx, place))


def _bend(gate: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The slope of a sigmoid, gate (1 - gate)."""
    return np.multiply(gate, np.subtract(1, gate, out=out), out=out)


_lstm_kernel = kernel("lstm_scan_gradient", _lstm_gradient, outputs=5)


def _lstm_backward(
    g: Any,
    ans: Any,
    x: Any,
    h: Any,
    c: Any,
    w: Any,
    b: Any,
    mask: Any,
    *,
    saved: Any,
    **options: Any,
) -> tuple[Any, ...]:
    return (*_lstm_kernel(*g, w, mask, *saved, **options), None)


lstm_scan = explicit(
    "lstm_scan",
    _lstm,
    vjp=with_reference(_lstm_reference, _lstm_backward),
    jvp=reference_jvp(_lstm_reference),
    residuals=True,
    outputs=3,
    differentiable=(True, True, True, True, True, False),
    formula="c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]), i, f, o = sigmoid(.), g = tanh(.)",
    partials=("g carried back through time",) * 5,
    samples=_sample(4, 2),
)
