"""Linear algebra: NumPy's values, all modes and orders; derivatives against differences and peers.

Complex vectors of a decomposition are fixed up to a phase only, so that functions of them are
compared which do not depend on it.
"""

import numpy as np
import pytest

import nnad
from nnad import Tensor, ops
from nnad.ops.linalg import well_conditioned

L = np.linalg


def real(rng, *shape):
    return rng.normal(size=shape)


def complex_(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def positive_definite(x):
    return x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(x.shape[-1])


MAKERS = pytest.mark.parametrize("make", [real, complex_])


def assert_same_result(result, expected):
    """Values, shapes, dtypes, and the fields of named tuples."""
    if isinstance(expected, tuple):
        assert len(result) == len(expected)
        assert getattr(result, "_fields", None) == getattr(expected, "_fields", result._fields)
        for part, want in zip(result, expected, strict=True):
            assert_same_result(part, want)
        return
    expected = np.asarray(expected)
    data = np.asarray(result.data if isinstance(result, Tensor) else result)
    assert data.shape == expected.shape
    assert data.dtype == expected.dtype or expected.dtype.kind == "i"
    np.testing.assert_allclose(data, expected, rtol=1e-9, atol=1e-11)


def assert_value(function, *arrays, **kwargs):
    assert_same_result(function(*map(Tensor, arrays), **kwargs), function(*arrays, **kwargs))


# Values ---------------------------------------------------------------------------------------


@MAKERS
def test_values_of_inverses_and_systems(make):
    rng = np.random.default_rng(0)
    square = make(rng, 2, 3, 3)
    for function in (L.inv, L.det, L.slogdet):
        assert_value(function, square)
    for a, b in [((3, 3), (3,)), ((2, 3, 3), (3,)), ((3, 3), (4, 3, 2))]:
        assert_value(L.solve, make(rng, *a), make(rng, *b))
    for n in (-3, -1, 0, 1, 2, 3, 5, 8):
        assert_value(L.matrix_power, square, n=n)
    assert_value(L.tensorinv, make(rng, 2, 3, 6))
    assert_value(L.tensorinv, make(rng, 6, 2, 3), ind=1)
    assert_value(L.tensorsolve, make(rng, 2, 6, 3), make(rng, 2, 3), axes=(1,))
    assert_value(L.diagonal, square, offset=1)
    assert_value(L.trace, square)


@MAKERS
def test_values_of_pseudo_inverses_and_least_squares(make):
    rng = np.random.default_rng(1)
    assert_value(L.pinv, make(rng, 4, 3))
    assert_value(L.pinv, make(rng, 2, 3, 4), rtol=0.4)
    assert_value(L.pinv, make(rng, 2, 3, 4), rcond=0.4)
    assert_value(L.pinv, positive_definite(make(rng, 3, 3)), hermitian=True)
    for a, b in [((5, 3), (5,)), ((5, 3), (5, 2)), ((3, 3), (3,)), ((3, 5), (3, 2))]:
        assert_value(L.lstsq, make(rng, *a), make(rng, *b))


@MAKERS
def test_values_of_decompositions(make):
    rng = np.random.default_rng(2)
    square, definite = make(rng, 2, 3, 3), positive_definite(make(rng, 2, 3, 3))
    for upper in (False, True):
        assert_value(L.cholesky, definite, upper=upper)
    for triangle in "LU":
        assert_value(L.eigh, square, UPLO=triangle)
        assert_value(L.eigvalsh, square, UPLO=triangle)
    assert_value(L.eig, square)
    assert_value(L.eigvals, square)
    for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 2)]:
        x = make(rng, *shape)
        assert_value(L.svd, x)
        assert_value(L.svd, x, full_matrices=False)
        assert_value(L.svd, x, compute_uv=False)
        assert_value(L.svdvals, x)
        for mode in ("reduced", "complete", "r"):
            assert_value(L.qr, x, mode=mode)
    assert_value(L.svd, definite, hermitian=True)


