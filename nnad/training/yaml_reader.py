"""A reader for YAML that a person wrote: plain data, the line of every key, all problems at once.

It builds dictionaries, lists and scalars from PyYAML's parser events, and nothing else: tags,
duplicate keys and several documents are refused, and so are documents whose aliases or nesting blow
up. Plain scalars follow the core schema of YAML 1.2, in which ``1e-3`` is a number and ``no`` a
text, with ``1_000`` allowed for long numbers (PyYAML itself follows YAML 1.1, which has it the
other way round).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nnad.errors import ConfigError

__all__ = ["Document", "read_scalar", "read_value", "read_yaml"]

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_DIGITS = 400  # more than any number that a float can hold; int() itself refuses long ones

Path = tuple[str | int, ...]

_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
}
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"[-+]?\d+(_\d+)*"), int),
    (re.compile(r"0x[0-9a-fA-F]+(_[0-9a-fA-F]+)*"), lambda text: int(text, 16)),
    (re.compile(r"0o[0-7]+(_[0-7]+)*"), lambda text: int(text, 8)),
    (re.compile(r"[-+]?(\d+(_\d+)*(\.(\d+(_\d+)*)?)?|\.\d+(_\d+)*)([eE][-+]?\d+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda text: float("nan")),
)


@dataclass
class Document:
    """What a YAML text holds.

    Attributes:
        value: dictionaries, lists and scalars; None for an empty document.
        lines: the 1-based line of every key path; the empty path is the document itself.
        problems: (path, line, message) of everything that was refused.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[Path, int, str]] = field(default_factory=list)


def read_scalar(text: str) -> Any:
    """Return the value of an unquoted scalar by the core schema of YAML 1.2.

    >>> [read_scalar(text) for text in ("1e-3", "1_000", "true", "no", "")]
    [0.001, 1000, True, 'no', None]
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) <= MAX_DIGITS:
        for pattern, convert in _NUMBERS:
            if pattern.fullmatch(text):
                return convert(text)
    return text


def read_yaml(text: str) -> Document:
    """Read one YAML document; what is wrong with it stands in the result's `problems`.

    >>> document = read_yaml("optimizer:\\n  name: Adam\\n  lr: 1e-3\\n  lr: 1e-2\\n")
    >>> document.value, document.lines["optimizer", "lr"]
    ({'optimizer': {'name': 'Adam', 'lr': 0.001}}, 3)
    >>> document.problems
    [(('optimizer', 'lr'), 4, 'this key is already given in line 3; keep one of them')]
    """
    import yaml

    if len(text) > MAX_CHARACTERS:
        message = f"the document has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read"
        return Document(problems=[((), 1, message)])
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        builder.build(yaml.parse(text, Loader=loader))
    except _Refused as refusal:
        builder.document.problems.append(refusal.args)
    except yaml.YAMLError as error:
        builder.document.problems.append(((), *_syntax_error(error, text)))
    return builder.document


def _syntax_error(error: Exception, text: str) -> tuple[int, str]:
    """Return line and message of an error of PyYAML's scanner or parser."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
        return line, "not valid YAML: it holds a control character"
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    reason = ", ".join(part for part in parts if part)
    line = mark.line + 1
    hint = "; indent with spaces, not tabs" if "\\t" in reason or "\t" in _line(text, line) else ""
    return line, f"not valid YAML: {reason}{hint}"


def _line(text: str, number: int) -> str:
    """Return a 1-based line of the text, or nothing past its end."""
    lines = text.split("\n")
    return lines[number - 1] if number <= len(lines) else ""


class _Refused(Exception):
    """Reading cannot go on; args are (path, line, message)."""


@dataclass
class _Anchor:
    """A value that aliases repeat, and the number of nodes that each repetition adds."""

    value: Any
    nodes: int


