"""scikit-learn estimators: `MLPClassifier`, `MLPRegressor`, `NetClassifier`, `NetRegressor`."""

from nnad.estimators.mlp import MLPClassifier, MLPRegressor
from nnad.estimators.net import NetClassifier, NetRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor"]
