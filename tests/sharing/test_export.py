"""`nnad export` on runs: every form gives the predictions of `nnad predict`."""

import csv
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnad.autodiff.trees import flatten
from nnad.cli import main
from nnad.sharing.runs import SharedRun
from nnad.training.job import load_data

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["baseline=false", "trainer.epochs=2", "trainer.progress=false"]


def train(folder, config):
    job = [*QUICK, "trainer.early_stopping=null", f"output.dir={folder}"]
    assert main(["train", "--config", f"{config}.yaml", *job]) == 0
    return folder / config


@pytest.mark.parametrize("config", ["tabular", "embedding", "regression"])
def test_a_predictor_reads_the_rows_that_the_command_reads(config, tmp_path, capsys):
    run = train(tmp_path, config)
    rows = ROOT / "data" / "tabular.csv"
    if config == "regression":
        names = SharedRun(str(run)).meta.preprocessor.numeric_names
        values = np.random.default_rng(0).normal(size=(20, len(names)))
        rows = tmp_path / "rows.csv"
        rows.write_text("\n".join(",".join(map(str, line)) for line in [names, *values.tolist()]))
    assert main(["export", str(run), "--standalone", str(tmp_path / "predictor.py")]) == 0
    assert (
        main(["predict", str(run), "--input", str(rows), "--output", str(tmp_path / "a.csv")]) == 0
    )
    code = "import sys; sys.modules['nnad'] = None; import runpy; sys.argv[:] = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "predictor.py", rows],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    theirs = list(csv.DictReader(done.stdout.splitlines()))
    assert len(ours) == len(theirs) > 10
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, cell in one.items():
            if name == "prediction" and config != "regression":
                assert other[name] == cell
            else:
                assert float(other[name]) == pytest.approx(float(cell), rel=1e-4, abs=1e-5)


SHARED = ROOT.parent / "shared" / "data"
DATA = {
    "char_transformer": SHARED / "tinyshakespeare" / "input.txt",
    "lenet": SHARED / "mnist10k",
    "mnist_mlp": SHARED / "mnist10k",
    "tabular_realmlp": SHARED / "california" / "housing.csv",
}
SHORT = ["trainer.epochs=null", "trainer.steps=6", "trainer.steps_per_epoch=3", "schedule=constant"]


@pytest.mark.slow
@pytest.mark.parametrize("config", sorted(p.stem for p in (ROOT / "configs").glob("*.yaml")))
def test_every_configuration_is_handed_on(config, tmp_path, monkeypatch, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    job = [*SHORT, "trainer.early_stopping=null", "baseline=false", "trainer.progress=false"]
    if config in DATA:
        if not DATA[config].exists():
            pytest.skip(f"{DATA[config].name} is not there")
        job.append(f"data.path={DATA[config]}")
    assert main(["train", "--config", f"{config}.yaml", f"output.dir={tmp_path}", *job]) == 0
    shared = SharedRun(str(tmp_path / config))
    shared.to_onnx(str(tmp_path / "model.onnx"))
    shared.to_standalone(str(tmp_path / f"handed_on_{config}.py"))
    data = load_data(shared.config)
    x = np.asarray((data.test or data.validation or data.train).x[:33])
    expected = flatten(shared.model.eval()(x))[0][0].data
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {session.get_inputs()[0].name: x})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    monkeypatch.syspath_prepend(tmp_path)
    predictor = importlib.import_module(f"handed_on_{config}")
    np.testing.assert_allclose(flatten(predictor.predict(x))[0][0], expected, rtol=1e-5, atol=1e-5)


def test_onnx_weights_and_card_of_a_run(tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    safetensors = pytest.importorskip("safetensors.numpy")
    run = train(tmp_path, "mlp")
    forms = {"--onnx": "m.onnx", "--safetensors": "m.safetensors", "--card": "m.md"}
    options = [part for flag, name in forms.items() for part in (flag, str(tmp_path / name))]
    assert main(["export", str(run), *options]) == 0
    shared = SharedRun(str(run))
    x = np.random.default_rng(0).normal(size=(7, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, shared.model.eval()(x).data, rtol=1e-5, atol=1e-5)
    weights = safetensors.load_file(tmp_path / "m.safetensors")
    assert weights.keys() == shared.model.state_dict().keys()
    card = (tmp_path / "m.md").read_text()
    for words in ("# mlp", "## Results", "| accuracy |", "## Versions"):
        assert words in card


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--onnx", "a.onnx"], "nowhere: no such run"),
        (["nowhere"], "say what to write"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    try:
        status = main(["export", *arguments])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert words in capsys.readouterr().err
