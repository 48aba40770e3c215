"""Layers that draw random numbers, running statistics, and initial values."""

from typing import Any

import numpy as np
import pytest

import nnad
from nnad import initializers, ops
from nnad import layers as L
from nnad.errors import ShapeError
from nnad.random import as_generator, default_generator

ONES = np.ones((200, 300), "float32")


def test_dropout_keeps_the_mean_and_draws_afresh() -> None:
    layer = L.Dropout(0.3, rng=0)
    y = layer(ONES)
    assert set(np.unique(y)) == {0, np.float32(1 / 0.7)}
    assert abs(y.mean() - 1) < 0.01
    assert abs((y == 0).mean() - 0.3) < 0.01
    assert (layer(ONES) != y).any()
    np.testing.assert_array_equal(L.Dropout(0.3, rng=0)(ONES), y)
    np.testing.assert_allclose(L.Dropout(0.3, rng=0)(ONES * 1.0), y, rtol=1e-8)


def test_dropout_passes_gradients_through_the_same_mask() -> None:
    x = nnad.Tensor(ONES, requires_grad=True)
    y = L.Dropout(0.5, rng=0)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.numpy())


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_at_the_ends(p: float, expected: float) -> None:
    assert (L.Dropout(p)(ONES) == expected).all()


def test_spatial_dropout_drops_whole_channels() -> None:
    y = L.SpatialDropout(0.5, rng=0)(np.ones((40, 3, 2, 50), "float32"))
    assert (y == y[:, :1, :1]).all()
    assert abs(y.mean() - 1) < 0.1
    assert set(np.unique(y)) == {0, 2}


def test_gaussian_noise_has_the_deviation_asked_for() -> None:
    noise = L.GaussianNoise(0.3, rng=0)(ONES) - ONES
    assert noise.dtype == np.float32
    assert abs(noise.std() - 0.3) < 0.01
    assert abs(noise.mean()) < 0.01


def test_the_default_generator_is_seeded_in_place() -> None:
    generator = default_generator()
    nnad.seed(3)
    first = L.Dropout(0.5)(ONES)
    nnad.seed(3)
    np.testing.assert_array_equal(L.Dropout(0.5)(ONES), first)
    assert default_generator() is generator
    nnad.seed(3)
    np.testing.assert_array_equal(generator.random(3), np.random.default_rng(3).random(3))


def test_generators_are_found_by_path() -> None:
    model = L.Sequential(L.Dropout(0.1, rng=1), L.Dropout(0.1), L.Residual(L.Dropout(0.1, rng=2)))
    assert [path for path, _ in model.named_generators()] == ["0.rng", "2.layer.rng"]


def test_rng_must_be_a_generator_or_seed() -> None:
    assert as_generator(None) is default_generator()
    assert as_generator(5).random() == np.random.default_rng(5).random()
    with pytest.raises(TypeError, match="an integer seed or None, got str"):
        as_generator("0")


def test_dropout_in_attention_drops_probabilities() -> None:
    layer = L.MultiHeadAttention(4, 2, dropout=0.5, rng=0)
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    assert (layer(x).numpy() != layer(x).numpy()).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())


def test_dropout_between_recurrent_layers_only_while_training() -> None:
    x = np.ones((2, 5, 3), "float32")
    layer = L.GRU(3, 4, num_layers=2, dropout=0.5, rng=0)
    assert (layer(x)[0].numpy() != layer(x)[0].numpy()).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


# Running statistics -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 3)])
def test_batch_norm_moves_its_statistics_as_pytorch_does(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    ours = L.BatchNorm1d(3, momentum=0.3, dtype="float64")
    theirs = torch.nn.BatchNorm1d(3, momentum=0.3, dtype=torch.float64)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(2, 3, shape)
        y = ours(x)
        z = theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), atol=1e-9)
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-12)
    y, z = ours.eval()(x), theirs.eval()(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), atol=1e-9)
    before = ours.running_mean.copy()
    ours(x)
    np.testing.assert_array_equal(ours.running_mean, before)


# Initial values ---------------------------------------------------------------------------------

VARIANCES = {
    "glorot_uniform": 2 / (300 + 200),
    "glorot_normal": 2 / (300 + 200),
    "he_uniform": 2 / 300,
    "he_normal": 2 / 300,
    "lecun_uniform": 1 / 300,
    "lecun_normal": 1 / 300,
    "torch_uniform": 1 / 900,
    "normal": 1.0,
    "uniform": 0.1**2 / 12,
}


