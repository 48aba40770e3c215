"""Walks the table: every entry on its samples and in hostile forms; new ones are found."""

import numpy as np
import pytest

import nnad.ops  # noqa: F401  (fills the table)
from nnad.autodiff.table import TABLE
from nnad.autodiff.tensor import Tensor
from nnad.autodiff.trees import map_leaves
from tests.autodiff import table_checks as checks

DIFFERENTIABLE = sorted(n for n, e in TABLE.items() if not (e.nondifferentiable or e.has_effect))
CONSTANT = sorted(n for n, e in TABLE.items() if e.nondifferentiable and not e.has_effect)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_declares_samples_and_formula(name):
    checks.check_declared(TABLE[name])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_value(name):
    for case in checks.cases_of(TABLE[name]):
        checks.check_value(TABLE[name], case)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name):
    for case in checks.cases_of(TABLE[name]):
        checks.check_derivatives(TABLE[name], case)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_hostile_forms(name):
    for case in checks.cases_of(TABLE[name]):
        checks.check_layouts(TABLE[name], case)
        checks.check_stride_zero(TABLE[name], case)
        checks.check_repeated_argument(TABLE[name], case)
        checks.check_degenerate(TABLE[name], case)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_stacks(name):
    for case in checks.cases_of(TABLE[name]):
        checks.check_stacked(TABLE[name], case)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_float32_stays_float32(name):
    for case in checks.cases_of(TABLE[name]):
        checks.check_single_precision(TABLE[name], case)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if TABLE[n].kinks])
def test_kinks(name):
    for kink in TABLE[name].kinks:
        checks.check_kink(TABLE[name], kink)


@pytest.mark.parametrize("name", CONSTANT)
def test_entries_without_derivative_say_why_and_return_plain_results(name):
    entry = TABLE[name]
    assert len(entry.nondifferentiable) > 10
    for case in checks.cases_of(entry):
        tensors = map_leaves(lambda x: Tensor(x, True) if checks.is_float(x) else x, case.args)
        result = entry(*tensors, **case.kwargs)
        checks.assert_same(result, entry(*case.args, **case.kwargs), name, rtol=0)
        map_leaves(lambda x: np.testing.assert_(not isinstance(x, Tensor)), result)
