"""From a data section to parts: rows, scaling, tasks, weights, state, and what is refused."""

import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from nnad.data import (
    Meta,
    check,
    class_weights,
    fingerprint,
    load,
    read_rows,
    source_table,
)
from nnad.data.dataset import MOST_NAMES, names_of
from nnad.data.loading import fingerprints
from nnad.errors import ConfigError, DataError


def save(path, **arrays):
    np.savez(path, **arrays)
    return {"name": "npz", "path": str(path)}


def test_digits_equal_a_scikit_learn_script() -> None:
    """The split and scaling of configs/mlp.yaml, written with scikit-learn."""
    x, y = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=0.25, stratify=y, random_state=3
    )
    fit_x, val_x, fit_y, val_y = train_test_split(
        train_x, train_y, test_size=0.1, stratify=train_y, random_state=3
    )
    scaler = StandardScaler().fit(fit_x)
    config = {"name": "digits", "test_size": 0.25, "validation_size": 0.1, "standardize": True}
    data = load(config, seed=3, dtype="float64")
    expected = [(fit_x, fit_y), (val_x, val_y), (test_x, test_y)]
    for part, (raw_x, labels) in zip(
        [data.train, data.validation, data.test], expected, strict=True
    ):
        np.testing.assert_allclose(part.x, scaler.transform(raw_x), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(part.y, labels)
        assert part.y.dtype == np.int64
    assert load(config, seed=3).train.x.dtype == np.float32


def test_a_size_of_zero_leaves_the_part_out() -> None:
    data = load({"name": "iris", "test_size": 0})
    assert (len(data.train), data.validation, data.test) == (150, None, None)


def test_ordered_parts_keep_their_order(tmp_path) -> None:
    config = save(tmp_path / "a.npz", x=np.arange(10.0), y=np.linspace(0, 1, 10))
    data = load({**config, "split": "ordered", "test_size": 2, "validation_size": 0.25})
    got = [part.x[:, 0].tolist() for part in (data.train, data.validation, data.test)]
    assert got == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]


def test_statistics_are_those_of_the_training_part(tmp_path) -> None:
    x = np.array([[0.0], [2.0], [100.0]])
    config = save(tmp_path / "a.npz", x=x, y=np.array([0.5, 1.5, 9.0]))
    data = load(
        {
            **config,
            "split": "ordered",
            "test_size": 1,
            "standardize": True,
            "standardize_target": True,
        }
    )
    np.testing.assert_allclose(data.train.x[:, 0], [-1, 1])
    np.testing.assert_allclose(data.test.x[:, 0], [99])
    np.testing.assert_allclose(data.train.y, [-1, 1])
    np.testing.assert_allclose(data.meta.preprocessor.inverse_target(data.test.y), [9.0], rtol=1e-6)


def test_constant_columns_are_not_divided_by_zero(tmp_path) -> None:
    x = np.column_stack([np.full(8, 0.1), np.arange(8.0)])
    data = load({**save(tmp_path / "a.npz", x=x, y=np.arange(8) % 2), "standardize": True})
    np.testing.assert_allclose(data.train.x[:, 0], 0, atol=1e-12)


def test_images_are_scaled_per_channel_and_shaped(tmp_path, rng) -> None:
    x = rng.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    config = save(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    data = load({**config, "standardize": True, "test_size": 0})
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(axis=(0, 1, 2)), 1, rtol=1e-5)
    flat = load({**config, "input_shape": [48], "test_size": 0})
    assert flat.meta.input_shape == (48,)
    with pytest.raises(ConfigError, match=r"\[7\] has 7 numbers, a row has 48"):
        load({**config, "input_shape": [7]})
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "1,p,0.1\n2,q,0.2\n3,r,0.3\n" * 9)
    mixed = {"name": "csv", "path": str(table), "target": "y", "input_shape": [2, 2]}
    assert load(mixed).meta.input_shape == (2, 2)
    with pytest.raises(ConfigError, match=r"\[2, 2\] has 4 numbers, a row has 2"):
        load({**mixed, "categorical": "codes"})


def test_smooth_clip_squashes_outliers(tmp_path) -> None:
    config = save(tmp_path / "a.npz", x=np.array([0.0, 3.0, 1e9]), y=np.array([0.5, 1.0, 2.0]))
    data = load({**config, "smooth_clip": True, "test_size": 0})
    np.testing.assert_allclose(data.train.x[:, 0], [0, 3 / np.sqrt(2), 3], rtol=1e-6)


TASKS = [
    (np.array(["b", "a", "b", "a"]), "classification", ["a", "b"]),
    (np.array([True, False, True, False]), "classification", ["False", "True"]),
    (np.array([3.0, 7.0, 3.0, 7.0]), "classification", ["3", "7"]),
    (np.array([0.5, 1.0, 2.0, 3.0]), "regression", None),
    (np.arange(40) * 3, "regression", None),
    (np.ones((4, 2)) * 0.3, "regression", None),
]


