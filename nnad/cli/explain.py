"""``nnad explain``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nnad.cli.parser import Parser, new_file

FORMATS = ("table", "svg", "html", "mermaid", "dot")


def explain(arguments: Sequence[str], prog: str = "nnad explain") -> int:
    """Show how the derivative of a formula is computed, one row an operation."""
    parser = Parser(
        prog,
        description=explain.__doc__,
        examples=['nnad explain "1/(1+exp(-x))" x=0.5 --output sigmoid.html'],
    )
    parser.add_argument("formula", help='in quotes, with the names of NumPy: "sum(tanh(w*x)**2)"')
    parser.add_argument("values", nargs="*", metavar="name=value", help="x=0.5  w=[1,2,3]  t=pi/2")
    parser.add_argument(
        "--tangent",
        action="append",
        metavar="NAME[=VALUE]",
        help="show forward mode too, along this input (along the others too: repeat)",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by the ending of --output")
    parser.add_argument(
        "--output", type=new_file, metavar="FILE", help="write there instead of to the screen"
    )
    options = parser.parse_intermixed_args([_protected(x) for x in arguments])

    from nnad.autodiff.explain.expression import explain_text

    trace = explain_text(options.formula, options.values, options.tangent)
    ending = os.path.splitext(options.output or "")[1].lstrip(".").lower()
    form = options.format or {"htm": "html", "mmd": "mermaid", "gv": "dot"}.get(ending, ending)
    text = getattr(trace, f"to_{form}")() if form in FORMATS[1:] else trace.table()
    if options.output is None:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.rstrip("\n").encode(encoding, "replace").decode(encoding))
    else:
        Path(options.output).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        print(f"{trace.title}: written to {options.output}")
    return 0


def _protected(argument: str) -> str:
    """A formula such as "-x" with a space before it, so that it is not taken for an option."""
    is_option = argument == "-h" or argument.startswith("--")
    return f" {argument}" if argument.startswith("-") and not is_option else argument
