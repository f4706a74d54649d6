"""R-FCN with its suppressions in the graph: what comes out are the detections."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

from dff.inference.export.detection import Run, share_of_twins
from dff.models.contracts import Features
from dff.models.dff import levels_of
from dff.models.heads.detection.boxes import best_rows
from dff.models.heads.detection.rfcn import DetectionHead
from dff.models.heads.detection.rpn import Regions

Kept = Callable[[Tensor, Tensor, float, float, int], Tensor]
"""Boxes (P, 4) without their last pixels, scores (C, P), the overlap over which the worse of a
class goes, the score over which a box counts, and how many a class keeps at most -> (n, 2) int64,
class and box, the classes in their order and the best box of each first."""
ANY = -9.0
"""A score that all are over."""


def kept_by_torchvision(
    boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int
) -> Tensor:
    """See `Kept`; a loop over the classes."""
    found = []
    for number, row in enumerate(scores):
        kept = nms(boxes, row, overlap)
        kept = kept[row[kept] > least][:most]
        found.append(torch.stack((torch.full_like(kept, number), kept), 1))
    return torch.cat(found)


kept_by_one_node = torch.library.custom_op(
    "dff::kept",
    kept_by_torchvision,
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, float overlap, float least, int most) -> Tensor",
)
"""See `Kept`; the writer of ONNX makes one NonMaxSuppression of it."""


@kept_by_one_node.register_fake
def _(boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int) -> Tensor:
    number = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((number, 2), dtype=torch.int64)


KEPT: Mapping[str, Kept] = {"onnx": kept_by_one_node, "pt2": kept_by_torchvision}
"""By the format of the files."""


class SuppressedOutputs:
    """The detections of R-FCN, (1, D, 4), (1, D), (1, D) with D as many as it gives at most.

    The best come first; past the last one there are score 0 and label -1. Overlaps count pixels of
    the frame that the graph sees.

    Args:
        head: Of the model; outside of a graph its weights make no difference.
        kept: How the graph suppresses.
    """

    names: tuple[str, ...] = ("boxes", "box_scores", "box_labels")
    needed, ranked = 3, True

    def __init__(self, head: DetectionHead, kept: Kept) -> None:
        self.head, self.kept = head, kept

    def maps(self, features: Features, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Boxes in pixels of the frame, corners inclusive; scores; labels int64."""
        (level,) = levels_of(features)
        maps, sizes = self.head(level), torch.tensor([size])
        regions = self._propose(maps.rpn_scores, maps.rpn_deltas, sizes)
        probabilities, boxes = self.head.detect(maps, Regions(regions, regions, sizes), sizes)
        scores = probabilities[..., 1:].transpose(1, 2)
        left = self._kept(
            boxes, scores[0], self.head.nms, self.head.score_threshold, self.head.rpn.proposals
        )
        keep = torch.zeros_like(scores, dtype=torch.bool)
        keep[0, left[:, 0], left[:, 1]] = True
        found = best_rows(scores, keep, boxes, self.head.max_detections)
        return found[..., :4], found[..., 4], found[..., 5].long()

    def _propose(self, scores: Tensor, deltas: Tensor, sizes: Tensor) -> Tensor:
        """Regions (1, P, 4), as `DetectionHead.predict` has them."""
        rpn = self.head.rpn
        boxes, order = rpn.rank(scores, deltas, sizes)
        kept = self._kept(boxes, order, rpn.nms_threshold, ANY, rpn.proposals)[:, 1]
        # not its shape: an exporter takes no remainder of a size
        number = torch.ones_like(kept).sum()
        return boxes[:, kept[torch.arange(rpn.proposals) % number]]

    def _kept(
        self, boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int
    ) -> Tensor:
        # corners are inclusive here, and lines between pixels where the runtimes suppress
        return self.kept(boxes[0] + boxes.new_tensor([0, 0, 1, 1]), scores, overlap, least, most)

    def graphs(
        self, maps: Sequence[Tensor], frame: tuple[int, int]
    ) -> dict[str, tuple[Callable[..., tuple[Tensor, ...]], Mapping[str, Tensor], tuple[str, ...]]]:
        """None."""
        return {}

    def finish(
        self, maps: Sequence[Tensor], size: tuple[int, int], frame: tuple[int, int], run: Run
    ) -> Tensor:
        """Detections (B, D, 6), as of `DetectionHead.predict`."""
        boxes, scores, labels = maps
        ratio = boxes.new_tensor([size[1] / frame[1], size[0] / frame[0]] * 2)
        return torch.cat((boxes * ratio, scores[..., None], labels[..., None].to(boxes)), 2)

    def confidence(self, maps: Sequence[Tensor]) -> None:
        """A detector has none."""

    def agreement(self, found: Tensor, own: Tensor) -> float:
        """As of `DetectionOutputs`."""
        return share_of_twins(found, own)
