"""Inspection: what `__array_namespace_info__()` tells."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api import data_types
from nnad.array_api.data_types import check_device

__all__ = ["__array_namespace_info__"]

_KINDS = (
    "bool",
    "signed integer",
    "unsigned integer",
    "integral",
    "real floating",
    "complex floating",
    "numeric",
)


class __array_namespace_info__:
    """Capabilities, devices and dtypes of the namespace."""

    def capabilities(self) -> dict[str, Any]:
        """Which optional behaviours of the standard are there."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": 64,
        }

    def default_device(self) -> str:
        """Where new arrays are."""
        return "cpu"

    def devices(self) -> list[str]:
        """Every place where arrays can be."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The dtype of each kind that is taken where none is asked for."""
        check_device(device)
        return {
            "real floating": np.dtype(float),
            "complex floating": np.dtype(complex),
            "integral": np.dtype(int),
            "indexing": np.dtype(np.intp),
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The dtypes by name, all or those of a kind or of a tuple of kinds."""
        check_device(device)
        wanted = _KINDS if kind is None else kind
        for name in (wanted,) if isinstance(wanted, str) else wanted:
            if name not in _KINDS:
                raise ValueError(f"dtypes: kind={name!r} is none of {', '.join(_KINDS)}")
        listed = (getattr(data_types, name) for name in data_types.__all__)
        found = (dtype for dtype in listed if isinstance(dtype, np.dtype))
        return {dtype.name: dtype for dtype in found if np.isdtype(dtype, wanted)}