@pytest.mark.parametrize(("name", "variance"), VARIANCES.items())
def test_random_initialisers_have_mean_0_and_their_variance(name: str, variance: float) -> None:
    values = initializers.INITIALIZERS[name]((300, 200), rng=0)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 0.03
    if name.endswith("uniform"):
        assert np.abs(values).max() <= np.sqrt(3 * variance) * (1 + 1e-6)
    again = initializers.initializer(name)((300, 200), rng=0, dtype="float64")
    np.testing.assert_allclose(values, again, rtol=1e-6)


def test_every_initialiser_is_tested() -> None:
    others = {"zeros", "ones", "constant", "orthogonal"}
    assert set(initializers.INITIALIZERS) == set(VARIANCES) | others


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 3, 4)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape: tuple[int, ...]) -> None:
    q = initializers.orthogonal(shape, gain=2.0, rng=0, dtype="float64").reshape(-1, shape[-1]) / 2
    product = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_orthogonal_needs_a_matrix() -> None:
    with pytest.raises(ShapeError, match=r"two axes or more, got \(3,\)"):
        initializers.orthogonal((3,))


def test_constants_and_ways_to_name_an_initialiser() -> None:
    assert not initializers.zeros((2,)).any()
    assert (initializers.ones((2,)) == 1).all()
    specs: list[Any] = [
        0.5,
        {"name": "constant", "value": 0.5},
        lambda shape, **_: np.full(shape, 0.5),
    ]
    for spec in specs:
        layer = L.Linear(2, 3, weight_init=spec, bias_init=spec)
        assert (layer.weight.numpy() == 0.5).all()
        assert (layer.bias.numpy() == 0.5).all()


def test_default_scales_are_those_of_pytorch() -> None:
    layer = L.Conv2d(16, 32, 5, rng=0)
    limit = 1 / np.sqrt(16 * 25)
    for p in (layer.weight, layer.bias):
        assert limit * 0.9 < np.abs(p.numpy()).max() <= limit
    assert abs(L.Embedding(100, 50, rng=0).weight.numpy().std() - 1) < 0.05


# Operations that the rows of the layers do not reach ----------------------------------------------


def test_activations_stay_finite_and_quiet_far_out() -> None:
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4])
    for name in ("sigmoid", "log_sigmoid", "silu", "softplus", "mish", "gelu", "elu", "selu"):
        for dtype in ("float32", "float64"):
            t = nnad.Tensor(x.astype(dtype), requires_grad=True)
            y = getattr(ops, name)(t)
            y.sum().backward()
            assert np.isfinite(y.numpy()).all(), name
            assert np.isfinite(t.grad).all(), name
    np.testing.assert_allclose(ops.sigmoid(np.array([-50.0])), [np.exp(-50.0)], rtol=1e-12)


def test_gelu_in_single_precision_is_as_good_as_the_dtype() -> None:
    x = np.linspace(-8, 8, 100_001)
    double = ops.gelu(x)
    np.testing.assert_allclose(ops.gelu(x.astype("float32")), double, atol=2e-6)
    strided = np.stack([x, x]).T[:, 0].astype("float32")
    np.testing.assert_allclose(ops.gelu(strided), double, atol=2e-6)


def test_large_tables_add_rows_by_a_sparse_product() -> None:
    rng = np.random.default_rng(0)
    rows, indices = rng.normal(size=(500, 3)), rng.integers(0, 200, 500)
    expected = np.zeros((200, 3))
    np.add.at(expected, indices, rows)
    np.testing.assert_allclose(ops.add_rows(rows, indices, size=200), expected, atol=1e-12)


def test_additive_attention_masks_can_be_learned() -> None:
    rng = np.random.default_rng(0)
    qkv, mask = rng.normal(size=(2, 3, 12)), rng.normal(size=(3, 3))

    def f(qkv: Any, mask: Any) -> Any:
        return ops.self_attention(qkv, mask, heads=2)

    nnad.check_grads(f, qkv, mask, order=1)
    plain = ops.self_attention(qkv, mask, heads=2)
    with_mask = ops.self_attention(nnad.Tensor(qkv), nnad.Tensor(mask, True), heads=2)
    np.testing.assert_allclose(plain, with_mask.numpy(), atol=1e-12)


def test_convolution_in_parts_of_the_batch_equals_the_whole(monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    layer = L.Conv2d(3, 4, 3, padding=1, dtype="float64", rng=0)
    x = rng.normal(size=(7, 5, 5, 3))
    results = []
    for limit in (1, 2000, 1 << 20):
        monkeypatch.setattr("nnad.cores.team.CACHED", limit)
        layer.zero_grad()
        y = layer(x)
        (y * y).sum().backward()
        results.append((y.numpy(), layer.weight.grad.copy()))
    for y, dw in results[:2]:
        np.testing.assert_allclose(y, results[2][0], atol=1e-12)
        np.testing.assert_allclose(dw, results[2][1], atol=1e-10)
