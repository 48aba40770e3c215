"""The exceptions nnad raises on purpose.

Two families share the base :class:`NnadError`:

- :class:`UserError` and its kin: something in a file or on a command line is wrong. They hold every
  problem found, one line each, and the command line prints those lines and exits with status 2.
- the rest: a call that cannot be right (shapes, lost gradients, missing rules), or a run that
  diverged.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "CannotCompile",
    "CheckpointError",
    "ClassRangeError",
    "ConfigError",
    "CotangentError",
    "DataError",
    "DivergedError",
    "ExplainError",
    "LeafMutationError",
    "LostGradientError",
    "MissingRuleError",
    "NnadError",
    "ShapeError",
    "UserError",
    "did_you_mean",
]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word nearest to an unknown one, or nothing.

    >>> did_you_mean("targt", ["target", "path"])
    "; did you mean 'target'?"
    >>> did_you_mean("zzz", ["target", "path"])
    ''
    """
    from difflib import get_close_matches  # only needed once something is wrong

    originals = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), originals, n=1, cutoff=0.6)
    return f"; did you mean {originals[close[0]]!r}?" if close else ""


class NnadError(Exception):
    """Base of all exceptions that nnad raises on purpose."""


class CannotCompile(NnadError):
    """A step that cannot be replayed as a program; as an ordinary function it may be fine."""


class ShapeError(NnadError, ValueError):
    """Arrays or layers whose shapes do not fit together."""


class ClassRangeError(NnadError, ValueError, IndexError):
    """A class number in a target for which the prediction has no score."""


class UserError(NnadError):
    """Bad input from the user: one or several problems, each a line of text.

    Args:
        problems: a line, or an iterable of lines, each saying where the problem is, what was found
            and what is allowed.

    Attributes:
        problems: the lines, as a list.

    >>> str(UserError(["a.csv:3: 2 cells, expected 4", "a.csv:9: 5 cells, expected 4"]))
    'a.csv:3: 2 cells, expected 4\\na.csv:9: 5 cells, expected 4'
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[UserError], tuple[list[str]]]:
        return type(self), (self.problems,)


class ConfigError(UserError):
    """A configuration that is malformed or cannot be met."""


class DataError(UserError):
    """A data file that is missing, malformed or does not fit the configuration."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or does not belong to the run."""


class DivergedError(NnadError):
    """Training met a loss, gradient or parameter that is not finite."""


class LostGradientError(NnadError, TypeError):
    """A differentiated value would be detached silently: the gradient would be lost."""


class MissingRuleError(NnadError, TypeError):
    """No derivative rule is known for an operation that was asked for one."""


class LeafMutationError(NnadError, TypeError):
    """An in-place statement would overwrite an input that is being differentiated."""


class CotangentError(NnadError, ValueError):
    """A cotangent or tangent does not have the shape, dtype or structure of what it belongs to."""


class ExplainError(NnadError, ValueError):
    """A call that cannot be shown: nothing to differentiate, or too much to draw."""
