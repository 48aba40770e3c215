"""Text to whole numbers and back."""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

__all__ = ["TOKENIZERS", "BytePair", "Character", "Tokenizer", "Whitespace", "from_state"]

UNKNOWN = "<unk>"
LARGEST_VOCABULARY = 2**26  # bytes of all tokens of a byte-pair encoding
# A word with the blank before it, a number, a run of signs, or blanks.
_PIECES = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\w\s]+|_+|\s+(?!\S)|\s")


class Tokenizer(ABC):
    """A vocabulary learned from text; a token is a whole number below its length."""

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, text: str, vocabulary_size: int) -> Tokenizer:
        """Learn at most ``vocabulary_size`` tokens from a text."""

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, int64."""

    @abstractmethod
    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens."""

    @abstractmethod
    def tokens(self) -> list[str]:
        """The text of each token."""

    @abstractmethod
    def to_state(self) -> dict[str, Any]:
        """Everything learned, as plain JSON values; see `from_state`."""


class _Listed(Tokenizer):
    """Tokens that are listed, others being unknown."""

    joint: ClassVar[str]

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self._index = {token: i for i, token in enumerate(vocabulary)}

    def _numbers(self, texts: Iterable[str]) -> np.ndarray:
        unknown = self._index.get(UNKNOWN, 0)
        return np.array([self._index.get(text, unknown) for text in texts], np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        return self.joint.join(self.vocabulary[int(token)] for token in tokens)

    def tokens(self) -> list[str]:
        return list(self.vocabulary)

    def to_state(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocabulary": self.vocabulary}


class Character(_Listed):
    """Each character is a token; those never seen become the first one.

    >>> tokenizer = Character.fit("hello", 10)
    >>> tokenizer.encode("hole"), tokenizer.decode([1, 0, 2])
    (array([1, 3, 2, 0]), 'hel')
    """

    kind = "character"
    joint = ""

    @classmethod
    def fit(cls, text: str, vocabulary_size: int) -> Character:
        common = [character for character, _ in Counter(text).most_common(vocabulary_size)]
        return cls(sorted(common))

    def encode(self, text: str) -> np.ndarray:
        return self._numbers(text)


class Whitespace(_Listed):
    """Each word between blanks is a token, the most frequent ones first; token 0 is unknown.

    >>> tokenizer = Whitespace.fit("to be or not to be", 3)
    >>> tokenizer.encode("to do be"), tokenizer.decode([1, 0, 2])
    (array([1, 0, 2]), 'to <unk> be')
    """

    kind = "whitespace"
    joint = " "

    @classmethod
    def fit(cls, text: str, vocabulary_size: int) -> Whitespace:
        counts = Counter(text.split())
        return cls([UNKNOWN, *(word for word, _ in counts.most_common(vocabulary_size - 1))])

    def encode(self, text: str) -> np.ndarray:
        return self._numbers(text.split())


class BytePair(Tokenizer):
    """Byte-pair encoding: the 256 bytes, and the most frequent neighbours merged one by one.

    Merges do not cross words. Any text can be encoded and comes back unchanged. (Sennrich, Haddow,
    Birch 2016, "Neural machine translation of rare words with subword units".)

    >>> tokenizer = BytePair.fit("low low lower lowest", 258)
    >>> tokenizer.tokens()[256:]
    ['lo', 'low']
    >>> tokenizer.decode(tokenizer.encode("slow ☃")) == "slow ☃"
    True
    """

    kind = "bpe"

    def __init__(self, merges: list[tuple[int, int]]) -> None:
        self.merges = merges
        self._rank = {pair: i for i, pair in enumerate(merges)}
        self._bytes = [bytes([i]) for i in range(256)]
        room = LARGEST_VOCABULARY
        for left, right in merges:
            if not (0 <= left < len(self._bytes) and 0 <= right < len(self._bytes)):
                raise ValueError(f"merge of {left} and {right}: these tokens come later or never")
            room -= len(self._bytes[left]) + len(self._bytes[right])
            if room < 0:
                raise ValueError(f"tokens of more than {LARGEST_VOCABULARY} bytes in all")
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def fit(cls, text: str, vocabulary_size: int) -> BytePair:
        counts = Counter(_PIECES.findall(text))
        words = [list(word.encode()) for word in counts]
        weights = list(counts.values())
        pairs: Counter[tuple[int, int]] = Counter()
        places: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for i, word in enumerate(words):
            for pair in itertools.pairwise(word):
                pairs[pair] += weights[i]
                places[pair].add(i)
        merges: list[tuple[int, int]] = []
        while len(merges) + 256 < vocabulary_size and pairs:
            best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))
            if pairs[best] < 2:
                break
            for i in places.pop(best):
                _count(words[i], -weights[i], i, pairs, places)
                words[i] = _merged(words[i], best, 256 + len(merges))
                _count(words[i], weights[i], i, pairs, places)
            del pairs[best]
            merges.append(best)
        return cls(merges)

    def encode(self, text: str) -> np.ndarray:
        cache = self._cache
        tokens: list[int] = []
        for word in _PIECES.findall(text):
            known = cache.get(word)
            if known is None:
                known = cache[word] = self._encode_word(word)
            tokens += known
        return np.array(tokens, np.int64)

    def _encode_word(self, word: str) -> list[int]:
        parts = list(word.encode())
        last = len(self.merges)
        while len(parts) > 1:
            first = min(self._rank.get(pair, last) for pair in itertools.pairwise(parts))
            if first == last:
                break
            parts = _merged(parts, self.merges[first], 256 + first)
        return parts

    def decode(self, tokens: Iterable[int]) -> str:
        return b"".join(self._bytes[int(token)] for token in tokens).decode(errors="replace")

    def tokens(self) -> list[str]:
        return [token.decode(errors="backslashreplace") for token in self._bytes]

    def to_state(self) -> dict[str, Any]:
        return {"kind": self.kind, "merges": [list(pair) for pair in self.merges]}


def _count(
    word: list[int],
    weight: int,
    place: int,
    pairs: Counter[tuple[int, int]],
    places: defaultdict[tuple[int, int], set[int]],
) -> None:
    """Add the pairs of a word to the counts, or take them off for a negative weight."""
    for pair in itertools.pairwise(word):
        pairs[pair] += weight
        if weight > 0:
            places[pair].add(place)


def _merged(word: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """The word with each occurrence of the pair replaced by the token, from the left.

    >>> _merged([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    merged, i = [], 0
    while i < len(word):
        if word[i] == pair[0] and i + 1 < len(word) and word[i + 1] == pair[1]:
            merged.append(token)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.kind: kind for kind in (Character, Whitespace, BytePair)
}


def from_state(state: Mapping[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from what its ``to_state`` returned.

    Raises:
        ValueError: the tokens are none that could be learned.

    >>> from_state(Character.fit("abc", 9).to_state()).tokens()
    ['a', 'b', 'c']
    """
    if state["kind"] == BytePair.kind:
        return BytePair([(int(left), int(right)) for left, right in state["merges"]])
    listed = {Character.kind: Character, Whitespace.kind: Whitespace}[state["kind"]]
    return listed(list(state["vocabulary"]))
