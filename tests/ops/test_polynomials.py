"""Polynomials as coefficient vectors: NumPy's values and derivatives."""

import numpy as np
import pytest

import nnad
from nnad import Tensor


def assert_value(function, *arrays, **kwargs):
    expected = function(*arrays, **kwargs)
    result = function(*map(Tensor, arrays), **kwargs)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.data, expected, rtol=1e-12, atol=1e-13)


CALLS = {
    "polyval": (np.polyval, [(4,), (3, 2)], {}),
    "polyadd": (np.polyadd, [(4,), (3,)], {}),
    "polysub": (np.polysub, [(2,), (5,)], {}),
    "polymul": (np.polymul, [(4,), (2,)], {}),
    "polyder": (np.polyder, [(5,)], {"m": 3}),
    "polyint": (np.polyint, [(4,)], {"m": 2, "k": [1, 2]}),
    "vander": (np.vander, [(3,)], {}),
    "vander, increasing": (np.vander, [(3,)], {"N": 5, "increasing": True}),
    "polyfit": (np.polyfit, [(8,), (8,)], {"deg": 3}),
    "polyfit of columns": (np.polyfit, [(8,), (8, 2)], {"deg": 2}),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("complex_", [False, True])
def test_values_and_derivatives(name, complex_):
    function, shapes, kwargs = CALLS[name]
    if complex_ and function is np.polyfit:
        pytest.skip("NumPy fits real numbers")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) + (1j * rng.normal(size=s) if complex_ else 0) for s in shapes]
    assert_value(function, *arrays, **kwargs)
    nnad.check_grads(lambda *a: function(*a, **kwargs), *arrays)


def test_weighted_fit():
    rng = np.random.default_rng(1)
    x, y, w = rng.normal(size=8), rng.normal(size=8), rng.uniform(1, 2, 8)
    expected = np.polyfit(x, y, 2, w=w)
    np.testing.assert_allclose(np.polyfit(Tensor(x), y, 2, w=Tensor(w)).data, expected, rtol=1e-11)
    nnad.check_grads(lambda y, w: np.polyfit(x, y, 2, w=w), y, w)


def test_derivative_by_the_argument_is_the_derivative_polynomial():
    p = np.array([2.0, -1.0, 0.5, 3.0])
    slope = nnad.grad(lambda x: np.polyval(p, x))(1.7)
    np.testing.assert_allclose(slope, np.polyval(np.polyder(p), 1.7), rtol=1e-14)


def test_full_fit_is_refused():
    with pytest.raises(TypeError, match=r"does not take full=True"):
        np.polyfit(Tensor(np.arange(3.0)), np.arange(3.0), 1, full=True)
