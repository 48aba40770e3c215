"""Wrong rules must be rejected by the same checks that test_table.py trusts."""

import numpy as np
import pytest

import nnad
from nnad.autodiff.table import STACKED, TABLE, Kink, Primitive, case
from nnad.autodiff.tensor import stop_gradient
from tests.autodiff import table_checks as checks


def matrix(rng):
    return [case(rng.normal(size=(3, 3)))]


def planted(forward, vjp, jvp=None, samples=matrix, formula="f(x)", **options):
    """An entry outside the table, right or wrong."""
    whole_jvp = jvp and (lambda tangents, ans, *args, **kw: jvp(tangents[0], ans, *args, **kw))
    return Primitive(
        "planted",
        forward,
        "explicit",
        vjps=(vjp,),
        jvp=whole_jvp,
        samples=samples,
        formula=formula,
        **options,
    )


def right_vjp(g, ans, x):
    return g * np.cos(x)


RIGHT = {
    "sin": planted(np.sin, right_vjp, right_vjp),
    "sin, JVP derived": planted(np.sin, right_vjp),
    "cube": planted(lambda x: x**3, lambda g, ans, x: g * 3 * x**2, lambda v, ans, x: v * 3 * x**2),
    "transpose": planted(np.transpose, lambda g, ans, x: g.T, lambda v, ans, x: v.T),
}
WEIGHTS = np.arange(9.0).reshape(3, 3)


def in_one_element(g, ans, x):
    """Right but for one element of the matrix, by a thousandth."""
    return g * np.cos(x) * (1 + 1e-3 * (WEIGHTS == 4))


def changes_input(x):
    x[0] = 0
    return x.copy()


