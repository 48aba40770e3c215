"""Code of other libraries, written for the standard, differentiates through Tensors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("einops")
import einops
import einops.array_api

import nnad
import nnad.array_api as xp

X = np.random.default_rng(11).uniform(0.5, 1.5, (4, 6))
IMAGES = np.random.default_rng(12).uniform(0.5, 1.5, (2, 4, 6, 3))


def packed(module):
    def f(x, y):
        joined, shapes = module.pack([x, y], "b *")
        return module.unpack(joined * joined, shapes, "b *")

    return f


def reduced(operation):
    return lambda e: lambda x: e.reduce(x, "b (h p) (w q) c -> b c h w", operation, p=2, q=2)


CALLS = {
    "rearrange": (lambda e: lambda x: e.rearrange(x, "a b -> b a"), X),
    "patches": (
        lambda e: lambda x: e.rearrange(x, "b (h p) (w q) c -> b (h w) (p q c)", p=2, q=3),
        IMAGES,
    ),
    "a list": (lambda e: lambda x: e.rearrange([x, x * x], "n a b -> a (n b)"), X),
    "repeat": (lambda e: lambda x: e.repeat(x, "a b -> a (r b) c", r=2, c=2), X),
    "pack and unpack": (packed, IMAGES, X[:2]),
    **{name: (reduced(name), IMAGES) for name in ("mean", "sum", "max", "min", "prod")},
}


@pytest.mark.parametrize("name", CALLS)
def test_einops(name):
    make, *args = CALLS[name]
    nnad.check_grads(make(einops), *args)


@pytest.mark.parametrize("name", CALLS)
def test_einops_for_the_standard(name):
    make, *args = CALLS[name]
    function = make(einops.array_api)

    def f(*xs):
        return function(*map(xp.asarray, xs))

    nnad.check_grads(f, *args, order=1)
    for got, expected in zip(f(*args), make(einops)(*args), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-14)


def test_einops_einsum_and_truths():
    nnad.check_grads(lambda x, y: einops.einsum(x, y, "a b, c b -> a c"), X, X[:2] * X[2:])
    found = einops.reduce(nnad.Tensor(X) > 1, "a b -> a", "any")
    np.testing.assert_array_equal(found, (X > 1).any(1))
    assert einops.parse_shape(nnad.Tensor(X), "a b") == {"a": 4, "b": 6}
    assert einops.asnumpy(nnad.Tensor(X)).tolist() == X.tolist()


@pytest.mark.parametrize("first", ["einops", "nnad"])
def test_einops_knows_tensors_in_whichever_order_the_two_are_imported(first):
    second = {"einops": "nnad", "nnad": "einops"}[first]
    code = (
        f"import sys, {first}; assert {second!r} not in sys.modules; import {second}; import gc;"
        "gc.collect(); print(einops.rearrange(nnad.Tensor([[1.0, 2.0]]), 'a b -> (b a)'))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == "Tensor([1., 2.], dtype=float64)\n", done.stderr


def test_array_api_compat_finds_the_namespace():
    compat = pytest.importorskip("array_api_compat")
    x = nnad.Tensor(X)
    assert compat.is_array_api_obj(x)
    assert compat.array_namespace(x, x > 1, 2.0) is xp
    assert compat.device(x) == "cpu"
    assert compat.to_device(x, "cpu") is x
    assert compat.size(x) == 24


# SciPy reads SCIPY_ARRAY_API when it is imported: hence a process of its own.

PAGE = (Path(nnad.__file__).parent.parent / "docs/array-api.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"^```python\n(import.*?)^```$", PAGE, re.M | re.S)[-1]


@pytest.fixture(scope="module")
def printed():
    """What the page's example prints, and then array_api_paths.py: what is wrong, as JSON."""
    paths = Path(__file__).with_name("array_api_paths.py")
    done = subprocess.run(
        [sys.executable, "-c", f"{EXAMPLE}\n{paths.read_text(encoding='utf-8')}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("library", ["scipy", "sklearn"])
def test_scipy_and_scikit_learn(printed, library):
    problems = json.loads(printed[-1])[library]
    assert len(problems) > 20
    assert {name: text for name, text in problems.items() if text} == {}


def test_a_planted_mistake_is_seen(printed):
    assert "expected" in json.loads(printed[-1])["planted"]["half a product"]


def test_the_example_of_the_page_prints_what_it_says(printed):
    assert printed[:-1] == re.findall(r"print\(.*#\s*(.*)$", EXAMPLE, re.M)


def test_scipy_without_its_array_api_says_what_to_do():
    special = pytest.importorskip("scipy.special")
    with pytest.raises(nnad.errors.LostGradientError, match="SCIPY_ARRAY_API=1"):
        nnad.grad(lambda x: special.logsumexp(x))(X)
