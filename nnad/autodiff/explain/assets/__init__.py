"""Styles and the script of pictures and pages, as files of their own."""

from functools import cache
from importlib.resources import files

__all__ = ["asset"]


@cache
def asset(name: str) -> str:
    """The text of one file of this folder."""
    return (files(__name__) / name).read_text(encoding="utf-8")