class _Builder:
    """Builds the value of a document from parser events, depth first."""

    def __init__(self) -> None:
        self.document = Document()
        self.anchors: dict[str, _Anchor | None] = {}  # None: the anchored value is not complete
        self.nodes = 0

    def build(self, events: Iterator[Any]) -> None:
        """Consume all events of the stream."""
        import yaml

        self.events = events
        documents = 0
        for event in events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                raise _Refused((), _line_of(event), "a second document begins here; keep one")
            self.document.value = self._node(next(events), ())

    def _note(self, path: Path, line: int, message: str) -> None:
        self.document.problems.append((path, line, message))

    def _node(self, event: Any, path: Path) -> Any:
        """Return the value that begins with `event`."""
        import yaml

        line = _line_of(event)
        self.document.lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), path, line)
        self._count(1, path, line)
        if event.tag is not None:
            self._note(path, line, f"tags are not read, got {_tag_text(event.tag)}; remove it")
        before = self.nodes
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style else read_scalar(event.value)
        elif len(path) >= MAX_DEPTH:
            raise _Refused(path[:4], line, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(value, self.nodes - before + 1)
        return value

    def _count(self, nodes: int, path: Path, line: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = f"the document has more than {MAX_NODES:,} values, aliases counted as copies"
            raise _Refused(path[:4], line, message)

    def _alias(self, name: str, path: Path, line: int) -> Any:
        anchor = self.anchors.get(name)
        if anchor is None:
            problem = "stands inside its own anchor" if name in self.anchors else "has no anchor"
            raise _Refused(path, line, f"the alias *{name} {problem}")
        self._count(anchor.nodes, path, line)
        return copy.deepcopy(anchor.value)

    def _sequence(self, path: Path) -> list[Any]:
        import yaml

        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[Any, Any]:
        import yaml

        pairs: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = _line_of(event)
            key, is_merge = self._key(event, path)
            if is_merge:
                self._merge(merged, self._node(next(self.events), (*path, "<<")), path, line)
            elif key in pairs:
                first = self.document.lines[(*path, key)]
                message = f"this key is already given in line {first}; keep one of them"
                self._note((*path, key), line, message)
                self._skip(next(self.events), (*path, key))
            else:
                self.document.lines[(*path, key)] = line
                pairs[key] = self._node(next(self.events), (*path, key))
        return {**merged, **pairs}

    def _key(self, event: Any, path: Path) -> tuple[Any, bool]:
        """Return a mapping's next key, and whether it is the merge key ``<<``."""
        import yaml

        line = _line_of(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise _Refused(path, line, "a key must be a name or a number, got a list or a mapping")
        self._count(1, path, line)
        if event.tag is not None:
            self._note(path, line, f"tags are not read, got {_tag_text(event.tag)}; remove it")
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(event.value, 1)
        key = event.value if event.style else read_scalar(event.value)
        if key is None or key != key:
            got = event.value or "nothing"
            self._note(path, line, f"a key must be a name or a number, got {got}")
            key = event.value
        return key, key == "<<" and not event.style

    def _merge(self, merged: dict[Any, Any], value: Any, path: Path, line: int) -> None:
        """Add the pairs of ``<<: *alias`` or ``<<: [*a, *b]``; the first one given wins."""
        sources = value if isinstance(value, list) else [value]
        for source in sources:
            if not isinstance(source, dict):
                self._note(path, line, "<< merges mappings, got something else")
                continue
            for key, item in source.items():
                merged.setdefault(key, item)
                self.document.lines.setdefault((*path, key), line)

    def _skip(self, event: Any, path: Path) -> None:
        """Read a value and forget it, with its lines: the first one given is kept."""
        lines = dict(self.document.lines)
        self._node(event, path)
        self.document.lines = lines


def _line_of(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _tag_text(tag: str) -> str:
    """Write a tag as the user did: ``!!int`` stands for ``tag:yaml.org,2002:int``."""
    return tag.replace("tag:yaml.org,2002:", "!!")


def read_value(text: str) -> Any:
    """Read the value of an override, ``1e-3`` or ``[64, 32]`` or ``{patience: 3}``.

    Raises:
        ConfigError: the text is not valid YAML.

    >>> read_value("{name: SGD, lr: 1e-2}")
    {'name': 'SGD', 'lr': 0.01}
    """
    document = read_yaml(text)
    if document.problems:
        raise ConfigError(message for _, _, message in document.problems)
    return document.value