@MAKERS
@pytest.mark.parametrize("keepdims", [False, True])
def test_values_of_norms(make, keepdims):
    rng = np.random.default_rng(3)
    vector, matrix, stack = make(rng, 3), make(rng, 2, 3), make(rng, 2, 3, 4)
    for p in (None, 0, 1, 2, 3, -1, -2, 0.5, np.inf, -np.inf):
        assert_value(L.norm, vector, ord=p, keepdims=keepdims)
        assert_value(L.norm, stack, ord=p, axis=-1, keepdims=keepdims)
        if p is not None:
            assert_value(L.vector_norm, stack, ord=p, axis=(0, 2), keepdims=keepdims)
            assert_value(L.vector_norm, matrix, ord=p, keepdims=keepdims)
    for p in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        assert_value(L.norm, matrix, ord=p, keepdims=keepdims)
        assert_value(L.norm, stack, ord=p, axis=(2, 0), keepdims=keepdims)
        if p is not None:
            assert_value(L.matrix_norm, stack, ord=p, keepdims=keepdims)
    assert_value(L.norm, stack, keepdims=keepdims)
    assert_value(L.norm, np.arange(3), keepdims=keepdims)


@MAKERS
def test_values_of_condition_numbers(make):
    rng = np.random.default_rng(4)
    for p in (None, 2, -2):
        assert_value(L.cond, make(rng, 2, 4, 3), p=p)
    for p in (1, -1, "fro", np.inf, -np.inf, "nuc"):
        assert_value(L.cond, make(rng, 2, 3, 3), p=p)


# Derivatives ----------------------------------------------------------------------------------

SQUARE_FUNCTIONS = {
    "inv": L.inv,
    "det": L.det,
    "slogdet": lambda a: tuple(L.slogdet(a)),
    "matrix_power": lambda a: L.matrix_power(a, -3),
    "pinv": L.pinv,
    "cond": L.cond,
    "cond 1": lambda a: L.cond(a, 1),
    "norm nuc": lambda a: L.norm(a, "nuc", axis=(-2, -1)),
    "norm -2": lambda a: L.norm(a, -2, axis=(-2, -1)),
    "norm inf": lambda a: L.norm(a, np.inf, axis=(1, 2)),
    "norm 3": lambda a: L.norm(a, 3, axis=0),
    "cholesky": L.cholesky,
    "cholesky upper": lambda a: L.cholesky(a, upper=True),
    "eigh values": lambda a: L.eigh(a)[0],
    "eigh projectors": lambda a: abs(L.eigh(a, "U")[1]) ** 2,
    "eigvalsh": L.eigvalsh,
    "eigvals": L.eigvals,
    "eig projectors": lambda a: abs(L.eig(a)[1]) ** 2,
    "svdvals": L.svdvals,
    "svd projectors": lambda a: [abs(x) ** 2 for x in L.svd(a)],
    "svd pair": lambda a: (lambda u, s, v: u[..., :, 0, None] * v[..., 0, None, :])(*L.svd(a)),
    "qr": lambda a: tuple(L.qr(a)),
}


@MAKERS
@pytest.mark.parametrize("name", SQUARE_FUNCTIONS)
def test_derivatives_of_functions_of_a_square_matrix(name, make):
    rng = np.random.default_rng(5)
    a = positive_definite(make(rng, 2, 3, 3)) + 0.1 * make(rng, 2, 3, 3) + np.diag([0, 1, 3])
    nnad.check_grads(SQUARE_FUNCTIONS[name], a)


@MAKERS
@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
def test_derivatives_of_functions_of_other_matrices(shape, make):
    rng = np.random.default_rng(6)
    a = make(rng, *shape)
    b = make(rng, shape[0])
    nnad.check_grads(lambda a: [abs(x) ** 2 for x in L.svd(a, full_matrices=False)], a)
    nnad.check_grads(lambda a: tuple(L.qr(a)), a)
    nnad.check_grads(lambda a: L.qr(a, "r"), a)
    nnad.check_grads(L.pinv, a)
    nnad.check_grads(lambda a, b: L.lstsq(a, b)[0], a, b)
    nnad.check_grads(lambda a, b: [L.lstsq(a, b)[1], L.lstsq(a, b)[3]], a, b, order=1)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
