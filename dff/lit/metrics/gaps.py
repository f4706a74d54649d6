"""Metrics from sums that are exact over any split into batches and processes."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

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


def counted_here(index: Tensor, rank: int, world_size: int) -> Tensor:
    """Which rows of a batch this process counts, so that all processes count each sample once.

    A sequential distributed sampler gives sample i to process i % world_size and then repeats
    some to make the shares equal; what is repeated lands elsewhere. The rule also holds where
    every process sees every sample.
    """
    return index % world_size == rank


class GapConfusion(Metric):
    """One confusion matrix for each gap; mIoU by gap from their sums.

    Args:
        gaps: The gaps that are evaluated.
        num_classes: K; labels are 0..K-1 and 255 (ignored in rows and columns).
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, gaps: list[int], num_classes: int) -> None:
        super().__init__()
        self.gaps, self.num_classes = list(gaps), num_classes
        self.add_state(
            "confusion",
            torch.zeros(len(gaps), num_classes, num_classes, dtype=torch.int64),
            dist_reduce_fx="sum",
        )

    def update(self, prediction: Tensor, mask: Tensor, gap: Tensor) -> None:
        """Counts a batch.

        Args:
            prediction: (B, H, W) classes 0..K-1.
            mask: (B, H, W) labels.
            gap: (B,), each one of `gaps`.
        """
        k = self.num_classes
        prediction, mask = prediction.long(), mask.long()
        if prediction.numel() and int(prediction.max()) >= k:
            raise ValueError(f"class {int(prediction.max())} predicted: wanted 0..{k - 1}")
        for row, labels, g in zip(prediction, mask, gap.tolist(), strict=True):
            kept = labels != IGNORED
            if kept.any() and int(labels[kept].max()) >= k:
                raise ValueError(f"label {int(labels[kept].max())}: wanted 0..{k - 1} or {IGNORED}")
            cell = torch.where(kept, labels * k + row, k * k)  # the last bin takes what is ignored
            counts = torch.bincount(cell.flatten(), minlength=k * k + 1)[:-1]
            self.confusion[self.gaps.index(g)] += counts.view(k, k)

    def compute(self) -> Tensor:
        """Summed confusion matrices, (gaps, K, K) int64."""
        return self.confusion


def flow_in_image_pixels(
    flow: Tensor, frame: tuple[int, int], size: tuple[int, int] | None = None
) -> Tensor:
    """Flow in feature pixels (B, 2, h, w) -> (B, 2, H, W) in the pixels of an image.

    Args:
        flow: Of a flow network.
        frame: Height and width of the frames that the network saw.
        size: Those of the image, where the frames were resized from it; None is `frame`.
    """
    size = size or frame
    zoom = flow.new_tensor([size[1] / frame[1], size[0] / frame[0]]).view(1, 2, 1, 1)
    flow = flow.float() * (16 * zoom)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False)


SPEEDS = {"s0_10": (0.0, 10.0), "s10_40": (10.0, 40.0), "s40": (40.0, float("inf"))}
"""Groups of pixels by the length of their true motion, in image pixels: from, and below."""


class SpeedEndPointError(Metric):
    """Mean end-point error by the speed of the true motion, in image pixels.

    The groups are those of the MPI Sintel benchmark (Butler et al., ECCV 2012): `SPEEDS`.
    """

    full_state_update = False
    error: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(len(SPEEDS), dtype=torch.float64)
        for name in ("error", "pixels"):
            self.add_state(name, zeros.clone(), dist_reduce_fx="sum")

    def update(self, flow: Tensor, truth: Tensor, known: Tensor) -> None:
        """Counts a batch; arguments as those of `GapEndPointError.update`."""
        error = torch.hypot(*(flow.double() - truth).unbind(1))
        speed = torch.hypot(*truth.double().unbind(1))
        for position, (low, high) in enumerate(SPEEDS.values()):
            counted = known & (speed >= low) & (speed < high)
            self.error[position] += error[counted].sum()
            self.pixels[position] += counted.sum()

    def compute(self) -> Tensor:
        """Error of each group, (3,); NaN where no pixel moves so fast."""
        return self.error / self.pixels


class GapEndPointError(Metric):
    """Mean end-point error by gap, in image pixels, and that of zero flow beside it.

    Args:
        gaps: The gaps that are evaluated.
    """

    full_state_update = False
    error: Tensor
    zero_error: Tensor
    pixels: Tensor

    def __init__(self, gaps: list[int]) -> None:
        super().__init__()
        self.gaps = list(gaps)
        zeros = torch.zeros(len(gaps), dtype=torch.float64)
        for name in ("error", "zero_error", "pixels"):
            self.add_state(name, zeros.clone(), dist_reduce_fx="sum")

    def update(self, flow: Tensor, truth: Tensor, known: Tensor, gap: Tensor) -> None:
        """Counts a batch.

        Args:
            flow: (B, 2, H, W) in image pixels.
            truth: Likewise.
            known: (B, H, W) bool, where the truth is known.
            gap: (B,), each one of `gaps`.
        """
        # where: unknown flow may be infinite
        error = torch.where(known, torch.hypot(*(flow.double() - truth).unbind(1)), 0.0)
        zero_error = torch.where(known, torch.hypot(*truth.double().unbind(1)), 0.0)
        for row, g in enumerate(gap.tolist()):
            position = self.gaps.index(g)
            self.error[position] += error[row].sum()
            self.zero_error[position] += zero_error[row].sum()
            self.pixels[position] += known[row].sum()

    def compute(self) -> Tensor:
        """Error of the flow and of zero flow, (2, gaps); NaN where nothing was counted."""
        # One tensor: torchmetrics would make a scalar of a (gaps,) of one gap.
        return torch.stack([self.error, self.zero_error]) / self.pixels
