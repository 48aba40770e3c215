"""What is remarkable at a step: a value or derivative that is not finite, a point with a kink."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.explain import numbers
from nnad.autodiff.explain.trace import Step
from nnad.autodiff.table import Kink, Primitive


def note(step: Step, entry: Primitive | None) -> str:
    """A line about a step, or nothing; what is not finite is told where it arises, not later on."""
    if step.kind == "input":
        return "" if _finite(step.value) else "the input itself is not finite"
    if not _finite(step.value) and all(_finite(x.value) for x in step.operands):
        return f"{step.in_numbers or step.formula} is not finite, though its inputs are"
    for partial in step.partials:
        if not _finite(partial.value) and _finite(step.value):
            return f"{partial.name} is {numbers.value(partial.value)}: the slope is not finite here"
    for kink in entry.kinks if entry else ():
        if _is_at(kink, step):
            return f"no derivative at this point; {kink.why}"
    return ""


def _finite(x: Any) -> bool:
    if x is None or isinstance(x, (str, bytes)):
        return True
    if isinstance(x, (tuple, list)):
        return all(_finite(part) for part in x)
    x = np.asarray(x)
    return x.dtype.kind not in "fc" or bool(np.isfinite(x).all())


def _is_at(kink: Kink, step: Step) -> bool:
    """Whether single numbers went into the step that are the kink's, or are as equal as its are."""
    values = [x.value for x in step.operands]
    if len(values) != len(kink.args) or not all(numbers.is_scalar(x) for x in values):
        return False
    if kink.why.startswith("ties"):
        return len(set(values)) == 1
    return all(numbers.is_scalar(k) and k == x for k, x in zip(kink.args, values, strict=True))
