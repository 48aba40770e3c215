"""``nnad generate``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser
from nnad.cli.running import say


def generate(arguments: Sequence[str], prog: str = "nnad generate") -> int:
    """Print text that a run's best checkpoint writes after a prompt."""
    parser = Parser(
        prog,
        description=generate.__doc__,
        examples=["nnad generate runs/char_transformer --prompt ROMEO: --temperature 0.8"],
    )
    parser.add_argument(
        "path", metavar="run", help="the run's folder, such as runs/char_transformer"
    )
    parser.add_argument("--prompt", default="\n", help="how the text begins")
    parser.add_argument("--length", type=int, default=500, metavar="N", help="tokens to write")
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="0: always the likeliest token"
    )
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="choose among the K likeliest tokens only"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    options = parser.parse_args(arguments)
    for name, least in (("length", 0), ("temperature", 0.0), ("top_k", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and not least <= value < float("inf"):
            flag = "--" + name.replace("_", "-")
            parser.error(f"{flag} is {value}, expected a number of at least {least:g}")

    from nnad.training.generation import generate_text

    say(generate_text(**vars(options)))
    return 0
