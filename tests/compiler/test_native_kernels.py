"""Every native kernel against NumPy's float64, in hostile shapes, cut into any number of parts."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import nnad
from nnad import layers, ops
from nnad.compiler import choice

pytest.importorskip("llvmlite")
if choice.why_not_native() is not None:
    pytest.skip(str(choice.why_not_native()), allow_module_level=True)

from nnad.compiler.native import backend, module

TOLERANCES = {"float32": {"rtol": 3e-5, "atol": 3e-5}, "float64": {"rtol": 1e-11, "atol": 1e-12}}


@pytest.fixture(autouse=True)
def everything_is_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Cut even the smallest loop into parts, for as many threads as are asked for."""
    monkeypatch.setenv("NNAD_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choice, "MAX_THREADS", 8)
    monkeypatch.setattr(module, "SPLIT_FROM", 0)
    monkeypatch.setattr(module, "PRODUCT_SPLIT_FROM", 0)
    monkeypatch.setattr(backend, "SPLIT_PROGRAM_FROM", 0)


class Case(NamedTuple):
    """A function of arrays, and arrays to call it with."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    gradient: bool = True
    native: bool = True


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).normal(size=shape)


EXTREME = np.array([0, -0.0, 1e-30, -1e-30, 1, -1, 30, -30, 88, -88, 1e4, -1e4, np.inf, -np.inf])


def elementwise() -> Iterator[Case]:
    def chain(x: Any, y: Any) -> Any:
        return np.maximum(np.tanh(x * y) - 0.5 * x, ops.sigmoid(y) / (1 + x * x))

    shapes = [((5, 7), (7,)), ((17, 1), (1, 19)), ((1, 1), (3,)), ((0, 3), (3,)), ((), (2, 1, 33))]
    for a, b in shapes:
        yield Case(f"chain-{a}-{b}", chain, (normal(*a), normal(*b)))
    x = normal(9, 14)
    views = {
        "transposed": x.T,
        "every-other": x[::2, 1::3],
        "backwards": x[:, ::-1],
        "fortran": np.asfortranarray(x),
        "broadcast": np.broadcast_to(x[0], x.shape),
    }
    for name, view in views.items():
        yield Case(f"chain-{name}", chain, (view, np.ones(view.shape[1])))
    for name in ("tanh", "sigmoid", "relu", "erf", "gelu", "silu", "softplus"):
        finite = EXTREME[np.isfinite(EXTREME)]
        yield Case(f"{name}-extreme", getattr(ops, name), (finite,), native=name != "softplus")
    for name in ("exp", "tanh", "sqrt", "log"):
        function = getattr(np, name)
        usual = np.abs(EXTREME) if name in ("sqrt", "log") else EXTREME
        yield Case(f"{name}-infinite", function, (usual,), gradient=False)
        yield Case(f"{name}-nan", function, (np.array([np.nan, 1.0]),), gradient=False)
    yield Case("gelu-tanh", functools.partial(ops.gelu, approximate="tanh"), (4 * normal(37),))
    yield Case("where", lambda x: np.where(x > 0, x, 0.1 * x) ** 2, (normal(3, 11),))


def reductions() -> Iterator[Case]:
    axes = [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2)]
    for name, axis in itertools.product(("sum", "mean", "max"), axes):
        function = functools.partial(getattr(np, name), axis=axis)
        yield Case(f"{name}-{axis}", function, (normal(5, 3, 18),))
    for shape in ((1, 1), (1, 40), (40, 1), (33, 2)):
        yield Case(f"mean-rows-{shape}", lambda x: x.mean(0, keepdims=True), (normal(*shape),))
        yield Case(f"softmax-{shape}", ops.softmax, (3 * normal(*shape),))
        yield Case(
            f"log_softmax-far-{shape}", ops.log_softmax, (np.round(4 * normal(*shape)) / 4 + 5000,)
        )
        yield Case(f"log_softmax-{shape}", ops.log_softmax, (3 * normal(*shape),))


def products() -> Iterator[Case]:
    for m, k, n in [(1, 1, 1), (3, 5, 2), (17, 33, 9), (64, 1, 65), (1, 40, 7), (50, 3, 1)]:
        yield Case(f"matmul-{m}-{k}-{n}", np.matmul, (normal(m, k), normal(k, n)))
    yield Case("matmul-stack", np.matmul, (normal(2, 3, 5, 4), normal(3, 4, 6)))
    yield Case("matmul-rows", np.matmul, (normal(2, 3, 5), normal(5, 6)))
    yield Case("matmul-vector", np.matmul, (normal(6), normal(6, 4)))
    yield Case("matmul-transposed", lambda x, y: x.T @ y.T, (normal(7, 20), normal(9, 7)))
    yield Case("matmul-strided", np.matmul, (normal(8, 12)[::2, ::3], normal(4, 6)[:, ::-1]))
    yield Case("matmul-empty", np.matmul, (normal(0, 3), normal(3, 4)), native=False)


def blocks() -> Iterator[Case]:
    for n, width in [(1, 1), (1, 3), (33, 17), (2, 64), (7, 1)]:
        arrays = (2 * normal(n, width), normal(width), normal(width + 1)[1:])
        yield Case(f"layer_norm-{n}-{width}", functools.partial(ops.layer_norm, eps=1e-3), arrays)
    for n, classes in [(1, 1), (1, 7), (33, 2), (5, 65)]:
        target = np.random.default_rng(0).integers(0, classes, n)
        loss = functools.partial(nnad.losses.cross_entropy, target=target)
        yield Case(f"cross_entropy-{n}-{classes}", loss, (20 * normal(n, classes),))
    for batch, time, heads, causal in [(1, 1, 1, True), (2, 5, 3, True), (3, 9, 1, False)]:
        attend = layers.MultiHeadAttention(6, heads, rng=0).astype("float64")
        yield Case(
            f"attention-{batch}-{time}-{heads}-{causal}",
            lambda x, w, attend=attend, causal=causal: with_weight(attend, w, x, causal),
            (normal(batch, time, 6), normal(6, 18)),
        )
    numbers = np.array([[2, 0, 2], [2, 4, 4]])
    yield Case("take_rows", lambda table: ops.take_rows(table, numbers), (normal(5, 3),))
    yield Case("take_one_row", lambda table: ops.take_rows(table, 0 * numbers), (normal(1, 1),))


def with_weight(attend: Any, weight: Any, x: Any, causal: bool) -> Any:
    """Attention whose packed projection is an argument."""
    packed = x @ weight
    return ops.self_attention(packed, heads=attend.num_heads, causal=causal)


def windows() -> Iterator[Case]:
    shapes = [
        # image, kernel, stride, padding
        ((1, 1, 1, 1), (1, 1, 1, 1), 1, 0),
        ((3, 9, 7, 2), (3, 2, 2, 5), 1, 0),
        ((2, 8, 8, 3), (5, 5, 3, 4), 1, 2),
        ((2, 9, 6, 1), (3, 3, 1, 17), 2, 1),
        ((1, 5, 5, 2), (4, 4, 2, 3), 3, ((1, 2), (2, 1))),
    ]
    for image, kernel, stride, padding in shapes:
        arrays = (normal(*image), normal(*kernel), normal(kernel[-1]))
        yield Case(f"conv-{image}-{kernel}-{stride}", convolution(stride, padding), arrays)
    signal = (normal(2, 11, 3), normal(4, 3, 5), normal(5))
    yield Case("conv1d", convolution(2, 1, axes=1), signal)
    shapes = [((2, 6, 4, 3), 2, 2), ((1, 7, 7, 1), 3, 2), ((3, 5, 5, 17), 3, 1)]
    for image, kernel, stride in shapes:
        yield Case(f"max_pool-{image}-{kernel}", pooling(kernel, stride), (normal(*image),))
    yield Case("max_pool-ties", pooling(2, 2), (np.zeros((2, 4, 4, 2)),))


def convolution(stride: int, padding: Any, axes: int = 2) -> Callable[..., Any]:
    pairs = padding if isinstance(padding, tuple) else ((padding, padding),) * axes
    options = {"stride": (stride,) * axes, "padding": pairs, "dilation": (1,) * axes}
    return functools.partial(ops.conv, groups=1, **options)


def pooling(kernel: int, stride: int) -> Callable[..., Any]:
    options = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (0, 0)}
    return functools.partial(ops.max_pool, **options)


CASES = [*elementwise(), *reductions(), *products(), *blocks(), *windows()]


def step_of(case: Case, cotangents: list[np.ndarray]) -> Callable[..., Any]:
    """The function's values and, along fixed cotangents, its gradients."""
    if not case.gradient:
        return lambda *args: (case.function(*args),)

    def scalar(*args: Any) -> Any:
        value = case.function(*args)
        if not cotangents:
            cotangents.append(normal(*np.shape(nnad.autodiff.value_of(value))))
        return np.sum(value * cotangents[0].astype(args[0].dtype)), value

    differentiated = nnad.value_and_grad(
        scalar, argnums=tuple(range(len(case.inputs))), has_aux=True
    )

    def step(*args: Any) -> Any:
        (_, value), gradients = differentiated(*args)
        return (value, *gradients)

    return step


@pytest.mark.parametrize(("dtype", "threads"), [("float32", 3), ("float64", 1)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel(case: Case, dtype: str, threads: int) -> None:
    cotangents: list[np.ndarray] = []
    step = step_of(case, cotangents)
    with np.errstate(all="ignore"):
        want = [nnad.autodiff.value_of(x) for x in step(*case.inputs)]
    narrow = [as_laid_out(x, dtype) for x in case.inputs]
    compiled = nnad.compile(step, backend="native", threads=threads)
    with np.errstate(all="ignore"):
        compiled(*narrow)
        got = [np.asarray(nnad.autodiff.value_of(x)) for x in compiled(*narrow)]
    if case.native:
        assert "no native form" not in compiled.source
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, **TOLERANCES[dtype])


def as_laid_out(x: np.ndarray, dtype: str) -> np.ndarray:
    """A copy with the dtype that keeps strides as they are, broadcast and negative ones too."""
    if 0 in x.strides or x.size == 0:
        return np.broadcast_to(x[:1].astype(dtype), x.shape) if x.size else x.astype(dtype)
    base = x if x.base is None else x.base
    low = min(0, sum((n - 1) * min(s, 0) for n, s in zip(x.shape, x.strides, strict=True)))
    whole = np.zeros(base.size, dtype)
    scale = np.dtype(dtype).itemsize / x.itemsize
    strides = [int(s * scale) for s in x.strides]
    view = np.lib.stride_tricks.as_strided(
        whole[-int(low * scale) // whole.itemsize :], x.shape, strides
    )
    view[...] = x
    return view
