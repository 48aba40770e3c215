"""Every function of the standard with a derivative differentiates, in both modes and nested."""

import inspect

import numpy as np
import pytest

import nnad
import nnad.array_api as xp
from nnad.autodiff.tensor import Tensor, value_of
from nnad.autodiff.trees import flatten
from tests.ops.test_compiled_calls import outcomes

RNG = np.random.default_rng(3)
M = RNG.uniform(0.2, 0.8, (3, 4))
N = RNG.uniform(0.9, 1.6, (3, 4))
V = RNG.uniform(0.2, 0.8, 5)
S = RNG.normal(size=(2, 3, 3)) + 4 * np.eye(3)  # square
C = M + 1j * N
PLACES = np.array([0, 2, 2])
CONDITION = RNG.random((3, 4)) < 0.5


def spd(x):
    return xp.matmul(x, xp.matrix_transpose(x))


def magnitudes(parts):
    """What does not depend on the phases that a decomposition is free to choose."""
    return tuple(xp.abs(part) for part in parts)


UNARY = [
    "abs", "acos", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log",
    "log10", "log1p", "log2", "negative", "positive", "reciprocal", "sin", "sinh", "sqrt",
    "square", "tan", "tanh", "conj", "real",
]  # fmt: skip
BINARY = [
    "add", "atan2", "copysign", "divide", "hypot", "logaddexp", "maximum", "minimum",
    "multiply", "nextafter", "pow", "remainder", "subtract",
]  # fmt: skip
ONE_AXIS = ["cumulative_prod", "cumulative_sum", "max", "mean", "min", "prod", "std", "sum", "var"]
CALLS = {
    **{name: (lambda x, name=name: getattr(xp, name)(x), M) for name in UNARY},
    **{name: (lambda x, y, name=name: getattr(xp, name)(x, y), M, N[:1]) for name in BINARY},
    **{name: (lambda x, name=name: getattr(xp, name)(x, axis=1), M) for name in ONE_AXIS},
    "acosh": (xp.acosh, 1 + M),
    "imag": (xp.imag, C),
    "clip": (lambda x, low: xp.clip(x, low, 0.6), M, np.array(0.4)),
    "asarray": (lambda x: xp.asarray([x[0, 0], x[1, 2]], copy=True), M),
    "astype": (lambda x: xp.astype(x, xp.complex128), M),
    "full": (lambda x: xp.full((2, 3), x[0]), V),
    "full_like": (lambda x: xp.full_like(M, x[0]), V),
    "linspace": (lambda x: xp.linspace(x[0], x[1], 4), V),
    "meshgrid": (lambda x: xp.meshgrid(x[:2], x[2:]), V),
    "tril": (lambda x: xp.tril(x, k=1), M),
    "triu": (lambda x: xp.triu(x, k=-1), M),
    "broadcast_arrays": (lambda x, y: xp.broadcast_arrays(x, y), M, N[:1]),
    "broadcast_to": (lambda x: xp.broadcast_to(x, (2, 5)), V),
    "concat": (lambda x, y: xp.concat([x, y], axis=1), M, N),
    "expand_dims": (lambda x: xp.expand_dims(x, axis=1), M),
    "flip": (lambda x: xp.flip(x, axis=1), M),
    "moveaxis": (lambda x: xp.moveaxis(x, 0, 1), M),
    "permute_dims": (lambda x: xp.permute_dims(x, (1, 0)), M),
    "repeat": (lambda x: xp.repeat(x, PLACES, axis=0), M),
    "reshape": (lambda x: xp.reshape(x, (6, 2), copy=True), M),
    "roll": (lambda x: xp.roll(x, 2, axis=1), M),
    "squeeze": (lambda x: xp.squeeze(x[None], axis=0), M),
    "stack": (lambda x, y: xp.stack([x, y], axis=1), M, N),
    "tile": (lambda x: xp.tile(x, (2, 1)), M),
    "unstack": (lambda x: xp.unstack(x, axis=1), M),
    "where": (lambda x, y: xp.where(CONDITION, x, y), M, N),
    "sort": (lambda x: xp.sort(x, descending=True), M),
    "take": (lambda x: xp.take(x, PLACES, axis=1), M),
    "take_along_axis": (lambda x: xp.take_along_axis(x, PLACES[:, None]), M),
    "unique_values": (xp.unique_values, M),
    "unique_all": (lambda x: xp.unique_all(x).values, M),
    "unique_counts": (lambda x: xp.unique_counts(x).values, M),
    "unique_inverse": (lambda x: xp.unique_inverse(x).values, M),
    "diff": (lambda x, y: xp.diff(x, n=2, prepend=y), M, N[:, :1]),
    "matmul": (xp.matmul, M, N.T),
    "matrix_transpose": (xp.matrix_transpose, M),
    "tensordot": (lambda x, y: xp.tensordot(x, y, axes=((0,), (0,))), M, N),
    "vecdot": (lambda x, y: xp.vecdot(x, y, axis=0), M, N),
    "linalg.cholesky": (lambda x: xp.linalg.cholesky(spd(x), upper=True), S),
    "linalg.cross": (xp.linalg.cross, S[0], S[1]),
    "linalg.det": (xp.linalg.det, S),
    "linalg.diagonal": (lambda x: xp.linalg.diagonal(x, offset=1), S),
    "linalg.eig": (lambda x: magnitudes(xp.linalg.eig(x)), S),
    "linalg.eigh": (lambda x: magnitudes(xp.linalg.eigh(spd(x))), S),
    "linalg.eigvals": (lambda x: xp.abs(xp.linalg.eigvals(x)), S),
    "linalg.eigvalsh": (lambda x: xp.linalg.eigvalsh(spd(x)), S),
    "linalg.inv": (xp.linalg.inv, S),
    "linalg.matrix_norm": (lambda x: xp.linalg.matrix_norm(x, ord="nuc"), S),
    "linalg.matrix_power": (lambda x: xp.linalg.matrix_power(x, -2), S),
    "linalg.outer": (xp.linalg.outer, V, V[:3]),
    "linalg.pinv": (xp.linalg.pinv, M),
    "linalg.qr": (xp.linalg.qr, S),
    "linalg.slogdet": (xp.linalg.slogdet, S),
    "linalg.solve": (xp.linalg.solve, S, S[0]),
    "linalg.svd": (lambda x: magnitudes(xp.linalg.svd(x, full_matrices=False)), M),
    "linalg.svdvals": (xp.linalg.svdvals, S),
    "linalg.trace": (lambda x: xp.linalg.trace(x, offset=-1), S),
    "linalg.vector_norm": (lambda x: xp.linalg.vector_norm(x, axis=1, ord=3), M),
    **{f"fft.{name}": (getattr(xp.fft, name), C) for name in ["fft", "ifft", "fftn", "ifftn"]},
    **{f"fft.{name}": (getattr(xp.fft, name), M) for name in ["rfft", "rfftn", "ihfft"]},
    **{f"fft.{name}": (getattr(xp.fft, name), C) for name in ["irfft", "irfftn", "hfft"]},
    **{f"fft.{name}": (getattr(xp.fft, name), M) for name in ["fftshift", "ifftshift"]},
}
SAME = {f"linalg.{name}": name for name in ("matmul", "matrix_transpose", "tensordot", "vecdot")}
CONSTANT = {
    # truths, places and counts
    "all", "any", "argmax", "argmin", "argsort", "bitwise_and", "bitwise_invert",
    "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "count_nonzero",
    "equal", "greater", "greater_equal", "isfinite", "isin", "isinf", "isnan", "less",
    "less_equal", "linalg.matrix_rank", "logical_and", "logical_not", "logical_or", "logical_xor",
    "nonzero", "not_equal", "searchsorted", "signbit",
    # steps
    "ceil", "floor", "floor_divide", "round", "sign", "trunc",
    # new arrays
    "arange", "empty", "empty_like", "eye", "fft.fftfreq", "fft.rfftfreq", "from_dlpack", "ones",
    "ones_like", "zeros", "zeros_like",
    # about shapes and dtypes
    "__array_namespace_info__", "broadcast_shapes", "can_cast", "finfo", "iinfo", "isdtype",
    "result_type",
}  # fmt: skip


