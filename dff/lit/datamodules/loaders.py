"""Loaders of pairs: training in random order, evaluation in order, and frames on their way."""

from collections.abc import Sized
from typing import Any, Protocol, cast

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, SequentialSampler, Subset

from dff.data.collation import collate
from dff.data.intervals import EvaluationIntervals
from dff.data.pairs import EvaluationPairs, worker_init
from dff.data.samples import SampleError
from dff.data.sampling import BatchesOfOneSize, DrawSampler
from dff.data.transforms.unit_range import to_unit_range


class LoadsPairs(Protocol):
    """A data module of pairs, with its settings of the loaders."""

    trainer: Any
    batch_size: int
    val_batch_size: int
    num_workers: int
    seed: int

    def prepare_data(self) -> None:
        """Of Lightning."""

    def train_dataloader(self) -> Any:
        """Of Lightning."""


def training_loader(
    data: LoadsPairs,
    pairs: Dataset,
    what: str,
    quotas: list[tuple[range, int]] | None = None,
) -> DataLoader:
    """Random pairs for a trainer; a run that goes on in mid-epoch goes on where it stopped.

    Args:
        data: Knows `trainer`, `batch_size`, `num_workers` and `seed`.
        pairs: Takes (index, seed).
        what: What a pair is called in a message, in the plural.
        quotas: See `DrawSampler`.

    Raises:
        SampleError: There are fewer pairs than a batch needs.
    """
    trainer, batch_size = data.trainer, data.batch_size
    drawn = len(cast(Sized, pairs)) if quotas is None else sum(count for _, count in quotas)
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    world_size = trainer.world_size
    if drawn < batch_size * world_size:
        raise SampleError(
            f"{drawn} {what} in the training split: wanted at least one batch of "
            f"{batch_size} on {world_size} devices; set --data.batch_size lower"
        )
    sampler = DrawSampler(
        cast(Sized, pairs),
        num_replicas=world_size,
        rank=trainer.global_rank,
        seed=data.seed,
        # stopped after the last batch of an epoch, a run goes on with the next one's first
        start=done % (drawn // world_size // batch_size) * batch_size,
        quotas=quotas,
    )
    return DataLoader(
        pairs,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=data.num_workers,
        worker_init_fn=worker_init,
        collate_fn=collate,
        drop_last=True,
        persistent_workers=data.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_loader(
    data: LoadsPairs, pairs: Dataset, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Pairs in order; this rank's share, each pair once.

    Args:
        data: Knows `val_batch_size` and `num_workers`.
        pairs: Takes an index.
        rank: Number of this share.
        world_size: Number of shares.
    """
    share = range(rank, len(cast(Sized, pairs)), world_size)
    chosen = pairs if world_size == 1 else Subset(pairs, share)
    batches: dict[str, Any] = {"batch_size": data.val_batch_size}
    if data.val_batch_size > 1 and isinstance(pairs, EvaluationPairs):
        sizes = pairs.sizes()[share]
        if len(np.unique(sizes)) > 1:
            sampler = SequentialSampler(cast(Sized, chosen))
            batches = {
                "batch_sampler": BatchesOfOneSize(sampler, data.val_batch_size, False, sizes)
            }
    return DataLoader(
        chosen,
        **batches,
        num_workers=data.num_workers,
        worker_init_fn=worker_init,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )


def interval_loader(
    data: LoadsPairs, intervals: EvaluationIntervals, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Key frames in order, each a batch of its pairs; as `evaluation_loader`."""
    share = Subset(intervals, range(rank, len(intervals), world_size))
    return DataLoader(
        share,
        batch_size=None,
        num_workers=data.num_workers,
        worker_init_fn=worker_init,
        pin_memory=torch.cuda.is_available(),
    )


def to_unit_frames(batch: dict[str, Any]) -> dict[str, Any]:
    """The frames of a batch of pairs from uint8 to RGB in [0, 1]."""
    for name in [n for n in ("key", "current", "previous", "frames") if n in batch]:
        batch[name] = to_unit_range(batch[name])
    return batch


def first_training_loader(data: LoadsPairs) -> DataLoader:
    """The loader of a training's first epoch in one process, for who measures it without a run."""
    # which pairs an epoch draws depends on the trainer
    data.trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    data.prepare_data()
    loader: DataLoader = data.train_dataloader()
    return loader
