"""Properties over random shapes, broadcasts, dtypes, memory layouts and values with ties and zeros.

Derivatives are held against what can be said exactly: forward mode is the transpose of reverse
mode, a linear map is its own JVP, sums of shares are 1, and products are products of the others.
"""

import itertools

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

import nnad
from nnad.autodiff.checking import directions, inner

LIGHT = {"deadline": None, "derandomize": True, "database": None}
TOLERANCE = {"e": 2e-2, "f": 1e-4, "d": 1e-10, "g": 1e-10, "F": 1e-4, "D": 1e-10}
ALL_DTYPES = (np.float64, np.float64, np.float32, np.float16, np.longdouble, np.complex128)
REAL = (np.float64, np.float64, np.float32, np.longdouble)
DOUBLE = (np.float64,)
LAYOUTS = ("C", "F", "every other", "reversed", "broadcast", "read-only")


def random_cases(n):
    """A test of `n` cases, each from a generator of its own: drawing is then cheap."""

    def decorate(test):
        seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
        return settings(max_examples=n, **LIGHT)(given(rng=seeds)(test))

    return decorate


def choose(rng, options):
    return options[rng.integers(len(options))]


def random_shape(rng, ndims=(0, 5), sides=(0, 5)):
    return tuple(int(n) for n in rng.integers(*sides, rng.integers(*ndims)))


def full_shape(rng):
    return random_shape(rng, (1, 4), (1, 5))


def broadcast_pair(rng):
    """Two shapes that broadcast against each other."""
    whole = random_shape(rng, (0, 5), (0, 4))
    pair = []
    for _ in range(2):
        shape = tuple(1 if rng.random() < 0.3 else n for n in whole)
        pair.append(shape[rng.integers(len(shape) + 1) :] if rng.random() < 0.5 else shape)
    return pair


def laid_out(x, layout):
    """`x`, or for "broadcast" its first element everywhere, in a memory layout."""
    if layout == "F":
        return np.array(x, order="F")
    if layout == "every other" and x.ndim:
        return np.repeat(x, 2, axis=0)[::2]
    if layout == "reversed":
        return np.flip(np.flip(x).copy())
    if layout == "broadcast" and x.size:
        return np.broadcast_to(x.flat[0], x.shape)
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return x


def array(rng, shape, dtypes=ALL_DTYPES, values="normal"):
    """Random numbers of a random dtype in a random layout."""
    dtype = np.dtype(choose(rng, dtypes))
    if values == "few":  # ties and zeros
        x = rng.integers(-2, 3, shape).astype(float)
    elif values == "positive":
        x = rng.uniform(0.5, 2.0, shape)
    else:
        x = rng.normal(size=shape)
    if dtype.kind == "c":
        x = x + 1j * rng.normal(size=shape)
    return laid_out(np.asarray(x, dtype), choose(rng, LAYOUTS))


def random_axis(rng, ndim):
    return int(rng.integers(-ndim, ndim)) if ndim else None


def random_axes(rng, ndim):
    if ndim == 0 or rng.random() < 0.2:
        return None
    if rng.random() < 0.5:
        return random_axis(rng, ndim)
    return tuple(int(i) for i in rng.permutation(ndim)[: rng.integers(1, ndim + 1)])


def check_modes(f, *xs):
    """Values as NumPy's, dtypes kept, and sum(g * jvp(v)) = sum(vjp(g) * v)."""
    rng = np.random.default_rng(0)
    copies = [np.array(x) for x in xs]
    plain = f(*xs)
    out, pullback = nnad.vjp(f, *xs)
    assert np.shape(out) == np.shape(plain)
    assert out.dtype == plain.dtype
    tolerance = max(TOLERANCE[np.asarray(x).dtype.char] for x in (*xs, plain))
    np.testing.assert_allclose(out, plain, rtol=tolerance, atol=tolerance)
    vs, (g,) = directions(rng, xs), directions(rng, [out])
    cotangents = pullback(g)
    value, tangent = nnad.jvp(f, xs, vs)
    assert value.dtype == tangent.dtype == out.dtype
    for ct, x, copy in zip(cotangents, xs, copies, strict=True):
        assert ct.shape == x.shape
        assert ct.dtype == x.dtype
        np.testing.assert_array_equal(x, copy)
    forwards, backwards = inner([g], [tangent]), inner(cotangents, vs)
    size = 1 + sum(np.abs(np.asarray(ct)).sum() for ct in cotangents)
    assert abs(forwards - backwards) <= tolerance * size, (forwards, backwards)
    return cotangents, g


# Elementwise ------------------------------------------------------------------------------------

