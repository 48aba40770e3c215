"""Windows over time series: what is seen, what is predicted, and to which part it belongs."""

import numpy as np
import pytest

from nnad.data import load, read_rows
from nnad.data.lazy import LazyRows
from nnad.data.sources import time_series
from nnad.errors import DataError


def config(tmp_path, rows=20, text=None, **more):
    path = tmp_path / "a.csv"
    lines = ["day,level", *(f"{i},{i / 10}" for i in range(rows))]
    path.write_text(text if text is not None else "\n".join(lines))
    base = {"name": "time_series", "path": str(path), "target": "level", "window": 3}
    return {**base, "test_size": 5, "validation_size": 4, **more}


def test_windows_and_the_values_after_them(tmp_path) -> None:
    data = load(config(tmp_path), dtype="float64")
    np.testing.assert_allclose(data.train.x[0], [[0, 0], [1, 0.1], [2, 0.2]])
    assert [part.y.shape for part in (data.train, data.validation, data.test)] == [(8,), (4,), (5,)]
    targets = np.concatenate([part.y for part in (data.train, data.validation, data.test)])
    np.testing.assert_allclose(targets, np.arange(3, 20) / 10)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_no_target_belongs_to_two_parts(horizon, tmp_path) -> None:
    data = load(config(tmp_path, horizon=horizon))
    seen = [set(np.round(part.y.ravel() * 10)) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in seen] == [8, 4, 5]
    assert data.meta.n_outputs == horizon
    for part in (data.train, data.validation, data.test):
        np.testing.assert_allclose(
            part.y.reshape(len(part), -1)[:, 0], part.x[:, -1, 1] + 0.1, 1e-5
        )


def test_several_targets_and_chosen_inputs(tmp_path) -> None:
    data = load(config(tmp_path, target=["level", "day"], features="day", horizon=2))
    assert data.meta.target_names == ["level+1", "day+1", "level+2", "day+2"]
    assert data.meta.input_shape == (3, 1)
    np.testing.assert_allclose(data.train.y[0], [0.3, 3, 0.4, 4], rtol=1e-6)


def test_columns_are_scaled_and_large_sets_cut_on_demand(tmp_path, monkeypatch) -> None:
    whole = load(config(tmp_path, standardize=True))
    np.testing.assert_allclose(whole.train.x[..., 0], whole.train.x[..., 1], atol=1e-6)
    monkeypatch.setattr(time_series, "IN_MEMORY", 0)
    lazy = load(config(tmp_path, standardize=True))
    assert isinstance(lazy.train.x, LazyRows)
    np.testing.assert_array_equal(lazy.test.x[:], whole.test.x)


def test_prediction_from_each_full_window(tmp_path) -> None:
    data = load(config(tmp_path, standardize=True))
    rows = read_rows(tmp_path / "a.csv", data.meta)
    assert rows.shape == (18, 3, 2)
    np.testing.assert_array_equal(rows[:8], data.train.x)


PROBLEMS = [
    ({"target": "levle"}, "no column 'levle'; did you mean 'level'?"),
    ({"window": 30}, "20 rows are too few for data.window 30"),
    ({"window": 10**30}, "20 rows are too few for data.window 1000"),
    ({"horizon": 10**30}, "20 rows are too few for data.window"),
    ({"horizon": 6}, "the validation part is too short"),
    ({"split": "random"}, "only cut in order"),
    ({"text": "day,level\nmon,1\ntue,2\n"}, "holds text, not numbers; name the input columns"),
    ({"text": "day,level\n1,1\n2,\n"}, ":3: column 'level' has no value"),
]


@pytest.mark.parametrize(("more", "message"), PROBLEMS)
def test_what_does_not_fit_is_refused(more, message, tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        load(config(tmp_path, **more))
    assert message in str(caught.value)
