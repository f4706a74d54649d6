"""The data sets as Lightning data modules: pairs to train and evaluate on, videos to predict."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Subset
from torchvision.transforms.functional import resize

from dff.data import cityscapes, folder, streets
from dff.data.draws import DrawSampler
from dff.data.images import read_image
from dff.data.intervals import Intervals
from dff.data.pairs import EvaluationPairs, TrainingPairs, worker_init
from dff.data.samples import SampleError, Snippet, describe
from dff.data.transforms import EvaluationTransform, TrainingTransform
from dff.data.video import VideoInput


class PairData(L.LightningDataModule):
    """(key, current) pairs of a data set, labels on the current frame only.

    Subclasses say where the snippets are and how labels are read. All arguments are settings of
    `--data`; frames leave here as RGB in [0, 1] on the device.

    Args:
        batch_size: Training pairs a step on each device.
        val_batch_size: Evaluation pairs a step; more than 1 wants frames of one size.
        num_workers: Loader processes on each device.
        size: Height and width of a training pair, cut from the frames; None takes whole frames.
        scale: Range of the random resizing in training.
        flip: Probability of a horizontal flip.
        colour: Strength of the random colour changes, 0 to 1.
        gaps: Smallest and largest gap in training.
        gap_0_share: Share of the pairs with gap 0, which is per-frame training; None gives it the
            share of any other gap. From scratch, key frames lag when it is only a tenth.
        val_gaps: Gaps of the evaluation pairs.
        val_short_side: Frames are resized to this shorter side in evaluation; None leaves them.
        val_every: Evaluate on every n-th labelled frame alone.
        skip_damaged: Pass over samples with damaged files, and count them, instead of stopping.
        with_flow: Give true flow too, where the data knows it.
        seed: Of every draw in training.
    """

    classes: Sequence[str] = ()
    palette: Sequence[Sequence[int]] = ()

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
        val_gaps: Sequence[int] = (0, 1, 2, 3, 4),
        val_short_side: int | None = None,
        val_every: int = 1,
        skip_damaged: bool = False,
        with_flow: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers = num_workers
        self.gaps, self.gap_0_share = gaps, gap_0_share
        self.val_gaps, self.val_every = list(val_gaps), val_every
        self.skip_damaged, self.with_flow, self.seed = skip_damaged, with_flow, seed
        self.training_transform = TrainingTransform(size, scale, flip, colour)
        self.evaluation_transform = EvaluationTransform(val_short_side)
        self._found: dict[str, list[Snippet]] = {}

    # ------------------------------------------------ what a data set must say

    def find_snippets(self, split: str) -> list[Snippet]:
        """The snippets of a split."""
        raise NotImplementedError

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """The function that reads a label file as train ids."""
        raise NotImplementedError

    # ------------------------------------------------------------------ pairs

    def snippets(self, split: str) -> list[Snippet]:
        """The snippets of a split, found once."""
        if split not in self._found:
            self._found[split] = found = self.find_snippets(split)
            rank_zero_info(f"{type(self).__name__} {split}: {describe(found)}")
        return self._found[split]

    def evaluation_pairs(
        self,
        gaps: Sequence[int],
        with_flow: bool | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> DataLoader:
        """Pairs of the held-out split at each of `gaps`; this rank's share, each pair once."""
        snippets = self.snippets("val")
        if self.val_every > 1:
            snippets = [_thin_labels(snippet, self.val_every) for snippet in snippets]
        pairs = EvaluationPairs(
            snippets,
            self.mask_reader(),
            self.evaluation_transform,
            gaps,
            with_flow=self.with_flow if with_flow is None else with_flow,
        )
        return DataLoader(
            pairs if world_size == 1 else Subset(pairs, range(rank, len(pairs), world_size)),
            batch_size=self.val_batch_size,
            num_workers=self.num_workers,
            worker_init_fn=worker_init,
            pin_memory=torch.cuda.is_available(),
        )

    def held_out_frames(self, count: int) -> tuple[list[torch.Tensor], float]:
        """Up to `count` consecutive frames of the held-out snippet that has the most.

        Returns:
            Frames (1, 3, H, W) in [0, 1] at the size of evaluation, and the mean seconds that
            reading one took.
        """
        snippet = max(self.snippets("val"), key=lambda s: len(s.frames))
        files = [snippet.frames[n] for n in sorted(snippet.frames)[:count]]
        started = time.perf_counter()
        frames = [read_image(file) for file in files]
        seconds = (time.perf_counter() - started) / len(files)
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
        )
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        world_size = self.trainer.world_size
        if len(pairs) < self.batch_size * world_size:
            raise SampleError(
                f"{len(pairs)} labelled frames in the training split: wanted at least one batch of "
                f"{self.batch_size} on {world_size} devices; set --data.batch_size lower"
            )
        sampler = DrawSampler(
            pairs,
            num_replicas=world_size,
            rank=self.trainer.global_rank,
            seed=self.seed,
            # stopped after the last batch of an epoch, a run goes on with the next one's first
            start=done % (len(pairs) // world_size // self.batch_size) * self.batch_size,
        )
        return DataLoader(
            pairs,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=worker_init,
            drop_last=True,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        """Pairs at `val_gaps`."""
        return self.evaluation_pairs(self.val_gaps)

    def on_after_batch_transfer(self, batch: dict[str, Any], index: int) -> dict[str, Any]:
        """Frames from uint8 to RGB in [0, 1], on the device."""
        for name in ("key", "current"):
            batch[name] = to_unit_range(batch[name])
        return batch


def to_unit_range(frames: torch.Tensor) -> torch.Tensor:
    """Frames (B, 3, H, W) uint8 -> float in [0, 1], channels last, which convolutions like best."""
    return frames.float().div_(255).contiguous(memory_format=torch.channels_last)


def _thin_labels(snippet: Snippet, every: int) -> Snippet:
    numbers = sorted(snippet.labels)[every - 1 :: every]
    return Snippet(
        snippet.name, snippet.frames, {n: snippet.labels[n] for n in numbers}, snippet.truth
    )


class Cityscapes(PairData):
    """Cityscapes sequences as they are on disk: leftImg8bit_sequence and gtFine.

    Args:
        root: Folder with `leftImg8bit_sequence` and `gtFine`.
        kwargs: See `PairData`.
    """

    classes = cityscapes.CLASSES
    palette = cityscapes.PALETTE.tolist()

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    def find_snippets(self, split: str) -> list[Snippet]:
        """Labelled snippets with the frames that are there."""
        return cityscapes.find_snippets(self.root, split)

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """`labelIds` -> train ids."""
        return cityscapes.read_train_ids


class Streets(PairData):
    """Street videos drawn by code, in a cache folder in the Cityscapes layout: the default data.

    Args:
        root: Folder to draw to or read from; None is a folder of the cache named by the settings.
        train_videos: Videos in the training split.
        val_videos: Videos held out.
        frames: Frames of a training video.
        val_frames: Frames of a held-out video.
        height: Of a frame.
        width: Of a frame.
        speed: Of all motion; 1 loses a third of the mIoU when a result is copied 9 frames on.
        draw_seed: Of the drawing.
        kwargs: See `PairData`.
    """

    classes = cityscapes.CLASSES
    palette = cityscapes.PALETTE.tolist()

    def __init__(
        self,
        root: str | None = None,
        train_videos: int = streets.StreetSettings.train_videos,
        val_videos: int = streets.StreetSettings.val_videos,
        frames: int = streets.StreetSettings.frames,
        val_frames: int = streets.StreetSettings.val_frames,
        height: int = streets.StreetSettings.height,
        width: int = streets.StreetSettings.width,
        speed: float = streets.StreetSettings.speed,
        draw_seed: int = streets.StreetSettings.seed,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = streets.StreetSettings(
            train_videos, val_videos, frames, val_frames, height, width, speed, draw_seed
        )
        self.root = root

    def prepare_data(self) -> None:
        """Draws the videos where they are not drawn yet, in one process of each machine."""
        self._folder()

    def _folder(self) -> Path:
        if self.root is None:
            return streets.streets_folder(self.settings)
        return streets.draw_streets(self.root, self.settings)

    def find_snippets(self, split: str) -> list[Snippet]:
        """The drawn snippets, each frame labelled, with their true flow."""
        root = self._folder()
        return cityscapes.find_snippets(
            root, split, truth=lambda name: streets.truth_for(root, split, name)
        )

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """`labelIds` -> train ids."""
        return cityscapes.read_train_ids


class Folder(PairData):
    """A user's own frames and masks; see `dff.data.folder` for the layout.

    Args:
        root: Folder with `classes.txt`, `train` and `val`.
        kwargs: See `PairData`.
    """

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.classes, palette = folder.read_classes(root)
        self.palette = palette.tolist()

    def find_snippets(self, split: str) -> list[Snippet]:
        """One snippet for each folder of frames."""
        return folder.find_snippets(self.root, split)

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """Masks of train ids, checked against `classes.txt`."""
        return folder.MaskReader(len(self.classes))


class Videos(L.LightningDataModule):
    """Videos to predict, interval by interval.

    Args:
        videos: As `find_videos` gives them.
        key_duration: One key frame in every so many frames.
        short_side: The network sees frames of this shorter side; None leaves them. Results have
            the size of the video.
    """

    def __init__(
        self, videos: list[VideoInput], key_duration: int = 5, short_side: int | None = None
    ) -> None:
        super().__init__()
        self.videos = videos
        self.key_duration, self.short_side = key_duration, short_side

    def predict_dataloader(self) -> DataLoader:
        """Intervals of this process's videos, read ahead by one process beside the network."""
        intervals = Intervals(
            self.videos,
            self.key_duration,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return DataLoader(intervals, batch_size=None, num_workers=1, worker_init_fn=worker_init)

    def on_after_batch_transfer(self, batch: dict[str, Any], index: int) -> dict[str, Any]:
        """Adds what the network sees, RGB in [0, 1]; results are drawn on the frames."""
        if batch["error"] is None:
            seen = to_unit_range(batch["frames"])
            if self.short_side:
                seen = resize(seen, [self.short_side], antialias=True)
            batch["input"] = seen.contiguous(memory_format=torch.channels_last)
        return batch
