"""Predictors of one file: they import NumPy and the standard library, and predict the same."""

import ast
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from nnad import layers as L
from nnad.sharing import export_standalone
from nnad.sharing.prediction import ExportError
from tests.sharing.rows import SAMPLES, of_rows, outputs, sample


def imported(path):
    """The packages that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module


@pytest.mark.parametrize("row", SAMPLES)
def test_a_layer_predicts_the_same(row, tmp_path):
    module, x = sample(row)
    export_standalone(tmp_path / "predictor.py", module, x)
    assert set(imported(tmp_path / "predictor.py")) <= {"numpy", *sys.stdlib_module_names}
    predictor = load(tmp_path / "predictor.py")
    for rows in (1, 5):
        given = of_rows(x, rows)
        found = predictor.predict(given)
        found = found if isinstance(found, tuple) else (found,)
        for ours, theirs in zip(outputs(module, given), found, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6)


def test_it_runs_where_nnad_is_not(tmp_path):
    model = L.Sequential(L.Linear(3, 4), L.GELU(), L.LayerNorm(4), L.Linear(4, 1)).astype("float64")
    x = np.arange(6.0).reshape(2, 3)
    export_standalone(tmp_path / "predictor.py", model, x, about="of two rows")
    code = (
        "import sys; sys.modules['nnad'] = sys.modules['scipy'] = None\n"
        "import numpy as np, predictor\n"
        "print(predictor.predict(np.arange(6.0).reshape(2, 3)).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(ast.literal_eval(done.stdout), model.eval()(x).data, rtol=1e-12)


def test_refusals(tmp_path):
    with pytest.raises(ExportError, match="expected the name of a Python module"):
        export_standalone(tmp_path / "my-model.py", L.ReLU(), np.zeros((1, 2)))
    with pytest.raises(ExportError, match="the example has no rows"):
        export_standalone(tmp_path / "model.py", L.ReLU(), np.zeros((0, 2)))
