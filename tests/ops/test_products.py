"""Products: NumPy's values in every form, derivatives against central differences and JAX."""

import numpy as np
import pytest

import nnad
from nnad import Tensor


def real(rng, *shape):
    return np.asarray(rng.normal(size=shape))


def complex_(rng, *shape):
    return real(rng, *shape) + 1j * real(rng, *shape)


MAKERS = pytest.mark.parametrize("make", [real, complex_])


def assert_value(function, *arrays, **kwargs):
    """A NumPy function gives the same value for Tensors, as a Tensor."""
    expected = function(*arrays, **kwargs)
    result = function(*map(Tensor, arrays), **kwargs)
    assert isinstance(result, Tensor)
    assert result.dtype == expected.dtype
    assert np.shape(result.data) == np.shape(expected)
    np.testing.assert_allclose(result.data, expected, rtol=1e-12, atol=1e-13)


PRODUCTS = [
    (np.dot, (3,), (3,)),
    (np.dot, (2, 3), (3, 4)),
    (np.dot, (3,), (4, 3, 2)),
    (np.dot, (5, 2, 3), (4, 3, 2)),
    (np.dot, (), (2, 3)),
    (np.matmul, (4, 2, 3), (3,)),
    (np.inner, (2, 3), (5, 4, 3)),
    (np.vdot, (2, 3), (3, 2)),
    (np.outer, (2, 3), (2,)),
    (np.linalg.outer, (2,), (3,)),
    (np.tensordot, (2, 3, 4), (3, 4, 5)),
    (np.vecdot, (4, 2, 3), (2, 3)),
    (np.linalg.vecdot, (4, 2, 3), (2, 3)),
    (np.kron, (2, 3), (4,)),
    (np.kron, (2,), (3, 2)),
    (np.kron, (2, 2, 2), (2, 3)),
    (np.cross, (2, 3), (3,)),
    (np.linalg.cross, (2, 3), (2, 3)),
]
if hasattr(np, "matvec"):
    PRODUCTS += [(np.matvec, (4, 2, 3), (3,)), (np.vecmat, (4, 3), (3, 2))]


@MAKERS
@pytest.mark.parametrize(("function", "a", "b"), PRODUCTS)
def test_products_of_two(function, a, b, make):
    rng = np.random.default_rng(0)
    x, y = make(rng, *a), make(rng, *b)
    assert_value(function, x, y)
    nnad.check_grads(function, x, y)


@MAKERS
@pytest.mark.parametrize(
    ("a", "b", "axes"),
    [
        ((2, 3, 4), (4, 3, 5), ([1, 2], [1, 0])),
        ((2, 3, 4), (4, 3, 5), (-1, 0)),
        ((2, 3), (4,), 0),
        ((2, 3, 4), (3, 2), ((0, 1), (1, 0))),
    ],
)
def test_tensordot_axes(a, b, axes, make):
    rng = np.random.default_rng(1)
    x, y = make(rng, *a), make(rng, *b)
    assert_value(np.tensordot, x, y, axes=axes)
    nnad.check_grads(lambda x, y: np.tensordot(x, y, axes), x, y)


@pytest.mark.parametrize("axes", [{"axisa": 0, "axisb": 2, "axisc": 1}, {"axis": 0}])
def test_cross_along_other_axes(axes):
    rng = np.random.default_rng(2)
    shapes = [(3, 5, 2), (5, 2, 3)] if "axisa" in axes else [(3, 2), (3, 2)]
    x, y = (real(rng, *shape) for shape in shapes)
    assert_value(np.cross, x, y, **axes)
    nnad.check_grads(lambda x, y: np.cross(x, y, **axes), x, y, order=1)


def test_cross_of_plane_vectors_says_what_to_write():
    with pytest.raises(ValueError, match=r"expected 3; vectors of the plane have the product"):
        np.cross(Tensor([1.0, 2.0]), Tensor([1.0, 2.0]))


@MAKERS
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve_and_correlate_of_all_lengths(mode, make):
    rng = np.random.default_rng(3)
    for n in range(1, 7):
        for m in range(1, 7):
            x, y = make(rng, n), make(rng, m)
            assert_value(np.convolve, x, y, mode=mode)
            assert_value(np.correlate, x, y, mode=mode)
    nnad.check_grads(lambda x, y: np.correlate(x, y, mode), make(rng, 5), make(rng, 2))


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3), (3, 10), (10, 2), (2, 4)],
        [(3,), (3, 10), (10,)],
        [(2, 3), (3,)],
        [(3,), (3, 4), (4, 2)],
    ],
)
def test_multi_dot(shapes):
    rng = np.random.default_rng(4)
    arrays = [real(rng, *shape) for shape in shapes]
    assert_value(lambda *xs: np.linalg.multi_dot(xs), *arrays)
    nnad.check_grads(lambda *xs: np.linalg.multi_dot(xs), *arrays, order=1)


