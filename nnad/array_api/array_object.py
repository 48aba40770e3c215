"""What the standard asks of the array object beyond an ndarray's operators and methods."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from nnad.array_api.data_types import check_device
from nnad.autodiff.tensor import Tensor

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")


def array_namespace(self: Tensor, api_version: str | None = None) -> Any:
    """`Tensor.__array_namespace__`: the module `nnad.array_api`, for every version so far."""
    if api_version not in (None, *VERSIONS):
        raise ValueError(
            f"api_version={api_version!r} of the array API standard is not supported; expected one "
            f"of {', '.join(VERSIONS)}"
        )
    return sys.modules["nnad.array_api"]


def to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The Tensor itself: there is only "cpu"."""
    check_device(device)
    if stream is not None:
        raise ValueError(f"to_device: the CPU has no streams, got stream={stream!r}")
    return self


def dlpack(
    self: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[Any, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """`Tensor.__dlpack__`: the memory, for another library; refused like `np.asarray(t)`."""
    array = self._leave("t.__dlpack__(), as in from_dlpack(t),")
    options: dict[str, Any] = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
    given = {name: value for name, value in options.items() if value is not None}
    return array.__dlpack__(stream=stream, **given)  # NumPy 2.0 knows the stream alone


def dlpack_device(self: Tensor) -> Any:
    """`Tensor.__dlpack_device__`: the CPU."""
    return np.empty(0).__dlpack_device__()


def install() -> None:
    """Give Tensor what makes it an array object of the standard."""
    methods = {
        "__array_namespace__": array_namespace,
        "__dlpack__": dlpack,
        "__dlpack_device__": dlpack_device,
        "to_device": to_device,
        "device": property(lambda self: "cpu", doc='Where the values are: always "cpu".'),
    }
    for name, method in methods.items():
        setattr(Tensor, name, method)