def names():
    for prefix, module in (("", xp), ("linalg.", xp.linalg), ("fft.", xp.fft)):
        listed = getattr(module, "__all__", vars(module))
        yield from (prefix + name for name in listed if inspect.isfunction(getattr(module, name)))


def test_every_function_differentiates_or_is_a_constant():
    assert sorted(set(names()) - {*CALLS, *SAME, *CONSTANT}) == []
    assert CONSTANT.isdisjoint(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_derivatives(name):
    function, *args = CALLS[name]
    nnad.check_grads(function, *args, order=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_second_derivatives(name):
    function, *args = CALLS[name]
    nnad.check_grads(function, *args, order=2, tolerance=1e-5)


@pytest.mark.parametrize("name", sorted(SAME))
def test_functions_in_two_places_are_one(name):
    assert getattr(xp.linalg, name.removeprefix("linalg.")) is getattr(xp, SAME[name])


def test_steps_and_truths_are_constant_tensors():
    x = Tensor(M, requires_grad=True)
    for name in ("ceil", "sign", "isnan", "argmax", "argsort", "count_nonzero"):
        y = getattr(xp, name)(x)
        assert isinstance(y, Tensor)
        assert not y.requires_grad


def energy(x):
    """Code written against the standard."""
    space = x.__array_namespace__()
    y = space.where(x > 0.5, space.exp(x), x**2)
    y = space.concat([y, space.sort(x, axis=1)], axis=1)
    y[0, :] = space.linalg.vector_norm(y, axis=0)
    return space.sum(space.matmul(y, space.matrix_transpose(y)) ** 2) / y.shape[0]


def test_transforms_nest_through_the_namespace():
    x, v = nnad.Tensor(M), RNG.normal(size=M.shape)
    hvp = nnad.hvp(energy, (M,), (v,))[0]
    other = nnad.grad(lambda x: np.sum(nnad.jvp(energy, (x,), (v,))[1]))(M)
    np.testing.assert_allclose(hvp, other, rtol=1e-12)
    nnad.check_grads(energy, M, order=2)
    assert isinstance(energy(x), Tensor)


@pytest.mark.parametrize("name", [name for name in CALLS if "unique" not in name])
def test_compiled(name):
    function, *args = CALLS[name]
    got, expected = outcomes((function, args, {}))
    for a, b in zip(flatten(got)[0], flatten(expected)[0], strict=True):
        np.testing.assert_allclose(value_of(a), value_of(b), rtol=1e-15)


def test_a_compiled_step_may_use_the_namespace():
    step = nnad.compile(nnad.value_and_grad(energy))
    for scale in (1.0, 0.7):
        value, gradient = step(M * scale)
        expected = nnad.value_and_grad(energy)(M * scale)
        np.testing.assert_allclose(value, expected[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-12)
