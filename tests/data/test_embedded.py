"""The sets read without importing scikit-learn are the ones it hands out."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

from nnad.data import load, source_table
from nnad.data.options import checked
from nnad.data.sources import embedded

NAMES = ["digits", "iris", "wine", "breast_cancer", "diabetes", "linnerud"]


@pytest.mark.parametrize("name", NAMES)
def test_values_and_names_equal_scikit_learns(name) -> None:
    found = getattr(sklearn.datasets, f"load_{name}")()
    raw = source_table()[name].load(checked({"name": name}, ["."])[1])
    np.testing.assert_allclose(raw.x.numeric, found.data, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(raw.y, found.target)
    assert raw.x.numeric_names == list(found.feature_names)
    if raw.task == "classification":
        assert raw.class_names == [str(target) for target in found.target_names]
    elif name == "linnerud":
        assert raw.target_names == list(found.target_names)


@pytest.mark.parametrize("name", NAMES)
def test_without_the_files_scikit_learn_is_asked(name, monkeypatch, tmp_path) -> None:
    direct = embedded._READERS[name]()
    monkeypatch.setattr(embedded, "_folder", lambda: tmp_path)
    asked = source_table()[name].load(checked({"name": name}, ["."])[1])
    np.testing.assert_allclose(asked.x.numeric, direct[0], rtol=1e-12, atol=1e-15)
    assert asked.x.numeric_names == direct[2]
    assert (asked.class_names or asked.target_names) == direct[3]


def test_digits_load_without_importing_scikit_learn() -> None:
    code = (
        "import sys; from nnad.data import load\n"
        "load({'name': 'digits', 'standardize': True, 'validation_size': 0.1})\n"
        "print(*{m.split('.')[0] for m in sys.modules} & {'sklearn', 'scipy', 'pandas'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_several_outputs() -> None:
    data = load({"name": "linnerud", "test_size": 5, "standardize_target": True})
    assert data.train.y.shape == (15, 3)
    assert data.meta.n_outputs == 3
    assert data.meta.target_names == ["Weight", "Waist", "Pulse"]
