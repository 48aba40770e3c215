"""The trainer: a ladder of small methods, ``fit`` -> ``run_epoch`` -> ``run_step``.

Each rung can be overridden on its own. What happens around training (bars, files, signals) lives in
callbacks; what happens in it is here.

Every mean is a weighted mean: the sum of weighted losses over the sum of weights, across short last
batches, accumulated batches, class weights and sample weights.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from nnad.autodiff.tensor import perform, value_of
from nnad.data.batches import Batch, BatchIterator
from nnad.data.dataset import Split
from nnad.errors import DivergedError
from nnad.losses.divisor import divisor_of, may_be_one_hot
from nnad.optimizers import EMA, LBFGS, clip_grad_norm, clip_grad_value
from nnad.schedules import Constant, Schedule
from nnad.training.callbacks import Callback
from nnad.training.diagnosis import is_finite, why_gradient_not_finite, why_loss_not_finite
from nnad.training.early_stopping import BestEpoch
from nnad.training.evaluation import predict
from nnad.training.history import History
from nnad.training.step_programs import StepPrograms

__all__ = ["SUM_OF_GRADIENTS", "Trainer"]

SUM_OF_GRADIENTS = "sum of the accumulated gradients"  # where none of them is to blame


class Trainer:
    """Fits a model to data.

    Args:
        model: maps a batch of inputs to predictions.
        loss: ``loss(prediction, target, sample_weight=None)``, a weighted mean over the rows.
        optimizer: updates the model's parameters.
        schedule: factor on the optimizer's rate by step; one with an ``update`` method is also told
            the monitored value after every epoch.
        epochs: passes over the training part.
        steps: optimizer steps, in place of `epochs`.
        batch_size: rows of a batch.
        steps_per_epoch: steps after which an epoch ends, if that is before all rows were seen.
        accumulate: batches whose gradients make up one step.
        ema: a moving average of the parameters; it is what is validated and kept.
        clip_norm: largest norm of the gradient.
        clip_value: largest entry of the gradient.
        class_weight: weight of each class in the loss, by class index.
        metrics: functions ``metric(prediction, target, sample_weight=None)`` by name, for the
            validation part.
        best: how the epoch whose weights are kept is found, and when to stop for lack of a better
            one; by default the last epoch is kept.
        batching: more arguments of `nnad.data.BatchIterator`: ``shuffle``, ``drop_last``, ...
        seed: start of the order of the rows.
        callbacks: see `nnad.training.callbacks`; their hooks are called in this order.
        compile: replay steps as compiled programs: True, False, or "auto": where that pays.
        threads: of native programs; "auto": as many as there are cores, at most two.

    Attributes:
        epoch: epochs done.
        step: steps done in all.
        steps_in_epoch: steps done in the current epoch.
        step_loss: loss of the last step.
        history: columns of numbers by name, an entry an epoch.
        stopped_early: whether patience ended the run.
    """

    compiled_actions: tuple[str, ...] = ("clip", "update")

    def __init__(
        self,
        model: Any,
        loss: Callable[..., Any],
        optimizer: Any,
        *,
        schedule: Schedule | None = None,
        epochs: int = 30,
        steps: int | None = None,
        batch_size: int = 64,
        steps_per_epoch: int | None = None,
        accumulate: int = 1,
        ema: EMA | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        class_weight: np.ndarray | None = None,
        metrics: Mapping[str, Callable[..., float]] | None = None,
        best: BestEpoch | None = None,
        batching: Mapping[str, Any] | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        compile: bool | str = "auto",
        threads: int | str = "auto",
    ) -> None:
        self.model = model
        self.loss = loss
        self.divisor = divisor_of(loss)
        self.optimizer = optimizer
        self.schedule = schedule or Constant()
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.epoch_limit = steps_per_epoch
        self.accumulate = accumulate
        self.ema = ema
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.class_weight = class_weight
        self.metrics = dict(metrics or {})
        self.best = best or BestEpoch(None)
        self.batching = dict(batching or {})
        self.seed = seed
        self.callbacks = list(callbacks)

        self.epoch = 0
        self.step = 0
        self.steps_in_epoch = 0
        self.loss_sum = 0.0  # over the epoch so far, each loss times its batch's weight
        self.weight_sum = 0.0
        self.step_loss = math.nan
        self.history = History()
        self.stopped_early = False
        self.reach_is_known = False
        self.programs = StepPrograms(self, compile, threads)

    # The ladder -----------------------------------------------------------------------------------

    def fit(self, train: Split, validation: Split | None = None) -> History:
        """Train until the last epoch, or until patience ends, and take the best epoch's weights.

        Args:
            train: the training part, with arrays ``x``, ``y`` and ``weight`` (or None).
            validation: the validation part, or None.

        Returns:
            The history: columns of numbers by name, an entry an epoch.

        Raises:
            DivergedError: the loss or the gradient is not finite, or the validation loss never was.
        """
        self.prepare(train, validation)
        try:
            self.notify("on_fit_begin")
            with np.errstate(all="ignore"):  # losses and gradients are checked at every step
                while not self.finished:
                    self.run_epoch()
                self.require_finite_validation()
            self.notify("on_fit_end")
        finally:
            for callback in self.callbacks:
                callback.close()
        if self.best.weights:
            self.model.load_state_dict(self.best.weights)
        return self.history

    def run_epoch(self) -> None:
        """The rest of the current epoch, its validation and its row of the history."""
        self.notify("on_epoch_begin")
        self.model.train()
        with closing(self.remaining_batches()) as batches:
            while self.steps_in_epoch < self.steps_per_epoch and not self.out_of_steps:
                self.run_step(islice(batches, self.accumulate))
                for hook in self.step_hooks:
                    hook(self)
        self.end_epoch()

    def run_step(self, batches: Iterable[Batch]) -> None:
        """One update from the gradients of one batch, or of several accumulated ones."""
        self.optimizer.lr = self.optimizer.defaults["lr"] * self.schedule(self.step)
        if isinstance(self.optimizer, LBFGS):
            loss_sum, weight = self.search_step(batches)
        else:
            loss_sum, weight = self.compute_gradient(batches)
            if weight:
                self.update_parameters()
        if weight:
            self.step_loss = loss_sum / weight
            self.loss_sum += loss_sum
            self.weight_sum += weight
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        self.steps_in_epoch += 1

    def end_epoch(self) -> None:
        """Validate, write the row of the history, and decide whether to go on."""
        with nullcontext() if self.ema is None else self.ema.applied():
            row = self.summarize_epoch()
            self.best.update(self.epoch + 1, row, self.kept_weights)
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
        self.epoch += 1
        self.steps_in_epoch, self.loss_sum, self.weight_sum = 0, 0.0, 0.0
        self.stopped_early = self.best.exhausted(self.epoch)
        if hasattr(self.schedule, "update"):
            self.schedule.update(row[self.best.monitor or "train_loss"])
        self.notify("on_epoch_end", row)

    def kept_weights(self) -> dict[str, np.ndarray]:
        """Copies of the model's arrays; nothing where they will be what it holds in the end."""
        return {} if self.best.keeps_latest and self.ema is None else self.model.state_dict()

    # What a step is made of -----------------------------------------------------------------------

    def search_step(self, batches: Iterable[Batch]) -> tuple[float, float]:
        """One update by an optimizer that evaluates the loss at several points; returns as below.

        A trial point at which the loss is not finite counts as infinitely bad.
        """
        held = [copy.deepcopy(batch) for batch in batches]  # batches are views of one buffer
        found: list[tuple[float, float]] = []

        def closure() -> float:
            try:
                loss_sum, weight = self.compute_gradient(held)
            except DivergedError:
                if not found:
                    raise
                return math.inf
            found.append((loss_sum, weight))
            return loss_sum / weight

        if not self.have_weight(held):
            return 0.0, 0.0
        self.optimizer.step(closure)
        return found[0]

    def update_parameters(self) -> None:
        """One update from the gradient that the parameters have."""
        self.programs.update()

    def have_weight(self, batches: Sequence[Batch]) -> bool:
        """Whether any row of `batches` counts."""
        return any(map(self.weight_of, batches))

    def compute_gradient(self, batches: Iterable[Batch]) -> tuple[float, float]:
        """Leave the gradient over all `batches` in the parameters, checked and clipped.

        Returns:
            (sum of the weighted losses, sum of the weights); no gradient if the latter is 0.

        Raises:
            DivergedError: the loss or the gradient is not finite.
        """
        self.optimizer.zero_grad()
        loss_sum, weight = self.accumulate_gradients(batches)
        if weight and not self.reach_is_known:
            self.warn_of_lost_parameters()
            self.reach_is_known = True
        if weight and not math.isfinite(self.programs.clip()):
            self.report_gradient()
        return loss_sum, weight

    def accumulate_gradients(self, batches: Iterable[Batch]) -> tuple[float, float]:
        """Add the gradient of the weighted mean loss over all `batches`; returns as above."""
        loss_sum = weight_sum = 0.0
        for batch in batches:
            weight = self.weight_of(batch)
            if not weight:
                continue
            seed = None if self.accumulate == 1 else np.float64(weight)
            loss = self.programs.gradient(batch, seed)
            value = float(loss.data)
            if not math.isfinite(value):
                self.report_loss(loss if loss.requires_grad else self.batch_loss(batch), batch)
            loss_sum += value * weight
            weight_sum += weight
        if self.programs.kind is None and weight_sum:
            self.programs.decide(self.programs.gain)
        if self.accumulate > 1 and weight_sum:
            for p in self.parameters:
                if p.grad is not None:
                    p.grad /= weight_sum
        return loss_sum, weight_sum

    def weight_of(self, batch: Batch) -> float:
        """What the mean loss of a batch is divided by: what it counts for beside others."""
        return self.divisor(batch.y, batch.weight)

    def batch_loss(self, batch: Batch) -> Any:
        """The weighted mean loss of a batch."""
        return self.loss(self.model(batch.x), batch.y, sample_weight=batch.weight)

    def batch_gradient(self, x: Any, y: Any, weight: Any, seed: Any) -> Any:
        """Add the gradient of a batch's weighted mean loss, times `seed`; returns the loss."""
        loss = self.loss(self.model(x), y, sample_weight=weight)
        loss.backward(None if seed is None else seed.astype(loss.dtype))
        return loss

    def clip_gradients(self) -> float:
        """Clip the gradient, by value and then by norm; returns a norm of what there was.

        Without clipping the norm only serves to notice a gradient that is not finite, and is the
        squared one over the flat buffers: a microsecond.
        """
        if self.clip_value is None and self.clip_norm is None:
            return perform("gradient_square", self.gradient_square)
        norm = 0.0 if self.clip_value is None else clip_grad_value(self.parameters, self.clip_value)
        return norm if self.clip_norm is None else clip_grad_norm(self.parameters, self.clip_norm)

    def gradient_square(self) -> float:
        """The sum of all squared entries of the gradient."""
        return float(sum(float(gradient.dot(gradient)) for gradient in self.flat_gradients))

    # Evaluation -----------------------------------------------------------------------------------

    def evaluate(self, split: Split) -> dict[str, float]:
        """The loss (a weighted mean over all rows) and the metrics of the model on `split`."""
        return self.score(self.outputs(split.x), split)

    def outputs(self, x: Any) -> np.ndarray:
        """What the model gives for the rows of `x`, in evaluation mode."""
        return predict(self.model, x, self.batch_size)

    def score(self, outputs: np.ndarray, split: Split) -> dict[str, float]:
        """The loss and the metrics of given outputs for the rows of `split`."""
        target = np.asarray(split.y)
        weight = self.with_class_weight(split).weight
        scores = {"loss": float(value_of(self.loss(outputs, target, sample_weight=weight)))}
        for name, metric in self.metrics.items():
            scores[name] = float(metric(outputs, target, sample_weight=split.weight))
        return scores

    # Around the ladder ----------------------------------------------------------------------------

    def prepare(self, train: Split, validation: Split | None) -> None:
        """Set up what lasts through all epochs."""
        self.validation = validation
        if may_be_one_hot(self.divisor, train.y):
            outputs = predict(self.model, train.x[:1])
            self.divisor = partial(self.divisor, one_hot=outputs.shape[1:] == train.y.shape[1:])
        self.iterator = BatchIterator(
            self.with_class_weight(train), self.batch_size, seed=self.seed, **self.batching
        )
        steps = -(-len(self.iterator) // self.accumulate)
        self.steps_per_epoch = min(steps, self.epoch_limit or steps)
        if self.steps is not None:
            self.epochs = -(-self.steps // self.steps_per_epoch)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.flat_gradients = [buffer.grad for buffer in self.model.flatten().values()]
        self.step_hooks = [
            callback.on_step_end
            for callback in self.callbacks
            if type(callback).on_step_end is not Callback.on_step_end
        ]

    def with_class_weight(self, split: Split) -> Split:
        """`split` with the weights of its rows multiplied by those of their classes."""
        if self.class_weight is None:
            return split
        weight = self.class_weight[split.y].astype(np.float32)
        return replace(split, weight=weight if split.weight is None else weight * split.weight)

    def notify(self, hook: str, *args: Any) -> None:
        """Call a hook of every callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *args)

    def remaining_batches(self) -> Any:
        """The batches of the current epoch from the next step on: a generator."""
        return self.iterator.batches(self.epoch, self.steps_in_epoch * self.accumulate)

    def heeded(self, signal_number: int | None) -> int | None:
        """The signal that ends training now, given the one that this process has received."""
        return signal_number

    @property
    def rows_per_step(self) -> int:
        """Rows that make up one update."""
        return self.batch_size * self.accumulate

    @property
    def total_steps(self) -> int:
        """Steps of the whole run if patience does not end it."""
        return self.steps or self.epochs * self.steps_per_epoch

    @property
    def out_of_steps(self) -> bool:
        """Whether the run is limited in steps and has done them."""
        return self.steps is not None and self.step >= self.steps

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        if self.steps is None:
            done = self.epoch >= self.epochs
        else:  # in epochs, of which a run that was lengthened may have more than it would need
            done = self.out_of_steps and not self.steps_in_epoch
        return done or self.stopped_early

    def summarize_epoch(self) -> dict[str, float]:
        """The row of the history for the epoch that ends."""
        loss = self.loss_sum / self.weight_sum if self.weight_sum else math.nan
        row = [self.epoch + 1, self.step, self.optimizer.lr, loss]
        if self.validation is not None:
            row += self.evaluate(self.validation).values()
        return dict(zip(self.columns(self.validation is not None), row, strict=True))

    def columns(self, validated: bool) -> list[str]:
        """The names in a row of the history, of a run with a validation part or without."""
        scores = ["loss", *self.metrics] if validated else []
        return ["epoch", "step", "learning_rate", "train_loss", *(f"val_{name}" for name in scores)]

    # When something is wrong ----------------------------------------------------------------------

    def warn_of_lost_parameters(self) -> None:
        """Name the parameters that the loss of the first step does not reach."""
        lost = [n for n, p in self.model.named_parameters() if p.requires_grad and p.grad is None]
        if lost:
            warnings.warn(
                f"the loss does not depend on {', '.join(lost)}: no gradient reaches "
                f"{'them' if len(lost) > 1 else 'it'} and training will leave "
                f"{'them' if len(lost) > 1 else 'it'} unchanged",
                stacklevel=2,
            )

    def report_loss(self, loss: Any, batch: Batch) -> None:
        """Raise a DivergedError that says why the loss of `batch` is not finite."""
        where = why_loss_not_finite(loss, self.model, partial(self.batch_loss, batch))
        raise self.diverged(f"the loss is {float(loss.data)}", where)

    def report_gradient(self) -> None:
        """Raise a DivergedError if the gradient is not finite (its norm alone may overflow)."""
        if self.gradient_is_finite():
            return
        where = None
        with closing(self.remaining_batches()) as batches:
            for batch in filter(self.weight_of, islice(batches, self.accumulate)):
                again = partial(self.batch_loss, batch)
                where = where or why_gradient_not_finite(again(), self.model, again)
        raise self.diverged("the gradient is not finite", where or SUM_OF_GRADIENTS)

    def gradient_is_finite(self) -> bool:
        """Whether every entry of the gradient is finite."""
        return all(is_finite(p.grad) for p in self.parameters)

    def require_finite_validation(self) -> None:
        """Raise a DivergedError if the validation loss was not finite in any epoch."""
        losses = self.history.get("val_loss", [])
        if not losses or np.isfinite(losses).any():
            return
        where = "the sum over all rows"
        self.model.eval()
        for batch in self.validation_batches():
            loss = self.batch_loss(batch)
            if not is_finite(loss.data):
                where = why_loss_not_finite(loss, self.model, partial(self.batch_loss, batch))
                break
        when = f"by step {self.step} (epoch {self.epoch})"
        raise self.diverged(f"the validation loss is {losses[-1]}", where, when)

    def validation_batches(self) -> Iterator[Batch]:
        """The validation part in order."""
        assert self.validation is not None
        split = self.with_class_weight(self.validation)
        for start in range(0, len(split), self.batch_size):
            rows = slice(start, start + self.batch_size)
            weight = None if split.weight is None else split.weight[rows]
            yield Batch(split.x[rows], split.y[rows], weight)

    def diverged(self, what: str, where: str, when: str = "") -> DivergedError:
        """The error that ends a diverging run; by default in the step that is to come."""
        when = when or f"at step {self.step + 1} (epoch {self.epoch + 1})"
        return DivergedError(
            f"training diverged {when}: {what}; first non-finite number: {where}; try a lower "
            "optimizer.lr or trainer.clip_norm"
        )
