"""``nnad show``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser


def show(arguments: Sequence[str], prog: str = "nnad show") -> int:
    """Show what a layer, loss, optimizer, schedule, metric, callback or dataset takes."""
    from nnad.training.catalogue import LISTS, page

    parser = Parser(
        prog,
        description=show.__doc__,
        examples=["nnad show layer Conv2d", "nnad show optimizer Adam", "nnad show dataset csv"],
    )
    kinds = list(LISTS.values())
    parser.add_argument("kind", choices=kinds, help=", ".join(kinds))
    parser.add_argument("name", help="as it stands in a configuration")
    options = parser.parse_args(arguments)
    print(page(options.kind, options.name))
    return 0
