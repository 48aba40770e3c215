"""``nnad plan``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def plan(arguments: Sequence[str], prog: str = "nnad plan") -> int:
    """Predict step time, memory and efficiency of a job in several processes."""
    parser = Parser(
        prog,
        description=plan.__doc__,
        examples=[
            "nnad plan --config lstm_text.yaml --ranks 16 --bandwidth 1.25 --latency 20",
            "mpiexec -n 2 nnad plan --config lstm_text.yaml   (measures messages, a step)",
        ],
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the job, as for train")
    parser.add_argument(
        "--ranks", type=int, default=8, metavar="N", help="up to so many processes (8)"
    )
    parser.add_argument(
        "--bandwidth", type=float, metavar="GB", help="gigabytes a second between two of them"
    )
    parser.add_argument("--latency", type=float, metavar="US", help="microseconds of a message")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as seed=1")
    options = parser.parse_intermixed_args(arguments)
    given = [x for x in (options.bandwidth, options.latency) if x is not None]
    if options.ranks < 1 or any(x <= 0 for x in given):
        parser.error("--ranks, --bandwidth and --latency must be more than 0")

    from nnad.distributed import world
    from nnad.training.config import load_config
    from nnad.training.plan import Network, disturbed, plan_table
    from nnad.training.plan import plan as predictions

    network = None
    if len(given) == 2:
        network = Network(options.latency * 1e-6, options.bandwidth * 1e9)
    elif given or world().size == 1:
        parser.error(
            "--bandwidth and --latency say what messages cost; without both, start it by mpiexec, "
            "and they are measured"
        )
    doubled = [2**i for i in range(options.ranks.bit_length()) if 2**i < options.ranks]
    found = predictions(options.config, options.overrides, [*doubled, options.ranks], network)
    say(plan_table(found))
    if disturbed(found):
        say(
            "an efficiency far over 100% cannot be: other programs disturbed what was measured; "
            "plan again when this machine has nothing else to do"
        )
    if load_config(options.config, options.overrides).distributed.blocks == 1:
        say(
            "distributed.blocks is 1: every process computes whole batches, so more of them are no "
            "quicker; distributed.blocks=null divides batches"
        )
    return 0
