"""What is wrong with SciPy's and scikit-learn's functions of Tensors, as JSON.

Run in a process of its own with SCIPY_ARRAY_API=1, which SciPy reads once, when it is imported.
"""

import json
import warnings

import numpy as np

import nnad
import nnad.array_api as xp

RNG = np.random.default_rng(0)
X, Y = RNG.uniform(0.2, 0.8, (2, 5, 3))
CLASSES = np.array([0, 1, 0, 1, 1])

SPECIAL = [
    "digamma", "entr", "erf", "erfc", "erfinv", "exp10", "expit", "expm1", "gamma", "gammaln", "i0",
    "i1", "j0", "log1p", "log_ndtr", "logit", "ndtr", "ndtri", "sinc",
]  # fmt: skip
STATS = ["zscore", "gmean", "hmean", "skew", "kurtosis", "entropy"]
METRICS = [
    "mean_squared_error", "mean_absolute_error", "r2_score", "root_mean_squared_error",
    "mean_squared_log_error", "explained_variance_score",
]  # fmt: skip
KERNELS = [
    "euclidean_distances", "cosine_similarity", "rbf_kernel", "polynomial_kernel", "linear_kernel",
    "sigmoid_kernel", "chi2_kernel", "laplacian_kernel",
]  # fmt: skip


def like(x, values):
    """Other data, as an array of the same library as `x`."""
    return xp.asarray(values) if isinstance(x, nnad.Tensor) else values


def of_scipy():
    import scipy.fft
    import scipy.integrate
    import scipy.signal
    from scipy import special, stats
    from scipy.spatial.transform import Rotation

    return {
        "logsumexp": lambda x: special.logsumexp(x, axis=1),
        "logsumexp of all": special.logsumexp,
        "logsumexp with weights": lambda x: special.logsumexp(x, axis=0, b=x**2),
        "softmax": lambda x: special.softmax(x, axis=1),
        "log_softmax": lambda x: special.log_softmax(x, axis=1),
        "xlogy": lambda x: special.xlogy(x, x),
        "rel_entr": lambda x: special.rel_entr(x, x**2),
        "betaln": lambda x: special.betaln(x, x**2),
        **{name: lambda x, f=getattr(special, name): f(x) for name in SPECIAL},
        **{name: lambda x, f=getattr(stats, name): f(x, axis=0) for name in STATS},
        "moment": lambda x: stats.moment(x, 3, axis=0),
        "pearsonr": lambda x: stats.pearsonr(x, like(x, Y), axis=0).statistic,
        "trapezoid": lambda x: scipy.integrate.trapezoid(x, axis=0),
        "cumulative_trapezoid": lambda x: scipy.integrate.cumulative_trapezoid(x, axis=0),
        "spectrum": lambda x: abs(scipy.fft.fft(x)) ** 2,
        "fftconvolve": lambda x: scipy.signal.fftconvolve(x, x),
        "Rotation": lambda x: Rotation.from_rotvec(x).as_matrix(),
    }


def fitted(make):
    """The transformation that an estimator learns from other data, as a function of its input."""
    return lambda x: make().fit(like(x, Y)).transform(x)


def of_sklearn():
    from sklearn import metrics, preprocessing
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge
    from sklearn.metrics import pairwise

    def metric(name):
        f = getattr(metrics, name)
        return lambda x: f(like(x, Y), x, multioutput="raw_values")

    scalers = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "Normalizer")
    return {
        **{name: metric(name) for name in METRICS},
        **{name: lambda x, f=getattr(pairwise, name): f(x, like(x, Y)) for name in KERNELS},
        **{name: fitted(getattr(preprocessing, name)) for name in scalers},
        "PCA": fitted(lambda: PCA(2, svd_solver="full")),
        "PCA of its own data": lambda x: PCA(2, svd_solver="full").fit_transform(x) ** 2,
        "MinMaxScaler of its own data": lambda x: preprocessing.MinMaxScaler().fit_transform(x),
        "Ridge": lambda x: Ridge(solver="svd").fit(x, like(x, Y[:, 0])).coef_,
        "LinearDiscriminantAnalysis": lambda x: (
            LinearDiscriminantAnalysis().fit(x, like(x, CLASSES)).decision_function(x)
        ),
    }


def problem_of(function):
    """What is wrong with a function of a Tensor: nothing, or an error's text."""

    def f(x):
        return function(xp.asarray(x))

    try:
        np.testing.assert_allclose(np.asarray(f(X)), function(X), rtol=1e-10)
        nnad.check_grads(f, X, order=1)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main():
    import sklearn

    warnings.simplefilter("ignore")  # of the libraries: experimental array API, constant input
    report = {"scipy": {name: problem_of(f) for name, f in of_scipy().items()}}
    report["planted"] = {"half a product": problem_of(lambda x: x * nnad.stop_gradient(x))}
    with sklearn.config_context(array_api_dispatch=True):
        report["sklearn"] = {name: problem_of(f) for name, f in of_sklearn().items()}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
