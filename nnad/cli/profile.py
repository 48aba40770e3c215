"""``nnad profile``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnad.cli.parser import Parser
from nnad.cli.running import say


def profile(arguments: Sequence[str], prog: str = "nnad profile") -> int:
    """Show where the time of a training step goes, by layer and operation."""
    parser = Parser(
        prog,
        description=profile.__doc__,
        examples=["nnad profile --config mlp.yaml", "nnad profile --config mlp.yaml --html p.html"],
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        required=True,
        help="the job; a bare name is looked up in configs/ too",
    )
    parser.add_argument(
        "--steps", type=int, default=20, metavar="N", help="steps to time (default: 20)"
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page with pictures there")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as data.batch_size=128"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.steps < 1:
        parser.error(f"argument --steps: at least 1, got {options.steps}")

    from nnad.training.profiling import profile_job

    found = profile_job(options.config, options.overrides, options.steps)
    say(str(found))
    if options.html:
        title = f"A training step of {options.config}"
        Path(options.html).write_text(found.to_html(title), encoding="utf-8")
    return 0