@pytest.mark.parametrize(("y", "task", "names"), TASKS)
def test_the_target_tells_the_task(y, task, names, tmp_path) -> None:
    config = save(tmp_path / "a.npz", x=np.zeros(len(y)), y=y)
    meta = load({**config, "test_size": 0}).meta
    assert (meta.task, meta.class_names) == (task, names)


REFUSED = [
    (np.repeat(np.arange(30), 2), None, "set data.task: classification or regression"),
    (np.eye(4), None, "set data.task: multi_label"),
    (np.array(["a", "b"]), "regression", "holds text"),
    (np.array([0.5, 1.0]), "classification", "such as 0.5"),
    (np.array([0, 1, 2]), "multi_label", "must be 0 or 1, got 2"),
    (np.array([1.0, np.nan, 2.0]), None, "not finite in 1 rows: 1"),
    (np.array(["a", "a"]), None, "a single class, a"),
    (np.array([[1, 2], [3, 4]]), "classification", "takes one target, got 2"),
    (np.array([1j, 2j]), None, "type complex128"),
]


@pytest.mark.parametrize(("y", "task", "message"), REFUSED)
def test_targets_that_do_not_fit_are_refused(y, task, message, tmp_path) -> None:
    config = save(tmp_path / "a.npz", x=np.zeros(len(y)), y=y)
    with pytest.raises(DataError, match=message):
        load({**config, "task": task, "test_size": 0})


def test_multi_label_and_autoencoder(tmp_path, rng) -> None:
    x = rng.normal(size=(6, 3))
    config = {**save(tmp_path / "a.npz", x=x, y=np.eye(6)[:, :2]), "test_size": 0}
    labels = load({**config, "task": "multi_label"})
    assert (labels.train.y.dtype, labels.meta.class_names) == (np.float32, ["y0", "y1"])
    copy = load({**config, "task": "autoencoder", "standardize": True})
    np.testing.assert_array_equal(copy.train.y, copy.train.x)
    assert copy.meta.n_outputs == 3


def test_weights_follow_their_rows(tmp_path) -> None:
    x = np.arange(12.0)
    config = save(tmp_path / "a.npz", x=x, y=np.arange(12) % 2, weight=x + 1)
    data = load({**config, "test_size": 0.25, "validation_size": 0.25})
    for part in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(part.weight, part.x[:, 0] + 1)


BAD_ARRAYS = [
    ({"x": np.array([1.0, np.inf]), "y": np.zeros(2)}, "not finite in 1 of 2 rows: 1"),
    ({"x": np.array(["a", "b"]), "y": np.zeros(2)}, "expected numbers"),
    ({"x": np.zeros(3), "y": np.zeros(2)}, "3 rows of inputs, but 2 targets"),
    ({"x": np.zeros((10**8, 0)), "y": np.zeros(2)}, r"rows of shape \(0,\), 0 numbers"),
    ({"x": np.zeros((2, 2**24 + 1), bool), "y": np.zeros(2)}, "16,777,217 numbers; expected 1 to"),
    ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "no rows"),
    ({"x": np.zeros(2), "y": np.zeros(2), "weight": np.array([1, -1])}, "weights below 0"),
    ({"x": np.zeros(2), "y": np.zeros(2), "weight": np.zeros(2)}, "all weights are 0"),
    ({"x": np.zeros(2), "y": np.zeros(2), "weight": np.zeros(3)}, "expected one number for each"),
    ({"X": np.zeros(2), "y": np.zeros(2)}, "no array 'x'; did you mean 'X'?"),
    ({"x": np.zeros(2)}, r"no array 'y' \(arrays: x\)"),
    ({"x": np.array([{}, {}]), "y": np.zeros(2)}, "Python objects, which are not loaded"),
]


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS)
def test_bad_arrays_are_refused(arrays, message, tmp_path) -> None:
    with pytest.raises(
        DataError, match=message.replace("?", r"\?") if "mean" in message else message
    ):
        load({**save(tmp_path / "a.npz", **arrays), "test_size": 0})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"\x80\x04K\x01.", b"text"])
