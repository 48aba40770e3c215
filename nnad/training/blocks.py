"""Data parallel training whose bits do not depend on the number of processes.

Rounding depends on the order of additions, and a network may turn a bit into a ReLU that is open or
shut.  So every batch is divided into a fixed number of blocks, and what is computed from a block is
computed from it alone: the gradients of blocks are added up in pairs, pairs of pairs, and so on
(`nnad.distributed.pairs`), as are losses, weights and norms.  A process takes one block after the
other; where batch normalisation needs sums over the whole batch, its blocks take turns
(`nnad.distributed.lockstep`).  Which process does a block changes nothing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from nnad.data.batches import Batch
from nnad.data.dataset import Split
from nnad.distributed import share_of
from nnad.distributed.collective import synchronizing_batch_norm
from nnad.distributed.lockstep import Lockstep
from nnad.distributed.pairs import add_in_pairs
from nnad.layers.parameter import FlatBuffer, Parameter
from nnad.ops.noise import sharing_draws
from nnad.optimizers.clip import norm_of
from nnad.random import default_generator, drawing_from
from nnad.training.history import History
from nnad.training.parallel import Culprit, ParallelTrainer, has_batch_norm, run_for_the_others
from nnad.training.state import generators

__all__ = ["BlockTrainer"]


class BlockTrainer(ParallelTrainer):
    """A trainer that is one of 1, 2, 4, ..., with the same numbers to the last bit in each case.

    Args:
        blocks: how many a batch is divided into: a power of two that the number of processes
            divides.
        arguments: those of `ParallelTrainer`; batch normalisation that is not synchronised is over
            each block, and the running statistics are those of the first one.
    """

    def __init__(self, *arguments: Any, blocks: int, **keywords: Any) -> None:
        self.blocks = blocks
        super().__init__(*arguments, **keywords)
        size, rank = self.communicator.size, self.communicator.rank
        if blocks < 1 or blocks & (blocks - 1) or blocks % size:
            raise ValueError(
                f"blocks must be a power of two that the {size} processes divide, got {blocks}"
            )
        self.mine = range(rank * blocks // size, (rank + 1) * blocks // size)

    def prepare(self, train: Split, validation: Split | None) -> None:
        super().prepare(train, validation)
        self.sums = [[np.zeros_like(flat) for flat in self.flat_gradients] for _ in self.mine]
        self.twins: list[dict[int, Any]] = []

    def fit(self, train: Split, validation: Split | None = None) -> History:
        try:
            return super().fit(train, validation)
        finally:
            self.sums, self.twins = [], []

    @property
    def parts(self) -> int:
        return self.blocks

    def sum_of_all(self, array: np.ndarray) -> np.ndarray:
        return self.communicator.sum_in_pairs(array)

    def clip_gradients(self) -> float:
        shared = self.shared
        return self.clip_stretches(shared.own_gradients if shared else self.flat_gradients)

    def norm_of_all(self) -> float:
        norms = np.zeros(self.blocks)  # of stretches, as many as there are blocks
        for i in self.mine if self.shared else range(self.blocks):
            flats = self.flat_gradients
            norms[i] = norm_of([flat[share_of(flat.size, i, self.blocks)] for flat in flats])
        if self.shared:
            self.communicator.sum(norms)  # each is of one process, and zero elsewhere
        return norm_of([norms])

    # The gradients of the blocks ------------------------------------------------------------------

    def add_batches(self, batches: Iterable[Batch]) -> tuple[float, float, Culprit | None]:
        totals = np.zeros((len(self.mine), 2))  # weighted losses, weights
        culprit = None
        self.reached: set[Any] = set()
        for batch in batches:
            blocks = self.divided(batch)
            together = has_batch_norm(self.model) and self.normalizes_together(batch.rows_of_all)
            losses = self.in_turns(blocks) if together else self.one_by_one(blocks)
            for total, loss, block in zip(totals, losses, blocks, strict=True):
                if loss is not None:
                    weight = self.weight_of(block)
                    total += float(loss.data) * weight, weight
                    culprit = culprit or self.culprit_in(batch, loss, block)
        self.collect()
        loss_sum, weight_sum = add_in_pairs(list(totals)).tolist()
        return loss_sum, weight_sum, culprit

    def culprit_in(self, batch: Batch, loss: Any, block: Batch) -> Culprit | None:
        """What `culprit_of` finds; in the whole batch of this process, where it is found there."""
        if math.isfinite(float(loss.data)):
            return None
        whole = copy.deepcopy(batch), self.batch_loss(batch)
        return whole[::-1] if not math.isfinite(float(whole[1].data)) else (loss, block)

    def divided(self, batch: Batch) -> list[Batch]:
        """The blocks of this process."""
        begin, _, total = batch.span
        blocks = []
        for i in self.mine:
            block = share_of(total, i, self.blocks)
            here = slice(block.start - begin, block.stop - begin)
            weight = None if batch.weight is None else batch.weight[here]
            share = block.start, block.stop, total
            x = np.ascontiguousarray(batch.x[here])  # sums over rows in memory's order else differ
            blocks.append(Batch(x, batch.y[here], weight, share))
        return blocks

    def one_by_one(self, blocks: Sequence[Batch]) -> list[Any]:
        """Add the gradients of blocks that need nothing of each other; returns their losses."""
        losses, gains = [], []
        draws = [(g, g.bit_generator.state) for g in generators(self.model)]
        statistics: list[tuple[np.ndarray, np.ndarray]] = []
        for i, block in enumerate(blocks):
            for generator, state in draws:  # each draws as for the whole batch
                generator.bit_generator.state = state
            self.programs.gain = 0.0
            losses.append(self.add_share(block, self.weight_of(block)))
            gains.append([self.programs.gain])
            self.take(i, self.model)
            if i == 0:
                statistics = [(array, array.copy()) for _, array in self.model.named_buffers()]
        for array, of_first in statistics:
            array[...] = of_first
        self.programs.gain = add_in_pairs(list(np.array(gains)))[0]
        return losses

    def in_turns(self, blocks: Sequence[Batch]) -> list[Any]:
        """The same for blocks that are normalised together, each by a model of its own."""
        if not self.twins:
            self.twins = [self.parameters_again() for _ in blocks[1:]]
        members = [*map(self.member, self.twins), (self.model, default_generator())]
        jobs = [
            partial(self.gradient_in_turn, *member, block)
            for member, block in zip(members, blocks, strict=True)
        ]
        losses = Lockstep(self.communicator, len(jobs)).run(jobs)
        for i, (model, _) in enumerate(members):
            self.take(i, model)
        return losses

    def parameters_again(self) -> dict[int, Any]:
        """For the identity of each parameter another one, of the same values in the same place."""
        twins: dict[int, Any] = {}
        for flat in self.model.flat.values():
            again = [Parameter(p.data) for p in flat.parameters]
            FlatBuffer.within(flat.data, np.zeros_like(flat.data), again)
            twins.update(zip(map(id, flat.parameters), again, strict=True))
        return twins

    def member(self, twins: dict[int, Any]) -> tuple[Any, np.random.Generator]:
        """The model as it is now, with other parameters, and its default generator."""
        draws = copy.deepcopy(default_generator())
        model = copy.deepcopy(self.model, {**twins, id(default_generator()): draws})
        model.flatten()
        for p in self.model.parameters():
            twins[id(p)].requires_grad = p.requires_grad
        return model, draws

    def gradient_in_turn(self, model: Any, draws: np.random.Generator, block: Batch) -> Any:
        """Leave the gradient of a block in a member's model; returns the loss."""
        weight = self.weight_of(block)
        with drawing_from(draws), sharing_draws(*block.span), synchronizing_batch_norm():
            if not weight:
                run_for_the_others(model, block)
                return None
            loss = self.loss(model(block.x), block.y, sample_weight=block.weight)
            loss.backward(np.asarray(weight, loss.dtype))
            return loss

    def take(self, i: int, model: Any) -> None:
        """Add the gradient that a model holds to the sum of block `i`, and forget it."""
        for name, p in model.named_parameters():
            if p.grad is None:
                p.leaf.buffer[...] = 0
            else:
                self.reached.add(name)
                p.grad = None
        for total, buffer in zip(self.sums[i], model.flat.values(), strict=True):
            total += buffer.grad

    def collect(self) -> None:
        """Leave the sum of this process's blocks in the model's gradient."""
        for k, flat in enumerate(self.flat_gradients):
            add_in_pairs([sums[k] for sums in self.sums], out=flat)
        for name, p in self.model.named_parameters():
            if name in self.reached:
                p.leaf.grad = p.leaf.buffer
        for vector in chain.from_iterable(self.sums):
            vector[...] = 0
