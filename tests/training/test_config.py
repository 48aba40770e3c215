import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnad.errors import ConfigError
from nnad.training.config import (
    config_schema,
    find_config,
    load_config,
    parse_config,
    to_yaml,
)
from nnad.training.config.writing import flow
from nnad.training.yaml_reader import read_yaml

CONFIGS = Path(__file__).parents[2] / "configs"

BASE = """\
seed: 0
data: {name: digits, test_size: 0.25, validation_size: 0.1, standardize: true, batch_size: 64}
model:
  - Linear: {out_features: 64}
  - ReLU
  - Linear: {out_features: 10}
loss: cross_entropy
optimizer: {name: Adam, lr: 1e-3}
schedule: {name: cosine, warmup_steps: 10}
trainer:
  epochs: 30
  clip_norm: 1.0
  early_stopping: {monitor: val_loss, patience: 10}
metrics: [accuracy]
baseline: {estimator: MLPClassifier, params: {hidden_layer_sizes: [64]}}
output: {dir: runs, name: mlp}
"""


def problems_of(text, overrides=()):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, overrides, file="job.yaml")
    return caught.value.problems


def with_line(start, line):
    """BASE with the (single-line) section that begins with `start` replaced."""
    lines = [line if old.startswith(start) else old for old in BASE.splitlines()]
    assert line in lines
    return "\n".join(lines)


# Reading ------------------------------------------------------------------------------------------


def test_values_and_defaults():
    config = parse_config(BASE)
    assert config.optimizer.name == "Adam"
    assert config.optimizer.arguments["lr"] == 1e-3
    assert config.trainer.early_stopping.patience == 10
    assert config.trainer.early_stopping.restore_best is True
    assert config.trainer.compile == config.trainer.threads == "auto"
    assert config.data.batch_size == 64
    assert config.data.shuffle is True  # a default of the data source
    assert [metric.name for metric in config.metrics] == ["accuracy"]


def test_bare_names_stand_for_sections():
    config = parse_config(
        "data: digits\nmodel: [{Linear: {out_features: 10}}]\nloss: cross_entropy\n"
        "optimizer: SGD\nschedule: constant\nbaseline: LogisticRegression\n"
    )
    assert config.data.name == "digits"
    assert config.optimizer.name == "SGD"
    assert config.baseline.estimator == "LogisticRegression"


def test_what_may_be_left_out():
    config = parse_config("data: digits\nmodel: [{Linear: {out_features: 10}}]\nloss: mse\n")
    assert config.seed == 0
    assert config.optimizer.name == "Adam"
    assert config.schedule.name == "constant"
    assert config.trainer.epochs == 30
    assert config.baseline is None
    assert config.metrics == []


@pytest.mark.parametrize(
    ("monitor", "mode"), [("val_loss", "min"), ("val_accuracy", "max"), ("train_loss", "min")]
)
def test_plateau_goes_by_the_direction_of_what_is_monitored(monitor, mode):
    overrides = [f"trainer.early_stopping.monitor={monitor}", "schedule=plateau"]
    assert parse_config(BASE, overrides).schedule.arguments["mode"] == mode
    assert parse_config(BASE, [*overrides, "schedule.mode=min"]).schedule.arguments["mode"] == "min"


@pytest.mark.parametrize("word", ["false", "off", "none", "null"])
def test_some_words_mean_without(word):
    config = parse_config(BASE, [f"baseline={word}", f"trainer.early_stopping={word}"])
    assert config.baseline is None
    assert config.trainer.early_stopping is None


def test_a_config_does_not_change():
    config = parse_config(BASE)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


# Writing ------------------------------------------------------------------------------------------


def test_written_config_is_complete_and_reads_back_equal():
    config = parse_config(BASE)
    text = to_yaml(config)
    assert to_yaml(parse_config(text)) == text
    assert parse_config(text).model_dump() == config.model_dump()
    for line in ("  batch_size: 64", "  shuffle: true", "  accumulate: 1", "  betas: [0.9, 0.999]"):
        assert line in text.splitlines()


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(CHARACTERS, max_size=12) | st.sampled_from(
    ["1e-3", "no", "~", "1_000", "a: b", "#", "- x", ""]
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, width=64)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(PLAIN)
def test_any_value_survives_writing_and_reading(value):
    document = read_yaml(f"key: {flow(value)}\n")
    assert document.problems == []
    assert document.value == {"key": value}


