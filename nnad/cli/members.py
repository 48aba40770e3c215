"""What ``nnad crossval`` and ``nnad ensemble`` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnad.cli.parser import Parser
from nnad.cli.running import say

if TYPE_CHECKING:
    from nnad.training.ensemble import Kind


def members_parser(prog: str, description: str | None, count: str) -> Parser:
    """The parser of a command that trains a job several times.

    Args:
        prog, description: see `Parser`.
        count: the option for how many times.
    """
    name = prog.split()[-1]
    parser = Parser(
        prog,
        description=description,
        examples=[
            f"nnad {name} --config mlp.yaml {count} 5 --workers 2",
            f"mpiexec -n 4 python -m mpi4py -m nnad {name} --config mlp.yaml {count} 5",
            f"nnad {name} --resume {name}s/mlp",
            f"nnad predict {name}s/mlp --input new.csv --output predictions.csv",
        ],
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="the job, as for train")
    what.add_argument("--resume", metavar="FOLDER", help="go on where one was cut off")
    parser.add_argument(count, type=int, dest="count", metavar="N", help="how many (5)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that train at once, without MPI (1)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all runs")
    return parser


def train_members(kind: str, parser: Parser, arguments: Sequence[str], count: str) -> int:
    """Train, show scores as they come and the table at the end; returns the exit status."""
    options = parser.parse_intermixed_args(arguments)
    given = (options.count, options.workers, options.overwrite or None, options.overrides or None)
    if options.resume and any(option is not None for option in given):
        parser.error("--resume goes on as it was: without other options and key=value")
    workers = 1 if options.workers is None else options.workers
    if (options.count is not None and options.count < 2) or workers < 1:
        parser.error(f"{count} must be at least 2, --workers at least 1")

    from nnad.training.callbacks import Interruption

    with Interruption():
        from nnad.training import ensemble
        from nnad.training.ensemble.kinds import KINDS

        which: Kind = KINDS[kind]
        if options.resume:
            say(ensemble.resume(which, options.resume, say))
        else:
            job = (options.config, options.overrides, options.count, workers, options.overwrite)
            say(ensemble.start(which, *job, say))
    return 0
