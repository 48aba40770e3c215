"""Text files as windows of tokens, to predict each next one."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnad.data.dataset import Features, Raw, Rows
from nnad.data.options import Option, Options, source
from nnad.data.splits import count
from nnad.data.tokenizers import TOKENIZERS, Tokenizer
from nnad.errors import DataError
from nnad.files import ordinary

__all__ = ["load_text"]


@source(
    "text",
    Option("path", str, doc="the file, UTF-8"),
    Option("tokenizer", Literal["character", "whitespace", "bpe"], "character", "what a token is"),
    Option("vocabulary_size", int, 512, "most tokens (whitespace, bpe)", least=2),
    Option("context", int, 64, "tokens in a row", least=1),
    Option("stride", int | None, None, "tokens between training rows (left out: context)"),
    split="ordered",
    test_size=0,
    validation_size=0.1,
)
def load_text(options: Options) -> Raw:
    """Next-token prediction on a text: rows of tokens, and the same rows one token further on.

    The text is cut in order: training, validation, test. Training rows start every ``stride``
    tokens; rows of the other parts do not overlap, so each of their tokens is predicted once. The
    tokenizer learns its vocabulary from the training part.
    """
    path = options.locate()
    try:
        with open(path, encoding="utf-8-sig", opener=ordinary) as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start} ({error.reason})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if options.split == "random":
        raise DataError("data.split: a text is only cut in order; leave split out")
    pieces = _cut(text, options)
    tokenizer = _fit(pieces["train"], text, options)
    encoded = {name: tokenizer.encode(piece) for name, piece in pieces.items()}
    _check_lengths(encoded, options.context, str(path))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.concatenate(list(encoded.values())), options.context + 1
    )
    return Raw(
        Features(windows[:, :-1]),
        windows[:, 1:],
        task="language_model",
        class_names=tokenizer.tokens(),
        target_names=["next"],
        parts=_rows(encoded, options.context, options.stride or options.context),
        files=[path],
        label=str(path),
        extras={"tokenizer": tokenizer.to_state()},
    )


def _cut(text: str, options: Options) -> dict[str, str]:
    test = count(options.test_size, len(text))
    validation = count(options.validation_size, len(text) - test)
    first, second = len(text) - test - validation, len(text) - test
    pieces = {"train": text[:first], "validation": text[first:second], "test": text[second:]}
    return {name: piece for name, piece in pieces.items() if piece or name == "train"}


def _fit(train: str, whole: str, options: Options) -> Tokenizer:
    kind = TOKENIZERS[options.tokenizer]
    if options.tokenizer == "character":  # its alphabet is no knowledge about the order of letters
        return kind.fit(whole, len(set(whole)) + 1)
    return kind.fit(train, options.vocabulary_size)


def _check_lengths(encoded: dict[str, np.ndarray], context: int, label: str) -> None:
    problems = [
        f"{label}: the {name} part has {len(tokens)} tokens, too few for a row of "
        f"data.context {context} and the next token"
        for name, tokens in encoded.items()
        if len(tokens) < context + 1
    ]
    if problems:
        raise DataError(problems)


def _rows(encoded: dict[str, np.ndarray], context: int, stride: int) -> dict[str, Rows]:
    """Start positions of the rows of each part, as slices of all positions."""
    parts: dict[str, Rows] = {}
    begin = 0
    for name, tokens in encoded.items():
        end = begin + len(tokens)
        parts[name] = slice(begin, end - context, stride if name == "train" else context)
        begin = end
    return parts
