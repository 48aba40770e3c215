"""Code written for `autograd.numpy` runs with plain NumPy and gives the same derivatives.

Each example is a function of `np` and its arguments in the manner of autograd's own examples.  It
is differentiated by autograd with `autograd.numpy` and by nnad with `numpy`.

One idiom cannot be had: `np.array([a, b])` of values that are being differentiated asks no one but
NumPy.  It raises and says `np.stack`.
"""

import numpy
import pytest

import nnad
from nnad.autodiff.trees import flatten

autograd = pytest.importorskip("autograd")
anp = pytest.importorskip("autograd.numpy")
misc = pytest.importorskip("autograd.misc")

RNG = numpy.random.default_rng(7)
X, Y = RNG.normal(size=(6, 3)), RNG.uniform(size=6) > 0.5
IMAGE = RNG.normal(size=(6, 6))


def normal(*shape):
    return RNG.normal(size=shape)


def logistic_regression(np, weights):
    predicted = 0.5 * (np.tanh(np.dot(X, weights)) + 1)
    return -np.sum(np.log(predicted * Y + (1 - predicted) * (1 - Y)))


def neural_network(np, params):
    """A list of (weight, bias) pairs, log softmax with broadcasting, a prior over all of them."""
    inputs = X
    for weight, bias in params:
        outputs = np.dot(inputs, weight) + bias
        inputs = np.tanh(outputs)
    log_p = outputs - np.log(np.sum(np.exp(outputs), axis=1, keepdims=True))
    prior = sum(np.sum(w**2) + np.sum(b**2) for w, b in params)
    return -np.mean(log_p[np.arange(6), Y.astype(int)]) + 0.1 * prior


def recurrent_network(np, params):
    """A dict of parameters, a Python loop over time, results collected in a list."""
    state, outputs = np.zeros(2), []
    for row in X:
        joined = np.concatenate((row, state, np.ones(1)))
        state = np.tanh(np.dot(joined, params["change"]))
        outputs.append(np.dot(state, params["predict"]))
    return np.sum((np.stack(outputs)[:, 0] - Y) ** 2)


def gaussian_mixture(np, params):
    """Cholesky factors, einsum over all pairs, a stable log-sum-exp by hand."""
    factor, means, shares = params["factors"], params["means"], params["shares"]
    centred = X[:, None, :] - means[None]
    scaled = np.einsum("kij,nkj->nki", np.tril(factor), centred)
    log_det = np.sum(np.log(np.abs(np.diagonal(factor, axis1=-1, axis2=-2))), axis=1)
    terms = shares + log_det - 0.5 * np.sum(scaled**2, axis=2)
    top = np.max(terms, axis=1, keepdims=True)
    return -np.sum(top[:, 0] + np.log(np.sum(np.exp(terms - top), axis=1)))


def gaussian_process(np, params):
    """Covariance by broadcasting, solve, slogdet."""
    scale, noise = np.exp(params[0]), np.exp(params[1])
    gaps = np.expand_dims(X / scale, 0) - np.expand_dims(X / scale, 1)
    covariance = np.exp(-0.5 * np.sum(gaps**2, axis=2)) + noise * np.eye(len(X))
    quadratic = np.dot(Y * 1.0, np.linalg.solve(covariance, Y * 1.0))
    return 0.5 * (quadratic + np.linalg.slogdet(covariance)[1])


def fluid_simulation(np, velocity):
    """Rolling a field, fancy assignment left out in favour of where."""
    field, u = IMAGE, velocity.reshape(2, 6, 6)
    for _ in range(3):
        gradient = np.roll(field, 1, axis=0) - np.roll(field, -1, axis=1)
        field = np.where(np.abs(gradient) > 0.5, field - 0.1 * u[0] * gradient, field * u[1])
    return np.mean(field**2)


def trained_weights(np, log_rate):
    """The loss after gradient descent, as a function of the learning rate: grad inside grad."""
    grad = nnad.grad if np is numpy else autograd.grad

    def loss(w):
        return np.mean((np.tanh(np.dot(X, w)) - Y) ** 2)

    weights = np.ones(3) * 0.1
    for _ in range(4):
        weights = weights - np.exp(log_rate) * grad(loss)(weights)
    return loss(weights)


def ordinary_differential_equation(np, params):
    """Runge-Kutta steps on a stack of states."""

    def change(state):
        return np.stack([state[1], params[0] * np.sin(state[0]) - params[1] * state[1]])

    state, h = np.array([1.0, 0.0]), 0.1
    for _ in range(5):
        k1 = change(state)
        k2 = change(state + h / 2 * k1)
        state = state + h * k2
    return np.sum(state**2)


def convolution(np, filters):
    """Windows by slicing, products by einsum and tensordot, max over pooled regions."""
    patches = np.array([[IMAGE[i : i + 3, j : j + 3] for j in range(4)] for i in range(4)])
    maps = np.einsum("ijkl,fkl->fij", patches, filters)
    pooled = np.max(np.reshape(maps, (-1, 2, 2, 2, 2)), axis=(2, 4))
    return np.sum(np.tensordot(pooled, pooled, axes=((0, 1), (0, 1))))


def rosenbrock(np, x):
    return sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0)


