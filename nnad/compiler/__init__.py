"""Compile a step: record it once, replay it as a straight line without tape or allocation."""

from nnad.compiler.capture import DataDependentError
from nnad.compiler.compiled import Compiled, compile

__all__ = ["Compiled", "DataDependentError", "compile"]