BINARY = {
    np.add: (lambda x, y: (1, 1)),
    np.subtract: (lambda x, y: (1, -1)),
    np.multiply: (lambda x, y: (y, x)),
    np.divide: (lambda x, y: (1 / y, -x / y**2)),
}


@random_cases(500)
def test_broadcasting_is_undone_by_sums(rng):
    function, dtype = choose(rng, list(BINARY)), choose(rng, ALL_DTYPES)
    x, y = (array(rng, shape, (dtype,), "positive") for shape in broadcast_pair(rng))
    cotangents, g = check_modes(function, x, y)
    tolerance = 50 * TOLERANCE[np.dtype(dtype).char]
    for ct, partial, z in zip(cotangents, BINARY[function](x, y), (x, y), strict=True):
        full = np.broadcast_to(g * partial, g.shape)
        summed = full.sum(axis=tuple(range(full.ndim - z.ndim)))
        stretched = tuple(i for i, n in enumerate(z.shape) if n == 1)
        summed = summed.sum(axis=stretched, keepdims=True)
        np.testing.assert_allclose(ct, summed, rtol=tolerance, atol=tolerance)


@random_cases(300)
def test_mixed_dtypes_and_plain_numbers(rng):
    function = choose(rng, [*BINARY, np.maximum, np.hypot, np.arctan2])
    x, y = (array(rng, shape, REAL, "positive") for shape in broadcast_pair(rng))
    check_modes(function, x, y)
    number = choose(rng, [2, 0.5, True])
    check_modes(lambda x: function(x, number), x)


# Reductions ---------------------------------------------------------------------------------------

REDUCTIONS = [np.sum, np.mean, np.prod, np.var, np.std, np.max, np.min, np.ptp, np.median,
              np.nansum, np.nanmean, np.nanmax, np.nanprod, np.average]  # fmt: skip
VALUES = ("normal", "few")


@random_cases(700)
def test_reductions(rng):
    function = choose(rng, REDUCTIONS)
    x = array(rng, full_shape(rng), REAL, choose(rng, VALUES))
    options = {"axis": random_axes(rng, x.ndim), "keepdims": bool(rng.integers(2))}
    check_modes(lambda x: function(x, **options), x)


@random_cases(300)
def test_ties_share_a_total_of_one(rng):
    function = choose(rng, [np.max, np.min, np.median, np.nanmax])
    x = array(rng, full_shape(rng), REAL, "few")
    axis = random_axes(rng, x.ndim)
    out, pullback = nnad.vjp(lambda x: function(x, axis=axis), x)
    (ct,) = pullback(np.ones_like(out))
    np.testing.assert_allclose(np.sum(ct, axis=axis), np.ones_like(out), rtol=1e-6)
    assert (ct >= 0).all()
    chosen = np.sum(np.where(ct > 0, x, 0) * ct, axis=axis)
    np.testing.assert_allclose(chosen, out, rtol=1e-6, atol=1e-6)


def product_without(x, *places):
    return np.prod(np.delete(x, places)) if len(set(places)) == len(places) else 0.0


@random_cases(100)
def test_products_with_zeros_are_products_of_the_others(rng):
    n = int(rng.integers(1, 6))
    x = array(rng, (n,), DOUBLE, "few")
    once = [product_without(x, i) for i in range(n)]
    np.testing.assert_allclose(nnad.grad(np.prod)(x), once, atol=1e-12)
    twice = [[product_without(x, i, j) for j in range(n)] for i in range(n)]
    np.testing.assert_allclose(nnad.hessian(np.prod)(x), twice, atol=1e-12)
    running = [
        [product_without(x[: k + 1], i) if i <= k else 0.0 for i in range(n)] for k in range(n)
    ]
    np.testing.assert_allclose(nnad.jacobian(np.cumprod)(x), running, atol=1e-12)


# Linear maps: shape, order, selection -------------------------------------------------------------


