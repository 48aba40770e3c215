"""Every entry of the table: a compiled call and pullback equal the eager ones on other data."""

from __future__ import annotations

import numpy as np
import pytest

import nnad
from nnad.autodiff.table import TABLE
from nnad.autodiff.tensor import value_of
from nnad.autodiff.trees import flatten
from nnad.compiler import DataDependentError
from nnad.compiler.choice import why_not_native

BACKENDS = ["numpy", "native"]
RANDOM = {name for name, entry in TABLE.items() if entry.has_effect}
SAMPLED = sorted(
    name for name, entry in TABLE.items() if entry.samples is not None and name not in RANDOM
)


# Entries with samples whose result has another shape for other values, or picks elements by numbers
# that are worked out in Python (levels of quantiles): no program can follow.
SHAPED_BY_VALUES = {"bincount", "extract", "getitem", "repeat", "scatter", "setitem", "unique"}
REFUSED = SHAPED_BY_VALUES | {"nanpercentile", "nanquantile", "percentile", "quantile"}


def cases(name: str, seed: int) -> list:
    return list(TABLE[name].samples(np.random.default_rng(seed)))


def is_float(x: object) -> bool:
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "fc"


def step_of(name: str, case):
    """A step of the case's arrays: the results, and the cotangents of all float arguments."""
    entry = TABLE[name]

    def step(arrays, cotangents):
        traced = [i for i, x in enumerate(case.args) if is_float(x)]

        def call(*xs):
            args = list(arrays)
            for i, x in zip(traced, xs, strict=True):
                args[i] = x
            return entry(*args, **case.kwargs)

        if entry.nondifferentiable or not traced:
            return call(*(arrays[i] for i in traced)), ()
        out, pullback = nnad.vjp(call, *(arrays[i] for i in traced))
        return out, pullback(cotangents)

    return step


def arrays_of(case):
    return [np.array(x) if isinstance(x, (np.ndarray, np.generic)) else x for x in case.args]


def leaves(result) -> list[np.ndarray]:
    return [np.asarray(value_of(x)) for x in flatten(result)[0]]


def is_compilable(case) -> bool:
    """Whether replay sees other values in place of the same shapes."""
    return all(not isinstance(x, (list, tuple)) for x in case.args)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SAMPLED)
def test_compiled_equals_eager(name: str, backend: str) -> None:
    if backend == "native" and (reason := why_not_native()):
        pytest.skip(reason)
    for first, second in zip(cases(name, 1), cases(name, 2), strict=True):
        if not is_compilable(first):
            continue
        step = step_of(name, first)
        probe = TABLE[name](*arrays_of(first), **first.kwargs)
        rng = np.random.default_rng(3)

        def cotangent(x, rng=rng):
            x = np.asarray(x)
            return np.asarray(rng.normal(size=x.shape).astype(x.dtype))

        g = cotangent(probe) if not isinstance(probe, tuple) else tuple(map(cotangent, probe))
        compiled = nnad.compile(step, backend=backend)
        try:
            compiled(arrays_of(first), g)
        except DataDependentError:
            assert name in REFUSED
            continue
        if [np.shape(x) for x in first.args] != [np.shape(x) for x in second.args]:
            second = first
        others = [
            new if isinstance(new, np.ndarray) else old
            for old, new in zip(arrays_of(first), arrays_of(second), strict=True)
        ]
        replayed = leaves(compiled(others, g))
        expected = leaves(step(others, g))
        assert compiled.programs == 1
        assert compiled.stats["backend"] == backend
        for got, want in zip(replayed, expected, strict=True):
            assert got.shape == want.shape
            assert got.dtype == want.dtype
            if backend == "numpy":
                np.testing.assert_array_equal(got, want)
            else:
                np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
