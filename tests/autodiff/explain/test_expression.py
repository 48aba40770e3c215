"""Formulas typed on the command line: what they may hold, their values, and what is refused."""

import numpy as np
import pytest

from nnad import cli
from nnad.autodiff.explain.expression import Formula, explain_text
from nnad.errors import UserError

VALUES = {"x": 0.7, "y": -1.5, "v": np.array([1.0, 2.0, 4.0]), "m": np.array([[1.0, 2], [3, 4]])}

RIGHT = {
    "1/(1+exp(-x))": lambda x: 1 / (1 + np.exp(-x)),
    "x**2 - y % 2 + x//0.2": lambda x, y: x**2 - y % 2 + x // 0.2,
    "sum(v[1:]*v[:-1])": lambda v: 2.0 + 8.0,
    "(m @ m)[0, 1]": lambda m: (m @ m)[0, 1],
    'einsum("ij->", m)': lambda m: m.sum(),
    "sum(m, axis=0, keepdims=True)[0][1]": lambda m: 6.0,
    "where(x < 1, x, y)": lambda x, y: x,
    "where(logical_and(0 < x, x < 0.5), x, y)": lambda x, y: y,
    "x if 0 < x < 1 else y": lambda x, y: x,
    "x if 0 < y < 1 else 2*x": lambda x, y: 2 * x,
    "max(x, y, 0) + min(v)": lambda x, y, v: 1.7,
    "abs(y)": lambda y: 1.5,
    "mean([1, 3] * v[:2])": lambda v: 3.5,
    "sin(pi*x) + ln(e)": lambda x: np.sin(np.pi * x) + 1,
    "sigma(x) + +x": lambda x: 1 / (1 + np.exp(-x)) + x,
    "sum(2**[-1, 3] * x)": lambda x: 8.5 * x,
    "10**10**2 * x": lambda x: 10.0**100 * x,
}


@pytest.mark.parametrize("text", RIGHT)
def test_a_formula_is_the_function_it_says(text):
    formula = Formula(text)
    values = [VALUES[name] for name in formula.variables]
    named = {name: VALUES[name] for name in formula.variables}
    np.testing.assert_allclose(formula(*values), RIGHT[text](**named), rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("1 +", "'1 +' cannot be read"),
        ("x\0", "cannot be read"),
        ("snh(x)", "snh: unknown function; did you mean 'sinh'?"),
        ("sin + x", "a function needs an argument: sin(x)"),
        ("x^2", "a power is written **"),
        ("x > 0 and x < 1", "logical_and(a, b)"),
        ("x is 1", "this comparison is not allowed"),
        ("x << 2", "this operator is not allowed"),
        ("~x", "this operator is not allowed"),
        ("x.real", "Attribute is not allowed"),
        ("(lambda: x)()", "functions are called by name"),
        ("[x for x in v]", "ListComp is not allowed"),
        ("exp(*v)", "Starred is not allowed"),
        ("exp(**v)", "** cannot stand before an argument"),
        ("x + 'text'", "only numbers may stand in a formula"),
        ("(x := 2)", "NamedExpr is not allowed"),
        ("__import__('os').system('true')", "functions are called by name"),
        ("eval('x')", "eval: unknown function"),
        ("(" * 300 + "x" + ")" * 300, "cannot be read"),
        ("-" * 9000 + "x", "formula: "),
        ("x" * 10_001, "at most 10000 are read"),
    ],
)
def test_what_may_not_stand_in_a_formula_is_told(text, message):
    with pytest.raises(UserError) as caught:
        explain_text(text, ["x=1"])
    assert message in str(caught.value)
    assert max(map(len, caught.value.problems)) < 200


def test_every_problem_is_told_at_once():
    with pytest.raises(UserError) as caught:
        Formula("snh(x) + cso(x) + x.T")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["x"], "'x': expected name=value"),
        (["2=x"], "expected name=value"),
        (["x=1", "x=2"], "x: given twice"),
        (["x=abc"], "x: got 'abc', expected a number or a list of numbers"),
        (["x=[1,[2,3]]"], "expected a number"),
        (["x=True"], "expected a number"),
        (["x=1/0"], "expected a number"),
        ([], "x: no value, write x=0.5"),
        (["x=1", "y=2"], "y: not in the formula"),
    ],
)
def test_wrong_values_are_told(assignments, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        explain_text("x*2", assignments)


def test_a_value_makes_a_name_a_variable():
    assert explain_text("beta*e", ["beta=2", "e=3"]).gradients == (3.0, 2.0)
    assert explain_text("2*t", ["t=pi/2"]).value == np.pi


def test_a_misspelt_value_is_recognised():
    with pytest.raises(UserError, match=r"weight: no value.*did you mean 'wieght'"):
        explain_text("weight*2", ["wieght=1"])


def run(*arguments):
    try:
        return cli.main(["explain", *arguments])
    except SystemExit as end:
        return end.code


def test_the_command_prints_a_table(capsys):
    assert run("1/(1+exp(-x))", "x=0.5") == 0
    out = capsys.readouterr().out
    assert "∂v4/∂v3 = -v4 / v3 = -0.3875" in out
    assert "x̄ = 0.2350037122015945" in out


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["--format", "svg"], "<svg"),
        (["--format", "html"], "<!doctype html>"),
        (["--format", "dot"], "digraph"),
        (["--format", "mermaid"], "flowchart"),
    ],
)
def test_the_command_prints_every_format(arguments, start, capsys):
    assert run("-x*y", "x=1", "y=[1,2]", *arguments) == 0
    assert capsys.readouterr().out.startswith(start)


def test_the_ending_of_the_file_tells_the_format(tmp_path, capsys):
    for name, start in [("a.svg", "<svg"), ("a.html", "<!doctype"), ("a.txt", "-x")]:
        assert run("-x", "x=1", "--output", str(tmp_path / name)) == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
        assert "written to" in capsys.readouterr().out


def test_tangents_are_shown_when_asked_for(capsys):
    assert run("x*y", "x=2", "y=3", "--tangent", "x", "--tangent", "y=10") == 0
    assert "v̇1 = 23.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "x: no value"),
        (["x", "x=1", "--format", "png"], "invalid choice: 'png'"),
        (["x", "x=1", "--output", "nowhere/a.svg"], "nowhere/a.svg: there is no folder nowhere"),
        (["x", "x=1", "--tangent", "z"], "--tangent z: not in the formula"),
        (["x*2", "x=1", "--tangent", "x=[1,2]"], "expected ()"),
        (["m@v", "m=[[1,2]]", "v=[1,2,3]"], "mismatch"),
        (["1/0*x", "x=1"], "division by zero"),
        ([], "required: formula"),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments, message, capsys):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
