"""The operations, a file per family; every one is an entry of the engine's table."""

from nnad.ops import fft as fft
from nnad.ops import methods
from nnad.ops import stacks as stacks
from nnad.ops.activations import *  # noqa: F403
from nnad.ops.attention import *  # noqa: F403
from nnad.ops.averages import *  # noqa: F403
from nnad.ops.bessel import *  # noqa: F403
from nnad.ops.constants import *  # noqa: F403
from nnad.ops.cross_entropy import *  # noqa: F403
from nnad.ops.ctc import *  # noqa: F403
from nnad.ops.cumulative import *  # noqa: F403
from nnad.ops.decompositions import *  # noqa: F403
from nnad.ops.diagonals import *  # noqa: F403
from nnad.ops.eigen import *  # noqa: F403
from nnad.ops.einstein import *  # noqa: F403
from nnad.ops.elementwise import *  # noqa: F403
from nnad.ops.fused import *  # noqa: F403
from nnad.ops.gather import *  # noqa: F403
from nnad.ops.gelu import *  # noqa: F403
from nnad.ops.index import *  # noqa: F403
from nnad.ops.joining import *  # noqa: F403
from nnad.ops.least_squares import *  # noqa: F403
from nnad.ops.linalg import *  # noqa: F403
from nnad.ops.loss_terms import *  # noqa: F403
from nnad.ops.matrix_functions import *  # noqa: F403
from nnad.ops.nan import *  # noqa: F403
from nnad.ops.noise import *  # noqa: F403
from nnad.ops.normalize import *  # noqa: F403
from nnad.ops.norms import *  # noqa: F403
from nnad.ops.ordering import *  # noqa: F403
from nnad.ops.padding import *  # noqa: F403
from nnad.ops.parts import *  # noqa: F403
from nnad.ops.polynomials import *  # noqa: F403
from nnad.ops.pool import *  # noqa: F403
from nnad.ops.products import *  # noqa: F403
from nnad.ops.ranges import *  # noqa: F403
from nnad.ops.recurrent import *  # noqa: F403
from nnad.ops.reduce import *  # noqa: F403
from nnad.ops.scipy_gamma import *  # noqa: F403
from nnad.ops.scipy_special import *  # noqa: F403
from nnad.ops.selection import *  # type: ignore[assignment]  # noqa: F403
from nnad.ops.shape import *  # noqa: F403
from nnad.ops.special import *  # noqa: F403
from nnad.ops.statistics import *  # noqa: F403
from nnad.ops.steps import *  # noqa: F403
from nnad.ops.trigonometry import *  # noqa: F403
from nnad.ops.window import *  # noqa: F403

methods.install()
