"""What in-place statements of a captured step become.

Those on arrays that outlive the step (parameters, gradients, buffers) write at each replay; those
on arrays that the step has made itself give a new value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import TABLE, Primitive

_REASON = "it writes into an array"


def _write(target: np.ndarray, value: Any) -> None:
    target[...] = value


def _write_at(target: np.ndarray, value: Any, *indices: Any, key: Any) -> None:
    target[...] = TABLE["setitem"].forward(target, value, *indices, key=key)


def _set(old: np.ndarray, value: Any, *, out: Any = None) -> np.ndarray:
    new = np.empty_like(old) if out is None else out
    new[...] = value
    return new


WRITE = Primitive("write", _write, "effect", has_effect=True, nondifferentiable=_REASON)
WRITE_AT = Primitive("write_at", _write_at, "effect", has_effect=True, nondifferentiable=_REASON)
SET = Primitive("set", _set, "explicit", nondifferentiable="the array that it changes is plain")
