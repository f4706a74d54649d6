"""Accuracy of every head by gap, from one pass over evaluation pairs."""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from dff.inference.recognizer import size_of
from dff.lit.metrics.average_precision import GROUPS, Protocol
from dff.lit.metrics.detection import DetectionMetric
from dff.lit.metrics.gaps import GapConfusion, class_iou, mean_iou

MEASURES = {"segmentation": "miou", "detection": "map"}
"""Head -> what its accuracy is called in tables and logs."""


class GapAccuracy(nn.Module):
    """mIoU and mAP by gap, exact over any split into batches and processes.

    Args:
        heads: Names of the heads.
        gaps: The gaps that are evaluated.
        num_classes: Of the segmentation.
        num_box_classes: Of the detection.
        box_metric: How average precision is counted; see `average_precision`.
    """

    def __init__(
        self,
        heads: list[str],
        gaps: list[int],
        num_classes: int,
        num_box_classes: int,
        box_metric: Protocol = "vid",
    ) -> None:
        super().__init__()
        metrics: dict[str, GapConfusion | DetectionMetric] = {}
        if "segmentation" in heads:
            metrics["segmentation"] = GapConfusion(gaps, num_classes)
        if "detection" in heads:
            metrics["detection"] = DetectionMetric(gaps, num_box_classes, box_metric)
        # a ModuleDict does not tell what modules it holds
        self.metrics = cast("Mapping[str, GapConfusion | DetectionMetric]", nn.ModuleDict(metrics))

    def update(self, predictions: dict[str, Tensor], batch: dict[str, Any], kept: Tensor) -> None:
        """Counts a batch of pairs.

        Args:
            predictions: Of the model, for images of `truth_size`.
            batch: With `mask`, or `boxes` and `box_labels`, as the heads ask.
            kept: Which rows count, (B,) bool.
        """
        if not kept.any():
            return
        gap = batch["gap"][kept]
        for head, metric in self.metrics.items():
            found = predictions[head][kept]
            if isinstance(metric, GapConfusion):
                metric.update(found, batch["mask"][kept], gap)
            else:
                truth = batch["boxes"][kept], batch["box_labels"][kept]
                motion = batch["motion"][kept] if "motion" in batch else None
                metric.update(found, *truth, gap, batch["index"][kept], motion)

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """Head -> `by_gap` (gaps,) and `by_class` (classes,), NaN where there is nothing to find.

        An IoU by class is over all gaps together, an average precision the mean over the gaps.
        Where motion is known, `slow`, `medium` and `fast` (gaps,) are of the boxes of that motion.
        """
        result = {}
        for head, metric in self.metrics.items():
            if isinstance(metric, GapConfusion):
                # torchmetrics makes a number of a single value
                confusion = metric.compute().view(len(metric.gaps), *[metric.num_classes] * 2)
                by_gap, by_class = mean_iou(confusion), class_iou(confusion.sum(0))
            else:
                scores = metric.compute()
                by_gap = torch.tensor([scores[gap]["mAP"] for gap in metric.gaps])
                ap = [torch.as_tensor(scores[gap]["AP"]) for gap in metric.gaps]
                by_class = torch.stack(ap).nanmean(0)
            result[head] = {"by_gap": by_gap.double().cpu(), "by_class": by_class.double().cpu()}
            if isinstance(metric, DetectionMetric):
                for group in GROUPS:
                    if not any(group in score for score in scores.values()):
                        continue
                    values = [scores[gap].get(group, math.nan) for gap in metric.gaps]
                    result[head][group] = torch.tensor(values).double()
        return result

    def reset(self) -> None:
        """Forgets what was counted."""
        for metric in self.metrics.values():
            metric.reset()


def truth_size(batch: dict[str, Any]) -> tuple[int, int]:
    """Height and width of the images that the truth of a batch stands in.

    Raises:
        ValueError: The frames of the batch differ in size.
    """
    before = batch.get("frame_size", batch["size"])  # resized, they may be of one size
    if any((sizes != sizes[0]).any() for sizes in (batch["size"], before)):
        sizes = sorted({f"{h}x{w}" for h, w in before.tolist()})
        raise ValueError(
            f"frames of {' and '.join(sizes)} in one batch of evaluation: "
            "set --data.val_batch_size 1"
        )
    if "mask" in batch:
        return size_of(batch["mask"])
    height, width = batch["frame_size"][0].tolist()
    return height, width


def mean_of(values: Any) -> float:
    """Mean of the values that are known; NaN of none."""
    known = [float(v) for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
