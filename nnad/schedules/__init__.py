"""Learning-rate schedules: ``schedule(step) -> factor`` on the optimizer's rate.

Step 0 is the first update. A schedule holds no reference to an optimizer, and all but
:class:`Plateau` are pure functions of the step: a resumed run needs nothing but the step number.
Where PyTorch has the scheduler, the factor is what its scheduler multiplies the rate by. Past its
length a schedule keeps its last value.

Adding a schedule: a frozen dataclass in one of these files that derives from :class:`Schedule`, and
its name below. Its snake_case name is then what a config calls it.
"""

from nnad.schedules.base import Schedule
from nnad.schedules.cosines import Cosine, CosineCycles, CosineRestarts, OneCycle
from nnad.schedules.decays import (
    Constant,
    Exponential,
    InverseSqrt,
    Linear,
    LinearWarmup,
    MultiStep,
    Polynomial,
    Step,
)
from nnad.schedules.phases import Plateau, Sequence, WarmupStableDecay

__all__ = [
    "Constant",
    "Cosine",
    "CosineCycles",
    "CosineRestarts",
    "Exponential",
    "InverseSqrt",
    "Linear",
    "LinearWarmup",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Sequence",
    "Step",
    "WarmupStableDecay",
]
