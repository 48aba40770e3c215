"""Softmax and its kin, sinc, and SciPy's special functions: values, derivatives, hard points."""

import subprocess
import sys

import numpy as np
import pytest

import nnad
from nnad import Tensor, ops
from nnad.autodiff.table import LATE, TABLE
from nnad.ops import bessel, scipy_special

sp = pytest.importorskip("scipy.special")

AXES = pytest.mark.parametrize("axis", [0, 1, -1, None, (0, 1)])


def matrix():
    return np.random.default_rng(0).normal(size=(3, 4))


# Softmax, log_softmax, logsumexp --------------------------------------------------------------


@AXES
def test_softmax_and_its_logarithm(axis):
    x = matrix()
    np.testing.assert_allclose(ops.softmax(x, axis), sp.softmax(x, axis), rtol=1e-14)
    np.testing.assert_allclose(ops.log_softmax(x, axis), sp.log_softmax(x, axis), rtol=1e-14)
    nnad.check_grads(lambda x: ops.softmax(x, axis), x)
    nnad.check_grads(lambda x: ops.log_softmax(x, axis), x)


@AXES
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(axis, keepdims):
    x, b = matrix(), np.ones((3, 4))
    b[0, 0], b[1, 1], b[2, 2] = 0.0, -0.1, 2.0
    for kwargs in ({}, {"b": np.abs(b)}, {"b": b, "return_sign": True}):
        want = sp.logsumexp(x, axis, keepdims=keepdims, **kwargs)
        got = ops.logsumexp(x, axis, keepdims=keepdims, **kwargs)
        for g, w in zip(np.atleast_1d(got), np.atleast_1d(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-13)
        nnad.check_grads(lambda x, k=kwargs: ops.logsumexp(x, axis, keepdims=keepdims, **k), x)


def test_reduction_of_logaddexp_is_logsumexp():
    x = matrix()
    got = np.logaddexp.reduce(Tensor(x), axis=1)
    np.testing.assert_allclose(got.data, sp.logsumexp(x, 1), rtol=1e-14)


def test_no_overflow_and_no_lost_digits():
    x = np.array([1000.0, 0.0, -1000.0])
    np.testing.assert_array_equal(ops.softmax(x), [1, 0, 0])
    np.testing.assert_array_equal(ops.log_softmax(x), [0, -1000, -2000])
    assert ops.logsumexp(x) == 1000
    np.testing.assert_allclose(ops.logsumexp(np.array([0.0, -40.0])), np.exp(-40.0), rtol=1e-15)


def test_logsumexp_of_nothing_but_minus_infinity():
    x = np.full(3, -np.inf)
    assert ops.logsumexp(x) == -np.inf
    np.testing.assert_array_equal(nnad.grad(ops.logsumexp)(x), 0)


def test_logsumexp_with_factors_zero():
    assert ops.logsumexp(np.array([1.0, 2.0]), b=np.zeros(2)) == -np.inf


def test_logsumexp_of_complex_numbers():
    z = matrix() + 1j * matrix()[::-1]
    np.testing.assert_allclose(ops.logsumexp(z), sp.logsumexp(z), rtol=1e-14)
    nnad.check_grads(ops.logsumexp, z)


@pytest.mark.parametrize("function", [ops.softmax, ops.log_softmax, ops.logsumexp])
def test_dtypes(function):
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    y = function(x).sum()
    y.backward()
    assert y.dtype == x.grad.dtype == np.float32
    assert function([1, 2]).dtype == np.float64


def test_softmax_writes_into_out():
    x, out = matrix(), np.empty((3, 4))
    assert TABLE["softmax"].forward(x, axis=1, out=out) is out
    np.testing.assert_allclose(out, sp.softmax(x, 1), rtol=1e-14)


# Sinc -----------------------------------------------------------------------------------------


def test_derivatives_of_sinc_at_zero_are_those_of_its_series():
    """sin(pi x) / (pi x) = 1 - (pi x)**2 / 3! + (pi x)**4 / 5! - ..."""
    f, found = np.sinc, []
    for _ in range(5):
        f = nnad.grad(f)
        found.append(f(0.0))
    want = [0, -(np.pi**2) / 3, 0, np.pi**4 / 5, 0]
    np.testing.assert_allclose(found, want, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("x", [1e-8, 0.3, 3.3, 7.2, 50.1, -2.7, 1e4 + 0.3])
def test_derivatives_of_sinc_against_high_precision(x):
    mpmath = pytest.importorskip("mpmath")
    f = np.sinc
    for k in range(1, 5):
        f = nnad.grad(f)
        want = float(mpmath.diff(mpmath.sincpi, mpmath.mpf(x), k))
        np.testing.assert_allclose(f(x), want, rtol=3e-12)


# SciPy's functions ----------------------------------------------------------------------------

NAMES = sorted({*scipy_special.__all__, *bessel.__all__} - {"polygamma", "multigammaln"})


@pytest.mark.parametrize("name", NAMES)
def test_scipy_finds_the_entry(name):
    """`scipy.special.name(Tensor)` has SciPy's value and a derivative, in float32 too."""
    function, entry = getattr(sp, name), getattr(ops, name)
    for case in entry.samples(np.random.default_rng(1)):
        *others, x = case.args
        t = Tensor(x, requires_grad=True)
        y = function(*others, t)
        np.testing.assert_allclose(y.data, function(*others, x), rtol=1e-13)
        y.sum().backward(np.ones((), y.dtype))
        assert np.all(np.isfinite(t.grad))
        t = Tensor(x.astype(np.float32), requires_grad=True)
        function(*others, t).sum().backward(np.ones((), function(*others, t).dtype))
        assert t.grad.dtype == np.float32


def test_every_name_is_one_of_scipy():
    assert {
        name.rpartition(".")[2] for name in LATE if not hasattr(sp, name.split(".")[-1])
    } == set()


@pytest.mark.parametrize(
    ("call", "value", "slope"),
    [
        (sp.expit, 0.5, 0.25),
        (sp.digamma, -np.euler_gamma, np.pi**2 / 6),
        (np.i0, 1.0, 0.0),
        (lambda x: sp.jn(1, x), 0.0, 0.5),
        (lambda x: ops.polygamma(1, x), np.pi**2 / 6, -2 * 1.2020569031595942),
        (sp.spence, 0.0, -1.0),
    ],
)
def test_values_known_in_closed_form(call, value, slope):
    x = 1.0 if call in (sp.digamma, sp.spence) or value > 1.5 else 0.0
    got, d = nnad.value_and_grad(call)(x)
    np.testing.assert_allclose([got, d], [value, slope], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("x", [-1e4, -30.0, 0.0, 5.0, 50.0])
def test_log_ndtr_far_out(x):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(50):
        want = mpmath.npdf(x) / mpmath.ncdf(x)
    np.testing.assert_allclose(nnad.grad(sp.log_ndtr)(x), float(want), rtol=1e-12)


def test_entropies_at_zero_are_finite():
    p = np.array([1.0, 0.0, 0.0])
    for f in (sp.entr, lambda p: sp.xlogy(p, p), lambda p: sp.rel_entr(p, p), sp.kl_div):
        call = (lambda p, f=f: f(p, p).sum()) if f is sp.kl_div else (lambda p, f=f: f(p).sum())
        assert np.all(np.isfinite(nnad.grad(call)(p)))
        assert np.all(np.isfinite(nnad.hessian(call)(p)))


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda v: sp.jv(v, 2.0), "jv has no derivative with respect to its argument v"),
        (lambda a: sp.gammainc(a, 2.0), "gammainc has no derivative .* argument a"),
        (sp.airy, "scipy.special.airy has no derivative rule"),
        (sp.struve, "scipy.special.struve has no derivative rule"),
    ],
)
def test_missing_derivatives_are_named(call, what):
    with pytest.raises(nnad.errors.MissingRuleError, match=what):
        nnad.grad(lambda x: call(x) if call is not sp.struve else call(0, x))(1.5)


def test_orders_may_be_constants_inside_a_gradient():
    np.testing.assert_allclose(nnad.grad(lambda x: sp.jv(0, x))(1.5), -sp.j1(1.5), rtol=1e-14)


@pytest.mark.parametrize(
    "name", ["erf", "gammaln", "digamma", "logit", "i0", "j1", "beta", "expit"]
)
def test_against_autograd(name):
    special = pytest.importorskip("autograd.scipy.special")
    from autograd import grad

    x = np.random.default_rng(2).uniform(0.2, 0.8, 3)
    args = (x, x[::-1].copy()) if name == "beta" else (x,)
    ours = nnad.grad(lambda *a: (getattr(sp, name)(*a) ** 2).sum())(*args)
    theirs = grad(lambda *a: (getattr(special, name)(*a) ** 2).sum())(*args)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_scipy_is_loaded_by_the_first_use_alone():
    code = (
        "import sys, nnad, numpy as np\n"
        "nnad.ops.softmax(nnad.Tensor([1.0, 2.0])); np.sinc(nnad.Tensor([1.0]))\n"
        "assert 'scipy' not in sys.modules\n"
        "print(nnad.ops.erf(nnad.Tensor([0.0])).data[0], 'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0.0", "True"]
