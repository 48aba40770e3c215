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
from nnad.ops.reference import kernel, reference_jvp, with_reference

__all__ = ["gru_scan", "lstm_scan", "rnn_scan"]


def _times(x: Any, reverse: bool) -> Sequence[int]:
    return range(x.shape[1] - 1, -1, -1) if reverse else range(x.shape[1])


def _blend(mask: Any, t: int, new: Any, old: Any) -> Any:
    """`new` where the mask at time t is True, else `old`; also for Tensors."""
    return new if mask is None else where(mask[:, t, None], new, old)


def _hold(mask: Any, t: int, new: np.ndarray, old: np.ndarray) -> None:
    """Put `old` into `new` where the mask at time t is False."""
    if mask is not None:
        np.copyto(new, old, where=~mask[:, t, None])


def _split_gradient(mask: Any, t: int, *gradients: np.ndarray) -> list[Any]:
    """The part of each gradient that a masked step passes on; zeroes that part in place."""
    if mask is None:
        return [None] * len(gradients)
    skipped = ~mask[:, t, None]
    passed = [g * skipped for g in gradients]
    for g in gradients:
        np.copyto(g, 0, where=skipped)
    return passed


def _mask_outputs(y: np.ndarray, mask: Any) -> None:
    if mask is not None:
        np.copyto(y, 0, where=~mask[:, :, None])


def _weight_gradients(previous: np.ndarray, dgates: np.ndarray) -> tuple[Any, Any]:
    """Of weight and bias of the state, over all times in one product."""
    rows = dgates.reshape(-1, dgates.shape[-1])
    states = previous.reshape(-1, previous.shape[-1])
    return states.T @ rows, np.ones(len(rows), rows.dtype) @ rows


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


def _rnn(x: Any, h: Any, w: Any, b: Any, mask: Any, *, reverse: bool, nonlinearity: str) -> Any:
    shape = (*x.shape[:2], h.shape[-1])
    y, previous = np.empty(shape, x.dtype), np.empty(shape, x.dtype)
    for t in _times(x, reverse):
        previous[:, t] = h
        new = h @ w
        new += b
        new += x[:, t]
        if nonlinearity == "tanh":
            np.tanh(new, out=new)
        else:
            np.maximum(new, 0, out=new)
        _hold(mask, t, new, h)
        y[:, t] = h = new
    states = y if mask is None else y.copy()
    _mask_outputs(y, mask)
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
) -> Any:
    slope = 1 - states * states if nonlinearity == "tanh" else (states > 0).astype(dy.dtype)
    dx = np.empty_like(dy)
    transposed = w.T
    dh = dh.copy()
    for t in reversed(_times(dy, reverse)):
        (passed,) = _split_gradient(mask, t, dh)
        dh += dy[:, t] if mask is None else dy[:, t] * mask[:, t, None]
        dx[:, t] = dh * slope[:, t]
        dh = dx[:, t] @ transposed
        if passed is not None:
            dh += passed
    return (dx, dh, *_weight_gradients(previous, dx))


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


def _gru(x: Any, h: Any, w: Any, b: Any, mask: Any, *, reverse: bool) -> Any:
    batch, time, _ = x.shape
    n = h.shape[-1]
    y, previous = np.empty((2, batch, time, n), x.dtype)
    gates = np.empty((time, batch, 3 * n), x.dtype)  # reset, update, candidate
    inner = np.empty((time, batch, n), x.dtype)  # what the reset gate multiplies
    for t in _times(x, reverse):
        previous[:, t] = h
        state = h @ w
        state += b
        gate = gates[t]
        np.add(x[:, t, : 2 * n], state[:, : 2 * n], out=gate[:, : 2 * n])
        _sigmoid_in_place(gate[:, : 2 * n])
        inner[t] = state[:, 2 * n :]
        candidate = np.multiply(gate[:, :n], inner[t], out=gate[:, 2 * n :])
        candidate += x[:, t, 2 * n :]
        np.tanh(candidate, out=candidate)
        new = h - candidate
        new *= gate[:, n : 2 * n]
        new += candidate
        _hold(mask, t, new, h)
        y[:, t] = h = new
    _mask_outputs(y, mask)
    return (y, h), (gates, inner, previous)


