"""Which samples a training draws in an epoch, and with which seeds."""

from collections.abc import Iterator, Sequence, Sized
from typing import cast

import numpy as np
from torch.utils.data import BatchSampler, Dataset, DistributedSampler, Sampler


class DrawSampler(DistributedSampler):
    """Draws (index, seed) for `TrainingPairs`, the same whatever the workers and machines.

    Lightning replaces samplers under DDP, but not a `DistributedSampler`.

    Args:
        dataset: Only its length counts.
        num_replicas: Number of processes.
        rank: Number of this process.
        seed: With the epoch, all that order and seeds depend on.
        start: How many samples of this process the first epoch that is iterated passes over: the
            rest of an epoch that was stopped in its middle. The length stays that of an epoch.
        quotas: Ranges of indices, and how many of each an epoch draws, without repetition; see
            `mix`. None draws every index.

    Raises:
        ValueError: The data set is empty, rank, seed or start is out of its range, or a quota is
            larger than its range.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
        start: int = 0,
        quotas: Sequence[tuple[range, int]] | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("no samples to draw from: the data set is empty")
        for part, count in quotas or ():
            if not 0 <= count <= len(part):
                raise ValueError(f"{count} draws from {len(part)} samples: want no repetition")
        self.quotas = quotas or [(range(len(dataset)), len(dataset))]
        self.drawn = sum(count for _, count in self.quotas)
        if seed < 0 or start < 0:
            raise ValueError(f"seed {seed}, start {start}: want numbers from 0")
        # Ranks of unequal length would wait for each other for ever: the tail goes, another
        # one in each epoch. With fewer samples than ranks there is no whole round to keep.
        drop_last = self.drawn >= num_replicas
        draws = cast(Dataset, range(self.drawn))  # nothing but its length is asked for
        super().__init__(draws, num_replicas, rank, seed=seed, drop_last=drop_last)
        self.start = start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start, self.start = self.start, 0
        root = np.random.SeedSequence(self.seed, spawn_key=(self.epoch,))
        rng = np.random.default_rng(root)
        if len(self.quotas) == 1 and self.drawn == len(self.quotas[0][0]):
            order = self.quotas[0][0].start + rng.permutation(self.drawn)
        else:
            parts = [part.start + rng.permutation(len(part))[:n] for part, n in self.quotas]
            order = rng.permutation(np.concatenate(parts))
        mine = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        # the epoch is read now: a loader may still be handing this one out when the next is set
        return self._draws(mine[start:], self.epoch)

    def _draws(self, indices: np.ndarray, epoch: int) -> Iterator[tuple[int, int]]:
        for index in indices.tolist():
            sequence = np.random.SeedSequence(self.seed, spawn_key=(epoch, index))
            yield index, int(sequence.generate_state(1)[0])


def mix(counts: Sequence[int], ratio: Sequence[float]) -> list[tuple[range, int]]:
    """Returns quotas that mix parts of a data set by a ratio, as `DrawSampler` takes them.

    An epoch is as long as it can be without a sample that comes twice: of one part it takes all, of
    the others as many as the ratio says, which are others in each epoch.

    Args:
        counts: Samples of each part; the parts lie behind each other in the data set.
        ratio: Wanted shares, such as (2, 1).

    Raises:
        ValueError: A share is not above 0, or a part is empty.
    """
    if len(ratio) != len(counts) or min(ratio) <= 0:
        raise ValueError(f"ratio {tuple(ratio)}: want {len(counts)} numbers above 0")
    if min(counts) == 0:
        raise ValueError(
            f"cannot mix parts of {' and '.join(map(str, counts))} samples {tuple(ratio)}: one is "
            "empty; add its data, or set the ratio to null"
        )
    unit = min(count / share for count, share in zip(counts, ratio, strict=True))
    quotas, start = [], 0
    for count, share in zip(counts, ratio, strict=True):
        quotas.append((range(start, start + count), min(count, max(1, round(unit * share)))))
        start += count
    return quotas


class BatchesOfOneSize(BatchSampler):
    """Batches of samples that follow each other and have frames of one size.

    Arguments stand as in `BatchSampler`, so that Lightning can put its sampler in place of this.

    Args:
        sampler: Gives the indices.
        batch_size: Most samples of a batch.
        drop_last: Nothing is ever dropped.
        sizes: (n,) int64, a number for each sample, the same for samples of one size.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, drop_last: bool, sizes: np.ndarray
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.sizes = sizes

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the indices of each batch."""
        batch: list[int] = []
        for index in self.sampler:
            full = len(batch) == self.batch_size
            if batch and (full or self.sizes[index] != self.sizes[batch[-1]]):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def __len__(self) -> int:
        """How many batches there are."""
        return sum(1 for _ in self)
