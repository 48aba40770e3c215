"""The Python array API standard, version 2025.12: the namespace of a Tensor.

Code written against the standard asks an array for its namespace and calls only functions that it
finds there, so it differentiates when it is handed Tensors:

>>> import nnad, numpy as np
>>> def spread(x):
...     xp = x.__array_namespace__()
...     return xp.sum((x - xp.mean(x)) ** 2)
>>> nnad.grad(spread)(np.array([1.0, 2.0, 6.0]))
array([-4., -2.,  6.])

Every function is NumPy's, under the standard's name and with its signature; NumPy's dispatch leads
from there to the table of operations.  Results are Tensors, also those of functions that have no
derivative.  A file holds a chapter of the standard: https://data-apis.org/array-api/2025.12.
"""

from nnad.array_api import array_object, einops
from nnad.array_api import fft as fft
from nnad.array_api import linalg as linalg
from nnad.array_api import special as special
from nnad.array_api.constants import *  # noqa: F403
from nnad.array_api.creation import *  # noqa: F403
from nnad.array_api.data_types import *  # noqa: F403
from nnad.array_api.elementwise import *  # noqa: F403
from nnad.array_api.indexing import *  # noqa: F403
from nnad.array_api.info import __array_namespace_info__ as __array_namespace_info__
from nnad.array_api.linear_algebra import *  # noqa: F403
from nnad.array_api.manipulation import *  # noqa: F403
from nnad.array_api.searching import *  # noqa: F403
from nnad.array_api.sets import *  # noqa: F403
from nnad.array_api.sorting import *  # noqa: F403
from nnad.array_api.statistical import *  # noqa: F403
from nnad.array_api.utility import *  # noqa: F403

__array_api_version__ = "2025.12"

array_object.install()
einops.install()