def rearrangements(rng, x):
    """Rearrangements that fit an array of x's shape."""
    n, axis = x.ndim, random_axis(rng, x.ndim)
    perm = [int(i) for i in rng.permutation(n)]
    rows = choose(rng, [k for k in range(1, x.size + 1) if x.size % k == 0] or [1])
    order = choose(rng, "CF")
    pads = [tuple(int(w) for w in rng.integers(0, 3, 2)) for _ in range(n)]
    shift = int(rng.integers(-5, 6))
    maps = [
        lambda x: np.transpose(x, perm),
        lambda x: np.ravel(x, order),
        lambda x: np.roll(x, shift),
        lambda x: np.flip(x),
        lambda x: np.expand_dims(x, 0),
        lambda x: np.broadcast_to(x, (2, *x.shape)),
        lambda x: np.tile(x, 2),
        lambda x: np.stack([x, 2 * x]),
        lambda x: np.squeeze(x[None]),
    ]
    if x.size:
        maps += [
            lambda x: np.reshape(x, (rows, -1), order),
            lambda x: np.repeat(x, 2),
            lambda x: np.resize(x, (3, 2)),
        ]
    if n:
        maps += [
            lambda x: np.moveaxis(x, axis, 0),
            lambda x: np.concatenate([x, x], axis),
            lambda x: np.flip(x, axis),
            lambda x: np.roll(x, shift, axis),
            lambda x: np.pad(x, pads),
            lambda x: np.cumsum(x, axis),
            lambda x: np.diff(x, axis=axis) if x.shape[axis] else x,
            lambda x: np.take(x, [0] * min(1, x.shape[axis]), axis),
            lambda x: np.array_split(x, 2, axis)[0],
        ]
    if n > 1:
        maps += [np.rot90, np.tril, np.diagonal, np.trace]
    if n and x.size and x.dtype != np.float16:
        modes = ["edge", "reflect", "symmetric", "wrap", "linear_ramp", "mean"]
        mode = choose(rng, modes)
        maps.append(lambda x: np.pad(x, pads, mode))
    return maps


@random_cases(1000)
def test_rearrangements_are_linear(rng):
    x = array(rng, random_shape(rng))
    f = choose(rng, rearrangements(rng, x))
    check_modes(f, x)
    tangent = nnad.jvp(f, (x,), (np.array(x),))[1]
    tolerance = TOLERANCE[x.dtype.char]
    np.testing.assert_allclose(tangent, f(np.array(x)), rtol=tolerance, atol=tolerance)


def random_key(rng, shape):
    """A key of slices, integers, new axes, an ellipsis, index arrays or a mask."""
    if shape and rng.random() < 0.2:
        return rng.random(shape) < 0.5
    k = int(rng.integers(0, len(shape) + 1))
    inner = random_shape(rng, (0, 3), (0, 4))
    parts = []
    for n in shape[:k]:
        kind = choose(rng, ["slice", "slice", "integer", "array"] if n else ["slice"])
        if kind == "slice":
            a, b = (choose(rng, [None, *range(-n - 1, n + 2)]) for _ in range(2))
            parts.append(slice(a, b, choose(rng, [None, 1, 2, -1, -2])))
        else:
            parts.append(rng.integers(-n, n, inner if kind == "array" else None))
        if rng.random() < 0.1:
            parts.append(None)
    if rng.random() < 0.3:
        parts.append(...)
    return parts[0] if len(parts) == 1 and rng.random() < 0.5 else tuple(parts)


@random_cases(800)
def test_indexing_transposes_to_adding_at_the_index(rng):
    x = array(rng, random_shape(rng), REAL)
    key = random_key(rng, x.shape)
    (ct,), g = check_modes(lambda x: x[key], x)
    expected = np.zeros(x.shape, x.dtype)
    np.add.at(expected, key, g)
    np.testing.assert_allclose(ct, expected, rtol=1e-5, atol=1e-5)


@random_cases(400)
def test_assignment(rng):
    x = array(rng, random_shape(rng), DOUBLE)
    key = random_key(rng, x.shape)
    value = array(rng, np.shape(x[key]), DOUBLE)

    def f(x, value):
        y = x * 1.0
        y[key] = value
        return y

    expected = np.array(x)
    expected[key] = value
    out, pullback = nnad.vjp(f, x, value)
    np.testing.assert_array_equal(out, expected)
    vs, (g,) = directions(rng, [x, value]), directions(rng, [out])
    tangent = nnad.jvp(f, (x, value), vs)[1]
    moved = np.array(vs[0])
    moved[key] = vs[1]
    np.testing.assert_array_equal(tangent, moved)
    np.testing.assert_allclose(inner(pullback(g), vs), inner([g], [tangent]), rtol=1e-9, atol=1e-9)


# Order --------------------------------------------------------------------------------------------


@random_cases(300)
def test_sorting_permutes_the_derivative(rng):
    x = array(rng, full_shape(rng), REAL, choose(rng, VALUES))
    axis = random_axis(rng, x.ndim)
    (ct,), g = check_modes(lambda x: np.sort(x, axis), x)
    np.testing.assert_array_equal(np.sort(ct, axis), np.sort(g, axis))