def test_files_that_are_no_archive_are_refused(content, tmp_path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        load({"name": "npz", "path": str(path)})


def test_members_that_are_no_arrays_are_refused(tmp_path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"not an array")
    with pytest.raises(DataError, match=r"a.npz: 'x' is not an array in NPY format"):
        load({"name": "npz", "path": str(path)})


WRONG_KEYS = [
    ({}, "data.name: missing"),
    ({"name": "digitz"}, "data.name: unknown data source 'digitz'; did you mean 'digits'?"),
    ({"name": "iris", "tst_size": 0.2}, "data.tst_size: unknown key; did you mean 'test_size'?"),
    ({"name": "iris", "test_size": 1.5}, "data.test_size: got 1.5, expected a share below 1"),
    ({"name": "iris", "test_size": True}, "data.test_size: got True, expected a number"),
    ({"name": "iris", "test_size": -1}, "data.test_size: got -1, expected at least 0"),
    ({"name": "iris", "split": "rndom"}, "data.split: got 'rndom', expected random or ordered"),
    ({"name": "iris", "input_shape": ["a"]}, "expected a list, each entry a whole number"),
    ({"name": "iris", "target_unit": float("inf")}, "data.target_unit: got inf, expected a finite"),
    ({"name": "iris", "target_unit": float("nan")}, "data.target_unit: got nan, expected a finite"),
    ({"name": "csv"}, "data.path: missing: the file"),
    ({"name": "digitz", "batch_size": -3}, "data.batch_size: got -3, expected at least 1"),
    ({"name": "digitz", "pth": "a"}, "data.pth: unknown key; did you mean 'path'?"),
]


@pytest.mark.parametrize(("config", "line"), WRONG_KEYS)
def test_wrong_keys_and_values_are_refused(config, line) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert any(problem.startswith(line) or line in problem for problem in caught.value.problems)


def test_all_wrong_keys_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"name": "iris", "tst_size": 0.2, "split": "no", "stratify": 3})
    assert len(caught.value.problems) == 3


def test_of_an_unknown_source_only_what_is_sure_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"name": "digitz", "path": "a.csv", "test_size": 0.5})
    (problem,) = caught.value.problems
    assert "known: breast_cancer, csv, diabetes" in problem


@pytest.mark.parametrize("standardize", [False, True])
def test_numbers_beyond_float32_are_refused(standardize, tmp_path) -> None:
    x = np.array([[1.0, 1e200], [2.0, 3.0], [3.0, -1e308], [4.0, 1e308]])
    config = save(tmp_path / "a.npz", x=x, y=np.array([0, 1, 0, 1]))
    config |= {"standardize": standardize, "test_size": 0}
    with pytest.raises(DataError, match=r"too large to compute with in float32 \(columns x1\)"):
        load(config)


def test_paths_are_looked_up_in_several_folders(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    save(tmp_path / "two" / "a.npz", x=np.zeros(4), y=np.arange(4) % 2)
    folders = [tmp_path / "one", tmp_path / "two"]
    assert len(load({"name": "npz", "path": "a.npz", "test_size": 0}, base_dirs=folders).train) == 4
    with pytest.raises(DataError, match=r"one/b\.npz or .*two/b\.npz; did you mean 'a\.npz'"):
        load({"name": "npz", "path": "b.npz"}, base_dirs=folders)


def test_class_weights() -> None:
    y = np.array([0, 0, 0, 1, 2, 2])
    names = ["1", "2", "True"]
    np.testing.assert_allclose(class_weights("balanced", names, y), [2 / 3, 2, 1])
    np.testing.assert_array_equal(class_weights({2: 5, True: 0.5}, names, y), [1, 5, 0.5])
    assert class_weights(None, names, y) is None
    with pytest.raises(DataError) as caught:
        class_weights({"3": 1, "2": -1}, names, y, "trainer.class_weight")
    assert caught.value.problems == [
        "trainer.class_weight.3: the target has no class '3' (classes: 1, 2, True)",
        "trainer.class_weight.2: got -1, expected a finite number of at least 0",
    ]
    with pytest.raises(DataError, match="no classes"):
        class_weights("balanced", None, np.zeros(3))


def test_meta_survives_json(tmp_path) -> None:
    data = load({"name": "wine", "standardize": True, "input_shape": [13, 1]})
    plain, arrays = data.meta.to_state()
    restored = Meta.from_state(json.loads(json.dumps(plain)), arrays)
    assert restored.to_state()[0] == plain
    assert (restored.input_shape, restored.n_features) == ((13, 1), 1)
    for key, value in restored.to_state()[1].items():
        np.testing.assert_array_equal(value, arrays[key])


def test_a_fingerprint_tells_files_apart(tmp_path, monkeypatch) -> None:
    import hashlib

    from nnad.data import loading

    path = tmp_path / "a"
    path.write_bytes(b"x" * 5000)
    assert fingerprint(path) == "sha256:" + hashlib.sha256(b"x" * 5000).hexdigest()
    monkeypatch.setattr(loading, "WHOLE_FILE", 1000)
    monkeypatch.setattr(loading, "PIECE", 100)
    pieces = fingerprint(path)
    path.write_bytes(b"x" * 4999 + b"y")
    assert pieces.startswith("sha256-pieces:") and fingerprint(path) != pieces


def test_an_archive_that_unpacks_to_far_too_much_is_refused(tmp_path, monkeypatch) -> None:
    from nnad.data.sources import npz

    monkeypatch.setattr(npz, "BOMB_BYTES", 10**5)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(10**6), y=np.zeros(10**6))
    with pytest.raises(DataError, match=r"x\.npy would unpack from .* to 8,000,128 bytes"):
        load({"name": "npz", "path": str(path)})


