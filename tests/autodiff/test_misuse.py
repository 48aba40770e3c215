"""What cannot be right raises a typed exception at the user's call, and leaves nothing changed."""

import math

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import state
from nnad.errors import CotangentError, LeafMutationError, LostGradientError, MissingRuleError

X = np.array([1.0, 2.0, 3.0])
TWICE = nnad.primitive(lambda x: 2 * x, name="twice")


def user_operation(body=lambda x: 2 * x, vjp=None, jvp=None):
    op = nnad.primitive(body, name="mine")
    if vjp:
        nnad.defvjp(op, lambda ans, *xs: vjp)
    if jvp:
        nnad.defjvp(op, jvp)
    return op


def overwrite(x):
    x[0] = 5.0
    return np.sum(x)


def add_in_place(x):
    x += 1
    return np.sum(x)


def out_is_the_input(x):
    return np.sum(np.add(x, 1, out=x))


def out_is_an_array(x):
    return np.sum(np.add(x, 1, out=np.zeros(3)))


def into_an_array(x):
    y = np.zeros(3)
    y += x
    return np.sum(y)


def slice_of_an_array(x):
    y = np.zeros(3)
    y[:2] = x[:2]
    return np.sum(y)


def g(f, **options):
    return lambda: nnad.grad(f, **options)(X)


