"""Module, Parameter and the flat buffers: names, states, modes, errors."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import nnad
from nnad import layers as L
from nnad.errors import CheckpointError, ShapeError
from nnad.layers.parameter import flatten


def network() -> L.Sequential:
    return L.Sequential(L.Linear(3, 4, rng=0), L.BatchNorm1d(4), L.ReLU(), L.Linear(4, 2, rng=1))


def gradients(module: L.Module, x: Any) -> dict[str, Any]:
    module.zero_grad()
    (module(x) ** 2).sum().backward()
    return {path: p.grad.copy() for path, p in module.named_parameters()}


X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")

STATE = [
    "0.weight",
    "0.bias",
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "3.weight",
    "3.bias",
]


def test_state_has_dotted_paths_in_order_of_construction() -> None:
    assert list(network().state_dict()) == STATE
    named = [path for path, _ in network().named_parameters()]
    assert named == [path for path in STATE if "running" not in path]
    assert [path for path, _ in network().named_modules()] == ["", "0", "1", "2", "3"]


def test_state_is_a_copy() -> None:
    model = network()
    state = model.state_dict()
    state["0.bias"][...] = 7
    assert not (model[0].bias.numpy() == 7).any()
    model.state_dict(copy=False)["0.bias"][...] = 7
    assert (model[0].bias.numpy() == 7).all()


def test_members_follow_the_order_they_are_set_in() -> None:
    class Mixed(L.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = L.Linear(2, 2)
            self.scale = L.Parameter(np.ones(2))
            self.register_buffer("count", np.zeros(1))

    assert list(Mixed().state_dict()) == ["inner.weight", "inner.bias", "scale", "count"]


def test_members_can_be_replaced_and_deleted() -> None:
    model = network()
    model.extra = L.Linear(2, 2)
    model.extra = None
    assert list(model.state_dict()) == STATE
    del model._members["3"]
    assert "3.weight" not in model.state_dict()


def test_setting_attributes_needs_the_base_constructor_first() -> None:
    class Hasty(L.Module):
        def __init__(self) -> None:
            self.layer = L.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"must call super\(\).__init__\(\) before it sets"):
        Hasty()


# Flat buffers -----------------------------------------------------------------------------------


def test_flatten_makes_parameters_and_gradients_views_of_two_vectors() -> None:
    model = network()
    before = model.state_dict()
    expected = gradients(model, X)
    flat = model.flatten()[np.dtype("float32")]
    assert flat.data.size == model.parameter_count() == 3 * 4 + 4 + 8 + 4 * 2 + 2
    got = gradients(model, X)
    offset = 0
    for path, p in model.named_parameters():
        span = slice(offset, offset + p.size)
        np.testing.assert_array_equal(flat.data[span], before[path].ravel())
        np.testing.assert_array_equal(flat.grad[span], expected[path].ravel())
        np.testing.assert_array_equal(got[path], expected[path])
        offset += p.size
    flat.data[...] = 3
    flat.grad[...] = 5
    assert all((p.data == 3).all() and (p.grad == 5).all() for p in model.parameters())


def test_flatten_is_idempotent_and_holds_for_parts() -> None:
    model = network()
    first = model.flatten()[np.dtype("float32")]
    assert model.flatten()[np.dtype("float32")].data is first.data
    part = model[3].flatten()[np.dtype("float32")]
    assert part.data.base is first.data.base or part.data.base is first.data
    np.testing.assert_array_equal(part.data, first.data[-10:])
    assert model[3].weight.home is first


def test_flatten_keeps_a_gradient_that_is_there() -> None:
    model = network()
    expected = gradients(model, X)
    model.flatten()
    for path, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad, expected[path])


def test_parameters_of_several_dtypes_get_a_buffer_each() -> None:
    single, double = L.Parameter(np.ones(2, "float32")), L.Parameter(np.ones(3))
    buffers = flatten([single, double, single])
    assert {dtype.name: b.data.size for dtype, b in buffers.items()} == {
        "float32": 2,
        "float64": 3,
    }


@pytest.mark.parametrize("flat", [False, True])
def test_assigning_data_writes_in_place(flat: bool) -> None:
    model = network()
    if flat:
        model.flatten()
    p = model[0].bias
    array = p.data
    p.data = np.arange(4)
    assert p.data is array
    assert array.tolist() == [0, 1, 2, 3]
    p.data[...] = 9
    p.grad = np.full(4, 2.0)
    assert p.grad.dtype == np.float32
    assert p.grad.tolist() == [2, 2, 2, 2]
    if flat:
        assert (model.flat[np.dtype("float32")].data[12:16] == 9).all()
        assert (model.flat[np.dtype("float32")].grad[12:16] == 2).all()
    p.grad = None
    assert p.grad is None


def test_assigning_another_shape_is_refused() -> None:
    p = L.Parameter(np.ones(3))
    with pytest.raises(ShapeError, match=r"shape \(3,\) cannot take values of shape \(2,\)"):
        p.data = np.ones(2)
    with pytest.raises(ShapeError, match=r"cannot be of shape \(2,\)"):
        p.grad = np.ones(2)


def test_gradients_accumulate_over_backward_passes() -> None:
    model = network().eval()
    model.flatten()
    once = gradients(model, X)
    (model(X) ** 2).sum().backward()
    for path, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, 2 * once[path], rtol=1e-6)


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_a_gradient_written_in_its_place_is_that_of_a_loose_parameter(uses: int) -> None:
    def twice(layer: L.Module) -> np.ndarray:
        for _ in range(2):
            y: Any = X
            for _ in range(uses):
                y = layer(y)
            (y**2).sum().backward()
        return layer.weight.grad

    loose, housed = L.Linear(3, 3, rng=0), L.Linear(3, 3, rng=0)
    flat = housed.flatten()[np.dtype("float32")]
    np.testing.assert_array_equal(twice(housed), twice(loose))
    assert np.shares_memory(housed.weight.grad, flat.grad)


def test_a_gradient_of_another_dtype_is_cast_into_its_place() -> None:
    layer = L.Linear(3, 2, rng=0)
    layer.flatten()
    x = X.astype("complex64") * 1j
    np.real(np.sum(layer(x) * 1j)).backward()
    np.testing.assert_allclose(layer.weight.grad, -np.outer(X.sum(0), [1, 1]), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Linear(3, 2), (0, 5, 3)),
        (L.Conv1d(3, 4, 3), (0, 8, 3)),
        (L.Conv2d(3, 4, 3), (0, 8, 8, 3)),
        (L.Conv2d(4, 8, 3, groups=4), (0, 8, 8, 4)),
        (L.ConvTranspose2d(3, 4, 2), (0, 8, 8, 3)),
        (L.MaxPool2d(2), (0, 8, 8, 3)),
        (L.LSTM(3, 4), (0, 5, 3)),
        (L.LayerNorm(3), (0, 3)),
        (L.GroupNorm(1, 3), (0, 4, 3)),
        (L.TransformerEncoderLayer(8, 2, 16), (0, 5, 8)),
        (L.Embedding(5, 3), (0, 5)),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, L.Module) else "",
)
def test_the_gradient_of_no_rows_is_zero(layer: L.Module, shape: tuple[int, ...]) -> None:
    # The last batch may leave one of several processes without a row.
    dtype = "int64" if isinstance(layer, L.Embedding) else "float32"
    x = nnad.Tensor(np.zeros(shape, dtype), requires_grad=dtype == "float32")
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    y.backward(np.zeros(y.shape, y.dtype))
    for p in layer.parameters():
        assert p.grad is not None
        assert not p.grad.any()


def test_frozen_parameters_get_no_gradient_and_thaw_in_their_place() -> None:
    model = network()
    flat = model.flatten()[np.dtype("float32")]
    assert model.freeze("0.*", "*.bias") == ["0.weight", "0.bias", "1.bias", "3.bias"]
    (model(X) ** 2).sum().backward()
    given = {path for path, p in model.named_parameters() if p.grad is not None}
    assert given == {"1.weight", "3.weight"}
    assert model.parameter_count(trainable_only=True) == 4 + 8
    model.unfreeze()
    (model(X) ** 2).sum().backward()
    assert model[0].weight.grad.base is flat.grad
    with pytest.raises(ValueError, match=r"no parameter matches '9\.\*'; the parameters are 0"):
        model.freeze("9.*")


def test_tied_parameters_are_one_everywhere() -> None:
    model = L.Sequential(L.Linear(3, 3, bias=False), L.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert [path for path, _ in model.named_parameters()] == ["0.weight"]
    assert list(model.state_dict()) == ["0.weight"]
    x = np.eye(3, dtype="float32")
    model.flatten()
    model(x).sum().backward()
    w = model[0].weight.numpy()
    ones = np.ones((3, 3))
    np.testing.assert_allclose(model[0].weight.grad, x.T @ ones @ w.T + w.T @ ones, rtol=1e-5)
    again = copy.deepcopy(model)
    assert again[0].weight is again[1].weight
    again.load_state_dict({"1.weight": np.zeros((3, 3))})
    assert not again[0].weight.numpy().any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_share_nothing(duplicate: Any) -> None:
    model = network()
    model.flatten()
    other = duplicate(model)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert not np.shares_memory(p.data, q.data)
        np.testing.assert_array_equal(p.data, q.data)
    other[1].running_mean = np.full(4, 5.0)
    assert not model[1].running_mean.any()
    np.testing.assert_array_equal(gradients(model, X)["0.bias"], gradients(other, X)["0.bias"])


# Modes, dtypes, buffers -------------------------------------------------------------------------


def test_train_and_eval_reach_every_module() -> None:
    model = L.Sequential(L.Residual(L.Dropout(0.5)))
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())


def test_astype_changes_parameters_and_buffers() -> None:
    model = network()
    model.flatten()
    assert model.astype("float64") is model
    assert {a.dtype for a in model.state_dict().values()} == {np.dtype("float64")}
    assert model(X.astype("float64")).dtype == np.float64
    assert gradients(model, X.astype("float64"))["0.weight"].dtype == np.float64
    assert model.flatten().keys() == {np.dtype("float64")}


def test_buffers_keep_their_array() -> None:
    layer = L.BatchNorm1d(2)
    array = layer.running_mean
    layer.running_mean = [1, 2]
    assert layer.running_mean is array
    assert array.tolist() == [1, 2]
    assert [path for path, _ in layer.named_buffers()] == ["running_mean", "running_var"]
    with pytest.raises(ShapeError, match=r"buffer 'running_mean' has shape \(2,\)"):
        layer.running_mean = np.zeros(3)


# Loading ----------------------------------------------------------------------------------------


def test_load_names_everything_that_does_not_fit_and_changes_nothing() -> None:
    model = network()
    before = model.state_dict()
    state = {k: v + 1 for k, v in before.items() if k != "0.bias"}
    state["3.bias"] = np.zeros(5)
    state["4.weight"] = np.zeros(2)
    with pytest.raises(ShapeError) as raised:
        model.load_state_dict(state)
    text = str(raised.value)
    assert "0.bias: missing" in text
    assert "4.weight: unknown" in text
    assert "3.bias: got shape (5,), expected (2,)" in text
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


def test_load_casts_to_the_dtype_of_the_parameter() -> None:
    model = network()
    model.load_state_dict({k: v.astype("float64") + 1 for k, v in model.state_dict().items()})
    assert {a.dtype for a in model.state_dict().values()} == {np.dtype("float32")}


def test_save_and_load_a_file(tmp_path: Any) -> None:
    model, other = network(), network()
    for p in model.parameters():
        p.data = np.random.default_rng(1).normal(size=p.shape)
    path = tmp_path / "model.safetensors"
    nnad.save(path, model)
    assert nnad.load(path, other) is other
    for key, array in other.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[key])
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a whole safetensors file"):
        nnad.load(path, other)
    header = b'{"a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match="numbers of the type 'BF16', which NumPy lacks"):
        nnad.load(path, other)


# Errors -----------------------------------------------------------------------------------------


class Twice(L.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = L.Residual(L.Sequential(L.Linear(3, 4), L.Linear(5, 3)))

    def forward(self, x: Any) -> Any:
        return self.body(self.body(x))


BAD_CALLS = [
    (L.Linear(3, 2), X[:, :2], r"^Linear: got an input of shape \(6, 2\), expected \(\.\.\., 3\)"),
    (network(), X[:, :2], r"^model\.0\.Linear: .*\(6, 2\).*because in_features=3"),
    (Twice(), X, r"^model\.body\.layer\.1\.Linear: got an input of shape \(6, 4\)"),
    (L.Residual(L.Linear(3, 2)), X, r"^Residual: the layer turns shape \(6, 3\) into \(6, 2\)"),
    (L.BatchNorm1d(4), X, r"BatchNorm1d: .*\(6, 3\).*num_features=4"),
    (L.BatchNorm1d(3), X[:1], r"BatchNorm1d: .*\(1, 3\).*no variance"),
    (L.BatchNorm2d(3), X, r"BatchNorm2d: .*expected a 4-d array"),
    (L.LayerNorm(4), X, r"LayerNorm: .*\(6, 3\), expected \(\.\.\., 4\)"),
    (L.RMSNorm(1), X, r"RMSNorm: .*\(6, 3\), expected \(\.\.\., 1\)"),
    (L.GroupNorm(2, 4), X, r"GroupNorm: .*\(6, 3\)"),
    (L.Embedding(5, 2), np.array([[1, 5]]), r"Embedding: index 5 is out of range; .* 0 to 4"),
    (L.Embedding(5, 2), np.array([-1]), r"Embedding: index -1 is out of range"),
    (L.Embedding(5, 2), X, r"Embedding: indices must be integers, got float32"),
    (L.ColumnEmbedding([2], 2), X + 9, r"^model\.embeddings\.0\.Embedding: index"),
    (L.EmbeddingBag(5, 2), np.array([1]), r"EmbeddingBag: got shape \(1,\) and offsets=None"),
    (L.Conv2d(3, 2, 3), np.zeros((2, 5, 5, 4), "f4"), r"Conv2d: .*expected \(\.\.\., 3\)"),
    (L.Conv2d(3, 2, 3), np.zeros((5, 5, 3), "f4"), r"Conv2d: .*\(batch, height, width, channels"),
    (L.Conv2d(3, 2, 6), np.zeros((2, 5, 5, 3), "f4"), r"a kernel of size \(6, 6\) does not fit"),
    (L.MaxPool2d(3), np.zeros((2, 2, 5, 3), "f4"), r"MaxPool2d: a kernel of size \(3, 3\)"),
    (L.ConvTranspose2d(3, 2, 2), np.zeros((2, 5, 5, 4), "f4"), r"ConvTranspose2d: .*in_channels=3"),
    (L.LSTM(3, 2), np.zeros((2, 0, 3), "f4"), r"LSTM: .*\(2, 0, 3\).*one step or more"),
    (L.LSTM(3, 2), np.zeros((2, 4, 2), "f4"), r"LSTM: .*input_size=3"),
    (L.MultiHeadAttention(4, 2), np.zeros((2, 5, 3), "f4"), r"MultiHeadAttention: .*embed_dim=4"),
    (L.LearnedPositions(4, 3), np.zeros((2, 5, 3), "f4"), r"at most max_length=4 steps"),
    (L.SinusoidalPositions(3, 4), np.zeros((2, 5, 3), "f4"), r"at most max_length=4 steps"),
    (L.RotaryPositions(4), np.zeros((2, 5, 6), "f4"), r"heads \* 4"),
    (L.Flatten(), np.zeros(3, "f4"), r"Flatten: got an input of shape \(3,\)"),
    (L.GLU(), X, r"GLU: glu halves an axis of even length, got 3"),
    (L.PReLU(2), X, r"PReLU: .*num_parameters=2"),
    (L.Parallel(L.Linear(3, 1), L.Linear(3, 2)), X, r"return shapes \[\(6, 1\), \(6, 2\)\]"),
    (L.PeriodicEmbedding(2), X, r"PeriodicEmbedding: .*expected \(\.\.\., 2\)"),
    (L.NTKLinear(2, 3), X, r"NTKLinear: .*\(6, 3\).*in_features=2"),
    (L.TiedLinear(L.Linear(2, 4).weight), X, r"TiedLinear: .*expected \(\.\.\., 4\) because"),
    (L.Scale(2), X, r"Scale: got an input of shape \(6, 3\), expected \(\.\.\., 2\)"),
    *(
        (pool, np.zeros((2, 0, 3), "f4"), r"Pool.*\(2, 0, 3\), expected one position or more")
        for pool in (L.GlobalAvgPool(), L.GlobalMaxPool(), L.AdaptiveAvgPool1d(2))
    ),
]


@pytest.mark.parametrize(("module", "x", "message"), BAD_CALLS)
def test_calls_with_shapes_that_do_not_fit_name_the_layer(
    module: L.Module, x: Any, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        module(x)


def test_index_errors_stay_index_errors() -> None:
    with pytest.raises(IndexError, match="Embedding"):
        L.Sequential(L.Embedding(3, 2))(np.array([3]))


def test_a_mask_without_an_allowed_key_is_refused() -> None:
    mask = np.ones((5, 5), bool)
    mask[2] = False
    layer = L.TransformerEncoderLayer(4, 2)
    with pytest.raises(ShapeError, match=r"model\.self_attn\.MultiHeadAttention: a query may"):
        layer(np.zeros((2, 5, 4), "f4"), mask=mask)
    with pytest.raises(ShapeError, match=r"got a mask of shape \(4, 4\)"):
        layer(np.zeros((2, 5, 4), "f4"), mask=mask[:4, :4])


def test_errors_of_other_kinds_pass_unchanged() -> None:
    def fail(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        L.Sequential(L.Lambda(fail))(X)


BAD_CONSTRUCTIONS = [
    (lambda: L.Dropout(1.5), "p is a probability between 0 and 1, got 1.5"),
    (lambda: L.GaussianNoise(-1), "std is 0 or more"),
    (lambda: L.GroupNorm(2, 5), "num_channels=5 does not divide into num_groups=2"),
    (lambda: L.Conv2d(3, 4, 3, groups=2), "groups=2"),
    (lambda: L.Conv2d(3, 4, 3, padding="full"), 'padding is a number, "same" or "valid"'),
    (lambda: L.Conv2d(3, 4, 3, stride=2, padding="same"), 'padding="same" needs stride 1'),
    (lambda: L.Conv2d(3, 4, (3, 3, 3)), "kernel_size is one whole number or 2"),
    (lambda: L.Conv2d(3, 4, 0), "each at least 1"),
    (lambda: L.MaxPool2d(2, padding=2), "padding is at most half the kernel_size"),
    (lambda: L.MultiHeadAttention(5, 2), "embed_dim=5 does not divide into num_heads=2"),
    (lambda: L.MultiHeadAttention(8, 4, num_kv_heads=3), "num_heads=4 does not divide"),
    (lambda: L.LSTM(3, 0), "LSTM: hidden_size is a whole number from 1 on, got 0"),
    (lambda: L.Linear(0, 3), "Linear: in_features is a whole number from 1 on, got 0"),
    (lambda: L.Linear(3, 2.5), "Linear: out_features is a whole number from 1 on, got 2.5"),
    (lambda: L.Linear("3", 2), "Linear: in_features is a whole number from 1 on, got '3'"),
    (lambda: L.Bilinear(2, -1, 2), "Bilinear: in2_features is a whole number from 1 on"),
    (lambda: L.Embedding(0, 3), "Embedding: num_embeddings is a whole number from 1 on"),
    (lambda: L.EmbeddingBag(3, 0), "EmbeddingBag: embedding_dim is a whole number from 1 on"),
    (lambda: L.Conv1d(0, 3, 3), "Conv1d: in_channels is a whole number from 1 on"),
    (lambda: L.Conv2d(3, 0, 3), "Conv2d: out_channels is a whole number from 1 on"),
    (lambda: L.ConvTranspose2d(3, 3, 3, groups=0), "ConvTranspose2d: groups is a whole"),
    (lambda: L.BatchNorm1d(0), "BatchNorm1d: num_features is a whole number from 1 on"),
    (lambda: L.LayerNorm((3, 0)), r"LayerNorm: normalized_shape is .* from 1 on, got \(3, 0\)"),
    (lambda: L.GroupNorm(0, 4), "GroupNorm: num_groups is a whole number from 1 on"),
    (lambda: L.MultiHeadAttention(0, 1), "MultiHeadAttention: embed_dim is a whole number"),
    (lambda: L.TransformerEncoderLayer(4, 2, 0), "dim_feedforward is a whole number from 1 on"),
    (lambda: L.Upsample(0), "Upsample: scale_factor is a whole number from 1 on"),
    (lambda: L.RNN(3, 2, nonlinearity="sin"), 'nonlinearity is "tanh" or "relu"'),
    (lambda: L.PeriodicEmbedding(2, numeric_features=3), "numeric_features is 1 to in_features=2"),
    (lambda: L.TiedLinear(L.Linear(2, 3).bias), r"two axes, .*, got Parameter of shape \(3,\)"),
    (lambda: L.GELU("fast"), 'approximate is "none" or "tanh"'),
    (lambda: L.Upsample(2, mode="cubic"), 'mode is "nearest" or "bilinear"'),
    (lambda: L.EmbeddingBag(3, 2, "median"), 'mode is "mean", "sum" or "max"'),
    (lambda: L.ColumnEmbedding([2, 3], [1]), "1 embedding dimensions for 2 columns"),
    (lambda: L.PeriodicEmbedding(2, kind="x"), 'kind is "pbld" or "plr"'),
    (lambda: L.TransformerEncoderLayer(4, 2, activation="sin"), "no activation is named 'sin'"),
    (lambda: L.Linear(2, 2, weight_init="best"), "no initialiser is named 'best'"),
    (lambda: L.ZeroPad2d((1, 2, 3)), "padding is 1 number, 2"),
    (lambda: L.RotaryPositions(3), "head_size is even"),
    (lambda: L.Hardtanh(1, 1), "min_val=1 is not below max_val=1"),
    (lambda: L.Parallel(), "needs one layer or more"),
]


@pytest.mark.parametrize(("make", "message"), BAD_CONSTRUCTIONS)
def test_constructors_refuse_what_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_sequential_takes_modules_only() -> None:
    with pytest.raises(TypeError, match="wrap a function as Lambda"):
        L.Sequential(np.tanh)


def test_sequential_is_a_list() -> None:
    model = network()
    assert len(model) == 4
    assert list(model)[1] is model[1]
    assert model[-1] is model[3]
    assert model[1:3][0] is model[1]
    model.append(L.Identity())
    assert len(model) == 5


def test_module_list_is_indexed_not_called() -> None:
    parts = L.ModuleList([L.Linear(2, 2), L.Tanh()])
    assert len(parts) == 2
    assert list(parts)[1] is parts[1]
    assert list(parts.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(NotImplementedError, match=r"ModuleList defines no forward"):
        parts(X)
