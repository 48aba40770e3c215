"""Predictions for files that are read some rows at a time."""

import numpy as np
import pytest

from nnad.data import predicting
from nnad.errors import DataError
from nnad.training.callbacks import Interruption
from nnad.training.inference import predict_file
from nnad.training.job import start

TABLE = """
data: {name: csv, path: rows.csv, target: y, task: regression, standardize: true}
"""
SERIES = """
data: {name: time_series, path: rows.csv, target: y, features: [a, y], window: 7, horizon: 2}
"""
REST = """
model: [Flatten, Linear: {out_features: 8}, ReLU, Linear]
loss: mse
trainer: {epochs: 1, progress: false}
baseline: false
output: {dir: ., name: run}
"""
ROWS = 1300
LINES = [f"{i % 17},{'red' if i % 3 else 'blue'},{i % 29}" for i in range(ROWS)]
HEADER = "a,colour,y"


@pytest.fixture(params=[TABLE, SERIES], ids=["table", "series"])
def run(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("\n".join([HEADER, *LINES]))
    (tmp_path / "job.yaml").write_text(request.param + REST)
    start("job.yaml", [], False, Interruption())
    return tmp_path


@pytest.mark.parametrize("chunk", [1, 100, 20_000])
@pytest.mark.parametrize("piece", [predicting.BATCH_ROWS, 2 * predicting.BATCH_ROWS])
def test_pieces_change_nothing(run, monkeypatch, piece, chunk):
    assert predict_file("run", "rows.csv", "whole.csv") in (ROWS, ROWS - 6)
    monkeypatch.setattr("nnad.data.cells.CHUNK_ROWS", chunk)
    monkeypatch.setattr(predicting, "PIECE_ROWS", piece)
    predict_file("run", "rows.csv", "pieces.csv")
    files = [run / "whole.csv", run / "pieces.csv"]
    whole, pieces = (np.loadtxt(file, skiprows=1, delimiter=",") for file in files)
    np.testing.assert_allclose(pieces, whole, rtol=1e-6, atol=1e-6)
    if whole.ndim == 1:  # windows begin where the piece before ends: their batches differ
        assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_wrong_late_in_a_file_is_told_and_nothing_written(run, monkeypatch):
    monkeypatch.setattr("nnad.data.cells.CHUNK_ROWS", 100)
    monkeypatch.setattr(predicting, "PIECE_ROWS", predicting.BATCH_ROWS)
    (run / "new.csv").write_text("\n".join([HEADER, *LINES, "1,red,2,3", "many,red,2"]))
    with pytest.raises(DataError) as caught:
        predict_file("run", "new.csv", "out.csv")
    assert [line.split(": ", 1)[0] for line in caught.value.problems] == [
        f"new.csv:{ROWS + 2}",
        f"new.csv:{ROWS + 3}",
    ]
    assert not list(run.glob("*out.csv*"))


@pytest.mark.parametrize("run", [SERIES], indirect=True)
def test_too_few_rows_for_a_window_are_refused(run):
    (run / "new.csv").write_text("\n".join([HEADER, *LINES[:6]]))
    with pytest.raises(DataError, match=r"new.csv: 6 rows, but the model looks back over 7"):
        predict_file("run", "new.csv", "out.csv")
    (run / "new.csv").write_text("\n".join([HEADER, *LINES[:7]]))
    assert predict_file("run", "new.csv", "out.csv") == 1
