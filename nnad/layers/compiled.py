"""Prediction as a compiled program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnad.autodiff import no_grad
from nnad.autodiff.tensor import value_of
from nnad.autodiff.trees import map_leaves
from nnad.compiler import compile

if TYPE_CHECKING:
    from nnad.layers.module import Module

__all__ = ["CompiledModule"]


class CompiledModule:
    """What a module predicts, by a compiled program; see `Module.compiled`.

    Attributes:
        program: the compiled function: `.source`, `.stats`, `.programs`.
    """

    def __init__(self, module: Module, backend: str, threads: int | str) -> None:
        self.module = module

        def predict(*inputs: Any) -> Any:
            with no_grad():
                return map_leaves(value_of, module(*inputs))

        self.program = compile(predict, backend=backend, threads=threads)

    def __call__(self, *inputs: Any) -> Any:
        """Inputs as the module takes them; its outputs in evaluation mode, as plain arrays."""
        module = self.module
        if not module.training:
            return self.program(*inputs)
        module.eval()
        try:
            return self.program(*inputs)
        finally:
            module.train()