def test_paths_beside_the_config_are_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "table.csv").write_text("a,b\n1,2\n")
    job = tmp_path / "jobs" / "job.yaml"
    job.write_text(
        with_line("data", "data: {name: csv, path: table.csv, target: b}").replace(
            "  early_stopping: {monitor: val_loss, patience: 10}\n", ""
        )
    )
    monkeypatch.chdir(tmp_path)
    assert load_config("jobs/job.yaml").data.path == str(tmp_path / "jobs" / "table.csv")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert load_config("jobs/job.yaml").data.path == "table.csv"  # the current folder comes first


@pytest.mark.parametrize("name", ["mlp", "binary", "regression", "tabular", "embedding"])
def test_the_configs_that_ship_are_right(name):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.output.name == name
    assert config.baseline is not None
    assert to_yaml(parse_config(to_yaml(config))) == to_yaml(config)


# Problems -----------------------------------------------------------------------------------------

NO_EARLY_STOPPING = ["trainer.early_stopping=null"]

BAD_SECTIONS = [
    ("seed", "seed: -1", "job.yaml:1: seed: expected at least 0, got -1"),
    ("seed", "seed: 4294967296", "seed: expected at most 4294967295, got 4294967296"),
    ("seed", "seed: 1.5", "seed: expected an integer, got 1.5"),
    ("seed", "seed: 1e3", "seed: expected an integer, got 1000.0; write 1000"),
    ("seed", "seed: '5'", "seed: expected an integer, got the text '5'; write 5 without quotes"),
    ("seed", "seed: true", "seed: expected an integer, got true"),
    ("seed", "sed: 0", "job.yaml:1: sed: unknown key; did you mean 'seed'? known here: seed, data"),
    ("seed", "epochs: 3", "epochs: unknown key; did you mean 'trainer.epochs'?"),
    ("seed", "7: 3", "job.yaml:1: 7: unknown key"),
    (
        "data",
        "data: {name: digitz}",
        "data.name: unknown data source 'digitz'; did you mean 'digits'",
    ),
    ("data", "data: {batch_size: 8}", "data.name: is missing: the data source"),
    (
        "data",
        "data: {name: digits, batch_size: -5}",
        "data.batch_size: got -5, expected at least 1",
    ),
    ("data", "data: {name: digits, batchsize: 5}", "did you mean 'batch_size'?"),
    ("data", "data: {name: csv, target: y}", "data.path: missing"),
    ("data", "data: 5", "data: expected a name, or a mapping that holds one, got 5"),
    ("loss", "loss: crossentropy", "unknown loss 'crossentropy'; did you mean 'cross_entropy'?"),
    ("loss", "loss: {name: cross_entropy, smooth: 1}", "loss.smooth: unknown argument"),
    (
        "loss",
        "loss:",
        "job.yaml:7: loss: expected a name, or a mapping that holds one, got nothing",
    ),
    ("optimizer", "optimizer: Adamm", "unknown optimizer 'Adamm'; did you mean 'Adam'?"),
    (
        "optimizer",
        "optimizer: {name: Adam, lr: '1'}",
        "optimizer.lr: expected a number, got '1'; write 1 without quotes",
    ),
    ("optimizer", "optimizer: {name: Adam, lr: .inf}", "lr must be finite, got inf"),
    ("optimizer", "optimizer: {name: Adam, lr: -1}", "job.yaml:8: optimizer.lr: "),
    ("optimizer", "optimizer: {name: Adam, learning_rate: 1}", "optimizer.learning_rate: unknown"),
    ("optimizer", "optimizer: {name: Adam, params: 1}", "optimizer.params: unknown argument"),
    ("optimizer", "optimizer: {name: Adam, groups: 3}", "optimizer.groups: expected {pattern"),
    (
        "optimizer",
        "optimizer: {name: Adam, groups: {'*.bias': {l: 1}}}",
        "job.yaml:8: optimizer.groups.*.bias.l: unknown argument",
    ),
    (
        "optimizer",
        "optimizer: {name: Adam, groups: {'*.bias': 0}}",
        "optimizer.groups.*.bias: expected hyper-parameters, as {lr: 1e-3}, got 0",
    ),
    ("schedule", "schedule: cosin", "unknown schedule 'cosin'; did you mean 'cosine'?"),
    (
        "schedule",
        "schedule: {name: cosine, warmup_steps: -1}",
        "job.yaml:9: schedule.warmup_steps: ",
    ),
    ("schedule", "schedule: {warmup_steps: 1}", "schedule.name: is missing"),
    ("schedule", "schedule: {name: exponential}", "schedule.gamma: is missing"),
    ("metrics", "metrics: accuracy", "expected a list, got the text 'accuracy'; write [accuracy]"),
    ("metrics", "metrics: [acuracy]", "unknown metric 'acuracy'; did you mean 'accuracy'?"),
    ("metrics", "metrics: [accuracy, accuracy]", "metrics.1: accuracy is listed twice"),
    ("baseline", "baseline: {params: {}}", "baseline.estimator: is missing"),
    ("baseline", "baseline: {estimator: X, param: {}}", "did you mean 'params'?"),
    ("baseline", "baseline: MLPClasifier", "baseline.estimator: scikit-learn has no 'MLPClas"),
    ("output", "output: {name: a/b}", "output.name: the text 'a/b' is not a folder name"),
    ("output", 'output: {dir: "a\\0b"}', "output.dir: the text 'a\\x00b' is not the path"),
    ("output", "output: {name: ..}", "output.name: the text '..' is not a folder name"),
    ("output", "output: {name: 5}", "output.name: expected a text, got 5"),
    ("output", "output: {folder: runs}", "output.folder: unknown key"),
]


