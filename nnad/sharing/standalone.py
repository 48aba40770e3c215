"""Writing a model as one Python file and one file of weights that predict with NumPy alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnad.compiler.program import Instruction, Value
from nnad.ops.index import Slot
from nnad.sharing.extraction import Extraction
from nnad.sharing.prediction import Dim, ExportError, Prediction, capture_prediction

__all__ = ["export_standalone", "standalone_source"]

HEAD = '''\
"""{title}

Made by nnad {version}.  Needs NumPy and the file {weights} beside it:

    from {module} import predict
    outputs = predict(inputs)          # inputs: {shape} {dtype}

{about}"""

from __future__ import annotations

'''

LOADING = """
WEIGHTS = np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False)
WEIGHTS = {name: WEIGHTS[name] for name in WEIGHTS.files}
"""


def export_standalone(
    path: str | os.PathLike[str],
    model: Any,
    example: Any,
    about: str = "",
    *,
    tail: str = "",
    functions: Sequence[str] = (),
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a predictor that imports only NumPy and the standard library.

    Args:
        path: the Python file; the weights go beside it, with the ending .npz.
        model: takes one array, rows first; exported as it predicts, in evaluation mode.
        example: one row of it or more: shape and dtype of the input.
        about: what to say of the model at the head of the file.
        tail: further source, for the end of the file.
        functions: those of this package that it calls, "module:name"; they come with all they need.
        arrays: further ones for the file of weights.

    Returns:
        The path of the weights.

    Raises:
        ExportError: the model does not do the same operations for any number of rows.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ExportError(f"{path}: expected the name of a Python module, such as predictor.py")
    prediction = capture_prediction(model, example)
    weights = path.with_suffix(".npz")
    source = standalone_source(prediction, path.stem, about, tail, functions)
    path.write_text(source, encoding="utf-8")
    held: dict[str, Any] = {c.name: c.array for c in prediction.constants.values()}
    held |= arrays or {}
    np.savez(weights, **held)
    return weights


def standalone_source(
    prediction: Prediction,
    module: str,
    about: str = "",
    tail: str = "",
    functions: Sequence[str] = (),
) -> str:
    """The text of the Python file."""
    import nnad

    extraction = Extraction()
    for function in functions:
        extraction.take(*function.split(":"))
    if tail:
        extraction.imports |= dict.fromkeys(["import json", "import sys"])
    lines = [line for step in prediction.instructions for line in _lines(step, extraction)]
    (given,) = prediction.inputs
    returned = ", ".join(v.name for v in prediction.outputs)
    externals = [
        f"    {value.name} = {_external(constant)}"
        for value, constant in prediction.constants.items()
    ]
    extraction.imports["from pathlib import Path"] = None
    shape = ", ".join(_size(n, "rows") for n in prediction.shape_of(given))
    body = [
        f"def predict({given.name}):",
        f'    """The model\'s outputs for inputs of shape ({shape})."""',
        f"    {given.name} = np.asarray({given.name}, {str(given.dtype)!r})",
        f"    n = len({given.name})",
        *externals,
        *lines,
        f"    return {returned}",
    ]
    head = HEAD.format(
        title=f"A predictor: {module}.",
        version=nnad.__version__,
        weights=f"{module}.npz",
        module=module,
        shape=f"({shape})",
        dtype=given.dtype,
        about=f"{about.strip()}\n" if about.strip() else "",
    )
    parts = [extraction.source, LOADING.strip(), "\n".join(body), *([tail.strip()] if tail else [])]
    return head + "\n\n\n".join(parts) + "\n"


def _external(constant: Any) -> str:
    array = f"WEIGHTS[{constant.name!r}]"
    if not constant.grows:
        return array
    sizes = ", ".join(_size(n, "n") for n in constant.shape)
    return f"np.full(({sizes},), {array})"


def _lines(step: Instruction, extraction: Extraction) -> list[str]:
    """The lines of one instruction: a call of its forward function."""
    if step.primitive is None or step.has_effect:
        raise ExportError(f"{step.name} at {step.line}: changes state, which a predictor cannot")
    try:
        function = extraction.forward(step.primitive)
    except LookupError as error:
        raise ExportError(f"{step.name} at {step.line}: cannot be taken out: {error}") from error
    arguments = [_text(a) for a in step.args]
    arguments += [f"{key}={_text(value)}" for key, value in step.kwargs.items()]
    if any("Slot(" in argument for argument in arguments):
        extraction.take("nnad.ops.index", "Slot")
    targets = _targets(step.pattern)
    return [f"    {targets} = {function}({', '.join(arguments)})"]


def _targets(pattern: Any) -> str:
    """Where the results go, in the structure that the forward function returns them in."""
    if isinstance(pattern, tuple):
        return "(" + "".join(f"{_targets(part)}, " for part in pattern).rstrip() + ")"
    return "_" if pattern is None else pattern.name


def _text(item: Any) -> str:
    """An argument as source."""
    if isinstance(item, Value):
        return item.name
    if isinstance(item, Dim):
        return _size(item, "n")
    if isinstance(item, tuple):
        return "(" + "".join(f"{_text(part)}, " for part in item).rstrip() + ")"
    if isinstance(item, list):
        return "[" + ", ".join(map(_text, item)) + "]"
    if isinstance(item, slice):
        return f"slice({_text(item.start)}, {_text(item.stop)}, {_text(item.step)})"
    if isinstance(item, np.dtype):
        return f"np.dtype({item.str!r})"
    if isinstance(item, np.generic):
        return f"np.{item.dtype.type.__name__}({item.item()!r})"
    if isinstance(item, float) and not np.isfinite(item):
        return f"float({str(item)!r})"
    if item is None or item is Ellipsis or isinstance(item, (bool, int, float, str, Slot)):
        return repr(item)
    raise ExportError(f"an argument of type {type(item).__name__} cannot be written as source")


def _size(n: Any, rows: str) -> str:
    if not isinstance(n, Dim):
        return str(n)
    scaled = rows if n.per_row == 1 else f"{n.per_row} * {rows}"
    return f"{scaled} + {n.fixed}" if n.fixed else scaled
