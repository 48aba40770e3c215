"""Wording of what is wrong with a configuration: what was got, what is allowed, what was meant."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nnad.errors import did_you_mean
from nnad.training.config.locations import Locations, Path
from nnad.training.config.schema import Config

__all__ = ["messages", "quote", "section_at"]

LONGEST_QUOTE = 60

_EXPECTED = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "finite_number": "expected a finite number",
    "float_type": "expected a number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "int_from_float": "expected an integer",
    "int_type": "expected an integer",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "list_type": "expected a list",
    "literal_error": "expected {expected}",
    "model_attributes_type": "expected a mapping",
    "model_type": "expected a mapping",
    "string_pattern_mismatch": "expected a text of the form {pattern}",
    "string_too_short": "expected a text that is not empty",
    "string_type": "expected a text",
    "too_short": "expected at least {min_length} entry",
}
_NUMBER_TYPES = {"bool_type", "choice", "float_type", "int_type", "int_from_float"}


def quote(value: Any) -> str:
    """Write a value as it stands in YAML, shortened; a text is called one.

    >>> quote("5"), quote(5), quote(None), quote({})
    ("the text '5'", '5', 'nothing', 'an empty mapping')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind} {_shortened(str(value))}" if value else f"an empty {kind}"
    if isinstance(value, str):
        return f"the text {_shortened(repr(value))}"
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def messages(
    error: ValidationError, locations: Locations, root: type[BaseModel] = Config
) -> list[str]:
    """Word each of pydantic's errors as one line with its location.

    Args:
        error: of a document.
        locations: where its keys are.
        root: what describes the whole document.
    """
    lines = []
    for detail in error.errors(include_url=False):
        path: Path = tuple(detail["loc"])
        lines.append(f"{locations.label(path)}: {_message(detail, path, root)}")
    return lines


def _message(detail: Any, path: Path, root: type[BaseModel]) -> str:
    kind, got = detail["type"], detail["input"]
    if kind == "missing":
        return f"is missing: {_description(path, root)}"
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown_key(path, root)
    if kind in ("two_lengths", "folder_name"):
        return str(detail["msg"]) if kind == "two_lengths" else f"{quote(got)} {detail['msg']}"
    expected = _EXPECTED.get(kind)
    if kind in ("model_type", "model_attributes_type") and _may_be_a_name(path, root):
        expected = "expected a name, or a mapping that holds one"
    text = expected.format(**detail.get("ctx", {})) if expected else detail["msg"]
    return f"{text}, got {quote(got)}{_hint(kind, got)}"


def _may_be_a_name(path: Path, root: type[BaseModel]) -> bool:
    """Whether a bare name can stand for the section: those with something to choose."""
    section = section_at(path, root)
    return section is not None and bool({"name", "estimator"} & set(section.model_fields))


def _hint(kind: str, got: Any) -> str:
    """Return how to mend a value that is nearly right."""
    from nnad.training.yaml_reader import read_scalar

    if kind in _NUMBER_TYPES and isinstance(got, str):
        value = read_scalar(got)
        if value is not None and not isinstance(value, str):
            return f"; write {got} without quotes"
        if kind == "bool_type" and got.lower() in {"yes", "on", "no", "off"}:
            return f"; write {'true' if got.lower() in {'yes', 'on'} else 'false'}"
    if kind in ("int_type", "int_from_float") and isinstance(got, float) and got.is_integer():
        return f"; write {int(got)}"
    if kind == "list_type" and isinstance(got, str):
        return f"; write [{got}]"
    return ""


def _description(path: Path, root: type[BaseModel]) -> str:
    section = section_at(path[:-1], root)
    field = section.model_fields.get(str(path[-1])) if section else None
    return (field.description if field else None) or "it has no default"


def _unknown_key(path: Path, root: type[BaseModel]) -> str:
    """Say that a key is unknown, where it belongs if it is known elsewhere, and what is known."""
    section, key = section_at(path[:-1], root), path[-1]
    known = list(section.model_fields) if section else []
    homes = [
        f"{name}.{key}"
        for name in root.model_fields
        if (other := section_at((name,), root)) and key in other.model_fields
    ]
    hint = did_you_mean(str(key), known)
    if not hint and homes:
        hint = f"; did you mean {homes[0]!r}?"
    return f"unknown key{hint or ';'} known here: {', '.join(known)}"


def section_at(path: Path, root: type[BaseModel] = Config) -> type[BaseModel] | None:
    """Return the model that describes the mapping at a key path, if there is one.

    >>> section_at(("trainer", "early_stopping")).__name__
    'EarlyStopping'
    """
    section: type[BaseModel] | None = root
    for key in path:
        if isinstance(key, int):
            continue  # an entry of a list is described with the list
        field = section.model_fields.get(key) if section else None
        section = _model_in(field.annotation) if field else None
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model class that an annotation, perhaps a union or a list, stands for."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, UnionType, list):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None
