"""``nnad evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def evaluate(arguments: Sequence[str], prog: str = "nnad evaluate") -> int:
    """Print the metrics of a run's best checkpoint on the test part."""
    parser = Parser(prog, description=evaluate.__doc__, examples=["nnad evaluate runs/mlp --json"])
    parser.add_argument("run", help="the run's folder, such as runs/mlp")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)

    from nnad.training import inference

    scores = inference.evaluate_run(options.run)
    say(json.dumps(scores, indent=2) if options.json else inference.score_table(scores))
    return 0