@random_cases(300)
def test_quantiles_are_weighted_means_of_elements(rng):
    x = array(rng, full_shape(rng), DOUBLE, choose(rng, VALUES))
    axis, q = random_axes(rng, x.ndim), choose(rng, [0.0, 0.5, 1.0, rng.random()])
    methods = ["linear", "lower", "higher", "midpoint", "nearest", "hazen", "inverted_cdf"]
    method = choose(rng, methods)
    (ct,), g = check_modes(lambda x: np.quantile(x, q, axis=axis, method=method), x)
    weights = ct / np.expand_dims(g, axis if axis is not None else tuple(range(x.ndim)))
    out = np.quantile(x, q, axis=axis, method=method)
    np.testing.assert_allclose(np.sum(weights, axis=axis), np.ones_like(out), rtol=1e-9)
    np.testing.assert_allclose(np.sum(weights * x, axis=axis), out, rtol=1e-9, atol=1e-9)


# Composition --------------------------------------------------------------------------------------

STEPS = [
    np.tanh,
    np.sort,
    lambda x: np.cumprod(np.tanh(x)),
    lambda x: x[::-1],
    lambda x: x * np.max(x),
    lambda x: x - np.mean(x),
    lambda x: np.concatenate([x, x**2]),
    lambda x: np.where(x > 0.7, x, x * x),
    lambda x: np.reshape(x, -1),
]


@random_cases(200)
def test_chains_of_operations_differentiate_in_every_mix_of_modes(rng):
    x = array(rng, full_shape(rng), DOUBLE, "positive")
    chain = [choose(rng, STEPS) for _ in range(3)]

    def f(x):
        for step in chain:
            x = step(x)
        return np.sum(np.sin(x))

    (v,) = directions(rng, [x])
    results = [
        nnad.jvp(nnad.grad(f), (x,), (v,))[1],
        nnad.grad(lambda x: np.sum(nnad.grad(f)(x) * v))(x),
        nnad.grad(lambda x: nnad.jvp(f, (x,), (v,))[1])(x),
    ]
    for a, b in itertools.pairwise(results):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@random_cases(200)
def test_jacobians_are_the_stacked_pullbacks_of_any_chain(rng):
    x, w = array(rng, full_shape(rng), DOUBLE, "positive"), array(rng, (), DOUBLE, "positive")
    chain = [choose(rng, STEPS) for _ in range(3)]

    def f(x, w):
        for step in chain:
            x = w * step(x)
        return x

    out, pullback = nnad.vjp(f, x, w)
    rows = [pullback(row.reshape(out.shape)) for row in np.eye(out.size)]
    for mode in ("reverse", "forward"):
        blocks = nnad.jacobian(f, (0, 1), mode=mode)(x, w)
        for block, column in zip(blocks, zip(*rows, strict=True), strict=True):
            want = np.reshape(np.stack(column), block.shape)
            np.testing.assert_allclose(block, want, rtol=1e-10, atol=1e-10)


@random_cases(300)
def test_random_graphs_with_fan_out_differentiate_as_their_polynomials(rng):
    """Sums and products of earlier values; their derivative follows from that of each node."""
    inputs = rng.uniform(0.5, 1.5, 3)
    plan = [(rng.integers(3 + n, size=2), rng.random() < 0.5) for n in range(6)]
    slopes = list(np.eye(3))
    numbers = list(inputs)
    for (i, j), adds in plan:  # forward accumulation by hand
        slopes.append(
            slopes[i] + slopes[j] if adds else numbers[i] * slopes[j] + numbers[j] * slopes[i]
        )
        numbers.append(numbers[i] + numbers[j] if adds else numbers[i] * numbers[j])

    def value(*xs):
        values = list(xs)
        for (i, j), adds in plan:
            values.append(values[i] + values[j] if adds else values[i] * values[j])
        return values[-1]

    got = nnad.grad(value, (0, 1, 2))(*inputs)
    np.testing.assert_allclose(got, slopes[-1], rtol=1e-12)
    tensors = [nnad.Tensor(x, requires_grad=True) for x in inputs]
    result = value(*tensors)
    if result.requires_grad:
        result.backward()
    grads = [0.0 if t.grad is None else t.grad for t in tensors]
    np.testing.assert_allclose(grads, slopes[-1], rtol=1e-12)
    wanted = int(rng.integers(3))  # by one input, the others being recorded outside
    outside = [t if i != wanted else inputs[i] for i, t in enumerate(tensors)]
    alone = nnad.grad(value, wanted)(*outside)
    np.testing.assert_allclose(np.asarray(getattr(alone, "data", alone)), slopes[-1][wanted])
