"""``nnad train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def train(arguments: Sequence[str], prog: str = "nnad train") -> int:
    """Train a network as a YAML file describes it."""
    parser = Parser(
        prog,
        description=train.__doc__,
        examples=[
            "nnad train --config mlp.yaml",
            "nnad train --config mlp.yaml optimizer.lr=0.01 trainer.epochs=5 output.name=quick",
            "nnad train --config my.yaml --check",
            "nnad train --resume runs/mlp",
        ],
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--config", metavar="FILE", help="the job; a bare name is looked up in configs/ too"
    )
    what.add_argument("--resume", metavar="RUN", help="continue a run as if it had never stopped")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--print-config", action="store_true", help="print the resolved job and exit")
    mode.add_argument("--check", action="store_true", help="run one batch, print shapes and exit")
    mode.add_argument("--overwrite", action="store_true", help="replace an existing run")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as optimizer.lr=0.01"
    )
    options = parser.parse_intermixed_args(arguments)

    from nnad.training.callbacks import Interruption

    with Interruption() as interruption:
        from nnad.training import job  # takes long enough for a signal to come

        if options.resume:
            if options.print_config or options.check or options.overwrite:
                parser.error("--resume goes with none of --print-config, --check, --overwrite")
            say(job.resume(options.resume, options.overrides, interruption))
        elif options.print_config:
            sys.stdout.write(job.resolved_text(options.config, options.overrides))
        elif options.check:
            say(job.check(options.config, options.overrides))
        else:
            say(job.start(options.config, options.overrides, options.overwrite, interruption))
    return 0
