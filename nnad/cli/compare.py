"""``nnad compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnad.cli.parser import Parser
from nnad.cli.running import say


def compare(arguments: Sequence[str], prog: str = "nnad compare") -> int:
    """Set runs side by side: scores, times, and the settings in which they differ."""
    parser = Parser(
        prog,
        description=compare.__doc__,
        examples=["nnad compare runs/*", "nnad compare runs/* --output runs.html"],
    )
    parser.add_argument("runs", nargs="+", metavar="run", help="the runs' folders")
    parser.add_argument("--output", metavar="HTML", help="also write a page with their curves")
    options = parser.parse_intermixed_args(arguments)

    from nnad.training.reporting.compare import (
        compare_page,
        compare_table,
        read_records,
        write_page,
    )

    records = read_records(options.runs)
    say(compare_table(records, options.output))
    if options.output:
        write_page(Path(options.output), compare_page(records))
        say(f"written to {options.output}")
    return 0
