"""``nnad list``."""

from __future__ import annotations

from collections.abc import Sequence

from nnad.cli.parser import Parser


def list_(arguments: Sequence[str], prog: str = "nnad list") -> int:
    """List the layers, losses, optimizers, schedules, metrics, callbacks or datasets."""
    from nnad.training.catalogue import LISTS, listing

    parser = Parser(prog, description=list_.__doc__, examples=["nnad list layers"])
    parser.add_argument("what", choices=LISTS, help=", ".join(LISTS))
    options = parser.parse_args(arguments)
    print(listing(LISTS[options.what]))
    return 0