@pytest.mark.parametrize(("start", "line", "words"), BAD_SECTIONS)
def test_a_bad_section_is_one_problem(start, line, words):
    (problem,) = problems_of(with_line(start, line))
    assert words in problem
    assert problem.startswith("job.yaml:")
    assert "\n" not in problem


BAD_TRAINER_VALUES = [
    ("epochs=0", "trainer.epochs: expected at least 1, got 0"),
    ("epochs=2.5", "trainer.epochs: expected an integer, got 2.5"),
    ("steps=5", "trainer: epochs (30) and steps (5) are both given"),
    ("accumulate=0", "expected at least 1"),
    ("clip_norm=0", "expected more than 0"),
    ("clip_norm=.nan", "expected a finite number"),
    ("clip_value=.inf", "expected a finite number"),
    ("dtype=float16", "expected 'float32' or 'float64', got the text 'float16'"),
    ("compile=maybe", "expected auto, true or false"),
    ("threads=0", "expected auto or an integer of at least 1, got 0"),
    ("class_weight=heavy", "expected balanced, or a mapping of class names"),
    ("class_weight={a: -1}", "expected balanced, or a mapping of class names"),
    ("early_stopping.patience=0", "trainer.early_stopping.patience: expected at least 1"),
    ("early_stopping.patient=3", "unknown key; did you mean 'patience'?"),
    ("early_stopping.mode=upward", "expected 'auto', 'min' or 'max'"),
    ("early_stopping.restore_best=yes", "expected true or false, got the text 'yes'; write true"),
    ("early_stopping.monitor=val_acuracy", "is not computed; did you mean 'val_accuracy'?"),
    ("epoch=3", "unknown key; did you mean 'epochs'?"),
]


@pytest.mark.parametrize(("override", "words"), BAD_TRAINER_VALUES)
def test_bad_trainer_values(override, words):
    override = f"trainer.{override}"
    (problem,) = problems_of(BASE, [override])
    assert words in problem
    if "both given" not in problem:
        assert problem.startswith(f"override {override}: {override.partition('=')[0]}")


def test_short_epochs_need_an_order_of_their_own():
    short = ["trainer.steps_per_epoch=2"]
    (problem,) = problems_of(BASE, [*short, "data.shuffle=false"])
    assert "trainer.steps_per_epoch: with data.shuffle: false every epoch takes" in problem
    parse_config(BASE, short)


def test_early_stopping_needs_a_validation_part():
    (problem,) = problems_of(BASE, ["data.validation_size=0"])
    assert problem.startswith("job.yaml:13: trainer.early_stopping.monitor: 'val_loss' needs a")
    parse_config(BASE, ["data.validation_size=0", "trainer.early_stopping.monitor=train_loss"])


