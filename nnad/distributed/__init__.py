"""Several processes that train one model: what they say to each other.

`world()` is the group of processes that this one was started in.  Without MPI it is a group of
one, whose every call costs nothing and imports nothing.
"""

from nnad.distributed.collective import all_reduce_sum, synchronized_batch_norm
from nnad.distributed.communicator import Communicator
from nnad.distributed.launch import alone, within, world
from nnad.distributed.shares import share_of, spread

__all__ = [
    "Communicator",
    "all_reduce_sum",
    "alone",
    "share_of",
    "spread",
    "synchronized_batch_norm",
    "within",
    "world",
]
