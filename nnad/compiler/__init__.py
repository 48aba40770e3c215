"""Compile a step: record it once, replay it as a straight line without tape or allocation."""

from nnad.compiler.capture import DataDependentError
from nnad.compiler.compiled import Compiled, TooManyProgramsError, compile
from nnad.errors import CannotCompile

__all__ = ["CannotCompile", "Compiled", "DataDependentError", "TooManyProgramsError", "compile"]
