"""R-FCN in graphs: its maps, and its regions once suppression has chosen them."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dff.models.contracts import Features
from dff.models.dff import levels_of
from dff.models.heads.detection.boxes import best_detections, overlaps
from dff.models.heads.detection.rfcn import DetectionHead, DetectionMaps
from dff.models.heads.detection.rpn import Regions

Run = Callable[[str, Sequence[Tensor]], Sequence[Tensor]]
REGIONS = "regions"
SURE, HALF = 0.05, 0.5
"""A detection counts from this score, or from this share of the best one's."""
SAME, CLOSE = 0.99, 1e-2
"""A detection's twin has this overlap with it, and a score within this."""


class DetectionOutputs:
    """The four maps of R-FCN, and a second graph for regions; both suppressions are outside.

    The proposals are suppressed before the second graph, the detections behind it: suppression is
    the one part that runtimes do each in their own way, and slowly.

    Args:
        head: Of the model; outside of a graph its weights make no difference.
    """

    names: tuple[str, ...] = ("rpn_scores", "rpn_deltas", "region_scores", "region_deltas")
    needed, ranked = 4, False

    def __init__(self, head: DetectionHead) -> None:
        self.head = head

    def maps(self, features: Features, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """The maps of `DetectionMaps`."""
        (level,) = levels_of(features)
        return tuple(self.head(level))

    def graphs(
        self, maps: Sequence[Tensor], frame: tuple[int, int]
    ) -> dict[str, tuple[Callable[..., tuple[Tensor, ...]], Mapping[str, Tensor], tuple[str, ...]]]:
        """The graph of the regions: its function, examples of its inputs, names of its outputs."""
        sizes = torch.tensor([frame])
        regions = self.head.rpn.propose(maps[0], maps[1], sizes)

        def classify(
            scores: Tensor, deltas: Tensor, boxes: Tensor, size: Tensor
        ) -> tuple[Tensor, ...]:
            all_maps = DetectionMaps(scores, deltas, scores, deltas)  # the first two are not read
            return self.head.detect(all_maps, Regions(boxes, boxes, size), size)

        inputs = {
            "region_scores": maps[2],
            "region_deltas": maps[3],
            "regions": regions.boxes,
            "size": sizes,
        }
        return {REGIONS: (classify, inputs, ("probabilities", "boxes"))}

    def finish(
        self, maps: Sequence[Tensor], size: tuple[int, int], frame: tuple[int, int], run: Run
    ) -> Tensor:
        """Detections (B, D, 6), as of `DetectionHead.predict`."""
        return torch.cat(
            [
                self._finish_one([m[i : i + 1] for m in maps], size, frame, run)
                for i in range(len(maps[0]))
            ]
        )

    def _finish_one(
        self, maps: Sequence[Tensor], size: tuple[int, int], frame: tuple[int, int], run: Run
    ) -> Tensor:
        sizes = torch.tensor([frame])
        regions = self.head.rpn.propose(maps[0], maps[1], sizes).boxes
        probabilities, boxes = run(REGIONS, [maps[2], maps[3], regions, sizes])
        ratio = boxes.new_tensor([size[1] / frame[1], size[0] / frame[0]] * 2)
        return best_detections(
            probabilities[..., 1:],
            boxes * ratio,
            nms=self.head.nms,
            score_threshold=self.head.score_threshold,
            most=self.head.max_detections,
        )

    def confidence(self, maps: Sequence[Tensor]) -> None:
        """A detector has none."""

    def agreement(self, found: Tensor, own: Tensor) -> float:
        """Share of the model's surer boxes with a twin: same class, same place, same score."""
        return share_of_twins(found, own)


def share_of_twins(found: Tensor, own: Tensor) -> float:
    """Share of the surer of some detections that have a twin among others.

    Args:
        found: The others, (B, D, 6), as of `DetectionHead.predict`.
        own: The detections, likewise.

    Returns:
        1 where there is no detection.
    """
    sure = twins = 0
    for there, here in zip(found, own, strict=True):
        least = min(SURE, HALF * float(here[:, 4].max()))
        here = here[(here[:, 4] >= least) & (here[:, 5] >= 0)]
        same = overlaps(here[:, :4], there[:, :4]) >= SAME
        same &= here[:, None, 5] == there[None, :, 5]
        same &= (here[:, None, 4] - there[None, :, 4]).abs() <= CLOSE
        sure, twins = sure + len(here), twins + int(same.any(1).sum())
    return twins / sure if sure else 1.0
