"""Training by several processes as by one: data parallel.

Every process holds the whole model and takes its share of the rows of each batch.  The gradients,
each summed over its rows with their weights, are added up over all processes and divided by the sum
of all weights: what one process computes from the whole batch, but for the order of the additions.
Processes of one machine do so in shared memory, each a stretch of the gradient, and each updates
that stretch of the parameters; others in one message over the flat buffer.  Random masks are those
of the whole batch, and batch normalisation uses the rows of all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from nnad.compiler.choice import say_once
from nnad.data.batches import Batch
from nnad.data.dataset import Split
from nnad.distributed import Communicator, all_reduce_sum, alone
from nnad.distributed.collective import synchronizing_batch_norm
from nnad.errors import DivergedError
from nnad.layers import BatchNorm1d, BatchNorm2d
from nnad.losses.divisor import count_rows
from nnad.ops.noise import sharing_draws
from nnad.optimizers.clip import norm_of, scale_to_norm
from nnad.training.diagnosis import is_finite
from nnad.training.group import GroupTrainer
from nnad.training.history import History
from nnad.training.shared import SharedParameters
from nnad.training.step_programs import StepPrograms
from nnad.training.trainer import SUM_OF_GRADIENTS

__all__ = ["Culprit", "ParallelTrainer", "has_batch_norm", "run_for_the_others"]

Culprit = tuple[Any, Batch]


class ParallelTrainer(GroupTrainer):
    """A trainer that is one of several, each of which computes its share of every batch.

    Args:
        synchronize_batch_norm: normalise batches over the rows of all processes; otherwise each
            over its own, which costs no messages and is another model than one process trains.
            Batches with less than two rows for each are normalised over all rows nevertheless.
        arguments: those of `GroupTrainer`.
    """

    compiled_actions = ("update",)  # clipping waits for messages

    def __init__(
        self,
        *arguments: Any,
        communicator: Communicator,
        synchronize_batch_norm: bool = True,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, communicator=communicator, **keywords)
        self.shared: SharedParameters | None = None
        self.synchronize_batch_norm = synchronize_batch_norm
        if has_batch_norm(self.model) and self.normalizes_together(self.batch_size):
            self.programs = StepPrograms(self, False, 1)  # messages within a gradient
        self.batching["part"] = (communicator.rank, communicator.size)

    def prepare(self, train: Split, validation: Split | None) -> None:
        super().prepare(train, validation)
        self.shared = SharedParameters.of(self.model, self.optimizer, self.communicator)
        alone = self.communicator.local_size == self.communicator.size
        if alone and self.shared is None and self.optimizer.divisible and self.communicator.leads:
            say_once(
                "no memory can be shared here; gradients are sent as messages, which is slower"
            )
        self.flat_weights = [buffer.data for buffer in self.model.flat.values()]
        self.flat_gradients = [buffer.grad for buffer in self.model.flat.values()]

    def fit(self, train: Split, validation: Split | None = None) -> History:
        try:
            return super().fit(train, validation)
        finally:
            if self.shared is not None:
                self.shared.leave(self.model, self.optimizer)
                self.shared = None

    # The gradient of a batch that is shared -----------------------------------------------------

    def accumulate_gradients(self, batches: Iterable[Batch]) -> tuple[float, float]:
        loss_sum, weight_sum, culprit = self.add_batches(self.drawing_alike(batches))
        missing = [p.grad is None for p in self.parameters]
        loss_sum, weight_sum, lacking = self.agree_on_sums(
            loss_sum, weight_sum, sum(missing), culprit
        )
        if lacking:
            self.reach_alike(missing)
        if weight_sum:
            self.average_gradients(weight_sum)
            if self.programs.kind is None:
                self.programs.decide(self.sum_of_all(np.array([self.programs.gain]))[0])
        return loss_sum, weight_sum

    def drawing_alike(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches that count; after each of them all generators are where one's alone would be.

        Who has no row of a batch cannot tell how many numbers a layer draws for one: rows may have
        been merged with times.  The last process has a row of every batch.
        """
        for batch in filter(self.counts, batches):
            yield batch
            if batch.rows_of_all < self.parts:
                self.draw_like(self.communicator.size - 1)

    def counts(self, batch: Batch) -> bool:
        """Whether any row of a batch counts, of whichever process."""
        all_count = batch.weight is None and self.divisor is count_rows
        return all_count or self.have_weight([batch])

    def add_batches(self, batches: Iterable[Batch]) -> tuple[float, float, Culprit | None]:
        """Add the gradients of this process's rows, times their weights.

        Returns:
            The sums of the weighted losses and of the weights, and the first loss that is not
            finite.
        """
        loss_sum = weight_sum = 0.0
        culprit = None
        for batch in batches:
            weight = self.weight_of(batch)
            loss = self.add_share(batch, weight)
            if weight:
                loss_sum += float(loss.data) * weight
                weight_sum += weight
                culprit = culprit or self.culprit_of(loss, batch)
        return loss_sum, weight_sum, culprit

    def culprit_of(self, loss: Any, batch: Batch) -> Culprit | None:
        """A loss that is not finite, with its tape, and its batch."""
        if math.isfinite(float(loss.data)):
            return None
        batch = copy.deepcopy(batch)  # which is a view of what the next one overwrites
        return loss if loss.requires_grad else self.batch_loss(batch), batch

    def reach_alike(self, missing: Sequence[bool]) -> None:
        """Give every parameter that the rows of any process reach a gradient in all."""
        ranks = self.communicator.sum(np.array(missing, np.int64))
        for p, absent, count in zip(self.parameters, missing, ranks.tolist(), strict=True):
            if absent:
                p.leaf.buffer[...] = 0
                if count < self.communicator.size:
                    p.grad = p.leaf.buffer

    def average_gradients(self, weight: float) -> None:
        """Sum the gradient over all processes, or the own stretches of it, over `weight`."""
        if self.shared is not None:
            self.shared.average_gradients(weight)
            return
        for gradient in self.flat_gradients:
            self.sum_of_all(gradient)
            gradient /= weight

    def clip_gradients(self) -> float:
        if self.shared is None:
            return super().clip_gradients()
        return self.clip_stretches(self.shared.own_gradients)

    def clip_stretches(self, stretches: Sequence[np.ndarray]) -> float:
        """Clip what this process has of the gradient; returns a norm of all there was."""
        norm = self.norm_of_all()
        if self.clip_value is not None:
            for stretch in stretches:
                np.clip(stretch, -self.clip_value, self.clip_value, out=stretch)
        if self.clip_norm is not None:
            if self.clip_value is not None:
                norm = self.norm_of_all()
            scale_to_norm(stretches, norm, self.clip_norm)
        return norm

    def norm_of_all(self) -> float:
        """The norm of the whole gradient, of which each process has summed its own stretches."""
        assert self.shared is not None
        norm = norm_of(self.shared.own_gradients)
        with np.errstate(over="ignore"):
            square = self.communicator.sum(np.square([norm], dtype=np.float64))[0]
        if math.isfinite(square):
            return math.sqrt(square)
        return math.hypot(*self.communicator.gather_rows(np.array([norm])))

    def update_parameters(self) -> None:
        super().update_parameters()
        if self.shared is not None:
            wanted = any(callback.reads_gradients(self) for callback in self.callbacks)
            self.shared.exchange_values(gradients_too=wanted)

    def add_share(self, batch: Batch, weight: float) -> Any:
        """Add the gradient of this process's rows, times their weights; returns their mean loss.

        Also without a row that counts the model is run: the other processes may wait for its part
        of a sum within it.
        """
        with ExitStack() as stack:
            stack.enter_context(sharing_draws(*batch.span))
            if self.normalizes_together(batch.rows_of_all):
                stack.enter_context(synchronizing_batch_norm())
            if not weight:
                run_for_the_others(self.model, batch)
                return None
            return self.programs.gradient(batch, np.float64(weight))

    @property
    def parts(self) -> int:
        """How many parts a batch is divided into."""
        return self.communicator.size

    def normalizes_together(self, rows: int) -> bool:
        """Whether batches of so many rows are normalised over all rows, not each part by itself."""
        return self.synchronize_batch_norm or rows < 2 * self.parts

    def agree_on_sums(
        self, loss_sum: float, weight_sum: float, lacking: int, culprit: Culprit | None
    ) -> tuple[float, float, float]:
        """Add up losses, weights and how many gradients are lacking.

        Raises:
            DivergedError: on every process, if any has a culprit.
        """
        diverged = culprit is not None
        numbers = [0.0 if diverged else loss_sum, weight_sum, lacking, diverged]
        loss_sum, weight_sum, found, anywhere = self.agree(numbers)
        if anywhere:
            self.raise_together(partial(self.report_loss, *culprit) if culprit else None)
        return loss_sum, weight_sum, found

    def gradient_is_finite(self) -> bool:
        if self.shared is None:
            return super().gradient_is_finite()
        bad = not all(map(is_finite, self.shared.own_gradients))
        return not self.communicator.sum(np.array([bad], np.int64))[0]

    def batch_loss(self, batch: Batch) -> Any:
        """The loss of the own rows, by the operations of a step, but without messages."""
        with ExitStack() as stack:
            stack.enter_context(alone())
            if self.normalizes_together(batch.rows_of_all):
                stack.enter_context(synchronizing_batch_norm())
            return super().batch_loss(batch)

    def report_gradient(self) -> None:
        self.raise_together(super().report_gradient)

    def raise_together(self, report: Callable[[], None] | None) -> None:
        """Raise on every process the first DivergedError that `report()` raises on any.

        Before those go the ones that blame own rows, not what came of other processes.
        """
        message = ""
        try:
            if report is not None:
                report()
        except DivergedError as error:
            message = str(error)
        found = [text for text in self.communicator.gather_texts(message) if text]
        if found:
            raise DivergedError(min(found, key=blames_others))

    def have_weight(self, batches: Sequence[Batch]) -> bool:
        return bool(self.communicator.sum(np.array([sum(map(self.weight_of, batches))]))[0])

    def outputs(self, x: Any) -> np.ndarray:
        if not self.synchronize_batch_norm:  # each has running statistics of its own rows
            for _, statistics in self.model.named_buffers():
                self.communicator.broadcast(statistics)
        return super().outputs(x)


def blames_others(message: str) -> bool:
    """Whether a process says of what is not finite that it came in a sum over all."""
    return any(name in message for name in (SUM_OF_GRADIENTS, f"operation {all_reduce_sum.name}"))


def run_for_the_others(model: Any, batch: Batch) -> None:
    """Run a model without a row that counts: others may wait for this part of a sum within it."""
    output = model(batch.x)
    output.backward(np.zeros(output.shape, output.dtype))


def has_batch_norm(model: Any) -> bool:
    """Whether there is a layer that normalises over the rows of a batch."""
    return any(isinstance(module, (BatchNorm1d, BatchNorm2d)) for module in model.modules())
