"""Graphs of any length: no recursion, and work that grows as the number of operations does."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnad


def chain(x: Any, length: int) -> Any:
    """x * 1.000001 * 1.000001 ..."""
    for _ in range(length):
        x = x * 1.000001
    return x


def fan(x: Any, uses: int) -> Any:
    """x * 0 + x * 1 + x * 2 + ...: one value used again and again."""
    total = x * 0.0
    for i in range(1, uses):
        total = total + x * float(i)
    return total


def calls_of(function: Callable[[], Any]) -> int:
    """How many functions, Python's and C's, are called meanwhile."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


MODES: list[tuple[str, Callable[[Callable[[Any], Any]], Any]]] = [
    ("backward", lambda f: _backward(f)),
    ("grad", lambda f: nnad.grad(f)(1.0)),
    ("jvp", lambda f: nnad.jvp(f, (1.0,), (1.0,))[1]),
    ("grad of grad", lambda f: nnad.grad(nnad.grad(lambda x: f(x * x)))(1.0)),
]


def _backward(f: Callable[[Any], Any]) -> Any:
    x = nnad.Tensor(1.0, requires_grad=True)
    f(x).backward()
    return x.grad


@pytest.mark.parametrize(("mode", "derivative"), MODES, ids=[name for name, _ in MODES])
@pytest.mark.parametrize("graph", [chain, fan])
def test_work_grows_with_the_number_of_operations(graph: Any, mode: str, derivative: Any) -> None:
    derivative(lambda x: graph(x, 10))
    few, many = (calls_of(lambda n=n: derivative(lambda x: graph(x, n))) for n in (100, 1000))
    assert many < 10.1 * few


@pytest.mark.parametrize(("mode", "derivative"), MODES, ids=[name for name, _ in MODES])
def test_nothing_recurses(mode: str, derivative: Any) -> None:
    n = 20 * sys.getrecursionlimit()
    factor = {"grad of grad": 2.0}.get(mode, 1.0)
    expected = factor * 1.000001**n
    np.testing.assert_allclose(derivative(lambda x: chain(x, n)), expected, rtol=1e-9)
    n = n // 10
    expected = factor * n * (n - 1) / 2
    np.testing.assert_allclose(derivative(lambda x: fan(x, n)), expected, rtol=1e-12)


@pytest.mark.slow
def test_a_million_operations_and_a_hundred_thousand_uses() -> None:
    np.testing.assert_allclose(_backward(lambda x: chain(x, 10**6)), 1.000001**10**6, rtol=1e-9)
    n = 10**5
    assert _backward(lambda x: fan(x, n)) == n * (n - 1) / 2