def test_derivatives_of_completed_bases(shape):
    a = np.random.default_rng(7).normal(size=shape)
    nnad.check_grads(lambda a: tuple(L.svd(a)), a)
    nnad.check_grads(lambda a: tuple(L.qr(a, "complete")), a)


def test_derivatives_at_deficient_rank_hold_the_rank_fixed():
    rng = np.random.default_rng(8)
    u, v, b = rng.normal(size=(4, 1)), rng.normal(size=(1, 3)), rng.normal(size=4)
    nnad.check_grads(lambda u, v: L.pinv(u @ v), u, v, order=1)
    nnad.check_grads(lambda u, v: L.lstsq(u @ v, b)[0], u, v, order=1)


@MAKERS
@pytest.mark.parametrize(("a", "b"), [((3, 3), (3,)), ((2, 3, 3), (3,)), ((3, 3), (2, 3, 1))])
def test_derivatives_of_solve(a, b, make):
    rng = np.random.default_rng(9)
    nnad.check_grads(L.solve, make(rng, *a) + 3 * np.eye(3), make(rng, *b))


def test_only_the_triangle_that_is_read_has_a_derivative():
    a = positive_definite(np.random.default_rng(10).normal(size=(3, 3)))
    lower, upper = np.tri(3, k=-1).astype(bool), np.tri(3, k=-1).T.astype(bool)
    for function, unread in [
        (L.cholesky, upper),
        (lambda a: L.cholesky(a, upper=True), lower),
        (L.eigvalsh, upper),
        (lambda a: L.eigvalsh(a, "U"), lower),
        (lambda a: L.eigh(a)[1], upper),
    ]:
        g = nnad.grad(lambda a, f=function: (f(a) * np.arange(1.0, 4.0)).sum())(a)
        assert np.all(g[unread] == 0)
        assert np.all(g[~unread] != 0)


# Hard points ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [None, 1, 2, 3, 1.5, 0.5, np.inf])
def test_vector_norms_have_slope_zero_at_zero(order):
    np.testing.assert_array_equal(nnad.grad(lambda x: L.norm(x, order))(np.zeros(3)), 0)
    np.testing.assert_array_equal(
        nnad.grad(lambda x: L.norm(x, order, axis=0).sum())(np.zeros((2, 2), complex)), 0
    )


@pytest.mark.parametrize("order", ["fro", "nuc", 1, 2, np.inf])
def test_matrix_norms_have_slope_zero_at_zero(order):
    np.testing.assert_array_equal(nnad.grad(lambda x: L.norm(x, order))(np.zeros((2, 2))), 0)


def test_gradient_of_a_norm_where_one_row_is_zero():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    g = nnad.grad(lambda x: L.norm(x, axis=1).sum())(x)
    np.testing.assert_allclose(g, [[0.6, 0.8], [0.0, 0.0]])
    assert np.all(np.isfinite(nnad.hessian(lambda x: L.norm(x, axis=1).sum())(x)))


@pytest.mark.parametrize(
    ("a", "cofactors"),
    [
        ([[1.0, 2.0], [2.0, 4.0]], [[4.0, -2.0], [-2.0, 1.0]]),
        (np.diag([1.0, 2.0, 0.0]), np.diag([0.0, 0.0, 2.0])),
        (np.zeros((3, 3)), np.zeros((3, 3))),
        (np.diag([1.0, 1e-200, 1.0]), np.diag([1e-200, 1.0, 1e-200])),
        ([[1j, 0], [0, 0]], [[0, 0], [0, 1j]]),
    ],
)
def test_gradient_of_the_determinant_of_a_singular_matrix(a, cofactors):
    a = np.array(a)
    g = nnad.vjp(L.det, a)[1](np.ones((), a.dtype))[0]
    np.testing.assert_allclose(g, cofactors, atol=1e-15)


