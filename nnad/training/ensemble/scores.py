"""What the members of an ensemble or a cross-validation have reached, one by one and together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnad.training.report import number, table

__all__ = ["Scores", "spread_of", "spread_table"]

Scores = Mapping[str, float | None]


def spread_of(members: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Mean and spread of each score over the members.

    Args:
        members: the scores of each by name, None where a number is not finite.

    Returns:
        By name: ``mean``, ``std`` (of a single member, from n - 1; None of one), ``values``.

    >>> spread_of([{"loss": 1.0}, {"loss": 3.0}])
    {'loss': {'mean': 2.0, 'std': 1.4142135623730951, 'values': [1.0, 3.0]}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name in members[0] if members else ():
        values = [member.get(name) for member in members]
        known = np.array([math.nan if v is None else v for v in values])
        whole = bool(np.isfinite(known).all())
        std = float(known.std(ddof=1)) if whole and len(known) > 1 else None
        found[name] = {"mean": float(known.mean()) if whole else None, "std": std, "values": values}
    return found


def spread_table(
    part: str, ours: Mapping[str, Any], baseline: Mapping[str, Any] | None, together: Scores | None
) -> str:
    """A row for each score: mean and spread of the members, of the baseline, and all together.

    Args:
        part: of the data that was scored.
        ours: what `spread_of` gave.
        baseline: ``estimator`` and, under ``test``, what `spread_of` gave for it.
        together: scores of the averaged predictions.
    """
    if not ours:
        return (
            "nothing to score on: the data have neither a test nor a validation part; set "
            "data.test_size or data.validation_size to more than 0"
        )
    head = ["", "mean", "std", "lowest", "highest"]
    head += ["together"] * (together is not None)
    head += [baseline["estimator"], "std"] if baseline else []
    rows = [head]
    for name, spread in ours.items():
        values = [v for v in spread["values"] if v is not None]
        ends = [min(values), max(values)] if values else [None, None]
        cells = [spread["mean"], spread["std"], *ends]
        cells += [together.get(name)] if together is not None else []
        if baseline:
            other = baseline["test"].get(name, {})
            cells += [other.get("mean"), other.get("std")]
        rows.append([f"{part} {name}", *map(number, cells)])
    return table(rows)
