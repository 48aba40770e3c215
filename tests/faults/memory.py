"""Run as a process of its own: how much memory a step, a checkpoint, fits and predictions take."""

import resource
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from nnad import compile as compiled
from nnad.autodiff import no_grad
from nnad.data.dataset import Split
from nnad.estimators import MLPClassifier
from nnad.layers import Linear, ReLU, Sequential
from nnad.losses import cross_entropy, mse
from nnad.optimizers import SGD, Adam
from nnad.training.evaluation import predict
from nnad.training.recorder import Recorder
from nnad.training.run_folder import RunFolder
from nnad.training.trainer import Trainer

WARM_UP = 0.2  # of all repetitions: caches fill, the allocator finds its size


def resident():
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def step_and_checkpoint(optimizer, side):
    """Peak of making a model, training a step and saving it twice, in sizes of its parameters."""
    before = resident()
    model = Sequential(Linear(side, side, rng=0))
    kinds = {"adam": Adam, "sgd": lambda params: SGD(params, lr=0.01, momentum=0.9)}
    trainer = Trainer(model, mse, kinds[optimizer](model.parameters()), epochs=1, batch_size=8)
    trainer.fit(Split(np.ones((8, side), "f4"), np.zeros((8, side), "f4"), None))
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / "checkpoints").mkdir()
        recorder = Recorder(RunFolder(Path(path)))
        recorder.save(trainer)
        recorder.save(trainer, final=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (peak - before) / sum(p.data.nbytes for p in model.parameters())


def growth(action, count):
    """Bytes that the process grows by while `action(i)` is repeated, warm-up not counted."""
    start = int(count * WARM_UP)
    for i in range(count):
        if i == start:
            before = resident()
        action(i)
    return resident() - before


X = np.random.default_rng(0).normal(size=(64, 20)).astype("f4")
Y = (X[:, 0] > 0).astype("i8")


def network():
    return Sequential(Linear(20, 16, rng=0), ReLU(), Linear(16, 2, rng=1))


def predictions(way, count):
    """Growth over predictions for one row each."""
    model = network()
    classifier = MLPClassifier((16,), max_iter=3, random_state=0).fit(X, Y)
    program = compiled(lambda x: model(x))

    def replay(x):
        with no_grad():
            return program(x)

    ways = {
        "eager": lambda i: predict(model, X[i % 64 : i % 64 + 1]),
        "compiled": lambda i: replay(X[i % 64 : i % 64 + 1]),
        "estimator": lambda i: classifier.predict_proba(X[i % 64 : i % 64 + 1]),
    }
    return growth(ways[way], count)


def fits(way, count):
    """Growth over fits, each of a new model."""

    def fit_estimator(i):
        MLPClassifier((16,), max_iter=3, random_state=i).fit(X, Y)

    def fit_trainer(i):
        model = network()
        optimizer = Adam(model.parameters())
        trainer = Trainer(model, cross_entropy, optimizer, epochs=2, batch_size=16, seed=i)
        trainer.fit(Split(X, Y, None), Split(X, Y, None))

    def fit_compiled(i):
        model = network()
        optimizer = Adam(model.parameters())

        def step(x, y):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        program = compiled(step)
        for _ in range(3):
            program(X, Y)

    ways = {"trainer": fit_trainer, "estimator": fit_estimator, "compiled": fit_compiled}
    return growth(ways[way], count)


MEASUREMENTS = {f.__name__: f for f in (step_and_checkpoint, predictions, fits)}

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # estimators tell that three epochs were few
    name, way, size = sys.argv[1:]
    print(MEASUREMENTS[name](way, int(size)))
