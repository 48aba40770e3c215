"""What a run knows about its data: whether its parts fit each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
from pydantic import ConfigDict, create_model

from nnad.data import tokenizers
from nnad.data.dataset import MOST_NUMBERS, Meta
from nnad.data.preprocessing import Preprocessor
from nnad.training import checkpoint
from nnad.training.forgery.trees import believing, brief

if TYPE_CHECKING:
    from nnad.training.run_folder import RunFolder

__all__ = ["load_meta", "require_consistent"]

NAMED = ("classification", "multi_label", "language_model")  # tasks whose outputs have names
NUMBERS = ("regression", "autoencoder")
DTYPES = ("float32", "float64", "int64")
ENCODINGS = ("one_hot", "codes")


def load_meta(folder: RunFolder) -> Meta:
    """What a run folder says about its data.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    tree = checkpoint.load(folder.preprocessing)
    with believing(folder.preprocessing, "does not say what a run knows about its data"):
        meta = Meta.from_state(**tree)
        _require_types(Preprocessor, vars(meta.preprocessor))
        _require_types(Meta, vars(meta))
        require_consistent(meta)
    return meta


def require_consistent(meta: Meta) -> None:
    """Raise a ValueError unless preprocessing, inputs, targets and their names fit each other."""
    known = meta.preprocessor
    _require(known.encoding in ENCODINGS, "encoding", known.encoding, f"one of {ENCODINGS}")
    _require(known.dtype in DTYPES, "dtype", known.dtype, f"one of {DTYPES}")
    _require_extras(meta)
    _require_numbers(meta)
    _require_categories(known)
    _require_input(meta)
    _require_target(meta)


