"""Adam in NumPy, in place, for the libraries that bring no optimizer for lists of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.workloads import LEARNING_RATE


class Adam:
    """m and v per array; one pass of in-place NumPy calls each."""

    def __init__(self, parameters: Sequence[np.ndarray]) -> None:
        self.parameters = parameters
        self.slots = [(np.zeros_like(p), np.zeros_like(p), np.empty_like(p)) for p in parameters]
        self.steps = 0

    def step(self, gradients: Sequence[np.ndarray]) -> None:
        """p -= rate * m / (sqrt(v) + eps), both averages corrected for their zero start."""
        self.steps += 1
        correction = np.sqrt(1 - 0.999**self.steps)
        rate = LEARNING_RATE * correction / (1 - 0.9**self.steps)
        for p, g, (m, v, work) in zip(self.parameters, gradients, self.slots, strict=True):
            m *= 0.9
            m += np.multiply(g, 0.1, out=work)
            v *= 0.999
            np.multiply(g, g, out=work)
            work *= 0.001
            v += work
            np.sqrt(v, out=work)
            work += 1e-8 * correction
            np.divide(m, work, out=work)
            work *= rate
            p -= work
