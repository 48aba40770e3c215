"""Searching for good settings: a job trained many times, by several processes at once."""

from nnad.training.sweep.search import resume, start

__all__ = ["resume", "start"]
