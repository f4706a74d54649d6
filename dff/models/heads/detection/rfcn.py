"""The detection head: features -> boxes with classes, by R-FCN (Dai et al. 2016)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import STRIDE
from dff.models.heads.detection.boxes import best_detections, clip, decode, encode, overlaps
from dff.models.heads.detection.psroi import vote
from dff.models.heads.detection.rpn import (
    RegionProposals,
    Regions,
    in_crowds,
    real_cells,
    rows_of,
)

OFFICIAL_NAMES = {
    "rpn_cls_score": "rpn.scores",
    "rpn_bbox_pred": "rpn.deltas",
    "rfcn_cls": "scores",
    "rfcn_bbox": "deltas",
}
"""Layers of the official detection network -> layers of a `DetectionHead`.

Both hold weights of normalised deltas. The official `rfcn_bbox_weight_test` and `_bias_test` are
the same times the standard deviations, which this head multiplies by itself: leave them out.
"""


class DetectionMaps(NamedTuple):
    """The four outputs of the head's layers, all fp32.

    Args:
        rpn_scores: (B, 2A, h, w), backgrounds first.
        rpn_deltas: (B, 4A, h, w), normalised.
        scores: (B, (num_classes + 1) * k * k, h, w), the background first.
        deltas: (B, 8 * k * k, h, w), normalised; the last 4 of the 8 are those of objects.
    """

    rpn_scores: Tensor
    rpn_deltas: Tensor
    scores: Tensor
    deltas: Tensor


class RegionLabels(NamedTuple):
    """Regions of training, in each image first objects, then background, then padding.

    Args:
        boxes: (B, R, 4).
        labels: (B, R) int64: 0 background, 1.. the classes, -1 padding.
        deltas: (B, R, 4), normalised, to the true box; of use where the label is over 0.
    """

    boxes: Tensor
    labels: Tensor
    deltas: Tensor


class DetectionHead(nn.Module):
    """R-FCN: the first half of the features proposes regions, the second half says what they are.

    One 1x1 layer each to k x k position-sensitive maps for each class and for the deltas; pooling
    of each region; mean of its bins; softmax (paper, Sec. 4). Boxes are x1, y1, x2, y2 in pixels,
    corners inclusive. Images of a batch may be padded on the right and below to a common size: no
    result and no loss depends on the padding, if the features beside it do not.

    Args:
        in_channels: Channels of the features, even.
        num_classes: Classes of objects; the background is not counted.
        stride: Pixels from one cell of the features to the next.
        anchor_scales: Sides of the anchors over the stride.
        anchor_ratios: Heights over widths of the anchors.
        pre_nms: Best anchors that enter the suppression of proposals.
        proposals: Regions of an image.
        rpn_nms: Overlap over which the worse proposal goes.
        nms: Overlap over which the worse of two detections of a class goes.
        score_threshold: Detections with a score over this count.
        max_detections: Of an image.
        rpn_batch: Anchors of an image that the proposal loss is taken of.
        fg_fraction: Share of them that may hold an object.
        ohem: Regions of an image that the loss is taken of, those with the highest loss.
        bins: k.
        box_stds: Of the deltas; the layer learns deltas over these.

    Raises:
        ValueError: An odd number of channels.
    """

    stds: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        stride: int = STRIDE,
        anchor_scales: Sequence[float] = (8, 16, 32),
        anchor_ratios: Sequence[float] = (0.5, 1, 2),
        pre_nms: int = 6000,
        proposals: int = 300,
        rpn_nms: float = 0.7,
        nms: float = 0.3,
        score_threshold: float = 1e-4,
        max_detections: int = 300,
        rpn_batch: int = 256,
        fg_fraction: float = 0.5,
        ohem: int = 128,
        bins: int = 7,
        box_stds: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
    ) -> None:
        super().__init__()
        if in_channels % 2:
            raise ValueError(
                f"{in_channels} channels of features: wanted an even number, one half for the "
                "proposals and one for the regions"
            )
        half = in_channels // 2
        self.rpn = RegionProposals(
            half,
            scales=anchor_scales,
            ratios=anchor_ratios,
            pre_nms=pre_nms,
            proposals=proposals,
            nms_threshold=rpn_nms,
            batch=rpn_batch,
            fg_fraction=fg_fraction,
            stride=stride,
        )
        self.stride = stride
        self.scores = nn.Conv2d(half, (num_classes + 1) * bins**2, 1)
        # Class-agnostic: the official layer has deltas for background too, which nothing reads.
        self.deltas = nn.Conv2d(half, 8 * bins**2, 1)
        for layer in (self.scores, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.get_parameter("bias"))
        self.register_buffer("stds", torch.tensor(tuple(box_stds)), persistent=False)
        self.num_classes = num_classes
        self.nms = nms
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.ohem = ohem
        self.bins = bins

    def forward(self, features: Tensor) -> DetectionMaps:
        """Features (B, in_channels, h, w) -> the maps that all else is computed from."""
        first, second = features.chunk(2, 1)
        rpn_scores, rpn_deltas = self.rpn(first)
        scores, deltas = self.scores(second).float(), self.deltas(second).float()
        return DetectionMaps(rpn_scores, rpn_deltas, scores, deltas)

    def loss(
        self,
        features: Tensor,
        targets: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The four parts of the loss, to be added up (official code; all weights 1).

        Each is the mean over the images of what it is for one image.

        Args:
            features: (B, in_channels, h, w).
            targets: `boxes` (B, N, 4), in pixels of the network's input; `box_labels` (B, N)
                int64, 0 .. num_classes - 1, -1 for a row that is no box, or less for a crowd, in
                which there is no background; `size` (B, 2), height and width of each image without
                its padding. An image may have no box at all.
            generator: Draws the anchors where an image has too many; default PyTorch's own.

        Returns:
            `rpn_class`, `rpn_box`, `class`, `box`: scalars in fp32.
        """
        maps = self(features)
        # Boxes in half precision would be off by pixels.
        with torch.autocast(features.device.type, enabled=False):
            return self._losses(maps, targets, generator)

    def _losses(
        self,
        maps: DetectionMaps,
        targets: Mapping[str, Tensor],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        device = maps.scores.device
        classes = targets["box_labels"].to(device)
        boxes = targets["boxes"].to(device).float()
        sizes = targets["size"].to(device)
        if boxes.shape[1] == 0:
            boxes, classes = F.pad(boxes, (0, 0, 0, 1)), F.pad(classes, (0, 1), value=-1)
        height, width = maps.scores.shape[-2:]
        crowds = classes < -1
        anchors = self.rpn.label(height, width, boxes, classes >= 0, sizes, generator, crowds)
        rpn_class, rpn_box = self.rpn.losses(maps.rpn_scores, maps.rpn_deltas, anchors)
        proposals = self.rpn.propose(maps.rpn_scores, maps.rpn_deltas, sizes)
        regions = label_regions(proposals.boxes, boxes, classes, self.stds)
        scores, deltas = self.classify(maps, regions.boxes, sizes)
        class_error, box_error = region_errors(scores, deltas, regions)
        hard = ohem_mask(class_error + box_error, regions.labels, self.ohem)
        kept = hard.sum(1).clamp(min=1)
        return {
            "rpn_class": rpn_class,
            "rpn_box": rpn_box,
            "class": (torch.where(hard, class_error, 0.0).sum(1) / kept).mean(),
            "box": (torch.where(hard, box_error, 0.0).sum(1) / self.ohem).mean(),
        }

    @torch.no_grad()
    def predict(
        self,
        features: Tensor,
        size: tuple[int, int],
        frame: tuple[int, int] | None = None,
    ) -> Tensor:
        """The detections of each image.

        Suppression counts pixels of the image, not of the network's input, as the official code.

        Args:
            features: (B, in_channels, h, w).
            size: Height and width of the images that the boxes are wanted in.
            frame: Height and width that they were resized to for the network, padding apart;
                default `size`. Positions are those of `frame` times `size` over `frame`.

        Returns:
            (B, max_detections, 6), rows x1, y1, x2, y2, score, class, the highest score first;
            a row without a detection has score 0 and class -1.
        """
        maps = self(features)
        frame = size if frame is None else frame
        with torch.autocast(features.device.type, enabled=False):
            sizes = torch.tensor([frame], device=features.device).expand(len(features), 2)
            regions = self.rpn.propose(maps.rpn_scores, maps.rpn_deltas, sizes)
            probabilities, boxes = self.detect(maps, regions, sizes)
            ratio = boxes.new_tensor([size[1] / frame[1], size[0] / frame[0]] * 2)
            return best_detections(
                probabilities[..., 1:],
                boxes * ratio,
                nms=self.nms,
                score_threshold=self.score_threshold,
                most=self.max_detections,
            )

    def classify(self, maps: DetectionMaps, boxes: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores and normalised deltas of regions.

        Args:
            maps: Of `forward`.
            boxes: (B, R, 4).
            sizes: Height and width of each image without its padding, pixels, (B, 2).

        Returns:
            (B, R, num_classes + 1), the background first; (B, R, 4).
        """
        batch, number = boxes.shape[:2]
        owners = torch.arange(batch, device=boxes.device).repeat_interleave(number)
        scores, deltas = (
            vote(
                m,
                boxes.flatten(0, 1),
                owners,
                bins=self.bins,
                stride=self.stride,
                cells=real_cells(sizes, self.stride),
            ).unflatten(0, (batch, number))
            for m in (maps.scores, maps.deltas)
        )
        return scores, deltas[..., 4:]

    def detect(self, maps: DetectionMaps, regions: Regions, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities (B, P, num_classes + 1) and boxes (B, P, 4) of regions.

        Arguments as those of `classify`; boxes are clipped to the image.
        """
        scores, deltas = self.classify(maps, regions.boxes, sizes)
        return scores.softmax(-1), clip(decode(regions.boxes, deltas * self.stds), sizes)


@torch.no_grad()
def label_regions(proposals: Tensor, boxes: Tensor, classes: Tensor, stds: Tensor) -> RegionLabels:
    """Proposals and true boxes together, as regions to learn from.

    A region is an object of the class of the box that it overlaps the most, if that is 0.5 or more.

    Args:
        proposals: (B, P, 4).
        boxes: (B, N, 4) with N at least 1.
        classes: (B, N) int64, -1 for a row that is no box, or less for a crowd.
        stds: Of the deltas, (4,).
    """
    present = classes >= 0
    regions = torch.cat((proposals, boxes), 1)
    shared = torch.where(present[:, None], overlaps(regions, boxes), 0.0)
    best, match = shared.max(2)
    labels = torch.where(best >= 0.5, classes.gather(1, match) + 1, 0)
    real = torch.cat((torch.ones_like(proposals[..., 0], dtype=torch.bool), present), 1)
    crowds = classes < -1
    if crowds.any():
        real &= (labels > 0) | ~in_crowds(regions, boxes, crowds)
    labels = torch.where(real, labels, -1)
    rank = torch.where(labels > 0, 0, 1 - labels.clamp(max=0))
    order = rank.argsort(dim=1, stable=True)
    deltas = encode(regions, rows_of(boxes, match)) / stds
    return RegionLabels(rows_of(regions, order), labels.gather(1, order), rows_of(deltas, order))


def region_errors(scores: Tensor, deltas: Tensor, regions: RegionLabels) -> tuple[Tensor, Tensor]:
    """Cross-entropy and smooth L1 of each region, (B, R) both; 0 for padding.

    Args:
        scores: (B, R, num_classes + 1).
        deltas: (B, R, 4), normalised.
        regions: What they should be.
    """
    class_error = F.cross_entropy(
        scores.flatten(0, 1), regions.labels.flatten(), ignore_index=-1, reduction="none"
    )
    # Chosen before the subtraction: background has no delta worth reading, and padding an infinite.
    distance = torch.where((regions.labels > 0)[..., None], deltas - regions.deltas, 0.0)
    distance = F.smooth_l1_loss(distance, torch.zeros_like(distance), reduction="none")
    return class_error.view_as(regions.labels), distance.sum(-1)


@torch.no_grad()
def ohem_mask(errors: Tensor, labels: Tensor, number: int) -> Tensor:
    """The regions with the highest loss (Shrivastava et al. 2016): (B, R) bool, no padding."""
    real = labels >= 0
    ranked = torch.where(real, errors.detach(), -1.0).argsort(dim=1, descending=True, stable=True)
    chosen = torch.zeros_like(real).scatter_(1, ranked[:, :number], True)
    return chosen & real
