"""The figures of the course: graphs of its examples, drawn by `nnad.explain`."""

from __future__ import annotations

from typing import Any

import numpy as np

import nnad


def figures() -> dict[str, str]:
    """The SVG of each figure, by file name."""
    return {f"{name}.svg": trace.to_svg() for name, trace in _traces().items()}


def _traces() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(4, 2)), rng.normal(size=(2, 3))
    hidden, last = np.linspace(-1, 1, 16).reshape(2, 8), np.linspace(0.3, -0.4, 8)
    labels = np.array([1.0, 0.0, 1.0])

    def loss(w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        z = np.tanh(points[:3] @ w1 + b1) @ w2 + b2
        return np.mean(np.logaddexp(0.0, z) - labels * z)

    return {
        "textbook": nnad.explain(lambda x1, x2: np.log(x1) + x1 * x2 - np.sin(x2), 2.0, 5.0),
        "fan-out": nnad.explain(lambda x: x * np.sin(x) + x**2, 2.0),
        "sigmoid": nnad.explain(lambda x: 1 / (1 + np.exp(-x)), 0.5),
        "layer": nnad.explain(lambda W, b: np.sum(np.tanh(points @ W + b)), weights, np.zeros(3)),
        "network": nnad.explain(loss, hidden, np.zeros(8), last, 0.1),
    }
