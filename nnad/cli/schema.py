"""``nnad schema``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nnad.cli.parser import Parser


def schema(arguments: Sequence[str], prog: str = "nnad schema") -> int:
    """Print the JSON schema of configurations, by which editors complete and check them."""
    parser = Parser(
        prog,
        description=schema.__doc__,
        examples=[
            "nnad schema > nnad.schema.json",
            "and in a YAML file's first line: # yaml-language-server: $schema=nnad.schema.json",
        ],
    )
    parser.parse_args(arguments)

    from nnad.training.config import config_schema

    print(json.dumps(config_schema(), indent=2))
    return 0
