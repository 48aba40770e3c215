"""What there is to choose from, as text: the names of a kind, and what one of them takes."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

from nnad.data.options import REQUIRED, Option, Source, source_table
from nnad.errors import UserError, did_you_mean
from nnad.training.config.writing import flow
from nnad.training.registry import KINDS, Entry, entries, unknown_name
from nnad.typechecks import describe

__all__ = ["LISTS", "listing", "page"]

# What the command line calls the lists, and the kinds that they are of.
LISTS = {
    "layers": "layer",
    "losses": "loss",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "metrics": "metric",
    "callbacks": "callback",
    "datasets": "dataset",
}
WIDTH = 96


def listing(kind: str) -> str:
    """All names of a kind, each with the first line of what is said of it."""
    known: dict[str, Any] = source_table() if kind == "dataset" else entries(kind)
    return table((name, first_line(_about(entry))) for name, entry in sorted(known.items()))


def page(kind: str, name: str) -> str:
    """All that is known of one thing: what it does, its arguments, and how a YAML names it.

    Raises:
        UserError: there is none of this name.
    """
    if kind == "dataset":
        sources = source_table()
        if name not in sources:
            hint = did_you_mean(name, sources) or ";"
            raise UserError(f"unknown dataset {name!r}{hint} known: {', '.join(sorted(sources))}")
        return source_page(sources[name])
    known = entries(kind)
    if name not in known:
        raise UserError(unknown_name(kind, name))
    return entry_page(known[name])


def entry_page(entry: Entry) -> str:
    """The page of a layer, loss, optimizer, schedule, metric or callback."""
    arguments = [
        (
            name,
            f"{describe(entry.hints.get(name, Any))}, " + _when_left_out(entry, name),
        )
        for name in entry.parameters
        if name != entry.variadic
    ]
    return "\n\n".join(
        [
            f"{entry.kind} {entry.name}",
            _about(entry),
            *([f"Arguments in a configuration:\n{table(arguments)}"] if arguments else []),
            f"In a configuration:\n    {example(entry)}",
            f"In code:\n    {KINDS[entry.kind].module}.{entry.make.__name__}",
        ]
    )


def _when_left_out(entry: Entry, name: str) -> str:
    """What an argument is that a configuration does not give."""
    if name in entry.defaults():
        return f"{flow(entry.defaults()[name])} if left out"
    if name in getattr(entry.make, "input_sizes", ()):
        return "follows from the data if left out"
    return "must be given"


def example(entry: Entry) -> str:
    """A line of YAML that names an entry, with a place for what must be given."""
    needed = entry.required - set(getattr(entry.make, "input_sizes", ()))
    given = ", ".join(f"{name}: ..." for name in entry.parameters if name in needed)
    if entry.kind == "layer":
        return f"model: [{{{entry.name}: {{{given}}}}}]" if given else f"model: [{entry.name}]"
    section = {"metric": "metrics"}.get(entry.kind, entry.kind)
    value = f"{{name: {entry.name}, {given}}}" if given else entry.name
    if entry.kind == "callback":
        return f"trainer: {{callbacks: [{value}]}}"
    return f"{section}: [{value}]" if entry.kind == "metric" else f"{section}: {value}"


def _default(option: Option) -> str:
    return "must be given" if option.default is REQUIRED else flow(option.default)


def source_page(source: Source) -> str:
    """The page of a data source: its own keys, then those that all sources share."""
    own = {option.name for option in source.options}
    keys = [
        (option.name, f"{option.doc} ({_default(option)})") for option in source.keys().values()
    ]
    parts = [f"dataset {source.name}", inspect.cleandoc(source.load.__doc__ or "")]
    for title, wanted in [("Keys of its own", True), ("Keys of every dataset", False)]:
        rows = [row for row in keys if (row[0] in own) == wanted]
        parts += [f"{title}:\n{table(rows)}"] if rows else []
    return "\n\n".join(parts)


def _about(entry: Entry | Source) -> str:
    """The docstring of what makes an entry."""
    return inspect.getdoc(entry.load if isinstance(entry, Source) else entry.make) or ""


def first_line(text: str) -> str:
    """The first sentence or line of a docstring."""
    return text.partition("\n\n")[0].replace("\n", " ").replace(":math:", "")


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what is said of them, in two columns."""
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    indent = " " * (width + 4)
    return "\n".join(
        textwrap.fill(
            f"  {name:{width}}  {text}", WIDTH, subsequent_indent=indent, break_on_hyphens=False
        )
        for name, text in pairs
    )