# name: (call, exception, what the message must hold)
CASES = {
    "no rule": (g(lambda x: np.sum(np.roots(x))), MissingRuleError, "numpy.roots .*defvjp"),
    "no rule of a user's own": (
        g(lambda x: np.sum(TWICE(x))),
        MissingRuleError,
        "twice has no VJP",
    ),
    "no rule for one argument": (
        g(lambda x: np.sum(user_operation(lambda a, b: a * b, lambda g: g)(x, x))),
        MissingRuleError,
        "no VJP for argument 1",
    ),
    "no JVP": (lambda: nnad.jvp(TWICE, (X,), (X,)), MissingRuleError, "has no JVP.*defjvp"),
    "no reduceat": (
        g(lambda x: np.sum(np.add.reduceat(x, [0, 1]))),
        MissingRuleError,
        "reduceat of np.add",
    ),
    "integers": (
        lambda: nnad.grad(np.sum)(np.arange(3)),
        TypeError,
        r"got int64.*x\.astype\(float\)",
    ),
    "a Python integer": (lambda: nnad.grad(lambda x: x**2)(3), TypeError, r"3\.0 instead of 3"),
    "a boolean": (lambda: nnad.grad(lambda x: 2.0 * x)(True), TypeError, "got bool"),
    "an integer inside": (lambda: nnad.grad(lambda t: t["a"])({"a": 1}), TypeError, "got int"),
    "a text": (lambda: nnad.grad(lambda x: x)("abc"), TypeError, "got <?U?3?|got str"),
    "nothing": (lambda: nnad.grad(lambda x: x)(None), TypeError, "got NoneType"),
    "an object": (lambda: nnad.vjp(lambda x: x, {1.0}), TypeError, "got set"),
    "integers that require gradients": (
        lambda: nnad.Tensor([1, 2], requires_grad=True),
        TypeError,
        "requires_grad=True: got int64",
    ),
    "no scalar": (g(np.sin), TypeError, r"shape\(s\) \[\(3,\)\].*nnad\.jacobian"),
    "two results": (g(lambda x: (x[0], x[1])), TypeError, r"shape\(s\) \[\(\), \(\)\]"),
    "no result": (g(lambda x: None), TypeError, "floating-point result, got NoneType"),
    "an integer result": (g(lambda x: 3), TypeError, "floating-point result, got int64"),
    "no pair with has_aux": (g(np.sum, has_aux=True), TypeError, r"a pair \(value, aux\)"),
    "no arguments": (lambda: nnad.grad(lambda: 1.0)(), TypeError, "0 positional"),
    "argnums beyond": (g(np.sum, argnums=2), TypeError, "argnums=2 .* 1 positional"),
    "argnums twice": (g(np.sum, argnums=(0, -1)), TypeError, "each named once"),
    "argnums of text": (g(np.sum, argnums="x"), TypeError, "argnums=x"),
    "no function": (lambda: nnad.grad(3), TypeError, r"write grad\(f\)\(x\)"),
    "a value for a function": (lambda: nnad.jacobian(np.sum(X)), TypeError, "got float64"),
    "checkpoint of a value": (lambda: nnad.checkpoint(3.0), TypeError, "checkpoint expects"),
    "primitive of a value": (lambda: nnad.primitive(3.0), TypeError, "expects a function"),
    "defvjp of a function": (lambda: nnad.defvjp(np.sin), TypeError, "@nnad.primitive"),
    "an unknown mode": (lambda: nnad.jacobian(np.sin, mode="fast"), ValueError, "got 'fast'"),
    "a Jacobian of text": (lambda: nnad.jacobian(lambda x: "a")(X), TypeError, "<U1"),
    "hessian of a vector": (lambda: nnad.hessian(np.sin)(X), TypeError, "scalar result"),
    "a cotangent's shape": (
        lambda: nnad.vjp(np.sin, X)[1](np.ones(2)),
        CotangentError,
        r"got shape \(2,\), expected \(3,\)",
    ),
    "a cotangent's structure": (
        lambda: nnad.vjp(lambda x: (x, x), X)[1](X),
        CotangentError,
        "got ndarray, expected tuple of 2",
    ),
    "a complex cotangent": (
        lambda: nnad.vjp(np.sin, X)[1](1j * X),
        CotangentError,
        "complex numbers for a real array",
    ),
    "a tangent's shape": (
        lambda: nnad.jvp(np.sin, (X,), (X[:2],)),
        CotangentError,
        r"got shape \(2,\), expected \(3,\)",
    ),
    "a tangent's keys": (
        lambda: nnad.jvp(lambda t: t["a"], ({"a": X},), ({"b": X},)),
        CotangentError,
        r"got keys \['b'\], expected \['a'\]",
    ),
    "too many tangents": (lambda: nnad.jvp(np.sin, (X,), (X, X)), CotangentError, "1 primals"),
    "tangents without a tuple": (lambda: nnad.jvp(np.sin, X, X), TypeError, r"jvp\(f, \(x,\)"),
    "hvp without a tuple": (lambda: nnad.hvp(np.sum, X, X), TypeError, r"hvp\(f, \(x,\)"),
    "a rule's wrong shape": (
        g(lambda x: np.sum(user_operation(vjp=lambda g: np.ones(7))(x))),
        CotangentError,
        r"VJP of mine .* shape \(7,\) .* shape \(3,\)",
    ),
    "a JVP's wrong shape": (
        lambda: nnad.jvp(user_operation(jvp=lambda v, ans, x: np.ones(7)), (X,), (X,)),
        CotangentError,
        r"JVP of mine .* shape \(7,\) .* shape \(3,\)",
    ),
    "an operation that returns a list": (
        g(lambda x: user_operation(lambda x: [x, x])(x)),
        TypeError,
        "mine, .* returned list; expected an ndarray",
    ),
    "an input overwritten": (g(overwrite), LeafMutationError, r"x\[i\] = .*np\.where"),
    "an input added to": (g(add_in_place), LeafMutationError, r"x \+= .*x = x \+"),
    "an input as out=": (g(out_is_the_input), LeafMutationError, r"np\.add\(\.\.\., out=x\)"),
    "an input sorted": (g(lambda x: x.sort()), LeafMutationError, r"x\.sort\(\)"),
    "an array as out=": (g(out_is_an_array), TypeError, r"y = np\.f\(x\)"),
    "added to an array": (g(into_an_array), TypeError, "a = a [+] t"),
    "assigned to an array": (g(slice_of_an_array), LostGradientError, r"\.detach\(\)"),
    "where= without out=": (g(lambda x: np.log(x, where=x > 1)), TypeError, r"np\.where\(mask"),
    "float": (g(lambda x: float(x[0])), LostGradientError, r"float\(t\).*\.detach\(\)"),
    "math": (g(lambda x: math.exp(x[0])), LostGradientError, "NumPy functions"),
    "int": (g(lambda x: int(x[0]) * x), LostGradientError, r"int\(t\)"),
    "an index": (g(lambda x: X[x[0]] * x), LostGradientError, "index|asarray"),
    "item": (g(lambda x: x[0].item()), LostGradientError, r"item\(\)"),
    "tolist": (g(lambda x: sum(x.tolist())), LostGradientError, r"tolist\(\)"),
    "asarray": (g(lambda x: np.sum(np.asarray(x))), LostGradientError, r"np\.asarray\(t\)"),
    "a list of them": (g(lambda x: np.sum(np.array([x[0]]))), LostGradientError, r"np\.stack"),
    "backward of nothing recorded": (
        lambda: nnad.Tensor(X).sum().backward(),
        LostGradientError,
        "requires_grad=True",
    ),
    "backward of a vector": (
        lambda: (2 * nnad.Tensor(X, True)).backward(),
        CotangentError,
        r"got shape \(3,\); reduce it",
    ),
    "backward with the wrong shape": (
        lambda: (2 * nnad.Tensor(X, True)).backward(np.ones(2)),
        CotangentError,
        r"got shape \(2,\)",
    ),
    "a gradient of an intermediate": (
        lambda: setattr(2 * nnad.Tensor(X, True), "grad", X),
        LostGradientError,
        "not a leaf",
    ),
    "a gradient of the wrong shape": (
        lambda: setattr(nnad.Tensor(X, True), "grad", np.ones(2)),
        CotangentError,
        r"got shape \(2,\), expected .* \(3,\)",
    ),
    "the truth of several": (g(lambda x: x if x > 0 else -x), ValueError, "ambiguous"),
    "an error inside, nested": (
        g(lambda x: nnad.jvp(lambda y: nnad.grad(lambda z: 1 / 0)(y), (x,), (x,))[1]),
        ZeroDivisionError,
        "division by zero",
    ),
    "an error under no_grad": (
        g(lambda x: nnad.no_grad()(lambda: np.sum(x) / 0 + {}["a"])()),
        KeyError,
        "a",
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_misuse_is_refused_by_name_and_nothing_is_left_changed(name):
    call, error, said = CASES[name]
    before = X.copy()
    with np.errstate(all="ignore"), pytest.raises(error, match=said) as caught:
        call()
    assert (state.recording, state.depth, state.capture) == (True, 0, None)
    np.testing.assert_array_equal(X, before)
    assert caught.traceback[0].path.name == "test_misuse.py"


def test_a_failed_backward_leaves_gradients_as_they_were():
    t = nnad.Tensor(X, requires_grad=True)
    np.sum(t * t).backward()
    before = t.grad.copy()
    with pytest.raises(MissingRuleError):
        np.sum(TWICE(t) * t).backward()
    np.testing.assert_array_equal(t.grad, before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.complex64])
def test_a_gradient_has_its_arguments_dtype_and_shape(dtype):
    x = np.linspace(0.5, 1.5, 6).astype(dtype).reshape(2, 3)
    gradient = nnad.grad(lambda x: np.real(np.sum(np.sin(x) * np.arange(3.0)) + np.sum(x @ X)))(x)
    assert (gradient.dtype, gradient.shape) == (dtype, (2, 3))
    (product,) = nnad.hvp(lambda x: np.sum(np.real(np.exp(x) * x)), (x,), (x,))
    assert (product.dtype, product.shape) == (dtype, (2, 3))


def test_python_numbers_are_arguments():
    assert nnad.grad(lambda x: x * x)(3.0) == 6.0
    assert nnad.grad(lambda z: np.abs(z) ** 2)(1 + 2j) == 2 - 4j  # autograd's convention
    assert nnad.grad(lambda x: x**3 / (1 + abs(x)) - x // 1 + x % 2)(2.0) == pytest.approx(
        12 / 3 - 8 / 9 + 1
    )


class Foreign:
    """An array of another library, which wants to do what it is an operand of."""

    __array_ufunc__ = None

    def __radd__(self, other):
        return "foreign"

    __rmul__ = __rsub__ = __rtruediv__ = __rpow__ = __rmatmul__ = __radd__


class Priority:
    __array_priority__ = 1000.0

    def __radd__(self, other):
        return "foreign"


def test_foreign_arrays_get_their_turn():
    t = nnad.Tensor(X, requires_grad=True)
    foreign = Foreign()
    assert {t + foreign, t * foreign, t - foreign, t / foreign, t**foreign, t @ foreign} == {
        "foreign"
    }
    assert t + Priority() == "foreign"
    for operand in (None, "a", {}):
        with pytest.raises(TypeError):
            t + operand
    assert isinstance(X + t, nnad.Tensor)
    assert isinstance(np.float64(2) * t, nnad.Tensor)
    assert isinstance([1, 2, 3] * t, nnad.Tensor)


def test_requires_grad_propagates_and_can_be_switched():
    t = nnad.Tensor(X)
    assert not (t * 2).requires_grad
    t.requires_grad = True
    assert (t * 2).requires_grad
    assert not (t * 2).detach().requires_grad
    with nnad.no_grad():
        assert not (t * 2).requires_grad
    t.grad = np.ones(3)
    np.sum(t).backward()
    np.testing.assert_array_equal(t.grad, 2 * np.ones(3))
    t.grad = None
    assert t.grad is None
