"""``nnad predict``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def predict(arguments: Sequence[str], prog: str = "nnad predict") -> int:
    """Write the predictions of a run's best checkpoint for the rows of a file."""
    parser = Parser(
        prog,
        description=predict.__doc__,
        examples=["nnad predict runs/mlp --input new.csv --output predictions.csv"],
    )
    parser.add_argument("run", help="the run's folder, such as runs/mlp")
    parser.add_argument(
        "--input",
        required=True,
        metavar="FILE",
        help="rows: CSV (columns found by name), NPY, or NPZ with an array x",
    )
    parser.add_argument("--output", required=True, metavar="CSV", help="where to write them")
    options = parser.parse_args(arguments)

    from nnad.training import inference

    rows = inference.predict_file(options.run, options.input, options.output)
    say(f"{rows} predictions written to {options.output}")
    return 0