BAD_LAYERS = [
    ("{Liner: {out_features: 3}}", "model.1.Liner: unknown layer 'Liner'; did you mean 'Linear'?"),
    ("relu", "model.1.relu: unknown layer 'relu'; did you mean 'ReLU'?"),
    ("{Linear: {out_feature: 3}}", "model.1.Linear.out_feature: unknown argument; did you mean"),
    ("{Linear: {out_features: '3'}}", "expected a whole number, got '3'"),
    ("{Linear: {out_features: 3, bias: 7}}", "model.1.Linear.bias: expected true or false, got 7"),
    ("Linear", "model.1.Linear.out_features: is missing"),
    ("{Linear: {out_features: 0}}", "model.1.Linear"),
    ("{Dropout: {p: 1.5}}", "model.1.Dropout"),
    ("{Dropout: 0.5}", "model.1.Dropout: expected arguments as Dropout: {p: 0.5}, got 0.5"),
    ("{ReLU: {}, Tanh: {}}", "model.1: expected a layer"),
    ("3", "model.1: expected a layer"),
    ("null", "model.1: expected a layer"),
    ("{Residual: [Rellu]}", "model.1.Residual.0.Rellu: unknown layer"),
    ("{Residual: [{Linear: {out_features: 3, x: 1}}]}", "model.1.Residual.0.Linear.x: unknown"),
    ("{Residual: []}", "model.1.Residual: expected layers, as in Residual: [ReLU]"),
    ("Module", "model.1.Module: unknown layer"),
]


@pytest.mark.parametrize(("entry", "words"), BAD_LAYERS)
def test_bad_layers_are_named_by_path_and_line(entry, words):
    problems = problems_of(BASE.replace("  - ReLU\n", f"  - {entry}\n"))
    assert any(words in problem for problem in problems)
    assert all(problem.startswith("job.yaml:5: model.1") for problem in problems)


def test_all_problems_come_at_once():
    text = "\n".join(
        [
            "seed: -1",
            "seed: 2",
            "data: {name: digits, batch_sise: 3}",
            "model: [{Linear: {out_features: 3, bia: true}}, Rellu, {Dropout: {p: 1.5}}]",
            "loss: cross_entropi",
            "optimizer: {name: Adam, lr: x}",
            "trainer: {epochs: 0, clip_norm: -1}",
            "output: {name: a/b}",
            "extra: !tag 1",
        ]
    )
    problems = problems_of(text, ["nonsense", "model.9=ReLU"])
    places = [
        "job.yaml:2: seed", "job.yaml:9: extra", "override nonsense", "override model.9=ReLU",
        "job.yaml:1: seed", "job.yaml:7: trainer.epochs", "job.yaml:7: trainer.clip_norm",
        "job.yaml:8: output.name", "job.yaml:9: extra", "job.yaml:3: data.batch_sise",
        "job.yaml:4: model.0.Linear.bia", "job.yaml:4: model.1.Rellu",
        "job.yaml:4: model.2.Dropout.p",
        "job.yaml:5: loss",
        "job.yaml:6: optimizer.lr",
    ]  # fmt: skip
    assert len(problems) == len(places)
    for place in places:
        assert any(problem.startswith(f"{place}") for problem in problems), place


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "job.yaml: expected a mapping of sections, got an empty document"),
        ("- a\n- b\n", "job.yaml:1: expected a mapping of sections, got a list"),
        ("just text\n", "job.yaml:1: expected a mapping of sections, got the text 'just text'"),
        ("a: b: c\n", "job.yaml:1: not valid YAML"),
        ("a: [\n", "job.yaml:2: not valid YAML"),
    ],
)
def test_documents_that_are_no_configuration(text, words):
    (problem,) = problems_of(text)
    assert problem.startswith(words)


@pytest.mark.parametrize("key", ["0.2", "7", "true", "null", "2026-01-01"])
def test_a_section_whose_name_is_no_text(key):
    assert any("unknown key" in problem for problem in problems_of(f"{BASE}{key}: 1\n"))


# Overrides ----------------------------------------------------------------------------------------


def test_overrides():
    config = parse_config(
        BASE,
        [
            "optimizer.lr=1e-2",
            "trainer.epochs=5",
            "trainer.epochs=7",
            "model.0.Linear.out_features=32",
            "model.1=Tanh",
            "baseline.params.hidden_layer_sizes=[8, 8]",
            "trainer.class_weight={a: 2, no: 1_0}",
            "loss.label_smoothing=0.1",
            "data.standardize=false",
            "output.name=other",
        ],
    )
    assert config.optimizer.arguments["lr"] == 0.01
    assert config.trainer.epochs == 7
    assert config.model[:2] == [{"Linear": {"out_features": 32}}, "Tanh"]
    assert config.baseline.params == {"hidden_layer_sizes": [8, 8]}
    assert config.trainer.class_weight == {"a": 2, "no": 10}
    assert config.loss.name == "cross_entropy"
    assert config.loss.arguments["label_smoothing"] == 0.1
    assert config.data.standardize is False
    assert config.output.name == "other"


