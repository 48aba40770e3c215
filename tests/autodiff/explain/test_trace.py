"""explain: every number of the trace is right, every sum is whole, wrong calls are told."""

import re

import numpy as np
import pytest

import nnad
from nnad import layers
from nnad.autodiff.explain.trace import Trace
from nnad.autodiff.table import TABLE
from nnad.errors import CotangentError, ExplainError
from tests.autodiff.explain.functions import EXAMPLES, WEIGHTS, micrograd, network, sigmoid

SMOOTH = [name for name in EXAMPLES if name not in ("not finite", "complex")]


def explained(name: str, **options) -> Trace:
    f, args = EXAMPLES[name]
    return nnad.explain(f, *args, **options)


def test_the_figures_of_micrograd_s_readme():
    trace = nnad.explain(micrograd, -4.0, 2.0)
    assert np.round([trace.value, *trace.gradients], 4).tolist() == [24.7041, 138.8338, 645.5773]


def test_the_sigmoid_as_a_textbook_has_it():
    e = np.exp(-0.5)
    slope = -1 / (1 + e) ** 2
    trace = nnad.explain(sigmoid, 0.5)
    assert [s.formula for s in trace.operations] == ["-x", "exp(v1)", "1 + v2", "1 / v3"]
    np.testing.assert_allclose([s.value for s in trace.steps], [0.5, -0.5, e, 1 + e, 1 / (1 + e)])
    np.testing.assert_allclose(
        [s.adjoint for s in trace.steps], [-slope * e, slope * e, slope, slope, 1]
    )
    assert trace.operations[-1].partials[0].formula == "-v4 / v3"


@pytest.mark.parametrize("name", SMOOTH)
def test_adjoints_of_the_inputs_are_slopes_by_differences(name):
    f, args = EXAMPLES[name]
    trace = explained(name)
    leaves, rebuild = nnad.autodiff.trees.flatten(args)
    for i, step in enumerate(trace.inputs):
        direction = np.cos(np.arange(np.size(leaves[i]))).reshape(np.shape(leaves[i]))
        ends = []
        for h in (1e-6, -1e-6):
            moved = [x + h * direction if j == i else x for j, x in enumerate(leaves)]
            ends.append(np.sum(f(*rebuild(moved))))
        by_differences = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(np.sum(step.adjoint * direction), by_differences, rtol=1e-6)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_adjoint_is_the_sum_of_its_terms(name):
    for step in explained(name).backward():
        terms = [value for _, _, value in step.terms()]
        if isinstance(step.adjoint, tuple):
            sums = [sum(parts) for parts in zip(*terms, strict=True)]
            assert all(map(np.array_equal, sums, step.adjoint))
        else:
            assert np.array_equal(sum(terms, np.zeros_like(step.value)), step.adjoint, True)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "complex"])
def test_a_term_is_the_adjoint_times_the_local_derivative(name):
    for step in explained(name).operations:
        for partial in step.partials:
            if partial.value is not None and not partial.rule.startswith("sum("):
                assert np.array_equal(step.adjoint * partial.value, partial.contribution, True)


@pytest.mark.parametrize("name", SMOOTH)
def test_tangents_agree_with_adjoints(name):
    _, args = EXAMPLES[name]
    leaves, rebuild = nnad.autodiff.trees.flatten(args)
    vs = [np.sin(1 + np.arange(np.size(x))).reshape(np.shape(x)) for x in leaves]
    trace = explained(name, tangents=rebuild(vs))
    along = sum(np.sum(step.tangent) for step in trace.outputs)
    back = sum(np.sum(v * step.adjoint) for v, step in zip(vs, trace.inputs, strict=True))
    np.testing.assert_allclose(along, back, rtol=1e-12)


def test_fan_out_is_shown_as_the_sum_it_is():
    table = nnad.explain(micrograd, -4.0, 2.0).table("reverse")
    start = next(i for i, line in enumerate(table.splitlines()) if line.startswith("  b̄"))
    rows = table.splitlines()[start : start + 5]
    assert ["".join(row.split()[:1]) for row in rows[1:]] == ["+"] * 4
    parts = [float(row.split("=")[-1].split()[0]) for row in rows]
    assert sum(parts) == pytest.approx(645.5773, abs=0.2)


def test_arrays_are_abbreviated_and_rules_of_products_told():
    table = nnad.explain(network, *WEIGHTS).table()
    assert re.search(r"v1 +c1 @ w1 ", table)
    assert "w̄1 gets c1.T @ v̄1" in table
    assert "(4,5)" in table
    assert max(map(len, table.splitlines())) < 190


def test_a_cotangent_other_than_one():
    trace = nnad.explain(lambda x: 2 * x, np.ones(2), cotangent=np.array([1.0, 10.0]))
    assert trace.gradients[0].tolist() == [2, 20]


def test_constants_and_integers_have_no_gradient():
    trace = nnad.explain(lambda x, n: x**n, 3.0, 2)
    assert trace.gradients == (6.0, None)
    assert [step.formula for step in trace.operations] == ["x²"]


