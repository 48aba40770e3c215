"""``nnad sweep``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def sweep(arguments: Sequence[str], prog: str = "nnad sweep") -> int:
    """Train a job with many settings, several at once, and show which are best."""
    parser = Parser(
        prog,
        description=sweep.__doc__,
        examples=[
            "nnad sweep --config sweep.yaml workers=2",
            "nnad sweep --resume sweeps/sweep",
        ],
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="the sweep: its job, settings and method")
    what.add_argument("--resume", metavar="SWEEP", help="go on with a sweep that was cut off")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing sweep")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as trials=50")
    options = parser.parse_intermixed_args(arguments)
    if options.resume and (options.overwrite or options.overrides):
        parser.error("--resume goes on as it was: without --overwrite and key=value")

    from nnad.training.callbacks import Interruption

    with Interruption():
        from nnad.training.sweep import resume, start

        if options.resume:
            say(resume(options.resume, say))
        else:
            say(start(options.config, options.overrides, options.overwrite, say))
    return 0
