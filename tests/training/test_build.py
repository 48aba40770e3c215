import dataclasses

import numpy as np
import pytest

import nnad.layers as layers
from nnad.data import load
from nnad.data.dataset import DataSplits, Meta, Split
from nnad.data.preprocessing import Preprocessor
from nnad.errors import ConfigError, UserError
from nnad.training.build import build, build_schedule, total_steps
from nnad.training.config import parse_config, to_yaml
from nnad.training.network import build_model, build_sequential


def meta_of(shape=(4,), task="classification", classes=3, outputs=None, categorical=(), **extras):
    names = [f"class {i}" for i in range(classes)] if task == "classification" else None
    return Meta(
        task=task,
        input_shape=shape,
        n_outputs=outputs or classes,
        class_names=names,
        feature_names=[],
        target_names=["y"],
        preprocessor=Preprocessor(),
        categorical=list(categorical),
        extras=extras,
    )


def data_of(meta, rows=10):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, *meta.input_shape)).astype("float32")
    if meta.task == "classification":
        y = rng.integers(0, len(meta.class_names), rows)
    else:
        y = rng.standard_normal((rows, meta.n_outputs)[: 1 + (meta.n_outputs > 1)])
        y = y.astype("float32")
    return DataSplits(Split(x, y), None, None, meta)


def config_of(model, loss="cross_entropy", **sections):
    lines = [f"{key}: {value}" for key, value in sections.items()]
    return parse_config(f"data: iris\nmodel: {model}\nloss: {loss}\n" + "\n".join(lines))


def problems_of(config, meta=None):
    with pytest.raises(ConfigError) as caught:
        build(config, data_of(meta or meta_of()))
    return caught.value.problems


MLP = "[{Linear: {out_features: 5}}, ReLU, {Linear: {out_features: 3}}]"


# The model ----------------------------------------------------------------------------------------


def test_input_sizes_follow_from_the_data():
    model = build_model(config_of(MLP), meta_of())
    assert [p.shape for p in model.parameters()] == [(4, 5), (5,), (5, 3), (3,)]
    assert model.training
    assert all(module.training for module in model.modules())
    assert len(model.flat) == 1  # all parameters in one buffer


def test_input_sizes_may_be_given():
    given = "[{Linear: {in_features: 4, out_features: 5}}, {Linear: {out_features: 3}}]"
    assert build_model(config_of(given), meta_of())[0].in_features == 4


