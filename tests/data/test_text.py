"""Texts as rows of tokens, and the tokenizers."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnad.data import BatchIterator, load
from nnad.data.tokenizers import BytePair, Character, Whitespace, from_state
from nnad.errors import DataError

SHAKESPEARE = Path(__file__).resolve().parents[3] / "shared/data/tinyshakespeare/input.txt"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def write(tmp_path, text=ALPHABET * 4):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    return {"name": "text", "path": str(path), "context": 3, "validation_size": 20}


def test_targets_are_the_next_tokens(tmp_path) -> None:
    data = load({**write(tmp_path), "test_size": 10})
    vocabulary = data.meta.class_names
    assert vocabulary == list(ALPHABET)
    assert (data.meta.task, data.meta.n_outputs) == ("language_model", 26)
    for part in (data.train, data.validation, data.test):
        assert part.x.dtype == part.y.dtype == np.int64
        np.testing.assert_array_equal(part.x[:, 1:], part.y[:, :-1])
        np.testing.assert_array_equal(part.y, (part.x + 1) % 26)


def test_parts_share_no_token_and_cover_the_text(tmp_path) -> None:
    text = "".join(chr(200 + i) for i in range(100))
    data = load({**write(tmp_path, text), "test_size": 9, "stride": 1})
    seen = [set(part.x.ravel()) | set(part.y.ravel()) for part in (data.train, data.validation)]
    assert seen[0] == set(range(71)) and not seen[0] & seen[1]
    assert len(data.train) == 71 - 3
    # Each token but the first of a part is predicted once, up to a last row that is not full.
    assert sorted(data.validation.y.ravel()) == list(range(72, 72 + 18))


def test_rows_are_views_of_the_tokens(tmp_path) -> None:
    data = load({**write(tmp_path, ALPHABET * 1000), "stride": 1})
    assert np.shares_memory(data.train.x, data.train.y)
    batch = next(BatchIterator(data.train, 5, seed=0).rest_of_epoch())
    np.testing.assert_array_equal(batch.y, (batch.x + 1) % 26)


@pytest.mark.parametrize("kind", ["character", "whitespace", "bpe"])
def test_each_tokenizer_trains_and_is_restored(kind, tmp_path) -> None:
    text = "the cat and the dog and the bird sat on the mat. " * 30
    data = load({**write(tmp_path, text), "tokenizer": kind, "vocabulary_size": 270})
    tokenizer = from_state(data.meta.extras["tokenizer"])
    assert tokenizer.tokens() == data.meta.class_names
    assert tokenizer.decode(data.train.x[0]) in " ".join(text.split())


PROBLEMS = [
    ({"context": 200}, "train part has 84 tokens, too few for a row of data.context 200"),
    ({"validation_size": 2}, "validation part has 2 tokens"),
    ({"split": "random"}, "only cut in order"),
]


@pytest.mark.parametrize(("more", "message"), PROBLEMS)
def test_what_cannot_be_cut_is_refused(more, message, tmp_path) -> None:
    with pytest.raises(DataError, match=message):
        load({**write(tmp_path), **more})


def test_bytes_that_are_no_text_are_refused(tmp_path) -> None:
    config = write(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    with pytest.raises(DataError, match="not UTF-8 at byte 3"):
        load(config)
    with pytest.raises(DataError, match="cannot be read"):
        load({**config, "path": str(tmp_path)})


@given(st.text(), st.text())
def test_any_text_survives_byte_pairs(learned, text) -> None:
    tokenizer = BytePair.fit(learned + "the then there" * 3, 262)
    if text.encode(errors="ignore").decode() == text:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text(alphabet="ab ", min_size=1, max_size=60))
def test_merges_are_those_of_the_plain_algorithm(text) -> None:
    """Count all pairs anew for every merge, within the same words."""
    from nnad.data.tokenizers import _PIECES, _merged

    words = [list(word.encode()) for word in _PIECES.findall(text)]
    expected = []
    while len(expected) < 5:
        counts = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts or max(counts.values()) < 2:
            break
        best = max(counts, key=lambda pair: (counts[pair], -pair[0], -pair[1]))
        words = [_merged(word, best, 256 + len(expected)) for word in words]
        expected.append(best)
    tokenizer = BytePair.fit(text, 261)
    assert tokenizer.merges == expected
    assert tokenizer.encode(text).tolist() == [token for word in words for token in word]


def test_unknown_tokens() -> None:
    assert Character.fit("abc", 9).encode("xb").tolist() == [0, 1]
    assert Whitespace.fit("a b a", 9).encode("a z").tolist() == [1, 0]


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="the text is not here")
def test_shakespeare() -> None:
    data = load({"name": "text", "path": str(SHAKESPEARE)})
    assert data.meta.n_outputs == 65
    assert data.validation.x.shape == ((1_115_394 // 10 + 1 - 1) // 64, 64)