def test_equal_values_give_finite_derivatives():
    a = np.diag([1.0, 1.0, 2.0])
    for function in (
        lambda a: L.eigh(a)[1].sum(),
        lambda a: L.svd(a)[0].sum(),
        lambda a: L.eig(a)[1].sum(),
        lambda a: L.eigvalsh(a)[0],
    ):
        assert np.all(np.isfinite(nnad.grad(function)(a)))
        assert np.all(np.isfinite(nnad.hessian(function)(a)))


def test_functions_of_all_eigenvalues_are_right_where_some_are_equal():
    a = np.diag([1.0, 1.0, 2.0])
    np.testing.assert_allclose(nnad.grad(lambda a: (L.eigvalsh(a) ** 3).sum())(a), 3 * a**2)
    np.testing.assert_allclose(nnad.grad(lambda a: L.svdvals(a).sum())(a), np.eye(3), atol=1e-15)


def test_float32_stays():
    a = positive_definite(np.random.default_rng(11).normal(size=(3, 3))).astype(np.float32)
    for function in (
        L.inv,
        L.det,
        L.cholesky,
        L.pinv,
        L.cond,
        lambda a: L.norm(a, 3, axis=0),
        lambda a: L.eigh(a)[1],
        lambda a: L.svd(a)[2],
        lambda a: L.qr(a)[1],
        lambda a: L.slogdet(a)[1],
        lambda a: L.lstsq(a, a)[0],
    ):
        value, gradient = nnad.value_and_grad(lambda a, f=function: f(a).sum())(a)
        assert value.dtype == gradient.dtype == np.float32


def test_named_results_and_integers():
    a = Tensor(np.eye(2))
    assert L.eigh(a).eigenvalues.shape == (2,)
    assert L.svd(a).Vh.shape == L.qr(a).R.shape == (2, 2)
    assert L.slogdet(a).logabsdet.data == 0
    assert L.matrix_rank(a) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: L.norm(x, 7), "got order 7 for a matrix"),
        (lambda x: L.norm(x[None], 2), "over 3 axes, expected 1 axis"),
        (lambda x: L.norm(x, axis=(1, 1)), "expected two different axes"),
        (lambda x: L.qr(x, "raw"), "got mode='raw'"),
        (lambda x: L.tensorinv(x, 0), "got ind=0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Tensor(np.ones((2, 2))))


def test_singular_matrices_raise_as_in_numpy():
    with pytest.raises(L.LinAlgError):
        L.inv(Tensor(np.ones((2, 2))))


# Other libraries ------------------------------------------------------------------------------

PEER_FUNCTIONS = {
    "inv": lambda m, a: m.sum(m.sin(m.real(m.linalg.inv(a)))),
    "solve": lambda m, a: m.sum(m.abs(m.linalg.solve(a, a[:, 0] ** 2)) ** 2),
    "det": lambda m, a: m.abs(m.linalg.det(a)),
    "slogdet": lambda m, a: m.linalg.slogdet(a)[1],
    "norm": lambda m, a: m.linalg.norm(a),
    "eigh": lambda m, a: m.sum(
        m.linalg.eigh(a + m.conj(a.T))[0] * m.abs(m.linalg.eigh(a + m.conj(a.T))[1][0]) ** 2
    ),
    "eig": lambda m, a: m.sum(m.abs(m.linalg.eig(a)[1][0] * m.linalg.eig(a)[0]) ** 2),
    "svd": lambda m, a: m.sum(
        m.linalg.svd(a, full_matrices=False)[1] ** 3
        * m.abs(m.linalg.svd(a, full_matrices=False)[0][1]) ** 2
    ),
    "cholesky": lambda m, a: m.sum(m.abs(m.linalg.cholesky(m.dot(a, m.conj(a.T)))) ** 3),
    "pinv": lambda m, a: m.sum(m.abs(m.linalg.pinv(a)) ** 2),
}


@MAKERS
@pytest.mark.parametrize("name", [n for n in PEER_FUNCTIONS if n != "pinv"])
def test_against_autograd(name, make):
    anp = pytest.importorskip("autograd.numpy")
    autograd = pytest.importorskip("autograd")
    if name == "cholesky" and make is complex_:
        pytest.skip("autograd's rule is for real matrices")
    function = PEER_FUNCTIONS[name]
    a = make(np.random.default_rng(12), 3, 3) + 2 * np.eye(3)
    ours = nnad.grad(lambda a: function(np, a))(a)
    theirs = autograd.grad(lambda a: function(anp, a))(a)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["eigh", "svd", "pinv"])
