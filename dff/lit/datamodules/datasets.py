"""The data sets as Lightning data modules: pairs to train and evaluate on, videos to predict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dff.data.annotations.masks import MaskKind
from dff.data.datasets import cityscapes, cityscapes_checks, folder
from dff.data.datasets.imagenet_vid import snippets as imagenet_vid
from dff.data.read_ahead import ReadAhead
from dff.data.samples import Snippet
from dff.data.sampling import mix
from dff.data.synthetic.streets import dataset as streets
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.clips import Clip
from dff.data.video.sources import VideoInput
from dff.inference.engine import read_clips
from dff.lit.datamodules.pair_data import PairData
from dff.models.schedule import Schedule

__all__ = ["Cityscapes", "Folder", "ImageNetVID", "PairData", "Streets", "Videos"]


class Cityscapes(PairData):
    """Cityscapes sequences as they are on disk: leftImg8bit_sequence and gtFine.

    Args:
        root: Folder with `leftImg8bit_sequence` and `gtFine`.
        kwargs: See `PairData`.
    """

    classes = cityscapes.CLASSES
    palette = cityscapes.PALETTE.tolist()
    box_classes = cityscapes.BOX_CLASSES

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    def find_snippets(self, split: str) -> list[Snippet]:
        """Labelled snippets with the frames that are there."""
        return cityscapes.find_snippets(self.root, split)

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """`labelIds` -> train ids."""
        return cityscapes.read_train_ids

    def check_labels(self, split: str, files: Sequence[str]) -> None:
        """Looks too whether the files hold what their names say."""
        cityscapes_checks.check_label_ids(files)
        if self.with_boxes:
            cityscapes_checks.check_instance_ids(files)
        super().check_labels(split, files)


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
        stops: How often the camera stops in each video, as at a light.
        turns: How often it turns sharply in each video.
        cuts: How often each video cuts to another street.
        static_share: Share of the videos in which the camera stands throughout.
        kwargs: See `PairData`.
    """

    classes = cityscapes.CLASSES
    palette = cityscapes.PALETTE.tolist()
    box_classes = cityscapes.BOX_CLASSES

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
        stops: int = 0,
        turns: int = 0,
        cuts: int = 0,
        static_share: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = streets.StreetSettings(
            *(train_videos, val_videos, frames, val_frames, height, width, speed, draw_seed),
            *(stops, turns, cuts, static_share),
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
        """The drawn snippets, each frame labelled, with their true flow, boxes and tracks."""
        root = self._folder()

        def truth(name: str) -> streets.StreetTruth | None:
            return streets.truth_for(root, split, name)

        return cityscapes.find_snippets(root, split, truth=truth, boxes=truth)

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """`labelIds` -> train ids."""
        return cityscapes.read_train_ids

    def check_labels(self, split: str, files: Sequence[str]) -> None:
        """What was drawn is known."""


class Folder(PairData):
    """A user's own frames and masks; see `dff.data.datasets.folder` for the layout.

    Args:
        root: Folder with `classes.txt`, `train` and `val`.
        masks: What the values of masks mean: numbers of classes, 0 and 255 for the two classes of
            classes.txt ("binary"), or its colours.
        kwargs: See `PairData`.
    """

    def __init__(self, root: str, masks: MaskKind = "numbers", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        names, palette = folder.read_classes(root)
        self.classes, self._reader, self.palette = folder.mask_reader(
            masks, names, palette.tolist()
        )

    def find_snippets(self, split: str) -> list[Snippet]:
        """One snippet for each folder of frames."""
        return folder.find_snippets(self.root, split)

    def mask_reader(self) -> Callable[[str], np.ndarray]:
        """Masks of train ids, checked against `classes.txt`."""
        return self._reader


class ImageNetVID(PairData):
    """ImageNet VID, mixed with images of DET, as they are on disk: boxes of 30 classes, no masks.

    Or videos of your own in the same layout, with their classes in classes.txt.

    Args:
        root: Folder with `Data`, `Annotations` and `ImageSets`.
        train_sets: Lists of `ImageSets` to train on; VID_train and DET_train are all that is
            annotated, and so is one of the authors' lists that is not there.
        val_sets: Lists to evaluate on.
        vid_to_det: Videos and images among the pairs of an epoch; None takes all of both.
        short_side: Of whole frames, in training and evaluation.
        max_side: Most pixels of the longer side, where the shorter side gets fewer.
        clamp_gaps: Draw the first frame of a video as key more often, as the authors do.
        val_gaps: Gaps of the evaluation pairs.
        val_every: Evaluate on every n-th frame alone; 1 takes all of some 176,000. Multiples of 2
            or 5 would meet one offset alone of the usual key durations.
        kwargs: See `PairData`.
    """

    def __init__(
        self,
        root: str,
        train_sets: Sequence[str] = imagenet_vid.SETS["train"],
        val_sets: Sequence[str] = imagenet_vid.SETS["val"],
        vid_to_det: tuple[float, float] | None = (2.0, 1.0),
        short_side: int | None = 600,
        max_side: int | None = 1000,
        clamp_gaps: bool = True,
        val_gaps: Sequence[int] = (0, 4, 9),
        val_every: int = 19,
        **kwargs: Any,
    ) -> None:
        self.box_classes, _ = imagenet_vid.class_names(root)
        super().__init__(
            short_side=short_side,
            max_side=max_side,
            val_short_side=short_side,
            val_max_side=max_side,
            clamp_gaps=clamp_gaps,
            val_gaps=val_gaps,
            val_every=val_every,
            with_boxes=True,
            **kwargs,
        )
        self.root, self.vid_to_det = root, vid_to_det
        self.sets = {"train": list(train_sets), "val": list(val_sets)}

    def prepare_data(self) -> None:
        """Reads the annotations that no cache holds yet, in one process of each machine."""
        for split in ("train", "val") if self.trainer.state.fn == "fit" else ("val",):
            self.snippets(split)

    def find_snippets(self, split: str) -> imagenet_vid.VidSnippets:
        """Videos, then images of DET, each a snippet of one frame."""
        return imagenet_vid.find_snippets(self.root, split, self.sets[split], self.skip_damaged)

    def mask_reader(self) -> None:
        """There are no masks."""

    def quotas(self) -> list[tuple[range, int]] | None:
        """Videos and images by `vid_to_det`, where there are images."""
        if self.vid_to_det is None or not any(n.startswith("DET") for n in self.sets["train"]):
            return None
        return mix(self.snippets("train").labelled_counts, self.vid_to_det)


class Videos(L.LightningDataModule):
    """Videos to predict, clip by clip.

    Args:
        videos: As `find_videos` gives them.
        schedule: Which frames are key frames.
        short_side: The network sees frames of this shorter side; None leaves them. Results have
            the size of the video.
        max_side: Most pixels of their longer side, as in `EvaluationTransform`.

    Raises:
        ValueError: A side is too small, or max_side is given alone.
    """

    def __init__(
        self,
        videos: list[VideoInput],
        schedule: Schedule,
        short_side: int | None = None,
        max_side: int | None = None,
    ) -> None:
        super().__init__()
        self.videos, self.schedule = videos, schedule
        self.resizing = EvaluationTransform(short_side, max_side)

    def predict_dataloader(self) -> ReadAhead[Clip]:
        """Clips of this process's videos, read ahead in a thread beside the networks."""
        return read_clips(
            self.videos,
            self.schedule,
            self.resizing,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            device=self.trainer.strategy.root_device,
            check=self._end_if_asked,
            motion=self.trainer.lightning_module.model.from_file,
        )

    def _end_if_asked(self) -> None:
        if self.trainer.received_sigterm:  # Lightning's own loop would go on
            raise SIGTERMException

    def transfer_batch_to_device(self, batch: Clip, device: torch.device, index: int) -> Clip:
        """Leaves a clip to the engine, which moves what the networks see."""
        return batch
