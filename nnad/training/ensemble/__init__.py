"""One job trained several times: on the folds of a cross-validation, or from several seeds."""

from nnad.training.ensemble.kinds import CROSSVAL, ENSEMBLE, Kind
from nnad.training.ensemble.members import resume, start

__all__ = ["CROSSVAL", "ENSEMBLE", "Kind", "resume", "start"]
