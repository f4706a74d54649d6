"""The segmentation: a class for each pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from dff.inference.accuracy.confusion import SegmentationAccuracy
from dff.inference.results.drawing import colour_labels, overlay
from dff.inference.results.label_pictures import LabelPictures
from dff.inference.tasks.names import checked_names, numbered, or_set
from dff.models.contracts import Measure, Panel, Task, only_level
from dff.models.heads.segmentation import SegmentationHead


class Labels(NamedTuple):
    """A class for each pixel.

    `labels`: (H, W) uint8. `names`: of the classes.
    """

    labels: np.ndarray
    names: Sequence[str]


class Segmentation(Task):
    """Labels (B, H, W) uint8, learned from masks, counted as mIoU.

    Args:
        num_classes: Classes.
    """

    name = "segmentation"
    measure = Measure("miou", "mIoU", of_class="iou")
    targets = ("mask",)
    suffixes = ("",)  # a folder of label pictures

    def __init__(self, num_classes: int = 19) -> None:
        self.num_classes = num_classes
        self.classes = numbered(num_classes)
        self.palette: list[list[int]] = []

    def head(self, channels: tuple[int, ...], strides: tuple[int, ...]) -> SegmentationHead:
        """Features of one level -> labels."""
        number, _ = only_level(self.name, channels, strides)
        return SegmentationHead(number, self.num_classes)

    def cut(self, channels: int) -> tuple[nn.Module, nn.Module, int]:
        """The score layer, and what makes labels of scores."""
        rest = SegmentationHead(self.num_classes, self.num_classes, learned=False)
        scores = SegmentationHead(channels, self.num_classes)
        return scores, rest, self.num_classes

    def accuracy(self, gaps: Sequence[int]) -> SegmentationAccuracy:
        """MIoU from one confusion matrix for each gap."""
        return SegmentationAccuracy(gaps, self.num_classes)

    def take_names(self, data: Any, trains: bool) -> None:
        """Takes classes and colours; data of boxes alone are refused."""
        if not data.classes:
            boxes_alone = "heads '{detection: 1.0}'"
            raise ValueError(
                f"{type(data).__name__} has boxes and no masks, and the model segments: "
                f"{or_set(boxes_alone, trains)}take other data with --data"
            )
        wanted = self.num_classes
        self.classes = checked_names(data.classes, wanted, "num_classes", data, trains)
        self.palette = [list(map(int, colour)) for colour in data.palette]

    def saved_names(self) -> dict[str, Any]:
        """`classes` and `palette`."""
        return {"classes": self.classes, "palette": self.palette}

    def load_names(self, saved: Mapping[str, Any]) -> None:
        """Takes back what `saved_names` gave."""
        self.classes = saved.get("classes", self.classes)
        self.palette = saved.get("palette", self.palette)

    def draw(self, pictures: Tensor, found: Tensor, threshold: float) -> Tensor:
        """Pictures under the colours of their labels."""
        return overlay(pictures.permute(0, 3, 1, 2), found, self.palette)

    def as_targets(self, found: Tensor) -> dict[str, Tensor]:
        """The labels as a mask."""
        return {"mask": found}

    def summary(self, found: Tensor) -> dict[str, Any]:
        """`shares`: name -> share of the pixels, of the classes that are there."""
        counts = np.bincount(found.numpy().ravel(), minlength=len(self.classes))
        shares = (counts / max(1, found.numel())).round(4).tolist()
        return {"shares": {n: s for n, s in zip(self.classes, shares, strict=False) if s > 0}}

    def as_arrays(self, found: Tensor) -> Labels:
        """Labels of one frame."""
        return Labels(found.numpy(), self.classes)

    def panel(self, picture: Tensor, found: Tensor, batch: Mapping[str, Tensor]) -> Panel:
        """The labels, and the true ones."""
        return Panel(
            {
                "prediction": colour_labels(found, self.palette),
                "truth": colour_labels(batch["mask"][0], self.palette),
            }
        )

    def files(self, folder: Path, name: str, labels: str) -> LabelPictures | None:
        """Label pictures."""
        return None if labels == "none" else LabelPictures(folder, name, labels)
