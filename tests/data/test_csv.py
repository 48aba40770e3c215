"""CSV files as people write them, and everything that can be wrong with one."""

import csv
import re
import time

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, RobustScaler, StandardScaler

from nnad.data import array_files, cells, load, read_rows
from nnad.data.table import read_csv
from nnad.errors import DataError

ROWS = """size,colour,weight,label
1.5,red,1,cat
2.5,blue,2,dog
3.5,red,1,cat
4.5,green,3,dog
"""


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    return path


def config(path, **more):
    return {"name": "csv", "path": str(path), "target": "label", "test_size": 0, **more}


def problems(path, **more):
    with pytest.raises(DataError) as caught:
        load(config(path, **more))
    return caught.value.problems


FORMS = {
    "plain": (ROWS, "utf-8"),
    "byte order mark": (ROWS, "utf-8-sig"),
    "crlf": (ROWS.replace("\n", "\r\n"), "utf-8"),
    "no last line end": (ROWS.rstrip(), "utf-8"),
    "blank lines": (ROWS.replace("\n", "\n\n"), "utf-8"),
    "semicolons": (ROWS.replace(",", ";"), "utf-8"),
    "tabs": (ROWS.replace(",", "\t"), "utf-8"),
    "pipes": (ROWS.replace(",", "|"), "utf-8"),
    "quotes": (ROWS.replace("red", '"red"'), "utf-8"),
    "spaces": (ROWS.replace(",", " , "), "utf-8"),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_the_same_table_are_read_alike(form, tmp_path) -> None:
    data = load(config(write(tmp_path, *FORMS[form]), drop="weight"))
    assert data.meta.feature_names == ["size", "colour=blue", "colour=green", "colour=red"]
    assert data.meta.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(
        data.train.x, [[1.5, 0, 0, 1], [2.5, 1, 0, 0], [3.5, 0, 0, 1], [4.5, 0, 1, 0]]
    )
    np.testing.assert_array_equal(data.train.y, [0, 1, 0, 1])


def test_codes_come_last_and_zero_is_unknown(tmp_path) -> None:
    path = write(tmp_path, ROWS)
    data = load(config(path, categorical="codes", split="ordered", test_size=1))
    assert data.meta.feature_names == ["size", "weight", "colour"]
    assert data.meta.categorical == [{"name": "colour", "column": 2, "cardinality": 3}]
    np.testing.assert_array_equal(data.train.x[:, 2], [2, 1, 2])
    np.testing.assert_array_equal(data.test.x[:, 2], [0])  # green is not in the training part


def test_columns_by_role(tmp_path) -> None:
    data = load(config(write(tmp_path, ROWS), weight_column="weight", features=["size"]))
    assert data.meta.feature_names == ["size"]
    np.testing.assert_array_equal(data.train.weight, [1, 2, 1, 3])
    several = load(config(write(tmp_path, ROWS), target=["size", "weight"], drop=["label"]))
    assert several.meta.target_names == ["size", "weight"]
    np.testing.assert_array_equal(several.train.y[0], [1.5, 1])
    numbers_as_categories = load(config(write(tmp_path, ROWS), categorical_columns="weight"))
    assert "weight=1" in numbers_as_categories.meta.feature_names


def test_decimal_comma(tmp_path) -> None:
    path = write(tmp_path, "a;label\n1,5;0,25\n2;1\n")
    data = load(config(path, decimal=","))
    np.testing.assert_array_equal(data.train.x[:, 0], [1.5, 2])


@pytest.fixture
def mixed(tmp_path, rng):
    """A table with gaps, its path and its raw columns."""
    size = rng.normal(5, 3, 60)
    size[::7] = np.nan
    price = rng.lognormal(size=60)
    price[3] = np.nan
    colour = rng.choice(["red", "green", "blue"], 60).astype(object)
    colour[::11] = ""
    label = rng.choice(["no", "yes"], 60)
    path = tmp_path / "mixed.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["colour", "size", "label", "price"])
        for row in zip(colour, size, label, price, strict=True):
            writer.writerow(["NA" if cell != cell else cell for cell in row])
    return path, np.column_stack([size, price]), colour[:, None]


SCALERS = {True: StandardScaler, "robust": RobustScaler}


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent"])
@pytest.mark.parametrize("standardize", [True, "robust"])
@pytest.mark.parametrize("encoding", ["one_hot", "codes"])
def test_preprocessing_equals_a_scikit_learn_pipeline(
    mixed, strategy, standardize, encoding
) -> None:
    path, numbers, colours = mixed
    if encoding == "codes":
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    else:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(strategy=strategy), SCALERS[standardize]()), [0, 1]),
            (
                "c",
                make_pipeline(SimpleImputer(strategy="most_frequent", missing_values=""), encoder),
                [2],
            ),
        ]
    )
    raw = np.column_stack([numbers.astype(object), colours])
    expected = pipeline.fit(raw[:45]).transform(raw[45:]).astype(float)
    expected[:, 2:] += encoding == "codes"
    data = load(
        config(
            path,
            missing="impute",
            impute=strategy,
            standardize=standardize,
            categorical=encoding,
            split="ordered",
            test_size=15,
        ),
        dtype="float64",
    )
    np.testing.assert_allclose(data.test.x, expected, rtol=1e-12, atol=1e-12)


