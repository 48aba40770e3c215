"""What a compiled step returns is the caller's: later calls do not change it, nor it them."""

import numpy as np
import pytest

import nnad
from nnad.compiler.choice import why_not_native
from nnad.errors import LostGradientError

NATIVE = pytest.param(
    "native", marks=pytest.mark.skipif(why_not_native() is not None, reason=str(why_not_native()))
)
both = pytest.mark.parametrize("backend", ["numpy", NATIVE])


@both
@pytest.mark.parametrize(
    "view",
    [lambda x: x, lambda x: x.T, lambda x: x[0], lambda x: x[::-1], lambda x: x.reshape(-1)],
    ids=["whole", "transposed", "row", "backwards", "flat"],
)
def test_a_result_that_looks_at_an_argument_stays(backend, view):
    step = nnad.compile(lambda x: (view(x), x * 2), backend=backend)
    step(np.zeros((2, 2)))
    kept = step(np.ones((2, 2)))[0]
    step(np.full((2, 2), 7.0))
    np.testing.assert_array_equal(kept, view(np.ones((2, 2))))


@both
def test_a_constant_that_is_returned_may_be_changed(backend):
    def step(x):
        mask = np.zeros_like(x)
        return x * mask, mask

    compiled = nnad.compile(step, backend=backend)
    for _ in range(3):
        product, mask = compiled(np.ones(3))
        np.testing.assert_array_equal(product, 0.0)
        np.testing.assert_array_equal(mask, 0.0)
        mask += 5


@both
@pytest.mark.parametrize("one", [np.ones(50, complex), np.complex128(1)], ids=["array", "number"])
def test_factors_of_other_kinds_are_no_fault(backend, one):
    step = nnad.compile(lambda x: (x * 2) * one, backend=backend)
    for _ in range(2):
        np.testing.assert_array_equal(step(np.arange(50.0)), np.arange(50.0) * 2 * one)


def test_lists_are_operands_too():
    ones = [[1.0] * 3] * 3
    tensor = nnad.Tensor(np.ones((3, 3)))
    for product in (
        ones @ tensor,
        tensor @ ones,
        np.matmul(ones, tensor),
        nnad.ops.matmul(ones, ones),
    ):
        np.testing.assert_array_equal(np.asarray(getattr(product, "data", product)), 3.0)
    np.testing.assert_array_equal(nnad.ops.relu([-1.0] * 5000), 0.0)


def test_small_products_have_the_same_bits_with_and_without_a_place(rng):
    x = rng.normal(size=(20, 3000))
    step = nnad.compile(lambda x: x[:, ::2] @ x.T[::2], backend="numpy")
    for _ in range(2):
        np.testing.assert_array_equal(step(x), nnad.ops.matmul(x[:, ::2], x.T[::2]))


@both
def test_a_transform_of_a_compiled_step_is_refused_in_place_of_a_gradient_of_zero(backend):
    step = nnad.compile(lambda x: np.sum(x**2), backend=backend)
    for transform in (nnad.grad, nnad.hessian):
        with pytest.raises(LostGradientError, match=r"compile the derivative, as in nnad\.compile"):
            transform(lambda x: step(x))(np.ones(3))
    np.testing.assert_array_equal(nnad.compile(nnad.grad(step.step))(np.ones(3)), 2.0)
    assert nnad.grad(lambda x: np.sum(x) * step(x.detach()))(np.ones(3)).tolist() == [3.0] * 3


@both
def test_a_result_that_became_a_gradient_outlives_the_next_gradient(backend):
    p = nnad.Tensor(np.ones(3), requires_grad=True)

    def backward_after(x):
        g = x * 3
        p.grad = g
        p.grad = None
        (p * x * x).sum().backward()
        return g

    def assigned_twice(x):
        g = np.exp(x / 50)
        p.grad = g
        h = np.log(g)
        p.grad = h
        return g, h

    for step in (backward_after, assigned_twice):
        compiled = nnad.compile(step, backend=backend)
        for value in (1.0, 4.0, 2.0):
            x = np.full(3, value)
            expected, found = (np.array(f(x)) for f in (step, compiled))
            np.testing.assert_allclose(found, expected, rtol=1e-14)


@both
def test_sums_of_arrays_that_overlap_see_what_is_written_in_between(backend):
    def apart():
        base = np.ones(2000)
        p, q = nnad.Tensor(base), nnad.Tensor(base.reshape(40, 50))

        def step(x):
            before = np.sum(q.data * 2)
            p.data[...] = p.data + 1 + x[0]
            return before, np.sum(q.data * 2)

        return step

    compiled, eager = nnad.compile(apart(), backend=backend), apart()
    for _ in range(3):
        assert compiled(np.zeros(1)) == eager(np.zeros(1))


def test_an_argument_that_is_written_in_between_is_seen_by_numpy_programs():
    w = nnad.Tensor(np.ones(5))

    def doubled(x):
        before = np.sum(x * 2)
        w.data[...] *= 2
        return before, np.sum(x * 2)

    compiled = nnad.compile(doubled, backend="numpy")
    for factor in (1, 2, 4):
        assert compiled(w.data) == (10 * factor, 20 * factor)