@pytest.mark.parametrize(
    ("f", "x", "where", "text"),
    [
        (lambda x: 1 / x, 0.0, "v1", "1 / 0 is not finite"),
        (lambda x: np.log(x * x) + 1, 0.0, "v2", "log(0) is not finite"),
        (lambda x: x * 2, np.inf, "x", "the input itself is not finite"),
        (np.abs, 0.0, "v1", "no derivative at this point"),
        (lambda x: np.maximum(x, 0), 0.0, "v1", "ties share the gradient"),
        (np.sqrt, 0.0, "v1", "infinite slope"),
    ],
)
def test_what_is_remarkable_is_told_where_it_arises(f, x, where, text):
    notes = nnad.explain(f, x).notes
    assert len(notes) == 1
    assert notes[0].startswith(f"{where}: ")
    assert text in notes[0]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "not finite"])
def test_nothing_is_remarkable_elsewhere(name):
    assert explained(name).notes == [] or name == "micrograd"


def test_rows_of_a_long_trace_are_left_out_and_its_picture_is_refused():
    def long(x):
        for _ in range(300):
            x = x * 1.01
        return x

    trace = nnad.explain(long, 1.0)
    assert len(trace.table().splitlines()) < 140
    assert "…" in trace.table()
    for draw in (trace.to_svg, trace.to_html):
        with pytest.raises(ExplainError, match="301 steps could not be read"):
            draw()
    assert "<svg" not in trace._repr_html_()


def test_a_notebook_gets_a_picture_and_the_table():
    bundle = nnad.explain(sigmoid, 0.5)._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "text/html"}
    assert "<svg" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert bundle["text/plain"] == str(nnad.explain(sigmoid, 0.5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nnad.explain(3.0), ExplainError, r"write explain\(f, x\)"),
        (lambda: nnad.explain(np.sin, 3), ExplainError, "nothing to differentiate"),
        (lambda: nnad.explain(lambda x: None, 3.0), ExplainError, "did it forget to return"),
        (lambda: nnad.explain(np.sin, 3.0).table("up"), ExplainError, "order is"),
        (lambda: nnad.explain(np.sin, 3.0).table("tangent"), ExplainError, "no tangents"),
        (lambda: nnad.explain(np.sin, 3.0, cotangent=[1.0]), CotangentError, "got a list"),
        (lambda: nnad.explain(np.sin, 3.0, cotangent=np.ones(2)), CotangentError, r"\(2,\)"),
        (lambda: nnad.explain(np.sin, 3.0, tangents=1.0), CotangentError, "one per argument"),
        (lambda: nnad.explain(np.sin, 3.0, tangents=(np.ones(2),)), CotangentError, r"\(2,\)"),
    ],
)
def test_wrong_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_parameters_of_a_model_are_inputs_by_their_paths():
    model = layers.Sequential(layers.Linear(2, 3, rng=0), layers.Tanh(), layers.Linear(3, 1, rng=1))
    x = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")
    trace = nnad.explain(model, x)
    assert [s.name for s in trace.inputs] == ["x", "0.weight", "0.bias", "2.weight", "2.bias"]
    model(x).sum().backward()
    for step, parameter in zip(trace.inputs[1:], model.parameters(), strict=True):
        np.testing.assert_allclose(step.adjoint, parameter.grad, rtol=1e-6)


def test_what_a_function_closes_over_is_an_input_where_it_was_made():
    t = nnad.Tensor([1.0, 2.0], requires_grad=True)
    doubled = t * 2
    trace = nnad.explain(lambda x: np.sum(doubled * x), 3.0, tangents=(1.0,))
    assert [(s.name, s.formula) for s in trace.steps] == [
        ("x", ""),
        ("p1", ""),
        ("v1", "p1 · x"),
        ("v2", "sum(v1)"),
    ]
    assert trace.inputs[1].adjoint.tolist() == [3, 3]
    assert (trace.gradients, trace.outputs[0].tangent) == ((6.0,), 6.0)


def test_explaining_leaves_an_enclosing_derivative_alone():
    def f(x):
        nnad.explain(lambda y: y * y, nnad.stop_gradient(x))
        return x**3

    assert nnad.grad(f)(2.0) == 12.0


SMOOTH_ENTRIES = [n for n, e in TABLE.items() if not (e.nondifferentiable or e.has_effect)]


@pytest.mark.parametrize("name", SMOOTH_ENTRIES)
def test_every_operation_of_the_table_is_explained(name, rng):
    entry = TABLE[name]
    case = next(iter(entry.samples(rng)))
    trace = nnad.explain(lambda *xs: entry(*xs, **case.kwargs), *case.args, title=name)
    assert not re.search(r"None [-·@+/*]|[-·@+/*] None", trace.table())
    assert trace.to_svg().count("<title>") > len(trace.steps)
    leaves, rebuild = nnad.autodiff.trees.flatten(case.args)
    places = [i for i, x in enumerate(leaves) if np.asarray(x).dtype.kind in "fc"]

    def function(*xs):
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        return entry(*rebuild(filled), **case.kwargs)

    value, pullback = nnad.vjp(function, *(leaves[i] for i in places))
    ones = nnad.autodiff.trees.map_leaves(np.ones_like, value)
    for step, expected in zip(trace.inputs, pullback(ones), strict=True):
        np.testing.assert_allclose(step.adjoint, expected, rtol=1e-12, atol=1e-12)