def test_new_rows_match_columns_by_name(mixed, tmp_path) -> None:
    path, _, _ = mixed
    data = load(config(path, missing="impute", standardize=True))
    np.testing.assert_array_equal(read_rows(path, data.meta), data.train.x)
    new = tmp_path / "new.csv"
    new.write_text("extra;price;colour;size\nx;1.0;violet;\n")
    row = read_rows(new, data.meta)[0]
    assert row.shape == (5,) and not row[2:].any()  # a colour never seen


def test_new_rows_that_do_not_fit_are_refused(tmp_path) -> None:
    meta = load(config(write(tmp_path, ROWS))).meta
    cases = {
        "siz,colour,weight\n1,red,2\n": ["{}: no column 'size'; did you mean 'siz'?"],
        "size,colour,weight\nbig,red,2\n": ["{}:2: column 'size': 'big' is not a number"],
        "size,colour,weight\n,red,2\n1,,2\n": [
            "{}:2: column 'size' has no value, and the model was trained with data.missing: refuse",
            "{}:3: column 'colour' has no value, and the model was trained with "
            "data.missing: refuse",
        ],
        "": ["{}: the file is empty; expected a header line with column names"],
    }
    new = tmp_path / "new.csv"
    for text, expected in cases.items():
        new.write_text(text)
        with pytest.raises(DataError) as caught:
            read_rows(new, meta)
        assert caught.value.problems == [line.format(new) for line in expected]
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "none.csv", meta)


@pytest.mark.parametrize("form", ["flat", "image"])
def test_new_rows_of_array_data_from_csv_and_npz(form, tmp_path, rng) -> None:
    x = rng.normal(size=(6, 2, 3) if form == "image" else (6, 6))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(6) % 2)
    arrays = {"name": "npz", "path": str(tmp_path / "a.npz"), "test_size": 0}
    data = load({**arrays, "standardize": True, "input_shape": [3, 2]}, dtype="float64")
    np.testing.assert_array_equal(read_rows(tmp_path / "a.npz", data.meta), data.train.x)
    names = data.meta.preprocessor.numeric_names
    lines = [",".join(names), *(",".join(map(repr, row.ravel().tolist())) for row in x)]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(read_rows(tmp_path / "new.csv", data.meta), data.train.x, rtol=1e-12)
    np.savez(tmp_path / "bad.npz", x=x[:0])
    with pytest.raises(DataError, match="x has no rows"):
        read_rows(tmp_path / "bad.npz", data.meta)
    np.savez(tmp_path / "bad.npz", x=np.zeros((2, 5)))
    with pytest.raises(DataError, match=r"rows of shape \(5,\)"):
        read_rows(tmp_path / "bad.npz", data.meta)


