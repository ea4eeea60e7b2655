"""The order in which training sees its pictures.

Shuffled each epoch, the same after a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from ghostyolo.errors import ConfigError


class EpochSampler(Sampler[int]):
    """A shuffle that depends only on (seed, epoch), shared out among ranks.

    Lightning calls ``set_epoch`` at the start of every epoch. Build its Trainer with
    ``use_distributed_sampler=False``, since this sampler already gives each rank its share.
    """

    BLOCK = 1

    def __init__(
        self,
        length: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        repeats: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Order ``length`` positions; rank r takes every ``world_size``-th one from the r-th on.

        Every rank gets an equal number: where that does not divide, the order wraps around.

        Args:
            repeats: (length,) how often each position is in an epoch, in the mean over epochs; None: once.

        Raises:
            ConfigError: a negative length or seed, or a rank outside 0..world_size - 1.
        """
        if length < 0 or seed < 0:
            raise ConfigError(f"seed: {seed} and number of pictures: {length} must not be negative")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank: {rank} is not one of 0..{world_size - 1}")
        self.repeats = np.ones(length) if repeats is None else repeats
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-_shuffled_length(self.repeats) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        order = _shuffle(self.repeats, np.random.default_rng([self.seed, self.epoch]))
        order = np.resize(order, len(self) * self.world_size)  # continues from the beginning
        return iter(order[self.rank :: self.world_size].tolist())


def _shuffled_length(repeats: npt.NDArray[np.float64]) -> int:
    return round(float(repeats.sum()))


def _shuffle(repeats: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Positions in random order, each as often as ``repeats`` says, rounded up or down by chance.

    Their number is always the same. Without repeats it is a permutation.
    """
    order = random.permutation(len(repeats))
    if np.all(repeats == 1):
        return order
    # One random offset for all, so that the parts behind the point add up to a whole number.
    ends = np.floor(np.cumsum(repeats[order]) + random.random() + 1e-9)
    ends[-1:] = _shuffled_length(repeats)
    counts = np.diff(ends, prepend=0).astype(np.int64)
    return random.permutation(np.repeat(order, counts))


class SetSampler(EpochSampler):
    """An order of training over several data sets.

    How often each is shown goes by its size^(1 / temperature).

    Pictures of one set come in blocks of four, so that a batch holds partners for their mosaics. A set is shown whole
    before any of it is shown again, over the bounds of epochs too. An epoch has about as many pictures as there are.
    """

    BLOCK = 4

    def __init__(
        self,
        sources: Sequence[int],
        temperature: float,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        repeats: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Order the positions of ``sources``, which say the set of each; for the others see :class:`EpochSampler`.

        With ``repeats`` a set counts as many pictures as an epoch shows of it.
        """
        super().__init__(len(sources), seed=seed, rank=rank, world_size=world_size, repeats=repeats)
        each = np.asarray(sources)
        self._members = [np.flatnonzero(each == source) for source in np.unique(each)]
        self._lengths = [max(1, _shuffled_length(self.repeats[members])) for members in self._members]
        weights = np.array(self._lengths) ** (1 / temperature)
        blocks = np.rint(sum(self._lengths) * weights / weights.sum() / self.BLOCK)
        self._blocks = np.maximum(blocks, 1).astype(np.int64)

    def __len__(self) -> int:
        return -(-int(self._blocks.sum()) // self.world_size) * self.BLOCK

    def __iter__(self) -> Iterator[int]:
        blocks = np.concatenate([self._of_set(number).reshape(-1, self.BLOCK) for number in range(len(self._members))])
        blocks = blocks[np.random.default_rng([self.seed, self.epoch]).permutation(len(blocks))]
        share = np.resize(
            blocks, (len(self) // self.BLOCK * self.world_size, self.BLOCK)
        )  # continues from the beginning
        return iter(share[self.rank :: self.world_size].ravel().tolist())

    def _of_set(self, number: int) -> np.ndarray:
        """This epoch's part of the endless row of a set's shuffles."""
        members, length, count = self._members[number], self._lengths[number], int(self._blocks[number]) * self.BLOCK
        begin = self.epoch * count
        shuffles = range(begin // length, -(-(begin + count) // length))
        repeats = self.repeats[members] * (length / self.repeats[members].sum())
        row = np.concatenate(
            [members[_shuffle(repeats, np.random.default_rng([self.seed, number, shuffle]))] for shuffle in shuffles]
        )
        first = begin - shuffles.start * length
        return row[first : first + count]


def make_sampler(
    sources: Sequence[int],
    temperature: float,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    repeats: npt.NDArray[np.float64] | None = None,
) -> EpochSampler:
    """The sampler of pictures of these sets: :class:`SetSampler` where there are several."""
    place = {"seed": seed, "rank": rank, "world_size": world_size}
    if len(set(sources)) > 1:
        return SetSampler(sources, temperature, repeats=repeats, **place)
    return EpochSampler(len(sources), repeats=repeats, **place)


class EvenBatches(Sampler[list[int]]):
    """Batches of nearly one size, at most one picture apart.

    A small last batch would weigh as much as the others, and one of a single picture ends a network whose batch norms
    see maps of 1 x 1. So three pictures in batches of two are one batch of three.
    """

    def __init__(self, sampler: EpochSampler, batch: int) -> None:
        """Share out what ``sampler`` gives; ``batch``: pictures in a batch, as a rule at most."""
        self.sampler = sampler  # Lightning calls its set_epoch
        self.batch = batch

    def __len__(self) -> int:
        pictures = len(self.sampler)
        batches = -(-pictures // self.batch)
        return batches if self.batch == 1 else min(batches, max(1, pictures // 2))

    def __iter__(self) -> Iterator[list[int]]:
        # A generator: the order is asked for at the first batch. On resume Lightning makes the iterator, and only then
        # sets the epoch.
        order, batches = list(self.sampler), len(self)
        # A sampler's blocks stay whole where a batch is some of them.
        block = self.sampler.BLOCK if self.batch % self.sampler.BLOCK == 0 else 1
        ends = [len(order) // block * number // batches * block for number in range(batches + 1)]
        for begin, end in pairwise(ends):
            yield order[begin:end]
