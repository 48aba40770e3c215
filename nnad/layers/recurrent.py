"""Recurrent layers over (batch, time, features)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import Tensor, value_of
from nnad.errors import ShapeError
from nnad.initializers import uniform
from nnad.layers.diagnosis import check_sizes
from nnad.layers.dropout import check_probability
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter
from nnad.ops import concatenate, stack
from nnad.ops.fused import linear
from nnad.ops.noise import dropout
from nnad.ops.recurrent import gru_scan, lstm_scan, rnn_scan
from nnad.random import Rng, as_generator, default_generator

__all__ = ["GRU", "LSTM", "RNN", "LastStep"]


class _Recurrent(Module):
    """Layers of one kind of cell; see `LSTM`."""

    input_sizes: ClassVar[dict[str, int]] = {"input_size": -1}
    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = check_probability(dropout, type(self).__name__)
        self.bias = bias
        self.rng = None if rng is None else as_generator(rng)
        self._names = [
            [f"l{k}{suffix}" for suffix in ("", "_reverse")[: 1 + bidirectional]]
            for k in range(num_layers)
        ]
        limit = 1 / math.sqrt(hidden_size)
        width = self.gates * hidden_size
        for k, names in enumerate(self._names):
            inputs = input_size if k == 0 else hidden_size * len(names)
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (inputs, width),
                "weight_hh": (hidden_size, width),
            }
            if bias:
                shapes |= {"bias_ih": (width,), "bias_hh": (width,)}
            for name in names:
                for kind, shape in shapes.items():
                    values = uniform(
                        shape, low=-limit, high=limit, rng=as_generator(self.rng), dtype=dtype
                    )
                    setattr(self, f"{kind}_{name}", Parameter(values))

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """(batch, time, input_size) -> outputs (batch, time, directions * hidden_size), state.

        Args:
            x: the sequences, padded at the end to one length.
            state: the state to begin with; None: zeros.
            lengths: (batch,) integers: the steps of each sequence.  Outputs behind them are 0, and
                the state returned is the one after each sequence's own last step.
        """
        shape = value_of(x).shape
        if len(shape) != 3 or shape[2] != self.input_size or shape[1] == 0:
            raise ShapeError(
                f"got an input of shape {shape}, expected (batch, time, {self.input_size}) with "
                "one step or more"
            )
        mask = None if lengths is None else _mask(lengths, shape[0], shape[1])
        first = self._first_states(state, shape[0], value_of(x).dtype)
        last: list[tuple[Any, ...]] = []
        for k, names in enumerate(self._names):
            if k and self.training and self.dropout:
                x = dropout(x, self.dropout, self.rng or default_generator())
            outputs = []
            for name in names:
                states = tuple(part[len(last)] for part in first)
                y, *ends = self._scan(x, states, name, mask)
                outputs.append(y)
                last.append(tuple(ends))
            x = outputs[0] if len(outputs) == 1 else concatenate(outputs, axis=-1)
        ends = [stack(parts, axis=0) for parts in zip(*last, strict=True)]
        return x, ends[0] if self.states == 1 else tuple(ends)

    def _scan(self, x: Any, states: tuple[Any, ...], name: str, mask: Any) -> tuple[Any, ...]:
        """One layer in one direction: outputs and last states."""
        own = linear(x, getattr(self, f"weight_ih_{name}"), getattr(self, f"bias_ih_{name}", None))
        weight = getattr(self, f"weight_hh_{name}")
        bias = getattr(self, f"bias_hh_{name}", None)
        if bias is None:
            bias = np.zeros(weight.shape[1], weight.dtype)
        return self._cell(own, states, weight, bias, mask, name.endswith("_reverse"))

    def _cell(self, x: Any, states: Any, w: Any, b: Any, mask: Any, reverse: bool) -> Any:
        raise NotImplementedError

    def _first_states(self, state: Any, batch: int, dtype: Any) -> tuple[Any, ...]:
        """Each kind of state as (layers * directions, batch, hidden)."""
        shape = (self.num_layers * len(self._names[0]), batch, self.hidden_size)
        if state is None:
            return (np.zeros(shape, dtype),) * self.states
        parts = (state,) if self.states == 1 else tuple(state)
        shapes = [value_of(part).shape for part in parts]
        if shapes != [shape] * self.states:
            raise ShapeError(
                f"got a state of shape {', '.join(map(str, shapes))}, expected "
                f"{'' if self.states == 1 else 'a pair (h, c), each '}(layers * directions, "
                f"batch, hidden) = {shape}"
            )
        return parts

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """One per weight, sequence and step."""
        batch, time = value_of(inputs[0]).shape[:2]
        return batch * time * sum(p.size for p in self.own_parameters() if p.ndim == 2)

    def extra_repr(self) -> str:
        """The arguments."""
        layers = f", num_layers={self.num_layers}" if self.num_layers > 1 else ""
        both = ", bidirectional=True" if self.bidirectional else ""
        return f"{self.input_size}, {self.hidden_size}{layers}{both}"


def _mask(lengths: Any, batch: int, time: int) -> Any:
    """True at the steps that belong to each sequence."""
    lengths = lengths if isinstance(lengths, Tensor) else np.asarray(lengths)
    counts = value_of(lengths)
    if counts.shape != (batch,) or counts.min(initial=1) < 1 or counts.max(initial=1) > time:
        raise ShapeError(
            f"lengths are {batch} integers from 1 to {time}, got shape {counts.shape} with values "
            f"{counts.min(initial=time)} to {counts.max(initial=0)}"
        )
    return np.arange(time) < lengths[:, None]


class RNN(_Recurrent):
    """h[t] = tanh(x[t] @ weight_ih + bias_ih + h[t-1] @ weight_hh + bias_hh).

    Args:
        nonlinearity: "tanh" or "relu"; the other arguments and the call as in `LSTM`.

    Source: Elman 1990.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        nonlinearity: str = "tanh",
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'RNN: nonlinearity is "tanh" or "relu", got {nonlinearity!r}')
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bidirectional,
            bias,
            dropout,
            rng=rng,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def _cell(self, x: Any, states: Any, w: Any, b: Any, mask: Any, reverse: bool) -> Any:
        return rnn_scan(x, *states, w, b, mask, reverse=reverse, nonlinearity=self.nonlinearity)