def test_multi_dot_takes_the_cheapest_order(monkeypatch):
    from nnad.ops import products

    work = []
    matmul = products.matmul

    def counted(x, y):
        work.append(x.shape[0] * x.shape[1] * y.shape[1])
        return matmul(x, y)

    monkeypatch.setattr(products, "matmul", counted)
    np.linalg.multi_dot([Tensor(np.ones(s)) for s in [(10, 100), (100, 5), (5, 50)]])
    assert sum(work) == 10 * 100 * 5 + 10 * 5 * 50


EINSUMS = [
    ("ij,jk", [(2, 3), (3, 4)]),
    ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)]),
    ("...ij,...jk", [(5, 2, 3), (3, 4)]),
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("ba", [(2, 3)]),
    ("i...->...", [(3, 2, 4)]),
    ("i...", [(3, 2, 4)]),
    ("...,...", [(2, 3), (3,)]),
    ("ijj->ij", [(2, 3, 3)]),
    ("iji->j", [(2, 3, 2)]),
    (" i j , j k -> k i", [(2, 3), (3, 4)]),
    ("i,i", [(3,), (3,)]),
    (",", [(), ()]),
    ("ab,ab->ab", [(1, 3), (2, 3)]),
    ("...a,...a->...", [(2, 1, 3), (1, 4, 3)]),
    ("a,b,c->abc", [(2,), (3,), (4,)]),
    ("ij,ik,il->jkl", [(2, 3), (2, 2), (2, 4)]),
    ("ij->", [(2, 3)]),
    ("ij,k->i", [(2, 3), (4,)]),
]


@MAKERS
@pytest.mark.parametrize(("subscripts", "shapes"), EINSUMS)
def test_einsum(subscripts, shapes, make):
    rng = np.random.default_rng(5)
    arrays = [make(rng, *shape) for shape in shapes]
    for optimize in (False, True, "optimal"):
        assert_value(lambda *xs, o=optimize: np.einsum(subscripts, *xs, optimize=o), *arrays)
    nnad.check_grads(lambda *xs: np.einsum(subscripts, *xs), *arrays)


def test_einsum_with_lists_of_axes_and_with_a_given_path():
    rng = np.random.default_rng(6)
    x, y = real(rng, 2, 3), real(rng, 3, 4)
    assert_value(lambda x, y: np.einsum(x, [0, 1], y, [1, 2]), x, y)
    assert_value(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [2, 0]), x, y)
    assert_value(lambda x: np.einsum(x, [Ellipsis, 1], [1, Ellipsis]), x)
    assert_value(lambda x: np.einsum(x, [30, 2]), x)
    path = ["einsum_path", (0, 1)]
    assert_value(lambda x, y: np.einsum("ij,jk", x, y, optimize=path), x, y)
    assert np.einsum_path("ij,jk", Tensor(x), Tensor(y)) == np.einsum_path("ij,jk", x, y)
    nnad.check_grads(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [2, 0]), x, y)


def test_einsum_of_the_same_array_twice():
    x = real(np.random.default_rng(7), 3, 3)
    np.testing.assert_allclose(nnad.grad(lambda x: np.einsum("ij,ij->", x, x))(x), 2 * x)


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("...i->i", [(2, 2)], "write '...' there too"),
        ("ijk->i", [(2, 2)], "too many subscripts"),
        ("i,j", [(2,)], r"names 2 operand\(s\), but got 1"),
        ("ii->i", [(0, 2)], "takes a diagonal"),
    ],
)
def test_einsum_refuses_what_numpy_refuses(subscripts, shapes, message):
    with pytest.raises(ValueError, match=message):
        np.einsum(subscripts, *[Tensor(np.ones(shape)) for shape in shapes])


def test_products_keep_float32():
    x = Tensor(np.ones((3, 3), np.float32), requires_grad=True)
    y = np.einsum("ii->", np.kron(x, x)) + np.dot(x, x).sum() + np.convolve(x[0], x[1]).sum()
    y.backward()
    assert y.dtype == x.grad.dtype == np.float32


def test_lists_beside_a_tensor():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (np.dot([3.0, 4.0], x) + x @ [1.0, 1.0]).backward()
    np.testing.assert_array_equal(x.grad, [4.0, 5.0])


def test_against_jax(jax):
    jnp = jax.numpy
    rng = np.random.default_rng(8)
    x, y = complex_(rng, 3, 4), complex_(rng, 4, 3)

    def loss(m):
        def f(x, y):
            z = m.einsum("ij,ji,jk->k", x, y, m.kron(y[:2], x[:, :1])[:4, :2])
            return m.abs(m.vdot(z, m.cross(x[0, :3], y[1])[:2]) + m.tensordot(x, y.T, 2)) ** 2

        return f

    ours = nnad.grad(loss(np), (0, 1))(x, y)
    theirs = jax.grad(loss(jnp), (0, 1))(x, y)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
