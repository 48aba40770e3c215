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
from nnad.distributed.pairs import add_in_pairs, sum_in_pairs
from nnad.layers.parameter import FlatBuffer
from nnad.ops.noise import sharing_draws
from nnad.optimizers.clip import norm_of
from nnad.random import default_generator, drawing_from
from nnad.training.evaluation import weight_of
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
        self.members: list[tuple[Any, np.random.Generator]] = []

    @property
    def parts(self) -> int:
        return self.blocks

    def sum_of_all(self, array: np.ndarray) -> np.ndarray:
        return sum_in_pairs(self.communicator, array)

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
                    weight = weight_of(block)
                    total += float(loss.data) * weight, weight
                    culprit = culprit or self.culprit_of(loss, block)
        self.collect()
        loss_sum, weight_sum = add_in_pairs(list(totals)).tolist()
        return loss_sum, weight_sum, culprit

    def divided(self, batch: Batch) -> list[Batch]:
        """The blocks of this process."""
        rows = len(batch.y)
        begin, _, total = batch.share or (0, rows, rows)
        blocks = []
        for i in self.mine:
            block = share_of(total, i, self.blocks)
            here = slice(block.start - begin, block.stop - begin)
            weight = None if batch.weight is None else batch.weight[here]
            share = block.start, block.stop, total
            blocks.append(Batch(batch.x[here], batch.y[here], weight, share))
        return blocks

    def one_by_one(self, blocks: Sequence[Batch]) -> list[Any]:
        """Add the gradients of blocks that need nothing of each other; returns their losses."""
        losses, gains = [], []
        draws = [(g, g.bit_generator.state) for g in generators(self.model)]
        statistics: list[tuple[np.ndarray, np.ndarray]] = []
        for i, block in enumerate(blocks):
            for generator, state in draws:  # each draws as for the whole batch
                generator.bit_generator.state = state
            losses.append(self.add_share(block, weight_of(block)))
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
        if not self.members:
            self.members = [self.member(i) for i in range(len(blocks))]
        states = [generator.bit_generator.state for generator in generators(self.model)]
        jobs = [
            partial(self.gradient_in_turn, *member, states, block)
            for member, block in zip(self.members, blocks, strict=True)
        ]
        losses = Lockstep(self.communicator, len(jobs)).run(jobs)
        for i, (model, _) in enumerate(self.members):
            self.take(i, model)
        return losses

    def member(self, i: int) -> tuple[Any, np.random.Generator]:
        """A model for a block, with gradients of its own, and its default generator."""
        if i == 0:
            return self.model, default_generator()
        model = copy.deepcopy(self.model)
        for dtype, buffer in model.flatten().items():
            values = self.model.flat[dtype].data
            FlatBuffer.within(values, np.zeros_like(values), buffer.parameters)
        model.flatten()
        return model, np.random.default_rng(0)

    def gradient_in_turn(
        self, model: Any, draws: np.random.Generator, states: Sequence[Any], block: Batch
    ) -> Any:
        """Leave the gradient of a block in a member's model; returns the loss."""
        weight = weight_of(block)
        assert block.share is not None
        with drawing_from(draws), sharing_draws(*block.share), synchronizing_batch_norm():
            for generator, state in zip(generators(model), states, strict=True):
                generator.bit_generator.state = state
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
