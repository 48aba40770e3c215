"""Fourier transforms: NumPy's values for every length and normalisation, and their derivatives."""

import numpy as np
import pytest

import nnad
from nnad import Tensor

F = np.fft


def real(rng, *shape):
    return rng.normal(size=shape)


def complex_(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def assert_value(function, x, **kwargs):
    expected = function(x, **kwargs)
    result = function(Tensor(x), **kwargs)
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result.data, expected)


ONE_AXIS = [
    *((f, make) for f in (F.fft, F.ifft, F.irfft, F.hfft) for make in (real, complex_)),
    *((f, real) for f in (F.rfft, F.ihfft)),
]
SEVERAL_AXES = [
    *((f, complex_) for f in (F.fftn, F.ifftn, F.irfftn, F.fft2, F.ifft2, F.irfft2)),
    *((f, real) for f in (F.fftn, F.rfftn, F.rfft2)),
]
NORMS = pytest.mark.parametrize("norm", [None, "ortho", "forward", "backward"])


@NORMS
@pytest.mark.parametrize(("function", "make"), ONE_AXIS)
def test_transforms_of_one_axis(function, make, norm):
    rng = np.random.default_rng(0)
    x = make(rng, 3, 5)
    for n in (None, 1, 2, 4, 5, 8, 9):
        for axis in (0, -1):
            assert_value(function, x, n=n, axis=axis, norm=norm) if n or axis else None
        if n:
            call = lambda x, n=n: function(x, n, norm=norm)  # noqa: E731
            nnad.check_grads(call, x, order=1)


@NORMS
@pytest.mark.parametrize(("function", "make"), SEVERAL_AXES)
def test_transforms_of_several_axes(function, make, norm):
    x = make(np.random.default_rng(1), 3, 4, 5)
    forms = [{}, {"axes": (0, -1)}, {"s": (3, 6), "axes": (0, 2)}, {"s": (4, -1), "axes": (2, 0)}]
    for form in forms:
        assert_value(function, x, norm=norm, **form)
        nnad.check_grads(lambda x, form=form: function(x, norm=norm, **form), x, order=1)


@pytest.mark.parametrize("function", [F.fftshift, F.ifftshift])
@pytest.mark.parametrize("axes", [None, 1, (0, 1), [0]])
def test_shifts(function, axes):
    x = real(np.random.default_rng(2), 3, 5)
    assert_value(function, x, axes=axes)
    nnad.check_grads(lambda x: function(x, axes), x)


@pytest.mark.parametrize("function", [F.fft, F.ifft, F.rfft, F.irfft, F.hfft, F.rfft2, F.irfftn])
def test_second_order(function):
    x = real(np.random.default_rng(3), 2, 4)
    nnad.check_grads(lambda x: abs(function(x)) ** 2, x)


def test_power_spectrum_gradient_in_closed_form():
    """Parseval: the sum of |fft(x)|**2 is n times that of x**2."""
    x = real(np.random.default_rng(4), 7)
    g = nnad.grad(lambda x: (abs(F.fft(x)) ** 2).sum())(x)
    np.testing.assert_allclose(g, 2 * 7 * x, rtol=1e-12)


def test_float32_stays():
    x = Tensor(np.ones((4, 6), np.float32), requires_grad=True)
    y = F.rfft2(x)
    abs(F.fftshift(y) ** 2).sum().backward()
    assert (y.dtype, x.grad.dtype) == (np.complex64, np.float32)


def test_out_receives_the_result():
    x, out = Tensor(np.arange(4.0)), Tensor(np.zeros(4, complex))
    result = F.fft(x, out=out)
    assert result is out
    np.testing.assert_array_equal(out.data, F.fft(np.arange(4.0)))


def test_bad_arguments():
    x = Tensor(np.ones(4))
    with pytest.raises(ValueError, match=r"norm='wrong'"):
        F.hfft(x, norm="wrong")
    with pytest.raises(ValueError, match="lengths s for 2 axes"):
        F.fftn(Tensor(np.ones((2, 2))), s=(2,), axes=(0, 1))
    with pytest.raises(TypeError):
        F.rfft(Tensor(np.ones(4, complex)))


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "fftn", "rfft2", "irfft2"])
def test_against_autograd(name):
    anp = pytest.importorskip("autograd.numpy")
    from autograd import grad

    x = real(np.random.default_rng(5), 4, 6)

    def loss(m):
        return lambda x: m.sum(m.abs(m.sin(getattr(m.fft, name)(x)))) + m.sum(x**2)

    np.testing.assert_allclose(nnad.grad(loss(np))(x), grad(loss(anp))(x), rtol=1e-10)
