"""The detection: boxes with classes and scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dff.inference.accuracy.average_precision import GROUPS, BoxMetric
from dff.inference.accuracy.detections import DetectionAccuracy
from dff.inference.results.detection_files import SUFFIXES, DetectionFiles
from dff.inference.results.drawing import draw_boxes
from dff.inference.tasks.names import checked_names, numbered
from dff.models.contracts import Measure, Panel, Task, only_level
from dff.models.heads.detection.rfcn import DetectionHead

SURE_SCORE = 0.5
"""Of the boxes that count as found."""
LEAST_SCORE = 0.1
"""Of the boxes that a logger is given to filter."""


class Detections(NamedTuple):
    """Objects, the surest first.

    `boxes`: (n, 4) float32, x1, y1, x2, y2 in pixels of the frame; x2 and y2 belong to the box.
    `scores`: (n,) float32. `labels`: (n,) int64, classes from 0. `names`: of their classes, n.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: Sequence[str]


class Detection(Task):
    """Detections (B, D, 6), learned from boxes, counted as average precision.

    Args:
        num_classes: Classes of objects.
        settings: Further settings of `DetectionHead`, such as its anchors.
        metric: How average precision is counted; see `average_precision`.

    `linked`: whether files hold what Seq-NMS makes of the detections of a whole video.
    """

    name = "detection"
    measure = Measure("map", "mAP", of_class="ap", groups=GROUPS, over_runs=True)
    targets = ("boxes", "box_labels")
    suffixes = SUFFIXES

    def __init__(
        self,
        num_classes: int = 30,
        settings: Mapping[str, Any] | None = None,
        metric: BoxMetric = "vid",
    ) -> None:
        self.num_classes, self.settings, self.metric = num_classes, settings or {}, metric
        self.classes = numbered(num_classes)
        self.linked = False

    def head(self, channels: tuple[int, ...], strides: tuple[int, ...]) -> DetectionHead:
        """Features of one level -> detections."""
        number, stride = only_level(self.name, channels, strides)
        return DetectionHead(number, self.num_classes, **{"stride": stride, **self.settings})

    def accuracy(self, gaps: Sequence[int]) -> DetectionAccuracy:
        """Average precision from the rows of all frames."""
        return DetectionAccuracy(gaps, self.num_classes, self.metric)

    def take_names(self, data: Any, trains: bool) -> None:
        """Takes the classes; data that were not asked for boxes are refused."""
        if not data.with_boxes:
            raise ValueError(
                f"the model detects, and {type(data).__name__} was not asked for boxes: "
                "set --data.with_boxes true"
            )
        names, wanted = data.box_classes, self.num_classes
        self.classes = checked_names(names, wanted, "num_box_classes", data, trains)

    def saved_names(self) -> dict[str, Any]:
        """`box_classes`."""
        return {"box_classes": self.classes}

    def load_names(self, saved: Mapping[str, Any]) -> None:
        """Takes back what `saved_names` gave."""
        self.classes = saved.get("box_classes", self.classes)

    def draw(self, pictures: Tensor, found: Tensor, threshold: float) -> Tensor:
        """Boxes with names and scores."""
        rows = zip(pictures, found.float(), strict=True)
        return torch.stack([draw_boxes(p, d, self.classes, threshold) for p, d in rows])

    def as_targets(self, found: Tensor) -> dict[str, Tensor]:
        """The boxes that would be drawn as true ones."""
        sure = found[..., 4] >= SURE_SCORE
        labels = torch.where(sure, found[..., 5], -1.0).long()
        return {"frame_boxes": found[..., :4], "box_labels": labels}

    def summary(self, found: Tensor) -> dict[str, Any]:
        """`boxes`: of each object that is sure enough its `box`, `score` and `name`."""
        rows = found[(found[:, 5] >= 0) & (found[:, 4] >= LEAST_SCORE)].tolist()
        boxes = [
            {"box": [round(v, 1) for v in box], "score": round(s, 3), "name": self.classes[int(c)]}
            for *box, s, c in rows
        ]
        return {"boxes": boxes}

    def as_arrays(self, found: Tensor) -> Detections:
        """Detections of one frame."""
        rows = found[found[:, 5] >= 0].float().numpy()
        labels = rows[:, 5].astype(np.int64)
        return Detections(rows[:, :4], rows[:, 4], labels, [self.classes[i] for i in labels])

    def panel(self, picture: Tensor, found: Tensor, batch: Mapping[str, Tensor]) -> Panel:
        """The boxes, and the true ones; both as rows too."""
        labels = batch["box_labels"][0]
        true = torch.cat([batch["boxes"][0], torch.ones(len(labels), 1), labels[:, None]], 1)
        pictures = {
            "boxes found": draw_boxes(picture, found, self.classes),
            "true boxes": draw_boxes(picture, true, self.classes),
        }
        rows = {
            "predictions": found[found[:, 4] >= LEAST_SCORE].tolist(),
            "ground_truth": true[labels >= 0].tolist(),
        }
        return Panel(pictures, {"boxes": rows})

    def files(self, folder: Path, name: str, labels: str) -> DetectionFiles:
        """Both files of boxes."""
        return DetectionFiles(folder, name, self.linked)