def _require_types(kind: type, values: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the fields of a dataclass hold what their annotations say."""
    hints = get_type_hints(kind, localns={"Preprocessor": Preprocessor})
    config = ConfigDict(arbitrary_types_allowed=True, strict=True)
    fields: dict[str, Any] = {name: (hints[name], ...) for name in values}
    create_model(kind.__name__, __config__=config, **fields).model_validate(dict(values))


def _require(holds: bool, name: str, found: Any, expected: Any) -> None:
    if not holds:
        raise ValueError(f"{name} is {brief(found)}, expected {expected}")


def _require_extras(meta: Meta) -> None:
    """A tokenizer with the outputs' names, a window, or a number of tokens."""
    extras, shape = meta.extras, meta.preprocessor.raw_shape
    _require(extras.keys() <= {"tokenizer", "window", "tokens"}, "extras", extras, "known ones")
    is_text = meta.task == "language_model"
    _require(is_text == ("tokenizer" in extras), "extras", extras, f"those of the task {meta.task}")
    _require(
        (meta.preprocessor.dtype == "int64") == ("tokens" in extras),
        "dtype", meta.preprocessor.dtype, "int64 for tokens alone",
    )  # fmt: skip
    if is_text:
        found = tokenizers.from_state(extras["tokenizer"])
        _require(found.to_state() == extras["tokenizer"], "tokenizer", extras, "its whole state")
        _require(found.tokens() == meta.class_names, "tokenizer", extras, "the classes as tokens")
        _require(len(shape) == 1 <= shape[0], "raw_shape", shape, "a number of tokens")
    if "window" in extras:
        window = extras["window"]
        _require(type(window) is int and len(shape) == 2 and window == shape[0] > 0,
                 "window", window, f"as many moments as in a row of shape {shape}")  # fmt: skip
    if "tokens" in extras:
        tokens = extras["tokens"]
        _require(type(tokens) is int and 0 < tokens <= MOST_NUMBERS, "tokens", tokens, "a number")


def _require_numbers(meta: Meta) -> None:
    """A name for each number, and what fills and scales them."""
    known = meta.preprocessor
    shape = known.raw_shape
    _require(min(shape, default=-1) >= 0, "raw_shape", shape, "sizes of at least 0")
    count = shape[-1] if "window" in meta.extras else math.prod(shape)
    named = len(known.numeric_names)
    _require(named in (0, count), "numeric_names", named, f"{count} names")
    _require(not (known.categorical_names and named != count), "numeric_names", named, count)
    for name in ("fill", "center", "scale"):
        _require_floats(name, getattr(known, name), shape[-1:])
    _require((known.center is None) == (known.scale is None), "scale", known.scale, "as center")


def _require_floats(name: str, found: np.ndarray | None, shape: Sequence[int]) -> None:
    if found is not None:
        right = found.dtype == np.float64 and found.shape == tuple(shape)
        _require(right, name, found, f"float64 of shape {tuple(shape)}")
        _require(bool(np.isfinite(found).all()), name, found, "finite numbers")
        _require("scale" not in name or bool((found > 0).all()), name, found, "more than 0")


def _require_categories(known: Preprocessor) -> None:
    """Known texts for each column, what fills it one of them."""
    categories, fill = known.categories, known.fill_categorical
    _require(len(categories) == len(known.categorical_names), "categories", categories,
             f"those of {known.categorical_names}")  # fmt: skip
    for texts in categories:
        _require(len(set(texts)) == len(texts) > 0, "categories", texts, "different texts")
    if fill is not None and categories:
        fits = len(fill) == len(categories) and all(map(list.__contains__, categories, fill))
        _require(fits, "fill_categorical", fill, "a known text for each column")


def _require_input(meta: Meta) -> None:
    """The shape, the names and the columns of codes that preprocessing makes."""
    known = meta.preprocessor
    shape: tuple[int, ...] = known.raw_shape
    if known.categorical_names:
        _require(len(shape) == 1, "raw_shape", shape, "a row of numbers beside categories")
        columns = [1 if known.encoding == "codes" else len(texts) for texts in known.categories]
        shape = (shape[0] + sum(columns),)
    if known.row_shape is not None:
        _require(min(known.row_shape, default=0) >= 0 and
                 math.prod(known.row_shape) == math.prod(shape),
                 "row_shape", known.row_shape, f"{math.prod(shape)} numbers")  # fmt: skip
        shape = known.row_shape
    _require(meta.input_shape == shape, "input_shape", meta.input_shape, shape)
    _require(math.prod(shape) <= MOST_NUMBERS, "input_shape", shape, f"{MOST_NUMBERS} numbers")
    names = known.output_names() if known.row_shape is None else []
    _require(meta.feature_names == names, "feature_names", meta.feature_names, names)
    codes = known.code_columns()
    _require(meta.categorical == codes, "categorical", meta.categorical, codes)


def _require_target(meta: Meta) -> None:
    """As many outputs as there are names, or numbers in the target."""
    known = meta.preprocessor
    _require(meta.task in (*NAMED, *NUMBERS), "task", meta.task, f"one of {(*NAMED, *NUMBERS)}")
    named = meta.class_names is not None
    _require(named == (meta.task in NAMED), "class_names", meta.class_names, f"as for {meta.task}")
    center, scale = known.target_center, known.target_scale
    _require((center is None) == (scale is None), "target_scale", scale, "as target_center")
    if center is not None and scale is not None:
        _require(meta.task == "regression", "target_scale", scale, "none but of a regression")
        for name, found in (("target_center", center), ("target_scale", scale)):
            _require_floats(name, found, center.shape)
        _require(math.prod(center.shape) == meta.n_outputs, "n_outputs", meta.n_outputs,
                 math.prod(center.shape))  # fmt: skip
    outputs = meta.n_outputs
    if meta.class_names is not None:
        _require(outputs == len(meta.class_names), "n_outputs", outputs, len(meta.class_names))
    if meta.task == "autoencoder":
        inputs = math.prod(meta.input_shape)
        _require(outputs == inputs, "n_outputs", outputs, inputs)
    _require(0 < outputs <= MOST_NUMBERS, "n_outputs", outputs, f"1 to {MOST_NUMBERS}")
