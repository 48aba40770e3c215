"""What a predictor that stands alone says of rows that it cannot take."""

import errno
import os
import sys

import pytest

from nnad.sharing.rows import main

PLAN = {
    "numeric_names": ["size", "age"], "categorical_names": ["town"], "categories": [["A", "B"]],
    "encoding": "codes", "fill_categorical": None, "smooth_clip": False, "row_shape": None,
    "dtype": "float64", "task": "regression", "class_names": None, "target_names": ["price"],
}  # fmt: skip


def predict(path, monkeypatch, plan=PLAN):
    monkeypatch.setattr(sys, "argv", ["predictor.py", str(path)])
    return main(lambda x: x.sum(axis=1, keepdims=True), plan, {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no column 'size' and 2 more; it has "),
        ("a\n1\n", "no column 'size' and 2 more; it has a"),
        ("size,age\n1,2\n", "no column 'town'; it has size, age"),
        ("size,age,town\n", "no rows under the header"),
        ("size,age,town\n1,2,A\n3\n", "line 3: 1 cells, expected 3"),
        ("size,age,town\n1,2,A\n3,x,B\n", "row 2: column 'age': 'x' is not a number"),
        ("size,age,town\n1,2,A\n3,,B\n", "row 2: column 'age' has no value; fill it"),
        ("size,age,tówn\n", "not UTF-8 (invalid continuation byte); save it as UTF-8"),
    ],
)
def test_what_is_wrong_with_rows_is_told_in_a_line(content, told, tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.csv"
    path.write_text(content, encoding="latin-1")
    assert predict(path, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"{path}: {told}")


def test_a_file_that_is_not_there_is_told(tmp_path, monkeypatch, capsys):
    assert predict(tmp_path / "rows.csv", monkeypatch) == 2
    assert capsys.readouterr().err == f"{tmp_path}/rows.csv: {os.strerror(errno.ENOENT)}\n"


@pytest.mark.parametrize("sign", ",;\t|")
def test_columns_are_found_by_name_whatever_stands_between(sign, tmp_path, monkeypatch, capsys):
    (tmp_path / "rows.csv").write_text("town,other, size ,age\nB,x,3,4\n".replace(",", sign))
    assert predict(tmp_path / "rows.csv", monkeypatch) == 0
    assert capsys.readouterr().out == "prediction\n9.0\n"


def test_one_column_needs_nothing_between(tmp_path, monkeypatch, capsys):
    (tmp_path / "rows.csv").write_text("size\n2\n5\n")
    plan = {**PLAN, "numeric_names": ["size"], "categorical_names": []}
    assert predict(tmp_path / "rows.csv", monkeypatch, plan) == 0
    assert capsys.readouterr().out == "prediction\n2.0\n5.0\n"


def test_a_reader_that_has_gone_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("size,age,town\n" + "1,2,A\n" * 20_000)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert predict(tmp_path / "rows.csv", monkeypatch) == 0
