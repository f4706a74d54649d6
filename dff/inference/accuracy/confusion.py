"""mIoU by gap from confusion matrices, as cityscapesScripts."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dff.data.samples import IGNORED


def class_iou(confusion: Tensor) -> Tensor:
    """IoU of each class as cityscapesScripts: NaN for a class neither labelled nor predicted.

    Args:
        confusion: (..., K, K) counts, rows = labels, columns = predictions.

    Returns:
        (..., K) float64.
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    return hits / (confusion.sum(-1) + confusion.sum(-2) - hits)


def mean_iou(confusion: Tensor) -> Tensor:
    """Mean of `class_iou` over the classes that occur; (..., K, K) -> (...)."""
    return class_iou(confusion).nanmean(-1)


class SegmentationAccuracy:
    """One confusion matrix for each gap; mIoU by gap from their sums.

    Args:
        gaps: The gaps that are evaluated.
        num_classes: K; labels are 0..K-1 and 255 (ignored in rows and columns).
    """

    rows: Mapping[str, Tensor] = {}

    def __init__(self, gaps: Sequence[int], num_classes: int) -> None:
        self.gaps, self.num_classes = list(gaps), num_classes
        zeros = torch.zeros(len(self.gaps), num_classes, num_classes, dtype=torch.int64)
        self.sums = {"confusion": zeros}

    def count(self, found: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The confusion matrices of a batch, (gaps, K, K).

        Args:
            found: (B, H, W) classes 0..K-1.
            batch: `mask` (B, H, W) labels; `gap` (B,), each one of `gaps`.

        Raises:
            ValueError: A class or a label is out of its range.
        """
        k = self.num_classes
        found, mask = found.long(), batch["mask"].long()
        if found.numel() and int(found.max()) >= k:
            raise ValueError(f"class {int(found.max())} predicted: wanted 0..{k - 1}")
        confusion = torch.zeros_like(self.sums["confusion"], device=found.device)
        for row, labels, g in zip(found, mask, batch["gap"].tolist(), strict=True):
            kept = labels != IGNORED
            if kept.any() and int(labels[kept].max()) >= k:
                raise ValueError(f"label {int(labels[kept].max())}: wanted 0..{k - 1} or {IGNORED}")
            cell = torch.where(kept, labels * k + row, k * k)  # the last bin takes what is ignored
            counts = torch.bincount(cell.flatten(), minlength=k * k + 1)[:-1]
            confusion[self.gaps.index(g)] += counts.view(k, k)
        return {"confusion": confusion}

    def result(self, counted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """MIoU `by_gap`; IoU `by_class`, over all gaps together."""
        confusion = counted["confusion"]
        return {"by_gap": mean_iou(confusion), "by_class": class_iou(confusion.sum(0))}
