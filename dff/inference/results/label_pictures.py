"""The label maps of a video to disk, as it is predicted: a PNG for each frame."""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from dff.data.datasets.cityscapes import TRAIN_ID_TO_LABEL_ID
from dff.data.files.images import write_png
from dff.models.contracts import FramesOfVideo

LabelIds = Literal["train", "cityscapes", "none"]


class LabelPictures:
    """Writes NAME/FRAME.png.

    Args:
        folder: Where to write.
        name: Of the video.
        ids: "train" ids, or "cityscapes" ids for the official evaluation.
    """

    def __init__(self, folder: Path, name: str, ids: str = "train") -> None:
        self.folder, self.ids = folder / name, ids

    def write(self, clip: FramesOfVideo, found: Tensor) -> None:
        """Adds the labels (n, H, W) of consecutive frames."""
        self.folder.mkdir(exist_ok=True)
        ids = found.numpy().astype(np.uint8)
        if self.ids == "cityscapes":
            ids = TRAIN_ID_TO_LABEL_ID[ids]
        names = clip.frame_names
        for i, picture in enumerate(ids):
            stem = names[i] if names else f"{clip.start + i:06d}"
            write_png(self.folder / f"{stem}.png", picture)

    def close(self) -> None:
        """Does nothing: each picture is whole once it is written."""

    def abort(self) -> None:
        """Removes the folder, as far as the disk allows it."""
        shutil.rmtree(self.folder, ignore_errors=True)