BAD = {
    "empty": ("", ["{}: the file is empty; expected a header line with column names"]),
    "header only": ("a,label\n", ["{}: no rows under the header"]),
    "duplicate": (
        "a,b,a,label\n1,2,3,x\n",
        ["{}:1: column name 'a' occurs twice (columns 1, 3)"],
    ),
    "numbers for names": (
        "0,5,0,7,1,2\n1,2,3,4,5,6\n",
        [
            "{}:1: expected a header line with column names, got the numbers 0, 5, 0, 7, 1, ...; "
            "write a line of different names above them"
        ],
    ),
    "nameless": (
        "a,,label\n1,2,x\n",
        ["{}:1: column 2 has no name; give it one, or leave the column out (pandas: index=False)"],
    ),
    "ragged": (
        "a,label\n1,x\n1\n2,y\n3,y,z\n",
        ["{}:3: 1 cells, expected 2", "{}:5: 3 cells, expected 2"],
    ),
    "open quote": (
        'a,b,label\n1,2,x\n"3,4,y\n5,6,x\n',
        ["{}:3: 1 cells, expected 3 (it goes on to line 4: is a quote not closed?)"],
    ),
    "cells of several lines": (
        'a,b,label\n1,2,x\n\nfoo,2,"x\ny"\n1,,x\n',
        [
            "{}:4: column 'a': 'foo' is not a number (a column of texts? categorical_columns: [a])",
            "{}:6: column 'b' has no value; fill it, or set data.missing: impute",
        ],
    ),
    "text and gaps": (
        "a,label\n1,x\nfoo,y\n2,y\n,x\nnan,x\ninf,y\n",
        [
            "{}:3: column 'a': 'foo' is not a number (a column of texts? categorical_columns: [a])",
            "{}:7: column 'a': 'inf' is not finite",
            "{}:5: column 'a' has no value; fill it, or set data.missing: impute",
            "{}:6: column 'a' has no value; fill it, or set data.missing: impute",
        ],
    ),
    "everything": (
        "a,b,lable\n1,2,x\nfoo,,y\n2,3\n4,5,x\n",
        [
            "{}:4: 2 cells, expected 3",
            "{}:3: column 'a': 'foo' is not a number (a column of texts? categorical_columns: [a])",
            "data.target: {} has no column 'label'; did you mean 'lable'?",
            "{}:3: column 'b' has no value; fill it, or set data.missing: impute",
        ],
    ),
    "gaps": (
        "a,label\n1,x\n,y\nNaN,y\n4,\n",
        [
            "{}:5: column 'label' has no value",
            "{}:3: column 'a' has no value; fill it, or set data.missing: impute",
            "{}:4: column 'a' has no value; fill it, or set data.missing: impute",
        ],
    ),
    "target": (
        "a,lable\n1,x\n2,y\n",
        ["data.target: {} has no column 'label'; did you mean 'lable'?"],
    ),
    "nothing to learn from": ("label\nx\ny\n", ["{}: no input columns beside label"]),
    "one class": (
        "a,label\n1,x\n2,x\n",
        ["{}: the target has a single class, x; nothing to learn"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_each_problem_is_told_with_its_line(case, tmp_path) -> None:
    text, expected = BAD[case]
    path = write(tmp_path, text)
    assert problems(path) == [line.format(path) for line in expected]


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
@pytest.mark.parametrize("choice", [{"drop": "note"}, {"features": ["a"]}])
def test_cells_of_columns_that_are_left_out_may_be_bad(
    choice, in_memory, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(array_files, "IN_MEMORY", in_memory)
    monkeypatch.setenv("NNAD_CACHE_DIR", str(tmp_path / "cache"))
    path = write(tmp_path, "a,note,label\n1,5,x\n2,inf,y\n3,none,x\n4,7,y\n")
    assert load(config(path, **choice)).meta.feature_names == ["a"]


def test_a_column_is_named_once(tmp_path) -> None:
    path = write(tmp_path, "a,b,label\n1,5,x\n2,6,y\n")
    assert problems(path, features=["a", "b", "a"]) == [
        "data.features: names column 'a' more than once: name it once"
    ]


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n"])
def test_a_delimiter_is_a_single_sign(delimiter, tmp_path) -> None:
    path = write(tmp_path, "a,label\n1,x\n2,y\n")
    with pytest.raises(DataError, match=r"data\.delimiter: got .*expected a single sign"):
        read_csv(path, delimiter=delimiter)


def test_not_utf8_is_told_with_its_line(tmp_path) -> None:
    path = write(tmp_path, "a,label\n1,x\n2,é\n", "latin-1")
    remedy = "save it as UTF-8 (Excel: CSV UTF-8)"
    assert problems(path) == [f"{path}:3: not UTF-8 (invalid continuation byte); {remedy}"]


@pytest.mark.parametrize(
    ("start", "told"),
    [(b"\x1f\x8b", "compressed, .*gunzip"), (b"PK\x03\x04", "Excel workbook, .*save it as CSV")],
)
def test_what_is_no_text_is_told(start, told, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(start + b"\xff\xfe\n" * 9)
    (line,) = problems(path)
    assert re.search(told, line)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_called_so(encoding, tmp_path) -> None:
    (problem,) = problems(write(tmp_path, "\ufeff" + ROWS, encoding))
    assert "the file is UTF-16, expected UTF-8" in problem
    assert "iconv -f UTF-16 -t UTF-8" in problem


def test_cells_beyond_all_measure_are_refused(tmp_path) -> None:
    path = write(tmp_path, "a,label\n" + "1" * 200_000 + ",x\n")
    assert problems(path) == [f"{path}:2: field larger than field limit (131072)"]


def test_a_quote_that_is_not_closed_is_told_where_it_is_opened(tmp_path) -> None:
    path = write(tmp_path, 'a,label\n1,x\n\n2,"y\n' + "3,x\n" * 50_000)
    end = 4 + 131_072 // 4  # the lines that fill the cell
    assert problems(path) == [
        f"{path}:4: field larger than field limit (131072) "
        f"(it goes on to line {end}: is a quote not closed?)"
    ]


@pytest.mark.parametrize(
    ("rest", "end"),
    [
        ("3,x\n4,y\n", 6),  # never closed
        ('3,x\n4,"y"\n5,z\n', 6),
        ('3,"","x\n",4,"y"\n', 5),
    ],
)
def test_a_quote_that_swallows_rows_is_told(rest, end, tmp_path) -> None:
    path = write(tmp_path, 'a,label\n1,x\n\n2,"y\n' + rest)
    assert f"{path}:4: a quote is not closed: its cell goes on to line {end}" in problems(path)


def test_cells_with_quotes_and_lines_are_not_taken_for_swallowed_rows(tmp_path) -> None:
    rng = np.random.default_rng(0)
    cells = ["".join(rng.choice([*'ab,"\n'], 7)) for _ in range(4000)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], *zip(cells[::2], cells[1::2], strict=True)])
    table = read_csv(tmp_path / "a.csv", delimiter=",", categorical=["a", "b"])
    assert len(table) == 2000


def test_a_folder_is_no_file(tmp_path) -> None:
    assert problems(tmp_path) == [
        f"{tmp_path}: cannot be read: is a folder; expected an ordinary file"
    ]


def test_many_problems_are_counted(tmp_path) -> None:
    path = write(tmp_path, "a,label\n" + "1,x\n" * 100 + "1\n" * 80)
    found = problems(path)
    assert len(found) == 51
    assert found[-1] == "... and 30 more of these (ragged)"


def test_a_column_without_a_value_cannot_be_filled(tmp_path) -> None:
    path = write(tmp_path, "a,b,label\n,1,x\n,2,y\n")
    assert problems(path, missing="impute") == [
        "column 'a' has no value in the training part; drop it"
    ]


def test_names_in_the_configuration_must_be_columns(tmp_path) -> None:
    path = write(tmp_path, ROWS)
    found = problems(path, drop=["sise"], weight_column="wait", categorical_columns=["color"])
    assert [line.split(":")[0] for line in found] == [
        "data.weight_column",
        "data.drop",
        "data.categorical_columns",
    ]
    assert "did you mean 'colour'?" in found[2]


def test_text_in_a_weight_column_is_refused(tmp_path) -> None:
    path = write(tmp_path, "a,w,label\n1,x,p\n2,y,q\n")
    assert len(problems(path, weight_column="w")) == 2


def test_a_missing_target_key_is_told(tmp_path) -> None:
    path = write(tmp_path, ROWS)
    with pytest.raises(DataError, match="target: missing: name the target"):
        load({"name": "csv", "path": str(path)})


def test_chunks_make_no_difference(mixed, monkeypatch) -> None:
    path, _, _ = mixed
    whole = read_csv(path)
    monkeypatch.setattr(cells, "CHUNK_ROWS", 7)
    chunked = read_csv(path)
    assert len(chunked) == 60
    for name, column in whole.columns.items():
        assert chunked.columns[name] == column  # with the places of empty cells
        np.testing.assert_array_equal(chunked.values(name), whole.values(name))


def test_the_kind_is_settled_by_the_first_chunk(tmp_path, monkeypatch) -> None:
    path = write(tmp_path, "a,label\n" + "1,x\n" * 10 + "word,y\n" * 30)
    monkeypatch.setattr(cells, "CHUNK_ROWS", 10)
    with pytest.raises(DataError, match=r":12: column 'a': 'word' is not a number"):
        read_csv(path)


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_the_kind_is_the_same_in_all_files(in_memory, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(array_files, "IN_MEMORY", in_memory)
    monkeypatch.setenv("NNAD_CACHE_DIR", str(tmp_path / "cache"))
    paths = [tmp_path / f"{i}.csv" for i in range(3)]
    for path, rows in zip(
        paths, ["red,x\n5,y\nblue,x\n", ",y\n", "1,x\n2,y\nred,x\n"], strict=True
    ):
        path.write_text("a,label\n" + rows)
    several = {**config(paths), "path": [str(path) for path in paths], "missing": "impute"}
    with pytest.raises(DataError) as caught:
        load(several)
    assert caught.value.problems == [
        f"{paths[2]}: column 'a' holds numbers, but texts in the files before: name its kind "
        "(numeric_columns: [a] or categorical_columns: [a])"
    ]
    data = load({**several, "categorical_columns": "a"})
    assert data.meta.feature_names == ["a=1", "a=2", "a=5", "a=blue", "a=red"]


@pytest.mark.parametrize("sign", sorted(cells.MISSING))
def test_every_sign_of_an_empty_cell(sign, tmp_path) -> None:
    path = write(tmp_path, f"a,b,label\n1,x,p\n{sign},{sign},q\n3,y,p\n4,y,q\n")
    found = read_csv(path)
    for name in "ab":
        assert (found.columns[name].gaps, found.columns[name].gap_count) == ([f"{path}:3"], 1)
    np.testing.assert_array_equal(found.values("a"), [1, np.nan, 3, 4])
    np.testing.assert_array_equal(found.values("b"), [0, -1, 1, 1])


def test_none_may_be_a_category_but_not_a_number(tmp_path) -> None:
    columns = read_csv(write(tmp_path, "a,b\nnone,none\n1,x\n2,y\n")).columns
    assert columns["a"].gap_count == 1
    assert columns["b"].levels == ["none", "x", "y"]


def test_many_columns_of_one_name_are_told_at_once(tmp_path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(",".join(["a", *(f"c{i}" for i in range(10**5)), *["a"] * 10**5]) + "\n")
    begin = time.process_time()
    (told,) = problems(file)
    assert "column name 'a' occurs twice (columns 1, 100002, 100003" in told
    assert time.process_time() - begin < 5
