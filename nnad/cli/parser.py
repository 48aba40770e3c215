"""The parser that every command of the command line uses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from nnad.cli.running import BAD_INPUT, end


def new_file(text: str) -> str:
    """The `type` of an option that names a file to write: refused before anything is computed."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: is a folder; name the file to write")
    return text


class Described(Exception):
    """Carries a parser out of the command that made it."""


class Parser(argparse.ArgumentParser):
    """Tells a wrong command line in one line, as every other problem is told.

    Args:
        prog: how the command is called.
        examples: lines for the end of the help.
        keywords: those of `argparse.ArgumentParser`.
    """

    describing: ClassVar[bool] = False  # whether to raise `Described` instead of parsing

    def __init__(self, prog: str, examples: Sequence[str] = (), **keywords: Any) -> None:
        if examples:
            keywords["epilog"] = "\n".join(["examples:", *(f"  {line}" for line in examples)])
            keywords["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, **keywords)

    def parse_known_args(self, *arguments: Any, **keywords: Any) -> Any:
        """Parse, or raise `Described` where only the parser itself is wanted."""
        if Parser.describing:
            raise Described(self)
        return super().parse_known_args(*arguments, **keywords)

    def error(self, message: str) -> NoReturn:
        """Tell `message`, once for all processes of the job, and exit with status 2."""
        sys.exit(end(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)"))