def test_against_jax_in_second_order(name, jax):
    function = PEER_FUNCTIONS[name]
    rng = np.random.default_rng(13)
    a, v = positive_definite(rng.normal(size=(3, 3))) + np.diag([0, 1, 2]), rng.normal(size=(3, 3))
    ours = nnad.hvp(lambda a: function(np, a), (a,), (v,))[0]
    gradient = jax.grad(lambda a: function(jax.numpy, a))
    theirs = jax.jit(lambda a, v: jax.jvp(gradient, (a,), (v,))[1])(a, v)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


def test_complex_cholesky_against_jax(jax):
    function = PEER_FUNCTIONS["cholesky"]
    a = complex_(np.random.default_rng(12), 3, 3) + 2 * np.eye(3)
    theirs = jax.grad(lambda a: function(jax.numpy, a))(a)
    np.testing.assert_allclose(nnad.grad(lambda a: function(np, a))(a), theirs, rtol=1e-9)


def test_matrix_functions_of_scipy():
    from scipy import linalg

    rng = np.random.default_rng(14)
    for make in (real, complex_):
        a, b = make(rng, 3, 3) + 3 * np.eye(3), make(rng, 3)
        spd = positive_definite(make(rng, 3, 3))
        assert_same_result(ops.expm(Tensor(a)), linalg.expm(a))
        assert_same_result(ops.sqrtm(Tensor(spd)), linalg.sqrtm(spd))
        assert_same_result(ops.solve_sylvester(Tensor(a), a, a), linalg.solve_sylvester(a, a, a))
        nnad.check_grads(ops.expm, a)
        nnad.check_grads(ops.sqrtm, spd)
        for lower in (False, True):
            factor = ops.cho_factor(Tensor(spd), lower)
            want = linalg.cho_solve(linalg.cho_factor(spd, lower), b)
            assert_same_result(ops.cho_solve(factor, b), want)
            nnad.check_grads(lambda a, b, k=lower: ops.cho_solve(ops.cho_factor(a, k), b), spd, b)


@MAKERS
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("unit_diagonal", [False, True])
@pytest.mark.parametrize("trans", [0, "T", 2])
def test_triangular_systems(make, lower, unit_diagonal, trans):
    from scipy import linalg

    rng = np.random.default_rng(15)
    a, b = make(rng, 3, 3) + 3 * np.eye(3), make(rng, 3)
    how = {"trans": trans, "lower": lower, "unit_diagonal": unit_diagonal}
    want = linalg.solve_triangular(a, b, **how)
    assert_same_result(ops.solve_triangular(Tensor(a), Tensor(b), **how), want)
    nnad.check_grads(lambda a, b: ops.solve_triangular(a, b, **how), a, b)


def test_expm_in_a_differential_equation():
    """d/dt of exp(t A) x is A exp(t A) x, in forward mode."""
    a = well_conditioned(np.random.default_rng(16), 3, 3)
    x = np.ones(3)
    y, v = nnad.jvp(lambda t: ops.expm(t * a) @ x, (0.3,), (1.0,))
    np.testing.assert_allclose(v, a @ y, rtol=1e-12)