class GRU(_Recurrent):
    """Gated recurrent unit, as in PyTorch and cuDNN.

    r, z = sigmoid(x[t] @ W + b + h[t-1] @ U + d),  n = tanh(x[t] @ W + b + r (h[t-1] @ U + d)),
    h[t] = (1 - z) n + z h[t-1].  The weights hold the gates in the order r, z, n.

    Arguments and call as in `LSTM`, the state being h alone.

    Source: Cho et al. 2014.
    """

    gates = 3

    def _cell(self, x: Any, states: Any, w: Any, b: Any, mask: Any, reverse: bool) -> Any:
        return gru_scan(x, *states, w, b, mask, reverse=reverse)


class LSTM(_Recurrent):
    """Long short-term memory.

    i, f, o = sigmoid(z), g = tanh(z) of their parts of z = x[t] @ weight_ih + bias_ih + h[t-1] @
    weight_hh + bias_hh;  c[t] = f c[t-1] + i g,  h[t] = o tanh(c[t]).  The weights hold the gates
    in the order i, f, g, o.

    Call `outputs, (h, c) = lstm(x, state=None, lengths=None)`; see `forward`.  The state is
    (num_layers * directions, batch, hidden_size).

    Args:
        input_size: features per step.
        hidden_size: size of the state.
        num_layers: layers, each reading the outputs of the one before.
        bidirectional: a second set of weights reads backwards; outputs are concatenated.
        bias: whether there are biases.
        dropout: probability of dropout between layers while training.
        rng: generator or seed of initial values and dropout.
        dtype: of the parameters.

    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """

    gates = 4
    states = 2

    def _cell(self, x: Any, states: Any, w: Any, b: Any, mask: Any, reverse: bool) -> Any:
        return lstm_scan(x, *states, w, b, mask, reverse=reverse)


class LastStep(Module):
    """The last step of sequences: (batch, time, features) -> (batch, features)."""

    def forward(self, x: Any) -> Any:
        """(batch, time, features) -> (batch, features)."""
        shape = value_of(x).shape
        if len(shape) != 3 or shape[1] == 0:
            raise ShapeError(f"got an input of shape {shape}, expected (batch, time, features)")
        return x[:, -1]
