"""The parser that every command of the command line uses."""

from __future__ import annotations

import argparse
from typing import NoReturn

from nnad.cli.running import BAD_INPUT


class Parser(argparse.ArgumentParser):
    """Tells a wrong command line in one line, as every other problem is told."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and exit with status 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")
