"""Parameters and gradients that the processes of one machine see of each other.

Every process has vectors of its own, so nothing else in a training run knows of the others; but all
of them lie in memory that all processes see.  Each is in charge of an equal stretch of every
vector: it adds up that stretch of all gradients and updates that stretch of the parameters, and the
others copy it from there.  So the optimizer's work is shared out like the gradient's, and a process
reads of each other one its share of the parameters' number twice: of gradients, and of parameters.

Who reads or writes whose memory when, in a step:

    gradient of the own rows      own only
    all have come (losses summed)
    sum of the own stretch        reads all gradients, writes its own
    all have come (norms summed)
    update of the own stretch     own only
    all have come
    copy of the other stretches   reads the others' parameters, and gradients where they are wanted
    all have come

Source: the stages of ZeRO (Rajbhandari et al., 2020), with memory in place of messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.distributed import Communicator, share_of
from nnad.distributed.pairs import add_in_pairs
from nnad.errors import NnadError
from nnad.layers.parameter import FlatBuffer
from nnad.optimizers.base import Optimizer
from nnad.optimizers.flat import address

__all__ = ["SharedParameters"]

BLOCK = 2**17  # numbers that are added up at once, so that they are divided while in the cache
CACHE_LINE = 64  # bytes


class SharedParameters:
    """The flat vectors of a model in shared memory; a `Division` for its optimizer.

    Args:
        model: is moved into it.
        communicator: the processes.
        memory: bytes of each process, by rank.

    Attributes:
        values, gradients: for each flat buffer of the model the vectors of all processes, by rank.
        own_gradients: the stretches of the gradient that this process is in charge of.
    """

    def __init__(self, model: Any, communicator: Communicator, memory: list[np.ndarray]) -> None:
        self.communicator = communicator
        self.rank = communicator.rank
        self._memory = memory
        self._taken = 0
        self.values: list[list[np.ndarray]] = []
        self.gradients: list[list[np.ndarray]] = []
        for dtype, buffer in model.flatten().items():
            self.values.append(self.vectors(buffer.data.size, dtype))
            self.gradients.append(self.vectors(buffer.data.size, dtype))
            mine = self.values[-1][self.rank], self.gradients[-1][self.rank]
            FlatBuffer.within(*mine, buffer.parameters)
        model.flatten()
        gradients = (vectors[self.rank] for vectors in self.gradients)
        self.own_gradients = [vector[self._stretch(vector, self.rank)] for vector in gradients]

    @classmethod
    def of(
        cls, model: Any, optimizer: Optimizer, communicator: Communicator
    ) -> SharedParameters | None:
        """Move a model and the slots of its optimizer into shared memory.

        Returns:
            None, and nothing is moved, where there is no such memory, or not enough of it, or the
            optimizer needs whole parameters.
        """
        if not optimizer.divisible:
            return None
        buffers = model.flatten().values()
        optimizer.divide(None)  # its vectors follow the parameters to where they lie now
        arrays = [*(b.data for b in buffers), *(b.grad for b in buffers), *optimizer.flat_slots()]
        size = sum(_in_whole_lines(array.nbytes) for array in arrays)
        memory = communicator.shared_memory(size)
        if memory is None:
            return None
        shared = cls(model, communicator, memory)
        optimizer.divide(shared)
        return shared

    def leave(self, model: Any, optimizer: Optimizer) -> None:
        """Move a model and its optimizer's slots back into memory of this process alone."""
        for buffer in model.flatten().values():
            FlatBuffer.holding(buffer.parameters)
        model.flatten()
        optimizer.divide(None)

    # The division ---------------------------------------------------------------------------------

    def part(self, flat: np.ndarray, rank: int) -> slice:
        """The stretch of `flat`, which lies in one of this process's vectors, that `rank` updates.

        Raises:
            NnadError: `flat` lies elsewhere.
        """
        for vectors in self.values:
            mine = vectors[self.rank]
            begin, rest = divmod(address(flat) - address(mine), mine.itemsize)
            if rest == 0 and 0 <= begin <= mine.size - flat.size and flat.dtype == mine.dtype:
                owned = self._stretch(mine, rank)
                edges = np.clip([owned.start - begin, owned.stop - begin], 0, flat.size)
                return slice(*edges.tolist())
        raise NnadError(
            "parameters were moved out of the memory that the processes share; a model that is "
            "being trained by several must keep its dtype and its layers"
        )

    def vectors(self, size: int, dtype: np.dtype) -> list[np.ndarray]:
        """A vector of zeros of each process, which all of them see."""
        begin, count = self._taken, size * np.dtype(dtype).itemsize
        self._taken += _in_whole_lines(count)
        return [memory[begin : begin + count].view(dtype) for memory in self._memory]

    def _stretch(self, vector: np.ndarray, rank: int) -> slice:
        return share_of(vector.size, rank, self.communicator.size)

    # The parts of a step --------------------------------------------------------------------------

    def average_gradients(self, weight: float) -> None:
        """Sum the own stretches over all processes, over `weight`."""
        for vectors, own in zip(self.gradients, self.own_gradients, strict=True):
            part = self._stretch(vectors[0], self.rank)
            stretches = [vector[part] for vector in vectors]
            for begin in range(0, own.size, BLOCK):
                span = slice(begin, begin + BLOCK)
                total = add_in_pairs([vector[span] for vector in stretches], out=own[span])
                total /= weight

    def exchange_values(self, gradients_too: bool) -> None:
        """Copy the stretches of the parameters that others have updated.

        Reading what another core has written is several times as fast as writing over it.

        Args:
            gradients_too: copy those of the gradients as well; each process as it likes.
        """
        self.communicator.meet()
        self._collect(self.values)
        if gradients_too:
            self._collect(self.gradients)
        self.communicator.meet()

    def _collect(self, buffers: list[list[np.ndarray]]) -> None:
        """Copy from the others the stretches that they are in charge of."""
        for vectors in buffers:
            mine = vectors[self.rank]
            for rank, theirs in enumerate(vectors):
                if theirs is not mine:
                    part = self._stretch(mine, rank)
                    mine[part] = theirs[part]


def _in_whole_lines(count: int) -> int:
    return -(-count // CACHE_LINE) * CACHE_LINE
