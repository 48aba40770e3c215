"""Every layer against PyTorch: outputs, gradients of inputs and parameters, in float64."""

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers as L
from nnad.autodiff.trees import flatten, map_leaves
from tests.layers.samples import ROWS, Row

HERE = Path(__file__).parent
PUBLIC = [
    kind
    for name in L.__all__
    if inspect.isclass(kind := getattr(L, name)) and issubclass(kind, L.Module)
]
ALL_ROWS = [
    pytest.param(kind, row, id=f"{kind.__name__}-{i}")
    for kind, rows in ROWS.items()
    for i, row in enumerate(rows)
]
CHECKED = [p for p in ALL_ROWS if p.values[1].reference is not None]
CALLED = [p for p in ALL_ROWS if p.values[1].inputs]


def is_real(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def spread(module: L.Module) -> L.Module:
    """Parameters away from 0 and 1, so that none hides a mistake in another."""
    rng = np.random.default_rng(5)
    for p in module.parameters():
        p.data = rng.normal(scale=0.5, size=p.shape) + 0.1
    return module


def differentiated(row: Row) -> tuple[Any, ...]:
    """Outputs, cotangents, and gradients of inputs and parameters."""
    module = spread(row.make().astype("float64")).train(row.training)
    inputs = [nnad.Tensor(x, requires_grad=is_real(x)) for x in row.inputs]
    outs = [nnad.autodiff.value_of(y) for y in flatten(module(*inputs, **row.kwargs))[0]]
    rng = np.random.default_rng(6)
    cotangents = [rng.normal(size=y.shape) for y in outs]
    again = flatten(module.astype("float64")(*inputs, **row.kwargs))[0]
    terms = [(y * g).sum() for y, g in zip(again, cotangents, strict=True)]
    total = sum(terms[1:], terms[0])
    total.backward()
    return module, outs, cotangents, [x.grad for x in inputs]


@pytest.mark.parametrize(("kind", "row"), CHECKED)
def test_equals_pytorch(kind: Any, row: Row) -> None:
    torch = pytest.importorskip("torch")
    module, outs, cotangents, input_grads = differentiated(row)
    xs = [torch.tensor(x, requires_grad=is_real(x)) for x in row.inputs]
    p = {k: torch.tensor(v.numpy(), requires_grad=True) for k, v in module.named_parameters()}
    kwargs = {
        k: map_leaves(lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x, v)
        for k, v in row.kwargs.items()
    }
    expected = flatten(row.reference(*xs, p=p, **kwargs))[0]
    assert len(expected) == len(outs)
    for got, want in zip(outs, expected, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-9, atol=1e-9)
    total = sum((y * torch.tensor(g)).sum() for y, g in zip(expected, cotangents, strict=True))
    total.backward()
    wanted = {f"input {i}": (g, x.grad) for i, (g, x) in enumerate(zip(input_grads, xs))}
    wanted |= {k: (v.grad, p[k].grad) for k, v in module.named_parameters()}
    for what, (got, want) in wanted.items():
        if want is None:
            assert got is None, what
            continue
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-8, atol=1e-8, err_msg=what)


def test_every_layer_has_a_row_and_every_row_a_check() -> None:
    assert {kind.__name__ for kind in PUBLIC} - {k.__name__ for k in ROWS} == {"Module"}
    defined = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    for kind, rows in ROWS.items():
        for row in rows:
            if row.reference is None:
                assert f"def {row.tested_in}(" in defined, kind.__name__


@pytest.mark.parametrize(("kind", "row"), CALLED)
def test_float32_stays_float32(kind: Any, row: Row) -> None:
    module = row.make().astype("float32").train(row.training)
    single = [x.astype("float32") if is_real(x) else x for x in row.inputs]
    inputs = [nnad.Tensor(x, requires_grad=is_real(x)) for x in single]
    kwargs = {
        k: map_leaves(lambda x: x.astype("float32") if is_real(x) else x, v)
        for k, v in row.kwargs.items()
    }
    outs = flatten(module(*inputs, **kwargs))[0]
    assert {y.dtype for y in outs} == {np.dtype("float32")}
    total = outs[0].sum()
    if isinstance(total, nnad.Tensor) and total.requires_grad:
        total.backward()
    grads = [x.grad for x in inputs] + [p.grad for p in module.parameters()]
    assert {g.dtype for g in grads if g is not None} <= {np.dtype("float32")}


@pytest.mark.parametrize(("kind", "row"), CALLED)
def test_plain_arrays_give_what_tensors_give(kind: Any, row: Row) -> None:
    outs = []
    for wrap in (np.asarray, nnad.Tensor):
        module = spread(row.make().astype("float64")).train(row.training)
        nnad.seed(1)
        ys = flatten(module(*(wrap(x) for x in row.inputs), **row.kwargs))[0]
        outs.append([nnad.autodiff.value_of(y) for y in ys])
    for a, b in zip(*outs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("kind", "row"), ALL_ROWS)
def test_state_survives_copy_flatten_and_reload(kind: Any, row: Row) -> None:
    module = row.make()
    state = module.state_dict()
    for other in (copy.deepcopy(module), row.make()):
        other.flatten()
        other.load_state_dict(state)
        assert list(other.state_dict()) == list(state)
        for path, array in other.state_dict().items():
            np.testing.assert_array_equal(array, state[path], err_msg=path)
    assert repr(module).startswith(kind.__name__)


@pytest.mark.parametrize(("kind", "row"), ALL_ROWS)
def test_constructors_take_a_dtype_where_there_are_parameters(kind: Any, row: Row) -> None:
    module = row.make()
    own = [p for p in module._members.values() if isinstance(p, L.Parameter)]
    if own:
        assert "dtype" in inspect.signature(kind.__init__).parameters
        assert {p.dtype for p in own} == {np.dtype("float32")}


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda k: k.__name__)
def test_input_sizes_are_constructor_arguments_kept_as_attributes(kind: Any) -> None:
    arguments = inspect.signature(kind.__init__).parameters
    assert set(kind.input_sizes) <= set(arguments)
    for row in ROWS.get(kind, []):
        module = row.make()
        for name, axis in kind.input_sizes.items():
            size = getattr(module, name)
            if isinstance(size, int):
                assert np.shape(row.inputs[0])[axis] == size
