"""Data: sources, splits, preprocessing fitted on the training part, and batches.

>>> data = load({"name": "digits", "validation_size": 0.1, "standardize": True}, seed=0)
>>> data.train.x.shape, data.train.x.dtype, data.meta.n_outputs
((1212, 64), dtype('float32'), 10)
>>> batches = BatchIterator(data.train, batch_size=64, seed=0)
>>> next(batches.rest_of_epoch()).x.shape
(64, 64)
"""

from nnad.data.batches import Batch, BatchIterator
from nnad.data.dataset import DataSplits, Features, Meta, Raw, Split
from nnad.data.loading import batching, fingerprint, load
from nnad.data.options import Option, Options, check, source, source_table
from nnad.data.predicting import read_rows
from nnad.data.preprocessing import Preprocessor
from nnad.data.targets import class_weights

__all__ = [
    "Batch",
    "BatchIterator",
    "DataSplits",
    "Features",
    "Meta",
    "Option",
    "Options",
    "Preprocessor",
    "Raw",
    "Split",
    "batching",
    "check",
    "class_weights",
    "fingerprint",
    "load",
    "read_rows",
    "source",
    "source_table",
]
