"""Models for others: ONNX files, predictors of one file, weights from PyTorch, model cards."""

from nnad.sharing.onnx_export import export_onnx
from nnad.sharing.standalone import export_standalone
from nnad.sharing.torch_weights import load_torch

__all__ = ["export_onnx", "export_standalone", "load_torch"]
