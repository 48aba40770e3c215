"""Optimizers: in-place updates of a model's parameters from their gradients.

All run over flat vectors (see :mod:`nnad.optimizers.flat`), with names, formulas and defaults of
torch.optim where it has them. Adding one: a kernel and a subclass of :class:`Optimizer` in one of
the files here, and its name below.
"""

from nnad.optimizers.adam import Adam, Adamax, AdamW, NAdam, RAdam
from nnad.optimizers.adaptive import Adadelta, Adagrad, Lion, RMSprop
from nnad.optimizers.averages import EMA
from nnad.optimizers.base import Optimizer
from nnad.optimizers.clip import clip_grad_norm, clip_grad_value, grad_norm
from nnad.optimizers.groups import decay_groups, groups_by_pattern
from nnad.optimizers.lbfgs import LBFGS
from nnad.optimizers.matrix import Adafactor, Muon
from nnad.optimizers.sgd import SGD, Rprop

__all__ = [
    "EMA",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "clip_grad_norm",
    "clip_grad_value",
    "decay_groups",
    "grad_norm",
    "groups_by_pattern",
]
