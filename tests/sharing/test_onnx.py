"""Every layer as ONNX, run by onnxruntime on batches of other sizes than it was exported with."""

import json

import numpy as np
import pytest

from nnad import layers as L
from nnad.sharing import export_onnx
from nnad.sharing.onnx_export import onnx_model
from nnad.sharing.onnx_rules import RULES
from nnad.sharing.prediction import ExportError
from tests.sharing.rows import SAMPLES, of_rows, outputs, sample

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("row", SAMPLES)
def test_a_layer_predicts_the_same(row):
    module, x = sample(row)
    run = session(onnx_model(module, x).SerializeToString())
    for rows in (1, 5):
        given = of_rows(x, rows)
        found = run.run(None, {run.get_inputs()[0].name: given})
        for ours, theirs in zip(outputs(module, given), found, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


def test_a_wrong_rule_is_seen(monkeypatch):
    monkeypatch.setitem(
        RULES, "relu", lambda graph, step: graph.add("Abs", graph.name(step.args[0]))
    )
    module, x = sample(next(s.values[0] for s in SAMPLES if s.id.startswith("ReLU-")))
    run = session(onnx_model(module, x).SerializeToString())
    (found,) = run.run(None, {run.get_inputs()[0].name: x})
    assert np.abs(found - outputs(module, x)[0]).max() > 0.1


def test_a_file_tells_of_any_batch_and_what_it_is(tmp_path, rng):
    model = L.Sequential(L.Linear(3, 2), L.Softmax())
    export_onnx(tmp_path / "a.onnx", model, np.zeros((1, 3), np.float32), {"class_names": '["a"]'})
    loaded = onnx.load(tmp_path / "a.onnx")
    dimensions = loaded.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dimensions] == ["rows", 3]
    assert json.loads(loaded.metadata_props[0].value) == ["a"]
    assert {i.name for i in loaded.graph.initializer} >= {"0.weight", "0.bias"}


class Strange(L.Module):
    def forward(self, x):
        return np.arctan2(x, x + 1.0)


class OneByOne(L.Module):
    def forward(self, x):
        return np.stack([row * 2.0 for row in x])


class Branching(L.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Strange(), "'arctan2' at .*has no form in ONNX.*nnad export --standalone"),
        (OneByOne(), "operations for 2 rows but"),
        (Branching(), "cannot be exported: .*float"),
    ],
)
def test_what_cannot_be_written_names_the_layer_and_a_way_out(layer, words):
    model = L.Sequential(L.Linear(3, 3), L.ReLU(), layer)
    with pytest.raises(ExportError, match=rf"Sequential\.2\.{type(layer).__name__}: .*{words}"):
        onnx_model(model, np.zeros((1, 3), np.float32))
    assert model.training