def test_same_seed_same_weights():
    def weights(seed):
        model = build_model(config_of(MLP, seed=seed), meta_of())
        return np.concatenate([p.data.ravel() for p in model.parameters()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_have_the_configured_dtype(dtype):
    model = build_model(config_of(MLP, trainer=f"{{dtype: {dtype}}}"), meta_of())
    assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}


def test_every_random_layer_draws_from_the_run_s_generator():
    config = config_of("[{Dropout: {p: 0.5}}, {Linear: {out_features: 3}}, Dropout]")
    generators = [generator for _, generator in build_model(config, meta_of()).named_generators()]
    assert len(generators) == 2
    assert generators[0] is generators[1]


def test_nested_layers():
    entries = [
        {"Residual": [{"Linear": {"out_features": 6}}, "Tanh", {"Linear": {"out_features": 4}}]},
        {"Residual": {"layer": {"Linear": {"out_features": 2}},
                      "shortcut": {"Linear": {"out_features": 2, "bias": False}}}},
        {"Concat": ["Identity", [{"Linear": {"out_features": 3}}, "ReLU"]]},
        {"Sequential": ["ReLU", {"Linear": {"out_features": 8}}]},
        {"Reshape": [2, 4]},
        {"Permute": {"axes": [0, 2, 1]}},
        "Flatten",
    ]  # fmt: skip
    model = build_sequential(entries, (4,), rng=0)
    assert isinstance(model[0].layer, layers.Sequential)
    assert isinstance(model[1].layer, layers.Linear)
    assert model[1].shortcut.bias is None
    x = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    first = x + model[0].layer(x)
    second = model[1].layer(first) + model[1].shortcut(first)
    third = np.concatenate([second, np.maximum(model[2](second)[:, 2:], 0)], axis=1)
    fourth = model[3][1](np.maximum(third, 0))
    expected = fourth.reshape(5, 2, 4).transpose(0, 2, 1).reshape(5, 8)
    np.testing.assert_allclose(model(x), expected, rtol=1e-6)


def test_outputs_follow_from_the_target():
    bare = "[{Linear: {out_features: 5}}, Linear]"
    assert build_model(config_of(bare), meta_of())[1].out_features == 3
    two = config_of(bare, "binary_cross_entropy_with_logits")
    assert build_model(two, meta_of(classes=2))[1].out_features == 1
    both = meta_of(task="regression", classes=0, outputs=2)
    assert build_model(config_of(bare, "mse"), both)[1].out_features == 2
    numbers = meta_of(task="regression", classes=0, outputs=1)
    three = config_of(bare, "{name: quantile, q: [0.1, 0.5, 0.9]}")
    assert build_model(three, numbers)[1].out_features == 3
    assert build_model(config_of(bare, "quantile"), numbers)[1].out_features == 1
    with pytest.raises(ConfigError, match=r"model.1.Linear.out_features: is missing"):
        build_sequential([{"Linear": {"out_features": 5}}, "Linear"], (4,))


def test_a_text_tells_how_many_tokens_there_are():
    meta = meta_of((6,), task="language_model", outputs=11, tokenizer={})
    model = build_model(config_of("[{Embedding: {embedding_dim: 2}}, Linear]"), meta)
    assert model[0].num_embeddings == model[1].out_features == 11
    few = "[{Embedding: {num_embeddings: 9, embedding_dim: 2}}, Linear]"
    with pytest.raises(ConfigError, match=r"model.0.Embedding.num_embeddings: is 9, but .* 11;"):
        build_model(config_of(few), meta)
    with pytest.raises(ConfigError, match="ends with 5 outputs, expected 11"):
        build_model(config_of("[{Embedding: {embedding_dim: 5}}]"), meta)


def test_bags_of_tokens():
    model = build_model(
        config_of("[{EmbeddingBag: {embedding_dim: 2}}, Linear]"), meta_of((6,), tokens=9)
    )
    assert model[0].num_embeddings == 9


def test_tied_weights():
    meta = meta_of((6,), task="language_model", outputs=11, tokenizer={})
    entries = "[{Embedding: {embedding_dim: 4}}, ReLU, {TiedLinear: {weight: 0.weight}}]"
    model = build_model(config_of(entries), meta)
    assert model[2].weight is model[0].weight
    assert model.parameter_count() == 11 * 4 + 11
    message = "config:2: model.2.TiedLinear.weight: '0.wight' is no parameter of a layer before;"
    with pytest.raises(ConfigError, match=message + " did you mean '0.weight'"):
        build_model(config_of(entries.replace("0.weight", "0.wight")), meta)
    with pytest.raises(ConfigError, match=r"config:2: model.2.TiedLinear.weight: 1 is no param"):
        build_model(config_of(entries.replace("0.weight", "1")), meta)


def test_recurrent_layers_pass_their_outputs_on():
    lstm = "{LSTM: {hidden_size: 6}}"
    model = build_model(config_of(f"[{lstm}, {lstm}, LastStep, Linear]"), meta_of((5, 2)))
    assert model[3].in_features == 6
    two = "{GRU: {hidden_size: 2}}"
    beside = f"[{{Residual: [{two}]}}, {{Parallel: [{two}, Identity]}}, {{Concat: [{two}, {two}]}}]"
    model = build_model(config_of(f"[{beside}, LastStep, Linear]"), meta_of((5, 2)))
    assert model[2].in_features == 4
    with pytest.raises(ConfigError, match=r"model.0.LSTM: returns outputs and state; put LastStep"):
        build_model(config_of(f"[{lstm}]"), meta_of((5, 2)))


def test_only_numbers_are_embedded_periodically():
    data = load({"name": "iris"})
    data.meta.preprocessor.numeric_names, kinds = ["a", "b"], ["c"]
    data.meta.preprocessor.categorical_names = kinds
    model = build_model(config_of("[{PeriodicEmbedding: {embedding_dim: 5}}, Linear]"), data.meta)
    assert model[0].numeric_features == 2
    assert model[1].in_features == 2 * 5 + 2
    later = build_model(config_of("[ReLU, PeriodicEmbedding, Linear]"), data.meta)
    assert later[1].numeric_features == 4


def test_groups_of_parameters():
    groups = """
  name: AdamW
  lr: 0.1
  groups: {"*.bias": {weight_decay: 0.0}, "0.*": {lr: 0.01}}
"""
    text = f"data: iris\nmodel: {MLP}\nloss: cross_entropy\noptimizer:{groups}"
    optimizer = build(parse_config(text), data_of(meta_of())).optimizer
    found = [(len(g["params"]), g["lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [(2, 0.1, 0.0), (1, 0.01, 0.01), (1, 0.1, 0.01)]
    again = parse_config(to_yaml(parse_config(text)))
    assert again.optimizer == parse_config(text).optimizer
    with pytest.raises(ConfigError, match=r"config:4: optimizer: no parameter is left for .*'1.x'"):
        build(parse_config(text.replace('"0.*"', '"1.x"')), data_of(meta_of()))


def test_frozen_parameters_are_not_trained():
    job = build(config_of(MLP, trainer="{freeze: ['0.*']}"), data_of(meta_of()))
    frozen = [name for name, p in job.model.named_parameters() if not p.requires_grad]
    assert frozen == ["0.weight", "0.bias"]
    assert len(job.optimizer.param_groups[0]["params"]) == 2
    with pytest.raises(ConfigError, match=r"config:4: trainer.freeze: no parameter matches '9'"):
        build(config_of(MLP, trainer="{freeze: ['9']}"), data_of(meta_of()))


def test_cardinalities_follow_from_the_data():
    columns = [
        {"name": "soil", "column": 2, "cardinality": 4},
        {"name": "season", "column": 3, "cardinality": 5},
    ]
    entries = "[{ColumnEmbedding: {embedding_dim: 2}}, {Linear: {out_features: 3}}]"
    model = build_model(config_of(entries), meta_of((4,), categorical=columns))
    assert model[0].cardinalities == (4, 5)
    assert model[1].in_features == 2 + 2 * 2
    with pytest.raises(ConfigError, match=r"model.0.ColumnEmbedding.cardinalities: is missing"):
        build_model(config_of(entries), meta_of((4,)))


BAD_FITS = [
    (
        "[{Linear: {out_features: 5}}, ReLU, {Linear: {in_features: 7, out_features: 3}}]",
        "config:2: model.2.Linear.in_features: is 7, but the layer receives (batch, 5) from "
        "model.1.ReLU; write 5",
    ),
    (
        "[{Linear: {in_features: 3, out_features: 3}}]",
        "model.0.Linear.in_features: is 3, but the layer receives (batch, 4) from the data",
    ),
    ("[BatchNorm2d, {Linear: {out_features: 3}}]", "model.0.BatchNorm2d: cannot take (batch, 4)"),
    ("[{Reshape: [3, 3]}, {Linear: {out_features: 3}}]", "model.0.Reshape: cannot take (batch, 4)"),
    ("[{GroupNorm: {num_groups: 3}}, {Linear: {out_features: 3}}]", "model.0.GroupNorm"),
    (
        "[{Residual: [{Linear: {out_features: 5}}]}, {Linear: {out_features: 3}}]",
        "model.0.Residual: cannot take (batch, 4) from the data: the layer turns shape (2, 4)",
    ),
    (
        "[{Residual: [ReLU, {Linear: {in_features: 9, out_features: 4}}]}]",
        "model.0.Residual.1.Linear.in_features: is 9, but the layer receives (batch, 4) from "
        "model.0.Residual.0.ReLU",
    ),
]


BAD_IMAGES = [
    (
        "{Conv2d: {in_channels: 3, out_channels: 2, kernel_size: 3}}",
        "model.0.Conv2d.in_channels: is 3, but the layer receives (batch, 8, 8, 1) from the data",
    ),
    (
        "{Conv2d: {out_channels: 2, kernel_size: 9}}",
        "model.0.Conv2d: cannot take (batch, 8, 8, 1) from the data: a kernel of size (9, 9) does "
        "not fit into an input of size (8, 8)",
    ),
    (
        "{MaxPool2d: {kernel_size: 9}}",
        "model.0.MaxPool2d: cannot take (batch, 8, 8, 1) from the data: a kernel of size (9, 9)",
    ),
    ("{Reshape: [64, 1]}, {LearnedPositions: {max_length: 63}}", "at most max_length=63 steps"),
    ("{Reshape: [64, 1]}, {SinusoidalPositions: {max_length: 9}}", "at most max_length=9 steps"),
    ("{Reshape: [0, 5]}, LSTM: {hidden_size: 2}", "model.0.Reshape: cannot take"),
    ("{Reshape: [32, 2]}, {MultiHeadAttention: {num_heads: 3}}", "embed_dim=2 does not divide"),
]


@pytest.mark.parametrize(("layers", "words"), BAD_IMAGES)
def test_images_and_sequences_that_do_not_fit_are_named(layers, words):
    config = config_of(f"[{layers}, Flatten, Linear]")
    (problem,) = problems_of(config, meta_of((8, 8, 1)))
    assert problem.startswith("config:2: model.")
    assert words in problem


@pytest.mark.parametrize(("model", "words"), BAD_FITS)
def test_layers_that_do_not_fit_are_named(model, words):
    (problem,) = problems_of(config_of(model))
    assert words in problem
    assert "\n" not in problem


def test_later_layers_are_checked_past_a_problem():
    entries = [
        {"Linear": {"in_features": 9, "out_features": 5}},
        "LeakyReLU",
        {"Dropout": {"p": 2.0}},
        {"Linear": {"in_features": 5, "out_features": 0}},
    ]
    with pytest.raises(ConfigError) as caught:
        build_sequential(entries, (4,))
    assert [p.partition(":")[0] for p in caught.value.problems] == ["model.3.Linear.out_features"]
    entries.pop()
    with pytest.raises(ConfigError) as caught:
        build_sequential(entries, (4,))
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert places == ["model.0.Linear.in_features", "model.2.Dropout"]


# The outputs --------------------------------------------------------------------------------------

LINEAR = "[{{Linear: {{out_features: {}}}}}]"
BCE = "binary_cross_entropy_with_logits"

BAD_OUTPUTS = [
    (2, "cross_entropy", {}, "the model ends with 2 outputs, expected 3: the target has 3 classes"),
    (4, "cross_entropy", {}, "the model ends with 4 outputs, expected 3"),
    (1, BCE, {}, "tells two classes apart, but the target has 3; use cross_entropy"),
    (2, BCE, {"classes": 2}, "the model ends with 2 outputs, expected 1"),
    (3, "mse", {}, "the loss mse is for numbers, but the target has 3 classes"),
    (1, "cross_entropy", {"task": "regression", "outputs": 1}, "is for classes, but the target"),
    (1, "mse", {"task": "regression", "outputs": 2}, "ends with 1 outputs, expected 2"),
    (2, "mse", {"task": "regression", "outputs": 1}, "ends with 2 outputs, expected 1"),
]


@pytest.mark.parametrize(("outputs", "loss", "target", "words"), BAD_OUTPUTS)
def test_outputs_that_do_not_fit_the_target(outputs, loss, target, words):
    (problem,) = problems_of(config_of(LINEAR.format(outputs), loss), meta_of(**target))
    assert words in problem
    assert problem.startswith("config:2: model.0.Linear: ")


GOOD_OUTPUTS = [
    (3, "cross_entropy", {}),
    (2, "cross_entropy", {"classes": 2}),
    (1, BCE, {"classes": 2}),
    (1, "huber", {"task": "regression", "outputs": 1}),
    (2, "mae", {"task": "regression", "outputs": 2}),
]


@pytest.mark.parametrize(("outputs", "loss", "target"), GOOD_OUTPUTS)
def test_outputs_that_fit_the_target(outputs, loss, target):
    data = data_of(meta_of(**target))
    job = build(config_of(LINEAR.format(outputs), loss), data)
    value = job.loss(job.model(data.train.x), data.train.y, sample_weight=np.ones(10, "float32"))
    assert value.shape == ()


def test_a_column_of_predictions_is_compared_row_by_row():
    data = data_of(meta_of(task="regression", outputs=1))
    job = build(config_of(LINEAR.format(1), "mse"), data)
    predicted = job.model(data.train.x).numpy()
    expected = np.mean((predicted[:, 0] - data.train.y) ** 2)
    assert job.loss(predicted, data.train.y) == pytest.approx(expected, rel=1e-6)


def test_arguments_of_losses_are_bound():
    data = data_of(meta_of(task="regression", outputs=1))
    job = build(config_of(LINEAR.format(1), "{name: huber, delta: 0.25}"), data)
    residual = np.array([0.1, 3.0])
    expected = np.mean([0.5 * 0.1**2, 0.25 * (3.0 - 0.125)])
    assert job.loss(residual, np.zeros(2)) == pytest.approx(expected)


# Optimizer, schedule, weights ---------------------------------------------------------------------


def test_optimizer_takes_its_arguments_and_all_parameters():
    job = build(config_of(MLP, optimizer="{name: SGD, lr: 0.5, momentum: 0.9}"), data_of(meta_of()))
    (group,) = job.optimizer.param_groups
    assert (group["lr"], group["momentum"]) == (0.5, 0.9)
    assert group["params"] == list(job.model.parameters())


def test_nothing_to_train_is_an_error():
    (problem,) = problems_of(config_of("[ReLU]"), meta_of((3,)))
    assert problem == "config:2: model: no layer has parameters; nothing to train"


@pytest.mark.parametrize(
    ("trainer", "rows", "steps"),
    [
        ("{epochs: 3}", 100, 3 * 2),
        ("{epochs: 3}", 128, 3 * 2),
        ("{epochs: 3}", 129, 3 * 3),
        ("{epochs: 3, accumulate: 2}", 129, 3 * 2),
        ("{epochs: 3, steps_per_epoch: 1}", 129, 3),
        ("{epochs: 3, steps_per_epoch: 9}", 129, 3 * 3),
        ("{steps: 17}", 129, 17),
    ],
)
def test_length_of_a_run(trainer, rows, steps):
    assert total_steps(config_of(MLP, trainer=trainer), rows) == steps


def test_schedules_are_as_long_as_the_run():
    schedule = build_schedule(config_of(MLP, schedule="cosine"), 50)
    assert schedule.total_steps == 50
    given = build_schedule(config_of(MLP, schedule="{name: cosine, total_steps: 20}"), 50)
    assert given.total_steps == 20


def test_schedules_in_sequence():
    text = (
        "{name: sequence, milestones: [10], "
        "schedules: [{name: linear_warmup, warmup_steps: 10}, cosine]}"
    )
    schedule = build_schedule(config_of(MLP, schedule=text), 50)
    assert [type(part).__name__ for part in schedule.schedules] == ["LinearWarmup", "Cosine"]


def test_a_schedule_longer_than_the_run():
    config = config_of(MLP, schedule="{name: cosine, warmup_steps: 60}")
    with pytest.raises(ConfigError, match=r"config:4: schedule: .*\(the run makes 50 steps\)"):
        build_schedule(config, 50)


def test_class_weights_go_by_name():
    config = config_of(MLP, trainer="{class_weight: {class 1: 3}}")
    np.testing.assert_array_equal(build(config, data_of(meta_of())).class_weight, [1, 3, 1])


def test_a_class_that_the_target_lacks():
    config = config_of(MLP, trainer="{class_weight: {clas 1: 3}}")
    with pytest.raises(UserError) as caught:
        build(config, data_of(meta_of()))
    (problem,) = caught.value.problems
    assert problem.startswith("config:4: trainer.class_weight")
    assert "did you mean 'class 1'?" in problem


def test_a_loss_that_does_not_take_the_data():
    data = data_of(meta_of())
    broken = dataclasses.replace(data, train=Split(data.train.x, data.train.y + 7))
    with pytest.raises(ConfigError, match="config:3: loss: "):
        build(config_of(MLP), broken)


@pytest.mark.parametrize(
    ("task", "loss", "metric", "words"),
    [
        ("classification", "cross_entropy", "r2", "is for numbers, but the target has classes"),
        ("regression", "mse", "accuracy", "is for classes, but the target holds numbers"),
    ],
)
def test_metrics_that_do_not_take_the_data(task, loss, metric, words):
    config = config_of(MLP, loss=loss, metrics=f"[{metric}]")
    (problem,) = problems_of(config, meta_of(task=task, outputs=3))
    assert problem.startswith("config:4: metrics.0: ")
    assert words in problem


def test_arguments_of_losses_are_tried():
    config = config_of(MLP, loss="{name: cross_entropy, label_smoothing: 2}")
    (problem,) = problems_of(config)
    assert problem.startswith("config:3: loss: cross_entropy: label_smoothing is a share")


def test_a_real_data_set():
    config = config_of(MLP)
    data = load(config.data.model_dump())
    job = build(config, data)
    assert job.model(data.train.x[:5]).shape == (5, 3)
