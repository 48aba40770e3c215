import math
import re
import time

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnad.errors import ConfigError
from nnad.training.yaml_reader import read_scalar, read_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("-7", -7),
        ("+7", 7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        # What YAML 1.1 would not leave alone, and what only looks like a number.
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1__0", "1__0"),
        ("_1", "_1"),
        ("1e", "1e"),
        (".", "."),
        ("e5", "e5"),
        ("1-2", "1-2"),
        ("inf", "inf"),
    ],
)
def test_plain_scalars_follow_the_core_schema(text, value):
    result = read_scalar(text)
    assert result == value
    assert type(result) is type(value)


def test_nan_is_a_number():
    assert math.isnan(read_scalar(".nan"))


def test_absurdly_long_numbers_stay_text():
    assert read_scalar("9" * 5000) == "9" * 5000


def test_quoted_numbers_stay_text():
    assert read_yaml("a: '5'\nb: \"1e-3\"\nc: |\n  7\n").value == {
        "a": "5",
        "b": "1e-3",
        "c": "7\n",
    }


def test_every_key_path_knows_its_line():
    document = read_yaml("# comment\na: 1\nb:\n  c: [1,\n    {d: 2}]\n  e: text\n")
    assert document.value == {"a": 1, "b": {"c": [1, {"d": 2}], "e": "text"}}
    lines = {("a",): 2, ("b",): 3, ("b", "c"): 4, ("b", "c", 0): 4, ("b", "c", 1): 5}
    lines |= {("b", "c", 1, "d"): 5, ("b", "e"): 6}
    assert {path: line for path, line in document.lines.items() if path} == lines


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ("a",), 3, "line 1"),
        ("m:\n  k: 1\n  k: {x: 1}\n", ("m", "k"), 3, "line 2"),
        ("1: a\n1.0: b\n", (1,), 2, "line 1"),
        ("a: !!int 5\n", ("a",), 1, "tags are not read, got !!int"),
        ("a: !!python/object/apply:os.system ['true']\n", ("a",), 1, "!!python/object"),
        ("!thing a: 1\n", (), 1, "!thing"),
        ("? [1, 2]\n: 3\n", (), 1, "key must be a name"),
        ("~: 3\n", (), 1, "key must be a name"),
        ("a: 1\n---\nb: 2\n", (), 2, "second document"),
        ("a: *b\n", ("a",), 1, "*b has no anchor"),
        ("a: &a [*a]\n", ("a", 0), 1, "inside its own anchor"),
        ("a: 1\n b: 2\n", (), 2, "not valid YAML"),
        ("a:\n\t- 1\n", (), 2, "spaces, not tabs"),
        ("a: [1, 2\n", (), 2, "not valid YAML"),
        ("a: 'x\n", (), 2, "not valid YAML"),
        ("a: \x01\n", (), 1, "control character"),
    ],
)
def test_problems_are_told_with_their_place(text, path, line, words):
    (problem,) = read_yaml(text).problems
    assert problem[:2] == (path, line)
    assert words in problem[2]


def test_the_first_of_two_equal_keys_is_kept_and_reading_goes_on():
    document = read_yaml("a: 1\na: {b: !x 2}\nc: 3\nc: 4\n")
    assert document.value == {"a": 1, "c": 3}
    assert document.lines["a",] == 1
    assert [problem[0] for problem in document.problems] == [("a",), ("a", "b"), ("c",)]


def test_anchors_merge_keys_and_copies():
    document = read_yaml("a: &a {x: 1, y: [2]}\nb: *a\nc: {<<: *a, x: 5}\nd: {<<: [*a, {z: 0}]}\n")
    assert document.problems == []
    value = document.value
    assert value["b"] == {"x": 1, "y": [2]}
    assert value["c"] == {"x": 5, "y": [2]}
    assert value["d"] == {"x": 1, "y": [2], "z": 0}
    value["b"]["y"].append(3)
    assert value["a"]["y"] == [2]  # an alias is a copy, not the same list


BOMBS = {
    "aliases": "a0: &a0 [x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
    "depth": "[" * 100_000,
    "block depth": "".join(" " * i + "a:\n" for i in range(1000)),
    "many values": "[" + "1, " * 200_000 + "1]",
    "length": "a: " + "x" * 1_000_001,
    "a long line without an end": "{" * 900_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_documents_that_blow_up_are_refused_at_once(name):
    start = time.perf_counter()
    (problem,) = read_yaml(BOMBS[name]).problems
    assert time.perf_counter() - start < 1.0
    assert any(
        words in problem[2]
        for words in ("more than", "deeper than", "characters", "key must be", "nesting depth")
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n"])
def test_empty_documents_hold_nothing(text):
    document = read_yaml(text)
    assert document.value is None
    assert document.problems == []


def test_override_values():
    assert read_value("{patience: 3, min_delta: 1e-4}") == {"patience": 3, "min_delta": 1e-4}
    assert read_value("") is None
    with pytest.raises(ConfigError, match="tags are not read"):
        read_value("!!int 3")


keys = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(keys, values, min_size=1, max_size=4))
def test_reads_quoted_yaml_as_pyyaml_does(value):
    text = yaml.safe_dump(value, default_style='"', allow_unicode=True)
    stripped = text.replace('!!null "null"', "null").replace("!!bool ", "").replace("!!int ", "")
    expected = yaml.safe_load(stripped)
    assert read_yaml(stripped).value == expected


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
@example("0:\r0")  # YAML ends a line there
def test_any_text_is_read_or_refused_without_an_exception(text):
    for path, line, message in read_yaml(text).problems:
        assert isinstance(path, tuple)
        assert 1 <= line <= len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text)) + 1
        assert message == message.strip() != ""
