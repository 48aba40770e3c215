"""Values, gradients, JVPs and Hessian-vector products against autograd, JAX and PyTorch, float64.

Each library is used where it is installed and has the function.
"""

import warnings

import numpy as np
import pytest

import nnad

RNG = np.random.default_rng(11)
V, W = RNG.normal(size=6), RNG.normal(size=6)
P = RNG.uniform(0.5, 2.0, 6)
M = RNG.normal(size=(4, 5))
C = RNG.normal(size=(2, 3, 4))
I = np.array([3, 0, 0, 2])


def load(name):
    """The library; what its import warns of is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


@pytest.fixture(scope="module")
def jax():
    library = load("jax")
    library.config.update("jax_enable_x64", True)
    return library


@pytest.fixture(scope="module")
def autograd():
    load("autograd.numpy")
    return load("autograd")


@pytest.fixture(scope="module")
def torch():
    return load("torch")


# name -> (f(np, *arrays), arrays): written for NumPy, run by whoever stands in for it.
FUNCTIONS = {
    "sum": (lambda np, x: np.sum(x, axis=(0, 2), keepdims=True) ** 2, [C]),
    "mean": (lambda np, x: np.mean(x, axis=1) ** 2, [C]),
    "var": (lambda np, x: np.var(x, axis=(0, 1), ddof=1), [C]),
    "std": (lambda np, x: np.std(x, axis=-1), [C]),
    "prod": (lambda np, x: np.prod(x, axis=1), [M]),
    "max": (lambda np, x: np.max(x, axis=0) ** 2, [M]),
    "min": (lambda np, x: np.min(x) ** 2, [M]),
    "ptp": (lambda np, x: np.ptp(x, axis=1) ** 2, [M]),
    "cumsum": (lambda np, x: np.cumsum(x, axis=1) ** 2, [M]),
    "cumprod": (lambda np, x: np.cumprod(x), [V]),
    "diff": (lambda np, x: np.diff(x, 2, axis=0) ** 2, [M]),
    "gradient": (lambda np, x: np.stack(np.gradient(x)) ** 2, [M]),
    "trapezoid": (lambda np, y, x: np.trapezoid(y, x), [V, np.cumsum(P)]),
    "average": (lambda np, x, w: np.average(x, weights=w), [V, P]),
    "median": (lambda np, x: np.median(x, axis=1) ** 2, [M]),
    "quantile": (lambda np, x: np.quantile(x, 0.37, axis=0) ** 2, [M]),
    "percentile": (lambda np, x: np.percentile(x, 61.0) ** 2, [M]),
    "nanmean": (lambda np, x: np.nanmean(x, axis=0) ** 2, [M]),
    "nanstd": (lambda np, x: np.nanstd(x, axis=0), [M]),
    "nanmedian": (lambda np, x: np.nanmedian(x) ** 2, [M]),
    "cov": (lambda np, x: np.cov(x), [M]),
    "corrcoef": (lambda np, x: np.corrcoef(x), [M]),
    "reshape": (lambda np, x: np.reshape(x, (5, 4), order="F") ** 2, [M]),
    "transpose": (lambda np, x: np.transpose(x, (2, 0, 1)) ** 2, [C]),
    "moveaxis": (lambda np, x: np.moveaxis(x, 0, -1) ** 3, [C]),
    "concatenate": (lambda np, x, y: np.concatenate([x, y * x]) ** 2, [V, W]),
    "stack": (lambda np, x, y: np.stack([x, y * x], axis=1) ** 2, [V, W]),
    "tile": (lambda np, x: np.tile(x, (2, 3)) ** 2, [V]),
    "repeat": (lambda np, x: np.repeat(x, 3) ** 2, [V]),
    "roll": (lambda np, x: np.roll(x, 2, axis=1) * x, [M]),
    "flip": (lambda np, x: np.flip(x) * x, [M]),
    "rot90": (lambda np, x: np.rot90(x) ** 2, [M]),
    "pad": (lambda np, x: np.pad(x, ((1, 2), (0, 1)), mode="constant") ** 2, [M]),
    "reflect": (lambda np, x: np.pad(x, 3, mode="reflect") ** 2, [V]),
    "wrap": (lambda np, x: np.pad(x, 2, mode="wrap") ** 2, [V]),
    "sort": (lambda np, x: np.sort(x, axis=0) ** 3, [M]),
    "tril": (lambda np, x: np.tril(x, -1) ** 2, [M]),
    "diag": (lambda np, x: np.diag(x, 1) ** 2, [V]),
    "diagonal": (lambda np, x: np.diagonal(x, 1) ** 2, [M]),
    "trace": (lambda np, x: np.trace(x) ** 2, [M]),
    "slice": (lambda np, x: x[1:, ::-2] ** 2, [M]),
    "rows": (lambda np, x: x[I] ** 2, [M]),
    "pairs": (lambda np, x: x[I, I] ** 2, [M]),
    "take": (lambda np, x: np.take(x, I, axis=1) ** 2, [M]),
    "take_along_axis": (lambda np, x: np.take_along_axis(x, I[:, None], axis=1) ** 2, [M]),
    "where": (lambda np, x, y: np.where(x > y, x * y, y**2), [V, W]),
    "select": (lambda np, x: np.select([x > 1, x > 0], [x**2, x**3], 0.0), [M]),
    "clip": (lambda np, x: np.clip(x, -0.5, 0.5) ** 2, [M]),
    "interp": (lambda np, x, y: np.interp(x, np.linspace(-3, 3, 6), y) ** 2, [V, W]),
    "einsum of parts": (lambda np, x: np.sum(x[:, None] * x[None, :] * np.outer(x, x)), [V]),
    "logaddexp": (lambda np, x, y: np.logaddexp(x, y), [V, W]),
    "arctan2": (lambda np, x, y: np.arctan2(x, y), [V, P]),
    "hypot": (lambda np, x, y: np.hypot(x, y), [V, P]),
    "power": (lambda np, x, y: x**y, [P, V]),
    "sinc": (lambda np, x: np.sinc(x), [V]),
    "kron": (lambda np, x, y: np.kron(x, y), [V, W]),
    "convolve": (lambda np, x, y: np.convolve(x, y), [V, W]),
    "norm": (lambda np, x: np.linalg.norm(x), [M]),
    "fft": (lambda np, x: np.abs(np.fft.fft(x)) ** 2, [V]),
}
WEIGHTS = RNG.normal(size=400)


def scalar(f, np_):
    """f with a scalar result that weighs every element differently."""

    def total(*xs):
        y = f(np_, *xs)
        return np_.sum(y * WEIGHTS[: int(np.prod(np.shape(y)))].reshape(np.shape(y)))

    return total


def directions(xs):
    rng = np.random.default_rng(1)
    return [rng.normal(size=x.shape) for x in xs]


def ours(f, xs):
    total = scalar(f, np)
    everywhere = tuple(range(len(xs)))
    vs = directions(xs)
    value, gradient = nnad.value_and_grad(total, everywhere)(*xs)
    return value, gradient, nnad.jvp(total, xs, vs)[1], nnad.hvp(total, xs, vs)


def by_jax(jax, f, xs):
    total = scalar(f, jax.numpy)
    everywhere = tuple(range(len(xs)))
    vs = tuple(directions(xs))
    value, gradient = jax.value_and_grad(total, everywhere)(*xs)
    tangent = jax.jvp(total, tuple(xs), vs)[1]
    return value, gradient, tangent, jax.jvp(jax.grad(total, everywhere), tuple(xs), vs)[1]


def by_autograd(autograd, f, xs):
    numpy = autograd.numpy
    total, vs = scalar(f, numpy), directions(xs)
    everywhere = tuple(range(len(xs)))
    value, gradient = autograd.value_and_grad(total, everywhere)(*xs)

    def slope(*xs):
        pairs = zip(autograd.grad(total, everywhere)(*xs), vs, strict=True)
        return sum(numpy.sum(g * v) for g, v in pairs)

    return value, gradient, slope(*xs), autograd.grad(slope, everywhere)(*xs)


def compare(got, want):
    for a, b, what in zip(got, want, ["value", "gradient", "JVP", "HVP"], strict=True):
        pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
        for x, y in pairs:
            np.testing.assert_allclose(x, np.asarray(y), rtol=1e-9, atol=1e-9, err_msg=what)


# JAX compiles every operation of every function: a second each, so only a few in every run.
QUICK = {"cumprod", "quantile", "rows", "select"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FUNCTIONS]
)
def test_against_jax(name, jax):
    f, xs = FUNCTIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = by_jax(jax, f, xs)
    compare(ours(f, xs), want)


NOT_IN_AUTOGRAD = {
    "average", "convolve", "corrcoef", "cov", "cumprod", "diagonal", "flip", "hypot", "interp",
    "median", "nanmean", "nanmedian", "nanstd", "percentile", "ptp", "quantile", "reflect", "rot90",
    "select", "sinc", "sort", "take", "take_along_axis", "trapezoid", "wrap",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - NOT_IN_AUTOGRAD))
def test_against_autograd(name, autograd):
    f, xs = FUNCTIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = by_autograd(autograd, f, xs)
    compare(ours(f, xs), want)


PLACES = np.array([3, 0, 4])

# name -> (f(torch, *tensors), f(*arrays), arrays)
IN_TORCH = {
    "prod with a zero": (lambda torch, x: x.prod(), np.prod, [np.array([2.0, 0.0, 3.0])]),
    "cumprod with zeros": (
        lambda torch, x: x.cumprod(0),
        np.cumprod,
        [np.array([2.0, 0.0, 3.0, 0.0])],
    ),
    "amax with ties": (lambda torch, x: x.amax(), np.max, [np.array([1.0, 3.0, 3.0])]),
    "amin along an axis": (lambda torch, x: x.amin(1), lambda x: np.min(x, 1), [M]),
    "nansum": (lambda torch, x: x.nansum(), np.nansum, [np.array([1.0, np.nan, 2.0])]),
    "quantile": (lambda torch, x: x.quantile(0.3), lambda x: np.quantile(x, 0.3), [V]),
    "logsumexp": (
        lambda torch, x: torch.logsumexp(x, 1),
        lambda x: np.logaddexp.reduce(x, axis=1),
        [M],
    ),
    "index put": (
        lambda torch, x, y: (
            torch.zeros(6, dtype=x.dtype).index_put((torch.tensor(PLACES),), x[:3]) * y
        ),
        lambda x, y: _assigned(x, y),
        [V, W],
    ),
    "unfold by gather": (
        lambda torch, x: torch.gather(x, 1, torch.tensor(I[:, None])) ** 2,
        lambda x: np.take_along_axis(x, I[:, None], 1) ** 2,
        [M],
    ),
    "corrcoef": (lambda torch, x: torch.corrcoef(x), np.corrcoef, [M]),
    "cov": (lambda torch, x: torch.cov(x), np.cov, [M]),
}


def _assigned(x, y):
    z = np.zeros_like(x)
    z[PLACES] = x[:3]
    return z * y


@pytest.mark.parametrize("name", IN_TORCH)
def test_against_torch(name, torch):
    theirs, f, xs = IN_TORCH[name]
    tensors = [torch.tensor(x, requires_grad=True) for x in xs]
    out = theirs(torch, *tensors)
    g = np.random.default_rng(2).normal(size=tuple(out.shape))
    want = torch.autograd.grad(out, tensors, torch.tensor(g), allow_unused=True)
    got_out, pullback = nnad.vjp(f, *xs)
    np.testing.assert_allclose(got_out, out.detach().numpy(), rtol=1e-9)
    for a, b in zip(pullback(g), want, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-9, atol=1e-12)
