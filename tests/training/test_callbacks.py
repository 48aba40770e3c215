"""Signals and the progress bar."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnad import layers, optimizers
from nnad.data import Split
from nnad.training.callbacks import Callback, Interrupted, Interruption, Progress
from nnad.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]


def make_trainer(*callbacks, epochs=3):
    model = layers.Sequential(layers.Linear(2, 1, rng=0))

    def loss(prediction, target, sample_weight=None):
        return ((prediction[:, 0] - target) ** 2).mean()

    sgd = optimizers.SGD(model.parameters(), lr=0.01)
    return Trainer(model, loss, sgd, epochs=epochs, batch_size=4, callbacks=callbacks)


DATA = Split(np.ones((16, 2), np.float32), np.ones(16, np.float32))


class SignalAt(Callback):
    """Sends a signal to this process after a number of steps."""

    def __init__(self, step, number=signal.SIGINT):
        self.at, self.number = step, number

    def on_step_end(self, trainer):
        if trainer.step == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_training_after_the_step(number, status):
    with Interruption() as interruption:
        trainer = make_trainer(SignalAt(6, number), interruption)
        with pytest.raises(Interrupted) as error:
            trainer.fit(DATA)
    assert error.value.exit_status == status
    assert (trainer.step, trainer.epoch, trainer.steps_in_epoch) == (6, 1, 2)


class SignalAtTheEnd(Callback):
    def on_epoch_end(self, trainer, row):
        if trainer.finished:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_after_the_last_step_lets_training_end():
    with Interruption() as interruption:
        trainer = make_trainer(SignalAtTheEnd(), interruption)
        with pytest.raises(Interrupted):
            trainer.fit(DATA)
    assert trainer.finished
    assert len(trainer.history["epoch"]) == 3


def test_outside_of_training_a_signal_raises_at_once():
    with Interruption(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


def test_handlers_are_put_back():
    before = [signal.getsignal(n) for n in Interruption.SIGNALS]
    with Interruption():
        assert [signal.getsignal(n) for n in Interruption.SIGNALS] != before
    assert [signal.getsignal(n) for n in Interruption.SIGNALS] == before


STUBBORN = """
import os, signal
from nnad.training.callbacks import Interruption
with Interruption() as interruption:
    interruption._training = True  # as if a step took forever
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
print("still here")
"""


def test_the_second_signal_ends_at_once():
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (143, b"")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_there_is_no_bar_where_stderr_is_no_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    make_trainer(Progress(interval=0.0)).fit(DATA)
    assert stream.getvalue() == ""


def test_the_bar_tells_epoch_and_loss_and_vanishes(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    make_trainer(Progress(interval=0.0)).fit(DATA, DATA)
    text = stream.getvalue()
    assert "epoch 3/3" in text
    assert "val_loss=" in text
    assert text.endswith("\r")
