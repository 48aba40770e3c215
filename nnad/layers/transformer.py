"""Transformer layers (Vaswani et al. 2017)."""

from __future__ import annotations

from typing import Any, ClassVar

from nnad.layers.activations import activation as activation_layer
from nnad.layers.attention import MultiHeadAttention
from nnad.layers.diagnosis import check_sizes
from nnad.layers.dropout import Dropout
from nnad.layers.linear import Linear
from nnad.layers.module import Module
from nnad.layers.normalization import LayerNorm
from nnad.random import Rng, as_generator

__all__ = ["TransformerDecoderLayer", "TransformerEncoderLayer"]


class _TransformerLayer(Module):
    """What both layers share: the feed-forward part and how parts are joined."""

    input_sizes: ClassVar[dict[str, int]] = {"d_model": -1}

    norm_first: bool
    linear1: Module
    linear2: Module
    activation: Module
    dropout: Module

    def _joined(self, x: Any, part: Any, norm: Module, drop: Module) -> Any:
        """x + part(norm(x)), or norm(x + part(x))."""
        if self.norm_first:
            return x + drop(part(norm(x)))
        return norm(x + drop(part(x)))

    def _feed_forward(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention, then two linear maps, each with a residual and a layer norm.

    Call `layer(x, causal=None, mask=None)` with (batch, time, d_model).

    Args:
        d_model: features per step.
        num_heads: heads of the attention.
        dim_feedforward: features between the two linear maps; None: 4 d_model.
        dropout: probability of dropout on attention, between and behind the linear maps.
        activation: name or layer between the linear maps.
        norm_first: normalise the input of each part, not its output with the residual.
        bias: whether linear maps and norms have biases.
        num_kv_heads, rotary: see `MultiHeadAttention`.
        layer_norm_eps: see `LayerNorm`.
        causal: what a call that does not say takes for its `causal`: a decoder alone, as in GPT.
        rng: generator or seed of initial values and dropout.
        dtype: of the parameters.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.1,
        activation: Any = "relu",
        norm_first: bool = False,
        bias: bool = True,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        layer_norm_eps: float = 1e-5,
        causal: bool = False,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        rng = None if rng is None else as_generator(rng)
        hidden = 4 * d_model if dim_feedforward is None else dim_feedforward
        check_sizes(self, d_model=d_model, num_heads=num_heads, dim_feedforward=hidden)
        self.d_model = d_model
        self.norm_first = norm_first
        self.self_attn = MultiHeadAttention(
            d_model, num_heads, dropout, bias, num_kv_heads, rotary, causal, rng=rng, dtype=dtype
        )
        self.linear1 = Linear(d_model, hidden, bias, rng=rng, dtype=dtype)
        self.activation = activation_layer(activation)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(hidden, d_model, bias, rng=rng, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)

    def forward(self, x: Any, causal: bool | None = None, mask: Any = None) -> Any:
        """(batch, time, d_model) to the same shape; causal and mask as in `MultiHeadAttention`."""

        def attend(y: Any) -> Any:
            return self.self_attn(y, causal=causal, mask=mask)

        x = self._joined(x, attend, self.norm1, self.dropout1)
        return self._joined(x, self._feed_forward, self.norm2, self.dropout2)

    def extra_repr(self) -> str:
        """The arguments that the parts do not show."""
        return f"norm_first={self.norm_first}"


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention, attention to an encoder's output, then two linear maps.

    Call `layer(x, memory, causal=True, mask=None, memory_mask=None)`.

    Arguments as in `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.1,
        activation: Any = "relu",
        norm_first: bool = False,
        bias: bool = True,
        layer_norm_eps: float = 1e-5,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        rng = None if rng is None else as_generator(rng)
        hidden = 4 * d_model if dim_feedforward is None else dim_feedforward
        check_sizes(self, d_model=d_model, num_heads=num_heads, dim_feedforward=hidden)
        self.d_model = d_model
        self.norm_first = norm_first
        self.self_attn = MultiHeadAttention(d_model, num_heads, dropout, bias, rng=rng, dtype=dtype)
        self.multihead_attn = MultiHeadAttention(
            d_model, num_heads, dropout, bias, rng=rng, dtype=dtype
        )
        self.linear1 = Linear(d_model, hidden, bias, rng=rng, dtype=dtype)
        self.activation = activation_layer(activation)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(hidden, d_model, bias, rng=rng, dtype=dtype)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)
        self.dropout3 = Dropout(dropout, rng=rng)

    def forward(
        self, x: Any, memory: Any, causal: bool = True, mask: Any = None, memory_mask: Any = None
    ) -> Any:
        """(batch, time, d_model) and memory (batch, other time, d_model) to the shape of x."""

        def attend(y: Any) -> Any:
            return self.self_attn(y, causal=causal, mask=mask)

        def look_up(y: Any) -> Any:
            return self.multihead_attn(y, memory, memory, mask=memory_mask)

        x = self._joined(x, attend, self.norm1, self.dropout1)
        x = self._joined(x, look_up, self.norm2, self.dropout2)
        return self._joined(x, self._feed_forward, self.norm3, self.dropout3)

    def extra_repr(self) -> str:
        """The arguments that the parts do not show."""
        return f"norm_first={self.norm_first}"
