"""Unlabelled videos as a Lightning data module, for distillation."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from dff.data.datasets import video_frames
from dff.data.samples import Snippet
from dff.lit.datamodules.pair_data import PairData


class VideoFrames(PairData):
    """Pairs of frames of unlabelled video files and folders of frames.

    Args:
        root: Folder of the videos, searched to the bottom; with `train` and `val` in it where they
            are split.
        fps: Frames per second to take of each video, so that a gap is the same time in all of
            them; null takes every frame.
        frames_per_video: Most current frames that an epoch takes of one video, evenly spread.
        val_frames_per_video: Likewise in evaluation.
        val_share: Share of the videos that is held out where they are not split.
        split_seed: Of the choice of those.
        gaps: Smallest and largest gap in training; at gap 0 there is nothing to learn.
        val_gaps: Gaps of the evaluation pairs.
        skip_damaged: Pass over videos and frames that cannot be read, and count them.
        kwargs: See `PairData`.
    """

    def __init__(
        self,
        root: str,
        fps: float | None = None,
        frames_per_video: int = 200,
        val_frames_per_video: int = 20,
        val_share: float = 0.1,
        split_seed: int = 0,
        gaps: tuple[int, int] = (1, 9),
        val_gaps: Sequence[int] = (1, 4, 9),
        skip_damaged: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(gaps=gaps, val_gaps=val_gaps, skip_damaged=skip_damaged, **kwargs)
        self.root, self.fps = root, fps
        self.frames_per_video = {"train": frames_per_video, "val": val_frames_per_video}
        self.val_share, self.split_seed = val_share, split_seed

    def find_snippets(self, split: str) -> Sequence[Snippet]:
        """One snippet for each video."""
        if split == "val":
            chosen = video_frames.split_in_words(self.root, self.val_share, self.split_seed)
            rank_zero_info(f"VideoFrames: {chosen}")
        return video_frames.find_snippets(
            self.root,
            split,
            self.fps,
            self.frames_per_video[split],
            self.val_share,
            self.split_seed,
            self.skip_damaged,
        )

    def mask_reader(self) -> None:
        """There are no masks."""