def complex_signal(np, x):
    """Through complex numbers and back: fft, real, imag, abs, angle, conj."""
    spectrum = np.fft.fft(x + 1j * np.sin(x))
    rotated = spectrum * np.exp(1j * x) * np.conj(spectrum)
    return np.sum(np.abs(rotated)) + np.real(np.sum(spectrum**2)) + np.sum(np.imag(spectrum))


def iterating_and_building(np, x):
    """Iteration, comparison, branches, append, indices in a Python list."""
    total, seen = 0.0, []
    for row in x:
        seen.append(row if row[0] > 0 else -2 * row)
        total = total + seen[-1] @ row
    last = np.vstack(seen)[[0, -1, 0]]
    return total + np.prod(last, axis=1).sum() + max(x[0, 0], x[1, 0])


def eigen(np, a):
    symmetric = np.dot(a, a.T) + 2 * np.eye(3)
    values, vectors = np.linalg.eigh(symmetric)
    return np.sum(np.log(values)) + np.sum((vectors @ np.diag(values**2)) @ vectors.T)


def statistics(np, x):
    z = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
    return np.sum(np.var(x, axis=1)) + np.sum(np.cumsum(z, axis=0) ** 3) + np.linalg.norm(z)


EXAMPLES = {
    logistic_regression: normal(3),
    neural_network: [(normal(3, 4), normal(4)), (normal(4, 2), normal(2))],
    recurrent_network: {"change": normal(6, 2), "predict": normal(2, 1)},
    gaussian_mixture: {
        "factors": normal(2, 3, 3) + 2 * numpy.eye(3),
        "means": normal(2, 3),
        "shares": normal(2),
    },
    gaussian_process: (0.3, -0.5),
    fluid_simulation: normal(72),
    trained_weights: 0.1,
    ordinary_differential_equation: normal(2),
    convolution: normal(2, 3, 3),
    rosenbrock: normal(5),
    complex_signal: normal(5),
    iterating_and_building: normal(3, 4),
    eigen: normal(3, 3),
    statistics: normal(5, 3),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda f: f.__name__)
def test_same_value_gradient_and_second_derivative(example):
    at = EXAMPLES[example]
    value, gradient = nnad.value_and_grad(lambda p: example(numpy, p))(at)
    theirs, their_gradient = autograd.value_and_grad(lambda p: example(anp, p))(at)
    assert float(value) == pytest.approx(float(theirs), rel=1e-12)
    assert_same(gradient, their_gradient, 1e-9)

    (product,) = nnad.hvp(lambda p: example(numpy, p), (at,), (at,))
    flat, unflatten = misc.flatten(at)
    along = autograd.make_hvp(lambda v: example(anp, unflatten(v)))(flat)[0](flat)
    assert_same(product, unflatten(along), 1e-8)


def assert_same(ours, theirs, tolerance):
    assert type(ours) is type(theirs) or not isinstance(ours, (dict, list, tuple))
    for a, b in zip(flatten(ours)[0], flatten(theirs)[0], strict=True):
        assert numpy.shape(a) == numpy.shape(b)
        scale = max(1.0, float(numpy.max(numpy.abs(b))))
        numpy.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def test_complex_arguments_follow_autograds_convention():
    z = normal(4) + 1j * normal(4)

    def real_loss(np, z):
        return np.real(np.sum(z**3 * np.conj(z) + np.sin(z) * np.abs(z)))

    ours = nnad.grad(lambda z: real_loss(numpy, z))(z)
    numpy.testing.assert_allclose(ours, autograd.grad(lambda z: real_loss(anp, z))(z), rtol=1e-12)


def test_jacobians_and_elementwise_derivatives():
    def g(np):
        return lambda x: np.stack([np.sin(x) * x[0], x**2])

    x = normal(4)
    numpy.testing.assert_allclose(
        nnad.jacobian(g(numpy))(x), autograd.jacobian(g(anp))(x), rtol=1e-12
    )
    derivative = numpy.tanh
    theirs = anp.tanh
    for _ in range(4):
        derivative = lambda x, f=derivative: nnad.vjp(f, x)[1](numpy.ones_like(x))[0]  # noqa: E731
        theirs = autograd.elementwise_grad(theirs)
    numpy.testing.assert_allclose(derivative(x), theirs(x), rtol=1e-10)


def test_np_array_of_tensors_says_what_to_write():
    with pytest.raises(nnad.errors.LostGradientError, match=r"np\.stack"):
        nnad.grad(lambda x: numpy.sum(numpy.array([x[0], x[1] ** 2])))(normal(2))


def test_minimisers_of_scipy_take_value_and_grad():
    optimize = pytest.importorskip("scipy.optimize")
    f = lambda x: rosenbrock(numpy, x)  # noqa: E731
    found = optimize.minimize(nnad.value_and_grad(f), numpy.zeros(4), jac=True, method="BFGS")
    numpy.testing.assert_allclose(found.x, numpy.ones(4), rtol=1e-4)
    found = optimize.minimize(
        f, numpy.zeros(4), jac=nnad.grad(f), hess=nnad.hessian(f), method="trust-exact"
    )
    numpy.testing.assert_allclose(found.x, numpy.ones(4), rtol=1e-4)
