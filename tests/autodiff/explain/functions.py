"""Functions to explain, small and large, with their arguments."""

import numpy as np

from nnad import losses

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(4, 3)), np.array([0, 1, 1, 0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def micrograd(a, b):
    """The example of micrograd's README."""
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + np.maximum(b + a, 0)
    d += 3 * d + np.maximum(b - a, 0)
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return g


def fan_out(x):
    return x * np.sin(x) + x**2 * np.exp(-x) + np.log(x) / x + np.tanh(x) * x + np.sqrt(x)


def many(x, y):
    for _ in range(12):
        x, y = x + 0.1 * y, y - 0.1 * np.sin(x)
    return x * x + y * y


def network(w1, b1, w2, b2):
    hidden = np.tanh(X @ w1 + b1)
    return losses.cross_entropy(hidden @ w2 + b2, LABELS)


def several(params):
    values, vectors = np.linalg.eigh(params["a"] + params["a"].T)
    return values.sum() + vectors[0, 0] ** 2


WEIGHTS = (RNG.normal(size=(3, 5)), np.zeros(5), RNG.normal(size=(5, 2)), np.zeros(2))

EXAMPLES = {
    "sigmoid": (sigmoid, (0.5,)),
    "micrograd": (micrograd, (-4.0, 2.0)),
    "fan_out": (fan_out, (1.3,)),
    "many": (many, (1.0, 0.5)),
    "network": (network, WEIGHTS),
    "several": (several, ({"a": np.array([[1.0, 2.0], [0.5, -1.0]])},)),
    "vector": (lambda x: np.sum(x[1:] * x[:-1] / 3), (np.array([1.0, 2.0, 4.0]),)),
    "complex": (lambda z: np.abs(z * z + 1), (1 + 2j,)),
    "identity": (lambda x: x, (2.0,)),
    "unused": (lambda x, y: x * 2, (2.0, 3.0)),
    "not finite": (lambda x: np.log(x) / x, (0.0,)),
}