@pytest.mark.parametrize("name", source_table())
def test_every_default_is_an_allowed_value(name) -> None:
    """What `check` fills in passes `check` again: a saved configuration trains as it is."""
    keys = source_table()[name].keys()
    required = {key: ["a"] if key == "target" else "a" for key, o in keys.items() if o.required}
    required |= {"window": 3} if "window" in required else {}
    values, problems = check({"name": name, **required})
    assert problems == []
    assert check(values) == (values, [])
    assert source_table()[name].doc.endswith(".")
    assert all(option.doc for option in keys.values())


def test_a_regression_in_other_units(tmp_path) -> None:
    config = save(tmp_path / "a.npz", x=np.zeros(3), y=np.array([1500.5, 3000, 0]))
    data = load({**config, "target_unit": 1000, "test_size": 0})
    np.testing.assert_allclose(data.train.y, [1.5005, 3, 0], rtol=1e-6)
    with pytest.raises(ConfigError, match="target_unit: got 0, expected at least 1e-30"):
        load({**config, "target_unit": 0})


def test_a_missing_file_of_a_well_known_set_can_be_fetched(tmp_path) -> None:
    config = {"name": "idx", "path": "data/mnist"}
    with pytest.raises(DataError, match=r"; python scripts/fetch_data.py mnist brings it"):
        load(config, base_dirs=(tmp_path,))


def test_tokens_stay_whole_numbers(tmp_path, rng) -> None:
    x, y = rng.integers(0, 30, (40, 6)), rng.normal(size=40)
    x[3, 2] = 30
    np.savez(tmp_path / "d.npz", x=x, y=y)
    config = {"name": "npz", "path": str(tmp_path / "d.npz"), "tokens": True, "split": "ordered"}
    data = load(config)
    assert data.train.x.dtype == np.int64 and data.train.y.dtype == np.float32
    np.testing.assert_array_equal(data.train.x, x[:30])
    assert data.meta.extras["tokens"] == 31
    with pytest.raises(ConfigError, match=r"data\.tokens: goes with numbers only"):
        load({**config, "standardize": True})
    np.savez(tmp_path / "d.npz", x=x - 1, y=y)
    with pytest.raises(DataError, match=r"whole numbers from 0 on; they are not in \d+ of 40 rows"):
        load(config)


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path) -> None:
    files = [tmp_path / "a" / "0.png", tmp_path / "b" / "0.png", tmp_path / "b" / "1.png"]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes([number]))
    assert list(fingerprints(files)) == ["a/0.png", "b/0.png", "b/1.png"]
    assert list(fingerprints(files[1:])) == ["0.png", "1.png"]
    assert len(set(fingerprints(files).values())) == 3


def test_very_many_numbers_in_a_row_have_no_names():
    assert names_of((2, 3), "x") == [f"x{i}" for i in range(6)]
    assert names_of((MOST_NAMES + 1,), "x") == []


def test_arrays_that_nobody_asked_for_are_not_unpacked(tmp_path) -> None:
    others = {f"other{i}": np.zeros(10**6) for i in range(30)}
    np.savez_compressed(tmp_path / "a.npz", **others, x=np.arange(8.0), y=np.arange(8.0))
    tracemalloc.start()
    load({"name": "npz", "path": str(tmp_path / "a.npz"), "task": "regression"})
    assert tracemalloc.get_traced_memory()[1] < 4 * 10**6
    tracemalloc.stop()
    with pytest.raises(DataError, match=r"no array 'z' \(arrays: other0, .*other19, \.\.\.\)"):
        load({"name": "npz", "path": str(tmp_path / "a.npz"), "x": "z"})


@pytest.mark.parametrize(
    ("header", "problems"),
    [
        ("a,b", ["rows.csv: none of the 64 columns that the model takes: pixel_0_0, pixel_0_1"]),
        ("pixel_0_0,b", ["rows.csv: no column 'pixel_0_1'; did you mean 'pixel_0_0'?"] * 63),
    ],
)
def test_a_table_of_something_else_is_told_in_a_line(header, problems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(DataError) as caught:
        read_rows("rows.csv", load({"name": "digits"}).meta)
    assert len(caught.value.problems) == min(len(problems), 51)
    assert caught.value.problems[0].startswith(problems[0])
