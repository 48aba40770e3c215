"""Values that np.where does not take have no say in a derivative, however bad their slopes are."""

import numpy as np
import pytest

import nnad

X = np.array([-1.0, 4.0, 0.0])
CASES = {
    "sqrt of negatives": (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [0.0, 0.25, 0.0]),
    "log of nothing": (lambda x: np.where(x > 0, np.log(x), 0.0), [0.0, 0.25, 0.0]),
    "one over zero": (lambda x: np.where(x != 0, 1 / x, 0.0), [-1.0, -0.0625, 0.0]),
    "a sum behind": (lambda x: np.where(x > 0, np.sqrt(x), 0.0) + x, [1.0, 1.25, 1.0]),
    "powers": (lambda x: np.where(x > 0, x**0.5 * 3, x), [1.0, 0.75, 1.0]),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_what_was_taken(name):
    f, expected = CASES[name]
    total = lambda x: np.sum(f(x))  # noqa: E731
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(nnad.grad(total)(X), expected, rtol=1e-12)
        compiled = nnad.compile(nnad.grad(total))
        for _ in range(2):
            np.testing.assert_allclose(compiled(X), expected, rtol=1e-12)
        t = nnad.Tensor(X, requires_grad=True)
        total(t).backward()
        np.testing.assert_allclose(t.grad, expected, rtol=1e-12)
        np.testing.assert_allclose(nnad.jvp(f, (X,), (np.ones(3),))[1], expected, rtol=1e-12)


def test_so_are_second_derivatives():
    f = lambda x: np.sum(np.where(x > 0, np.sqrt(x) * x, 0.0))  # noqa: E731
    with np.errstate(all="ignore"):
        (found,) = nnad.hvp(f, (X,), (np.ones(3),))
    np.testing.assert_allclose(found, [0.0, 0.375, 0.0], rtol=1e-12)


def test_what_is_taken_keeps_its_slope():
    with np.errstate(all="ignore"):
        assert nnad.grad(lambda x: 1 / x)(0.0) == -np.inf
        found = nnad.grad(lambda x: np.sum(np.where(x == 0, 1 / x, 0.0)))(X)
    np.testing.assert_array_equal(found, [0.0, 0.0, -np.inf])
