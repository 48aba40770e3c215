"""Writing on: text from a language model, one token after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.data.tokenizers import Tokenizer, from_state
from nnad.errors import UserError
from nnad.training.evaluation import evaluating
from nnad.training.forgery import load_meta
from nnad.training.inference import best_model, open_run

__all__ = ["choose", "continued", "generate_text"]


def generate_text(
    path: str,
    prompt: str = "\n",
    length: int = 500,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> str:
    """`prompt` and what the best weights of a run write after it.

    Args:
        path: the run's folder.
        prompt: how the text begins.
        length: tokens to write.
        temperature: divides the scores: below 1 likelier, above 1 more surprising; 0: always the
            likeliest token.
        top_k: choose among this many likeliest tokens only.
        seed: of the choice.

    Raises:
        UserError: there is no such run, it is no language model, or the prompt cannot be read.
    """
    folder, config = open_run(path)
    meta = load_meta(folder)
    if meta.task != "language_model":
        raise UserError(
            f"{folder.config}: was trained on the data source {config.data.name}; only a run on "
            "data.name: text can generate"
        )
    tokenizer = from_state(meta.extras["tokenizer"])
    begin = _tokens_of(prompt, tokenizer)
    model = best_model(config, meta, folder)
    rng = np.random.default_rng(seed)
    context = meta.input_shape[0]
    written = continued(model, begin, length, context, temperature, top_k, rng)
    return tokenizer.decode([*begin, *written])


def _tokens_of(prompt: str, tokenizer: Tokenizer) -> list[int]:
    """The prompt as tokens, all of them known."""
    known = set(tokenizer.tokens())
    if tokenizer.kind == "character" and not set(prompt) <= known:
        unknown = "".join(sorted(set(prompt) - known))
        raise UserError(f"prompt: the run's text has no {unknown!r}; leave it out")
    tokens = tokenizer.encode(prompt).tolist()
    if not tokens:
        raise UserError(f"prompt: {prompt!r} holds no token to begin with; write at least one")
    return tokens


def continued(
    model: Any,
    tokens: Sequence[int],
    length: int,
    context: int,
    temperature: float,
    top_k: int | None,
    rng: np.random.Generator,
) -> Iterator[int]:
    """The tokens that `model` writes after `tokens`.

    Args:
        model: from (1, time) tokens to (1, time, vocabulary) scores of the next ones.
        context: the most tokens that it sees at once: the last ones.
        length, temperature, top_k, rng: see `generate_text`.
    """
    seen = list(tokens)
    with evaluating(model):
        for _ in range(length):
            scores = value_of(model(np.array([seen[-context:]])))[0, -1]
            seen.append(choose(scores, temperature, top_k, rng))
            yield seen[-1]


def choose(
    scores: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator
) -> int:
    """Draw from softmax(scores / temperature), of the `top_k` largest scores only.

    >>> choose(np.array([0.0, 2.0, 1.0]), 0.0, None, np.random.default_rng(0))
    1
    """
    if temperature == 0:
        return int(scores.argmax())
    scaled = (scores.astype(np.float64) - scores.max()) / temperature
    if top_k is not None and top_k < len(scaled):
        scaled[np.argsort(-scaled, kind="stable")[top_k:]] = -np.inf
    weights = np.exp(scaled)
    return int(rng.choice(len(weights), p=weights / weights.sum()))
