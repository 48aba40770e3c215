"""Attention and positions."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.errors import ShapeError
from nnad.initializers import glorot_uniform, normal
from nnad.layers.diagnosis import check_sizes
from nnad.layers.dropout import check_probability
from nnad.layers.linear import Linear
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter
from nnad.ops.attention import attention, rotary, rotary_angles, self_attention
from nnad.ops.fused import linear
from nnad.ops.noise import dropout_mask, share_argument
from nnad.random import Rng, as_generator, default_generator

__all__ = [
    "LearnedPositions",
    "MultiHeadAttention",
    "RotaryPositions",
    "SinusoidalPositions",
]


class MultiHeadAttention(Module):
    """softmax(Q Kᵀ / sqrt(d)) V for each head, between two linear maps.

    Call `attention(query, key, value, causal=False, mask=None)`, all (batch, time, embed_dim); key
    and value may be left out (self-attention).  Returns the output alone.

    Args:
        embed_dim: size of inputs and output.
        num_heads: heads; divides embed_dim.
        dropout: probability of dropout on the attention probabilities while training.
        bias: whether the linear maps have biases.
        num_kv_heads: heads of keys and values, each shared by num_heads / num_kv_heads queries
            (grouped queries, Ainslie et al. 2023); None: num_heads.
        rotary: turn queries and keys by rotary positions (`RotaryPositions`).
        causal: what a call that does not say takes for its `causal`.
        rng: generator or seed of initial values and dropout.
        dtype: of the parameters.

    `in_proj_weight` (embed_dim, embed_dim + 2 * num_kv_heads * head size) holds the maps of
    queries, keys and values in this order.

    Source: Vaswani et al. 2017.
    """

    input_sizes: ClassVar[dict[str, int]] = {"embed_dim": -1}

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        num_kv_heads: int | None = None,
        rotary: bool = False,
        causal: bool = False,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_sizes(self, embed_dim=embed_dim, num_heads=num_heads, num_kv_heads=kv_heads)
        _check_heads(embed_dim, num_heads, kv_heads)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.num_kv_heads = kv_heads
        self.causal = causal
        self.dropout = check_probability(dropout, "MultiHeadAttention")
        self.rng = None if rng is None else as_generator(rng)
        draws = as_generator(self.rng)
        size = embed_dim // num_heads
        self.width = embed_dim + 2 * kv_heads * size
        self.in_proj_weight = Parameter(
            glorot_uniform((embed_dim, self.width), rng=draws, dtype=dtype)
        )
        self.in_proj_bias = Parameter(np.zeros(self.width, dtype)) if bias else None
        self.out_proj = Linear(
            embed_dim, embed_dim, bias, bias_init="zeros", rng=draws, dtype=dtype
        )
        self.rotary = RotaryPositions(size) if rotary else None

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        causal: bool | None = None,
        mask: Any = None,
    ) -> Any:
        """(batch, queries, embed_dim) and (batch, keys, embed_dim) -> (batch, queries, embed_dim).

        Args:
            causal: position t attends to positions up to t only; None: as constructed.
            mask: (queries, keys), (batch, queries, keys) or (batch, heads, queries, keys); a
                boolean one is True where attention is allowed, another is added to the scores.
        """
        key = query if key is None else key
        value = key if value is None else value
        for x in {id(x): x for x in (query, key, value)}.values():
            self._check(value_of(x).shape)
        counts: dict[str, Any] = {
            "heads": self.num_heads,
            "kv_heads": self.num_kv_heads,
            "causal": self.causal if causal is None else causal,
        }
        if query is key is value:
            qkv = linear(query, self.in_proj_weight, self.in_proj_bias)
            if self.rotary is not None:
                rotated = self.embed_dim + (self.width - self.embed_dim) // 2
                qkv = self.rotary.rotate(qkv, rotated)
            drop = self._drop(qkv, qkv)
            y = self_attention(qkv, mask, drop, **counts)
        else:
            q, k, v = self._project(query, key, value)
            y = attention(q, k, v, mask, self._drop(q, k), **counts)
        return self.out_proj(y)

    def _project(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        first = self.embed_dim
        second = first + (self.width - first) // 2
        spans = (slice(first), slice(first, second), slice(second, None))
        weight: Any = self.in_proj_weight
        bias: Any = self.in_proj_bias
        q, k, v = (
            linear(x, weight[:, span], None if bias is None else bias[span])
            for x, span in zip((query, key, value), spans, strict=True)
        )
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        return q, k, v

    def _drop(self, q: Any, k: Any) -> Any:
        """A dropout mask for the probabilities, or None."""
        if not self.training or not self.dropout:
            return None
        shape = (q.shape[0], self.num_heads, q.shape[1], k.shape[1])
        generator = default_generator() if self.rng is None else self.rng
        return dropout_mask(
            shape=shape, p=self.dropout, dtype=q.dtype, generator=generator, **share_argument()
        )

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[-1] != self.embed_dim:
            raise ShapeError(
                f"got an input of shape {shape}, expected (batch, time, {self.embed_dim}) because "
                f"embed_dim={self.embed_dim}"
            )

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """Those of the input maps and of the two products of each head."""
        given = [value_of(x) for x in inputs if hasattr(x, "shape")]
        batch, queries, _ = given[0].shape
        keys = given[min(1, len(given) - 1)].shape[1]
        maps = self.embed_dim * (queries * self.embed_dim + keys * (self.width - self.embed_dim))
        return batch * (maps + 2 * queries * keys * self.embed_dim)

    def extra_repr(self) -> str:
        """The arguments."""
        grouped = self.num_kv_heads != self.num_heads
        extra = f", num_kv_heads={self.num_kv_heads}" if grouped else ""
        return f"{self.embed_dim}, {self.num_heads}{extra}"


def _check_heads(embed_dim: int, num_heads: int, kv_heads: int) -> None:
    if num_heads < 1 or embed_dim % num_heads:
        raise ValueError(
            f"MultiHeadAttention: embed_dim={embed_dim} does not divide into num_heads={num_heads}"
        )
    if kv_heads < 1 or num_heads % kv_heads:
        raise ValueError(
            f"MultiHeadAttention: num_heads={num_heads} does not divide into "
            f"num_kv_heads={kv_heads}"
        )


# Positions ------------------------------------------------------------------------------------


def _check_length(shape: tuple[int, ...], max_length: int) -> None:
    if len(shape) != 3 or shape[1] > max_length:
        raise ShapeError(
            f"got an input of shape {shape}, expected (batch, time, features) with at most "
            f"max_length={max_length} steps"
        )


class SinusoidalPositions(Module):
    """x + p, where p[t, 2i] = sin(t / 10000^(2i/d)) and p[t, 2i+1] = cos(t / 10000^(2i/d)).

    Args:
        d_model: features per step.
        max_length: the longest sequence.
        dtype: of the table.

    Source: Vaswani et al. 2017.
    """

    input_sizes: ClassVar[dict[str, int]] = {"d_model": -1}

    def __init__(self, d_model: int, max_length: int = 2048, *, dtype: Any = "float32") -> None:
        super().__init__()
        self.d_model = d_model
        self.max_length = max_length
        angles = rotary_angles(max_length, d_model)
        table = np.empty((max_length, d_model))
        table[:, 0::2] = np.sin(angles)
        table[:, 1::2] = np.cos(angles[:, : d_model // 2])
        self._table = table.astype(dtype)

    def forward(self, x: Any) -> Any:
        """(batch, time, d_model) to the same shape."""
        shape = value_of(x).shape
        _check_length(shape, self.max_length)
        if shape[2] != self.d_model:
            raise ShapeError(f"got an input of shape {shape}, expected (..., {self.d_model})")
        return x + self._table[: shape[1]].astype(value_of(x).dtype, copy=False)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.d_model}, max_length={self.max_length}"


class LearnedPositions(Module):
    """x + weight[t] at step t.

    Args:
        max_length: the longest sequence.
        d_model: features per step.
        std: standard deviation of the initial values.
        rng: generator or seed of the initial values.
        dtype: of the parameter.
    """

    input_sizes: ClassVar[dict[str, int]] = {"d_model": -1}

    def __init__(
        self,
        max_length: int,
        d_model: int,
        std: float = 0.02,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.d_model = d_model
        self.weight = Parameter(normal((max_length, d_model), std=std, rng=rng, dtype=dtype))

    def forward(self, x: Any) -> Any:
        """(batch, time, d_model) to the same shape."""
        shape = value_of(x).shape
        _check_length(shape, self.max_length)
        if shape[2] != self.d_model:
            raise ShapeError(f"got an input of shape {shape}, expected (..., {self.d_model})")
        table: Any = self.weight
        return x + (table if shape[1] == self.max_length else table[: shape[1]])

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.max_length}, {self.d_model}"


class RotaryPositions(Module):
    """Turns the features i and i + d/2 of each head by t base^(-2i/d) at step t.

    Products of queries and keys then depend on the distance of their positions only.  It has no
    parameters; MultiHeadAttention(rotary=True) applies it.

    Args:
        head_size: features per head, an even number.
        base: of the geometric series of frequencies.

    Source: Su et al. 2021, with the pairing of GPT-NeoX and Llama.
    """

    def __init__(self, head_size: int, base: float = 10000.0) -> None:
        super().__init__()
        if head_size % 2:
            raise ValueError(f"rotary positions turn pairs: head_size is even, got {head_size}")
        self.head_size = head_size
        self.base = base

    def forward(self, x: Any) -> Any:
        """(batch, time, heads * head_size) to the same shape."""
        return self.rotate(x, value_of(x).shape[-1])

    def rotate(self, x: Any, rotated: int) -> Any:
        """`x` with its first `rotated` features, which are whole heads, turned."""
        shape = value_of(x).shape
        if len(shape) != 3 or rotated % self.head_size:
            raise ShapeError(
                f"got an input of shape {shape}, expected (batch, time, heads * {self.head_size})"
            )
        return rotary(x, head_size=self.head_size, rotated=rotated, base=self.base)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.head_size}, base={self.base}"