def _gru_gradient(
    dy: Any, dh: Any, w: Any, mask: Any, gates: Any, inner: Any, previous: Any, *, reverse: bool
) -> Any:
    batch, time, n = dy.shape
    reset, update, candidate = gates[..., :n], gates[..., n : 2 * n], gates[..., 2 * n :]
    by_update = (previous.swapaxes(0, 1) - candidate) * update * (1 - update)
    by_candidate = (1 - update) * (1 - candidate * candidate)
    by_reset = inner * reset * (1 - reset)
    dx = np.empty((batch, time, 3 * n), dy.dtype)
    dstate = np.empty((batch, time, 3 * n), dy.dtype)
    transposed = w.T
    dh = dh.copy()
    for t in reversed(_times(dy, reverse)):
        (passed,) = _split_gradient(mask, t, dh)
        dh += dy[:, t] if mask is None else dy[:, t] * mask[:, t, None]
        dgate = dx[:, t]
        dcandidate = np.multiply(dh, by_candidate[t], out=dgate[:, 2 * n :])
        np.multiply(dcandidate, by_reset[t], out=dgate[:, :n])
        np.multiply(dh, by_update[t], out=dgate[:, n : 2 * n])
        dstate[:, t, : 2 * n] = dgate[:, : 2 * n]
        np.multiply(dcandidate, reset[t], out=dstate[:, t, 2 * n :])
        dh = dh * update[t]
        dh += dstate[:, t] @ transposed
        if passed is not None:
            dh += passed
    return (dx, dh, *_weight_gradients(previous, dstate))


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


def _lstm(x: Any, h: Any, c: Any, w: Any, b: Any, mask: Any, *, reverse: bool) -> Any:
    batch, time, width = x.shape
    n = width // 4
    y, previous = np.empty((2, batch, time, n), x.dtype)
    gates = np.empty((time, batch, width), x.dtype)  # input, forget, cell, output
    cells, bent = np.empty((2, time, batch, n), x.dtype)  # the cell before, tanh of it after
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
        new_c = gate[:, n : 2 * n] * c
        new_c += gate[:, :n] * gate[:, 2 * n : 3 * n]
        new_h = np.tanh(new_c, out=bent[t]) * gate[:, 3 * n :]
        _hold(mask, t, new_h, h)
        _hold(mask, t, new_c, c)
        c = new_c
        y[:, t] = h = new_h
    _mask_outputs(y, mask)
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
) -> Any:
    batch, time, n = dy.shape
    i, f, g, o = (gates[..., k * n : (k + 1) * n] for k in range(4))
    by_cell = np.empty((time, batch, 3, n), dy.dtype)  # d gate / d cell of input, forget, cell
    np.multiply(g, i * (1 - i), out=by_cell[:, :, 0])
    np.multiply(cells, f * (1 - f), out=by_cell[:, :, 1])
    np.multiply(i, 1 - g * g, out=by_cell[:, :, 2])
    by_output = bent * o * (1 - o)
    through = o * (1 - bent * bent)
    dx = np.empty((batch, time, 4, n), dy.dtype)
    transposed = w.T
    dh, dc = dh.copy(), dc.copy()
    for t in reversed(_times(dy, reverse)):
        passed_h, passed_c = _split_gradient(mask, t, dh, dc)
        dh += dy[:, t] if mask is None else dy[:, t] * mask[:, t, None]
        dc += dh * through[t]
        np.multiply(dc[:, None], by_cell[t], out=dx[:, t, :3])
        np.multiply(dh, by_output[t], out=dx[:, t, 3])
        dh = dx[:, t].reshape(batch, 4 * n) @ transposed
        dc *= f[t]
        if passed_h is not None:
            dh += passed_h
            dc += passed_c
    dx = dx.reshape(batch, time, 4 * n)
    return (dx, dh, dc, *_weight_gradients(previous, dx))


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
