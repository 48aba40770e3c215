"""``nnad report``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def report(arguments: Sequence[str], prog: str = "nnad report") -> int:
    """Write a run's report: a page with curves, errors, advice and all that made it."""
    parser = Parser(
        prog,
        description=report.__doc__,
        examples=["nnad report runs/mlp", "nnad report runs/mlp --output mlp.html"],
    )
    parser.add_argument("run", help="the run's folder, such as runs/mlp")
    parser.add_argument(
        "--output", metavar="HTML", help="where to write it (report.html in the run's folder)"
    )
    options = parser.parse_args(arguments)

    from nnad.training.reporting import report_run

    say(f"written to {report_run(options.run, options.output)}")
    return 0
