"""``nnad crossval``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.members import members_parser, train_members


def crossval(arguments: Sequence[str], prog: str = "nnad crossval") -> int:
    """Train a job once for each fold of its data; show mean and spread of the scores."""
    parser = members_parser(prog, crossval.__doc__, "--folds")
    return train_members("crossval", parser, arguments, "--folds")
