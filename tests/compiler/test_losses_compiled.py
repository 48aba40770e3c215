"""Every loss compiled: values and gradients of the eager one, on other data and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnad
from nnad import losses
from nnad.compiler.choice import why_not_native
from tests.losses.test_losses import CASES, Case, N

# Native code of one case of each loss: making it takes longer than all the rest.
NATIVE = [] if why_not_native() else [(name, cases[0], "native") for name, cases in CASES.items()]
NUMPY = [(name, case, "numpy") for name, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("name", "case", "backend"), [*NUMPY, *NATIVE])
def test_compiled_equals_eager(name: str, case: Case, backend: str) -> None:
    loss = getattr(losses, name)

    def step(operands: Any, weight: Any) -> Any:
        def total(first: Any) -> Any:
            return loss(first, *operands[1:], sample_weight=weight, **case.settings)

        value, gradient = nnad.value_and_grad(total)(operands[0])
        return value, gradient, loss(*operands, **case.settings)

    compiled = nnad.compile(step, backend=backend)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        operands, weight = case.operands(rng), rng.uniform(0.5, 2, N)
        if any(
            np.shape(a) != np.shape(b) for a, b in zip(operands, case.operands(rng), strict=True)
        ):
            pytest.skip("another shape each time")
        got, expected = compiled(operands, weight), step(operands, weight)
        for a, b in zip(got, expected, strict=True):
            if backend == "numpy":
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert compiled.programs == 1
    assert compiled.stats["backend"] == backend
