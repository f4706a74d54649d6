"""(key, current) pairs of any data set as a Lightning data module."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from dff.data.intervals import EvaluationIntervals
from dff.data.label_census import check_masks
from dff.data.pair_files import read_frames
from dff.data.pairs import EvaluationPairs, TrainingPairs
from dff.data.samples import SampleError, Snippet, describe
from dff.data.transforms.pairs import EvaluationTransform, TrainingTransform
from dff.data.transforms.unit_range import to_unit_range
from dff.lit.datamodules.loaders import (
    evaluation_loader,
    interval_loader,
    to_unit_frames,
    training_loader,
)
from dff.models.names import FlowFrom


class PairData(L.LightningDataModule):
    """(key, current) pairs of a data set, labels on the current frame only.

    Subclasses say where the snippets are and how labels are read. All arguments are settings of
    `--data`; frames leave here as RGB in [0, 1] on the device.

    Args:
        batch_size: Training pairs a step on each device.
        val_batch_size: Most evaluation pairs a step; those of one step have frames of one size.
        num_workers: Loader processes on each device.
        size: Height and width of a training pair, cut from the frames; None takes whole frames.
        scale: Range of the random resizing in training.
        flip: Probability of a horizontal flip.
        colour: Strength of the random colour changes, 0 to 1.
        gaps: Smallest and largest gap in training.
        gap_0_share: Share of the pairs with gap 0, which is per-frame training; None gives it the
            share of any other gap. From scratch, key frames lag when it is only a tenth.
        clamp_gaps: Near the start of a snippet, draw its first frame as key more often, as the
            authors do, instead of evenly among the frames that exist.
        short_side: Train on whole frames of this shorter side, instead of on windows of `size`.
        max_side: Most pixels of the longer side in training, with `short_side`.
        val_gaps: Gaps of the evaluation pairs.
        val_short_side: Frames are resized to this shorter side in evaluation; None leaves them.
        val_max_side: Most pixels of the longer side in evaluation, with `val_short_side`.
        val_every: Evaluate on every n-th labelled frame alone.
        skip_damaged: Pass over samples with damaged files, and count them, instead of stopping.
        with_flow: Give true flow too, where the data knows it.
        with_boxes: Give boxes too, for detection.
        min_visibility: In training, a box of which a window leaves less than this share is dropped.
        seed: Of every draw in training.
    """

    classes: Sequence[str] = ()
    palette: Sequence[Sequence[int]] = ()
    box_classes: Sequence[str] = ()

    def __init__(
        self,
        batch_size: int = 1,
        val_batch_size: int = 1,
        num_workers: int = 2,
        size: tuple[int, int] | None = None,
        scale: tuple[float, float] = (1.0, 1.0),
        flip: float = 0.5,
        colour: float = 0.0,
        gaps: tuple[int, int] = (0, 9),
        gap_0_share: float | None = None,
        clamp_gaps: bool = False,
        short_side: int | None = None,
        max_side: int | None = None,
        val_gaps: Sequence[int] = (0, 1, 2, 3, 4),
        val_short_side: int | None = None,
        val_max_side: int | None = None,
        val_every: int = 1,
        skip_damaged: bool = False,
        with_flow: bool = False,
        with_boxes: bool = False,
        min_visibility: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if with_boxes and not self.box_classes:
            raise ValueError(
                f"{type(self).__name__} knows no boxes: set --data.with_boxes to false, or use "
                "Streets, Cityscapes or ImageNetVID"
            )
        if min(batch_size, val_batch_size) < 1 or min(val_gaps, default=0) < 0:
            raise ValueError(
                f"batch_size {batch_size}, val_batch_size {val_batch_size}, val_gaps "
                f"{list(val_gaps)}: wanted batches of at least 1 pair, and gaps from 0"
            )
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers = num_workers
        self.gaps, self.gap_0_share, self.clamp_gaps = gaps, gap_0_share, clamp_gaps
        self.val_gaps, self.val_every = list(val_gaps), val_every
        self.skip_damaged, self.seed = skip_damaged, seed
        self.with_flow, self.with_boxes = with_flow, with_boxes
        self.training_transform = TrainingTransform(
            size, scale, flip, colour, short_side, max_side, min_visibility
        )
        self.evaluation_transform = EvaluationTransform(val_short_side, val_max_side)
        self._found: dict[str, Sequence[Snippet]] = {}

    # ------------------------------------------------ what a data set must say

    def find_snippets(self, split: str) -> Sequence[Snippet]:
        """The snippets of a split."""
        raise NotImplementedError

    def mask_reader(self) -> Callable[[str], np.ndarray] | None:
        """The function that reads a label file as train ids; None where there are boxes alone."""
        raise NotImplementedError

    def check_labels(self, split: str, files: Sequence[str]) -> None:
        """Looks into the masks of a split: what no loss and no figure would show is said.

        Args:
            split: "train" or "val".
            files: The label files.

        Raises:
            SampleError: A mask cannot be used, or no two classes are to be learned from them all.
        """
        try:
            told = check_masks(
                files, self.mask_reader(), self.classes, split != "train", self.skip_damaged
            )
        except SampleError as error:
            raise SampleError(f"{type(self).__name__} {split}: {error}") from error
        if told:
            rank_zero_info(f"{type(self).__name__} {split}: {told}")

    def quotas(self) -> list[tuple[range, int]] | None:
        """How many of which training pairs an epoch draws, see `mix`; None takes each once."""
        return None

    # ------------------------------------------------------------------ pairs

    def setup(self, stage: str) -> None:
        """Finds what a run needs, and looks into its labels, before anything else begins.

        Every process does, and finds the same: none waits for one that has ended in an error.
        """
        if stage == "fit":
            self.snippets("train")
        if stage == "validate" or (stage == "fit" and self.trainer.limit_val_batches):
            self.snippets("val")

    def snippets(self, split: str) -> Sequence[Snippet]:
        """The snippets of a split, found once, and their labels looked into."""
        if split not in self._found:
            found = self.find_snippets(split)
            rank_zero_info(f"{type(self).__name__} {split}: {describe(found)}")
            if self.mask_reader() is not None:
                files = [file for s in found for _, file in sorted(s.masks.items())]
                self.check_labels(split, files)
            self._found[split] = found
        return self._found[split]

    def evaluation_pairs(
        self,
        gaps: Sequence[int],
        with_flow: bool | None = None,
        rank: int = 0,
        world_size: int = 1,
        flow_from: FlowFrom = "key",
    ) -> DataLoader:
        """Pairs of the held-out split at each of `gaps`; this rank's share, each pair once.

        Where a model finds flow by way of the frame before (`flow_from`), a batch is a key frame
        with all of its pairs and the frames between; see `EvaluationIntervals`.
        """
        snippets = self.snippets("val")
        if self.val_every > 1:
            most = max((len(snippet.labelled) for snippet in snippets), default=0)
            if 0 < most < self.val_every:
                raise ValueError(
                    f"--data.val_every {self.val_every} leaves no labelled frame to evaluate on: "
                    f"no snippet has more than {most}, set at most that"
                )
            snippets = [_thin_labels(snippet, self.val_every) for snippet in snippets]
        pairs = EvaluationPairs(
            snippets,
            self.mask_reader(),
            self.evaluation_transform,
            gaps,
            with_flow=self.with_flow if with_flow is None else with_flow,
            with_boxes=self.with_boxes,
        )
        if flow_from != "key":
            return interval_loader(self, EvaluationIntervals(pairs), rank, world_size)
        return evaluation_loader(self, pairs, rank, world_size)

    def held_out_frames(self, count: int) -> tuple[list[torch.Tensor], float]:
        """Up to `count` consecutive frames of the held-out snippet that has the most.

        Returns:
            Frames (1, 3, H, W) in [0, 1] at the size of evaluation, and the mean seconds that
            reading one took.
        """
        snippet = max(self.snippets("val"), key=lambda s: len(s.frames))
        numbers = sorted(snippet.frames)[:count]
        started = time.perf_counter()
        frames = read_frames(snippet, numbers)
        seconds = (time.perf_counter() - started) / len(numbers)
        frames = [self.evaluation_transform({"key": f, "current": f})["current"] for f in frames]
        tensors = [torch.from_numpy(f).permute(2, 0, 1).unsqueeze(0) for f in frames]
        return [to_unit_range(t) for t in tensors], seconds

    def train_dataloader(self) -> DataLoader:
        """Random pairs; a run that goes on in mid-epoch goes on with the pair it stopped before."""
        pairs = TrainingPairs(
            self.snippets("train"),
            self.mask_reader(),
            self.training_transform,
            gaps=self.gaps,
            gap_0_share=self.gap_0_share,
            skip_damaged=self.skip_damaged,
            with_flow=self.with_flow,
            with_boxes=self.with_boxes,
            clamp_gaps=self.clamp_gaps,
            with_previous=self._flow_from() != "key",
        )
        return training_loader(self, pairs, "labelled frames", self.quotas())

    def val_dataloader(self) -> DataLoader:
        """Pairs at `val_gaps`."""
        return self.evaluation_pairs(self.val_gaps, flow_from=self._flow_from())

    def _flow_from(self) -> FlowFrom:
        """As the model of the trainer has it."""
        module = getattr(self.trainer, "lightning_module", None)
        found: FlowFrom = getattr(getattr(module, "model", None), "flow_from", "key")
        return found

    def on_after_batch_transfer(self, batch: dict[str, Any], index: int) -> dict[str, Any]:
        """Frames from uint8 to RGB in [0, 1], on the device."""
        return to_unit_frames(batch)


def _thin_labels(snippet: Snippet, every: int) -> Snippet:
    return replace(snippet, labelled=sorted(snippet.labelled)[every - 1 :: every])