def test_overrides_reach_into_bare_names_and_absent_sections():
    text = "data: digits\nmodel: [{Linear: {out_features: 10}}, Dropout]\nloss: cross_entropy\n"
    config = parse_config(
        text,
        [
            "data.batch_size=16",
            "optimizer.lr=0.5",
            "model.1.Dropout.p=0.25",
            "trainer.early_stopping.monitor=train_loss",
        ],
    )
    assert config.data.batch_size == 16
    assert config.optimizer.name == "Adam"
    assert config.optimizer.arguments["lr"] == 0.5
    assert config.model[1] == {"Dropout": {"p": 0.25}}
    assert config.trainer.early_stopping.monitor == "train_loss"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("trainer..epochs=3", "expected key=value"),
        ("seed.x=3", "seed is 0, which has no keys"),
        ("model.x=ReLU", "model is a list with the indices 0 to 2, got 'x'"),
        ("model.3=ReLU", "model is a list with the indices 0 to 2, got '3'"),
        ("model.-1=ReLU", "model is a list with the indices 0 to 2, got '-1'"),
        ("model.0.ReLU.x=1", "model.0: expected a layer"),
        ("seed=[1", "not valid YAML"),
        ("seed=!!int 5", "tags are not read"),
        ("seed={a: 1, a: 2}", "already given"),
        ("optimizer.lr=-1", "optimizer.lr: "),
        ("optimiser.lr=1", "optimiser: unknown key; did you mean 'optimizer'?"),
        ("seed=-3", "seed: expected at least 0, got -3"),
    ],
)
def test_bad_overrides_are_quoted(override, words):
    problems = problems_of(BASE, [override])
    assert any(words in problem for problem in problems)
    assert sum(problem.startswith(f"override {override}: ") for problem in problems) == 1 or (
        "expected a layer" in words
    )


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("mpl", "mpl: there is no such file here or in configs/; did you mean 'mlp'?"),
        ("mpl.yaml", "did you mean 'mlp.yaml'?"),
        ("mlp.v2", "mlp.v2: there is no such file"),  # nor is mlp.yaml taken for it
    ],
)
def test_a_file_with_a_similar_name_is_shown(asked, hint):
    with pytest.raises(ConfigError) as caught:
        find_config(asked)
    assert hint in str(caught.value)


def test_files_are_looked_up_here_and_in_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("mlp").resolve() == CONFIGS / "mlp.yaml"  # those of the source tree
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mlp.yaml").write_text(BASE)
    assert find_config("mlp.yaml") == Path("configs/mlp.yaml")
    (tmp_path / "mlp.yml").write_text(BASE)
    assert find_config("mlp") == Path("mlp.yml")
    assert find_config(tmp_path / "configs" / "mlp.yaml") == tmp_path / "configs" / "mlp.yaml"


def test_the_run_is_named_after_the_file(tmp_path):
    (tmp_path / "job.yaml").write_text(with_line("output", "output: {}"))
    assert load_config(tmp_path / "job.yaml").output.name == "job"


def unreadable_file(folder):
    (folder / "job.yaml").write_bytes(b"seed: 0\nloss: \xff\xfe\n")
    return folder / "job.yaml"


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = {
        "mpl.yaml": "there is no such file here or in configs/; did you mean 'mlp.yaml'?",
        "sub/none.yaml": "sub/none.yaml: there is no such file",
        str(tmp_path): "is a folder, expected a YAML file",
        str(unreadable_file(tmp_path)): "job.yaml:2: not UTF-8 text",
    }
    for name, words in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_config(name)
        assert words in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a file without an end")
def test_a_file_without_an_end_is_refused():
    with pytest.raises(ConfigError, match="is a device; expected an ordinary file"):
        load_config("/dev/zero")


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_config(file).model_dump() == parse_config(BASE).model_dump()


# Schema -------------------------------------------------------------------------------------------


def test_schema_describes_every_key():
    schema = config_schema()
    json.dumps(schema)
    for section in (schema, *schema["$defs"].values()):
        for choice in section.get("anyOf", [section]):
            for key, field in choice.get("properties", {}).items():
                assert field.get("description"), key


def test_schema_agrees_with_the_checks():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(config_schema())
    assert list(validator.iter_errors(read_yaml(BASE).value)) == []
    for start, line, _ in BAD_SECTIONS:
        refused = ("seed: ", "sed", "data: 5", "optimizer: Adamm", "schedule: cosin", "metrics: a")
        if line.startswith(refused) and line != "seed: 1e3":
            assert list(validator.iter_errors(read_yaml(with_line(start, line)).value)) != []
