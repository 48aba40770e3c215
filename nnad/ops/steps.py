"""Functions of a sign or a step: copysign, heaviside, nextafter."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import elementwise, kink
from nnad.autodiff.tensor import value_of
from nnad.ops.elementwise import equal, sign, signbit, where

__all__ = ["copysign", "heaviside", "nextafter"]

copysign = elementwise(
    np.copysign,
    lambda ans, x, y: where(signbit(y), -sign(x), sign(x)),
    None,
    formula="|x0| with the sign of x1",
    partials=("sign(x0) * sign(x1)", "0"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, 1.0), (0.0, 0.0), "as |x| at 0")],
)
nextafter = elementwise(
    np.nextafter,
    1,
    None,
    formula="the number next to x0 on the way to x1",
    partials=("1", "0"),
)


def _zero(ans: Any, *args: Any) -> Any:
    return np.zeros_like(value_of(ans))


heaviside = elementwise(
    np.heaviside,
    _zero,
    lambda ans, x, y: equal(x, 0),
    formula="0 if x0 < 0 else x1 if x0 == 0 else 1",
    partials=("0", "1 if x0 == 0 else 0"),
    domain=(0.3, 2.0),
    kinks=[kink((0.0, 0.5), (0.0, 1.0), "the jump itself has no slope")],
)
