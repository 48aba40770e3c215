"""The engine: the table of primitives, Tensor, the two walks and the transforms."""

from nnad.autodiff.tensor import Tensor, apply, is_recorded, no_grad, stop_gradient, value_of

__all__ = ["Tensor", "apply", "is_recorded", "no_grad", "stop_gradient", "value_of"]