WRONG = {
    "VJP off by 1e-3": planted(np.sin, lambda g, ans, x: 1.001 * g * np.cos(x), right_vjp),
    "JVP off by 1e-3": planted(np.sin, right_vjp, lambda v, ans, x: 1.001 * v * np.cos(x)),
    "both off by 1e-3": planted(np.sin, lambda g, ans, x: 1.001 * g * np.cos(x)),
    "one element off by 1e-3": planted(np.sin, in_one_element, right_vjp),
    "one element of the JVP off by 1e-3": planted(np.sin, right_vjp, in_one_element),
    "wrong sign": planted(np.sin, lambda g, ans, x: -g * np.cos(x), right_vjp),
    "transposed": planted(np.sin, lambda g, ans, x: (g * np.cos(x)).T, right_vjp),
    "product transposed": planted(lambda x: WEIGHTS @ x, lambda g, ans, x: WEIGHTS @ g),
    "JVP of the product transposed": planted(
        lambda x: WEIGHTS @ x, lambda g, ans, x: WEIGHTS.T @ g, lambda v, ans, x: WEIGHTS.T @ v
    ),
    "VJP wrong only at second order": planted(
        np.sin, lambda g, ans, x: g * np.cos(stop_gradient(x)), right_vjp
    ),
    "JVP wrong only at second order": planted(
        np.sin, right_vjp, lambda v, ans, x: v * np.cos(stop_gradient(x))
    ),
    "cotangent lost at second order": planted(
        np.sin, lambda g, ans, x: stop_gradient(g) * np.cos(x), right_vjp
    ),
    "VJP NaN": planted(np.sin, lambda g, ans, x: g * np.nan, right_vjp),
    "JVP NaN": planted(np.sin, right_vjp, lambda v, ans, x: v * np.nan),
    "NaN in one element": planted(
        np.sin, lambda g, ans, x: g * np.where(WEIGHTS == 4, np.nan, np.cos(x)), right_vjp
    ),
    "no derivative": planted(np.sin, None, right_vjp),
    "cotangent of another shape": planted(np.sin, lambda g, ans, x: g[0], right_vjp),
    "value NaN": planted(lambda x: x * np.nan, lambda g, ans, x: g * np.nan),
    "input changed": planted(changes_input, lambda g, ans, x: g),
    "value of Tensors differs": planted(
        lambda x, _calls=[]: x + (_calls.append(1) or len(_calls)), lambda g, ans, x: g
    ),
    "float64 from float32": planted(np.sin, lambda g, ans, x: g * np.cos(x.astype(float))),
    "depends on memory order": planted(
        lambda x: x.ravel(order="K") * 2, lambda g, ans, x: 2 * g.reshape(x.shape)
    ),
    "no samples": planted(np.sin, right_vjp, samples=None),
    "no cases": planted(np.sin, right_vjp, samples=lambda rng: []),
    "no formula": planted(np.sin, right_vjp, formula=""),
    "kink": planted(
        np.abs,
        lambda g, ans, x: g * np.where(x >= 0, 1.0, -1.0),
        kinks=[Kink((0.0,), (0.0,), "the middle of the slopes")],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_rule_passes(name):
    checks.check_entry(RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_rejected(name):
    with pytest.raises((AssertionError, ValueError)):
        checks.check_entry(WRONG[name])


MESSAGES = [
    ("VJP off by 1e-3", "reverse mode"),
    ("JVP off by 1e-3", "forward mode"),
    ("VJP wrong only at second order", "reverse then"),
    ("JVP wrong only at second order", "forward then"),
    ("VJP NaN", "not finite"),
    ("value NaN", "the value, output 0 is not finite"),
    ("input changed", "argument 0 in place"),
]


@pytest.mark.parametrize(("name", "said"), MESSAGES)
def test_check_grads_says_what_is_wrong(name, said):
    x = np.random.default_rng(0).normal(size=(3, 3))
    with pytest.raises(AssertionError, match=said):
        nnad.check_grads(WRONG[name], x)


def test_a_wrong_rule_for_stacks_is_rejected(monkeypatch):
    entry = TABLE["sum"]
    (sample,) = [c for c in checks.cases_of(entry) if c.kwargs == {"axis": 0}]
    checks.check_stacked(entry, sample)
    whole = lambda op, args, **kwargs: op(args[0].rows, axis=0)  # noqa: E731
    monkeypatch.setitem(STACKED, "sum", whole)
    with pytest.raises(AssertionError, match="sum of stacks"):
        checks.check_stacked(entry, sample)


def test_check_grads_names_the_argument():
    @nnad.primitive
    def product(x, y):
        return x * y

    nnad.defvjp(product, lambda ans, x, y: lambda g: g * y, lambda ans, x, y: lambda g: 2 * g * x)
    with pytest.raises(AssertionError, match="reverse mode, argument 1"):
        nnad.check_grads(product, np.array([1.0, 2.0]), np.array([3.0, 4.0]), modes=["reverse"])


def test_modes_and_order_limit_what_is_tried():
    x = np.random.default_rng(0).normal(size=(3, 3))
    nnad.check_grads(WRONG["VJP off by 1e-3"], x, modes=["forward"], order=1)
    nnad.check_grads(WRONG["JVP off by 1e-3"], x, modes=["reverse"])
    nnad.check_grads(WRONG["VJP wrong only at second order"], x, order=1)


def test_containers_integers_and_complex_numbers():
    tree = {"w": np.array([1.0, 2.0]), "n": [np.array([1, 2]), 3.0]}
    nnad.check_grads(lambda t: {"y": t["w"] * t["n"][0] ** 2, "z": (t["n"][1] * t["w"],)}, tree)
    z = np.array([1.0 + 2.0j, -0.5 + 0.1j])
    nnad.check_grads(lambda z: (z * z, np.conj(z), np.absolute(z)), z)


def test_float32_arguments_are_checked_in_double_precision():
    nnad.check_grads(np.exp, np.array([0.5, 1.5], np.float32), tolerance=1e-9)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nnad.check_grads(np.sin, np.array([1, 2])), "floating-point"),
        (lambda: nnad.check_grads(lambda x: 3, 1.0), "returns no floating-point"),
        (lambda: nnad.check_grads(np.sin, 1.0, modes="forward"), "modes are any of"),
        (lambda: nnad.check_grads(np.sin, 1.0, modes=["backward"]), "modes are any of"),
    ],
)
def test_misuse_is_named(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()
