"""``nnad ensemble``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.members import members_parser, train_members


def ensemble(arguments: Sequence[str], prog: str = "nnad ensemble") -> int:
    """Train a job from several seeds, and score what its members say together."""
    parser = members_parser(prog, ensemble.__doc__, "--members")
    return train_members("ensemble", parser, arguments, "--members")
