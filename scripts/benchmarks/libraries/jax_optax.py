"""JAX: one jitted step with donated buffers, Adam from optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.job import Job, repeated, training
from benchmarks.workloads import (
    LEARNING_RATE,
    ConvNet,
    Mlp,
    Prediction,
    Transformer,
)

Forward = Callable[[dict[str, Any], Any], Any]


def fit(forward: Forward, workload: Mlp | ConvNet | Transformer) -> Job:
    """Adam on the mean cross entropy."""
    optimizer = optax.adam(LEARNING_RATE)

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        logits = forward(parameters, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def update(parameters: Any, state: Any, x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_of)(parameters, x, y)
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(parameters, change), state, loss

    jitted = jax.jit(update, donate_argnums=(0, 1))
    parameters: Any = jax.tree.map(jnp.asarray, workload.parameters())
    state = optimizer.init(parameters)

    def step(x: Any, y: Any) -> Any:
        nonlocal parameters, state
        parameters, state, loss = jitted(parameters, state, x, y)
        return loss

    batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in workload.batches()]
    return training(step, batches, lambda loss: jax.block_until_ready((parameters, loss)))


def dense(p: dict[str, Any], name: str, x: Any) -> Any:
    """x @ weight + bias."""
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def mlp_forward(p: dict[str, Any], x: Any) -> Any:
    """Linear layers with ReLU between them."""
    last = len(p) - 2
    for i in range(0, last, 2):
        x = jax.nn.relu(dense(p, str(i), x))
    return dense(p, str(last), x)


def mlp(workload: Mlp, variant: str) -> Job:
    """A training step of the fully connected network."""
    return fit(mlp_forward, workload)


def convnet(workload: ConvNet, variant: str) -> Job:
    """A training step of the convolutional network."""

    def block(p: dict[str, Any], name: str, x: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, p[f"{name}.weight"], (1, 1), "SAME", dimension_numbers=layout
        )
        y = jax.nn.relu(y + p[f"{name}.bias"])
        return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def forward(p: dict[str, Any], x: Any) -> Any:
        x = block(p, "3", block(p, "0", x)).reshape(len(x), -1)
        return dense(p, "9", jax.nn.relu(dense(p, "7", x)))

    return fit(forward, workload)


def transformer(workload: Transformer, variant: str) -> Job:
    """A training step of the character model."""
    heads, causal = workload.heads, jnp.tril(jnp.ones((workload.context,) * 2, bool))

    def norm(p: dict[str, Any], name: str, x: Any) -> Any:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def attention(p: dict[str, Any], name: str, x: Any) -> Any:
        n, t, d = x.shape
        qkv = x @ p[f"{name}.in_proj_weight"] + p[f"{name}.in_proj_bias"]
        q, k, v = qkv.reshape(n, t, 3, heads, d // heads).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(d // heads)
        share = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
        return dense(p, f"{name}.out_proj", (share @ v).swapaxes(1, 2).reshape(n, t, d))

    def forward(p: dict[str, Any], tokens: Any) -> Any:
        x = p["token.weight"][tokens] + p["position.weight"]
        for i in range(workload.layers):
            b = f"block{i}"
            x = x + attention(p, f"{b}.self_attn", norm(p, f"{b}.norm1", x))
            hidden = dense(p, f"{b}.linear1", norm(p, f"{b}.norm2", x))
            x = x + dense(p, f"{b}.linear2", jax.nn.gelu(hidden, approximate=False))
        return dense(p, "head", norm(p, "norm", x))

    return fit(forward, workload)


def prediction(workload: Prediction, variant: str) -> Job:
    """Classes of rows."""
    parameters = jax.tree.map(jnp.asarray, workload.network.parameters())
    forward = jax.jit(lambda x: mlp_forward(parameters, x).argmax(-1))
    x = workload.inputs()
    return repeated(lambda: np.asarray(forward(x)), lambda classes: float(classes.sum()))
