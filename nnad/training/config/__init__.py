"""Training jobs described in YAML: reading, checking, overriding and writing them.

>>> config = parse_config('''
... data: {name: digits}
... model: [{Linear: {out_features: 10}}]
... loss: cross_entropy
... ''')
>>> config.trainer.epochs, config.optimizer.name
(30, 'Adam')
"""

from nnad.training.config.loading import find_config, load_config, parse_config
from nnad.training.config.schema import (
    Baseline,
    Component,
    Config,
    Data,
    EarlyStopping,
    Output,
    Trainer,
)
from nnad.training.config.writing import config_schema, to_yaml

__all__ = [
    "Baseline",
    "Component",
    "Config",
    "Data",
    "EarlyStopping",
    "Output",
    "Trainer",
    "config_schema",
    "find_config",
    "load_config",
    "parse_config",
    "to_yaml",
]
