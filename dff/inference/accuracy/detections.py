"""`DetectionAccuracy`: mean average precision by gap, from the rows of all frames."""

import math
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from dff.inference.accuracy.average_precision import (
    GROUPS,
    BoxMetric,
    Detections,
    Truth,
    average_precision,
    class_mean,
)


class GapScores(TypedDict):
    """Scores of one gap; NaN where there is no box.

    `mAP`: mean over the classes that have a box. `AP`: (K,) float64 numpy array.
    `frames`: how many were counted. `slow`, `medium`, `fast`: mAP of the boxes of that motion,
    present where motion is known.
    """

    mAP: float
    AP: np.ndarray
    frames: int
    slow: NotRequired[float]
    medium: NotRequired[float]
    fast: NotRequired[float]


class DetectionAccuracy:
    """Detections and boxes of every frame, and their average precision by gap.

    Average precision is no sum over frames, so all rows are kept: 24 bytes a detection and gap.
    The same frame is counted once for each gap, however often a sampler repeats it, and neither the
    order of frames nor their split into batches and processes changes the result.

    The figures of ImageNet VID are over all gaps together. For them, hand `count` the key duration
    in the place of the gap; `gaps` then holds key durations.

    Args:
        gaps: The gaps that are evaluated.
        num_classes: K; classes are 0..K-1, without a background.
        protocol: "vid" (the official one), "voc" (fixed 0.5) or "coco" (0.50 to 0.95): see
            `average_precision`.
        official_rounding: Take scores with 4 decimals and boxes with 2, as the authors' code writes
            them to its result files.
    """

    sums: Mapping[str, Tensor] = {}

    def __init__(
        self,
        gaps: Sequence[int],
        num_classes: int,
        protocol: BoxMetric = "vid",
        official_rounding: bool = True,
    ) -> None:
        self.gaps, self.num_classes = list(gaps), num_classes
        self.protocol, self.official_rounding = protocol, official_rounding
        self.rows = {name: torch.zeros(0, width, dtype=dtype) for name, width, dtype in _ROWS}

    def count(self, found: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows of a batch.

        Args:
            found: (B, D, 6) rows x1, y1, x2, y2, score, class; class -1 is an unused row. Corners
                in pixels of the frame that the boxes stand in.
            batch: `frame_boxes` (B, N, 4) x1, y1, x2, y2; `box_labels` (B, N) int, -1 is padding,
                and less is a crowd, of class -2 - label; `gap` (B,), each one of `gaps`; `index`
                (B,) int, which frame of the data set it is;
                `motion` (B, N), the motion IoU of each box, NaN where unknown, if any is known.

        Raises:
            ValueError: A class is K or more, or a gap is none of `gaps`.
        """
        boxes, box_labels, motion = batch["frame_boxes"], batch["box_labels"], batch.get("motion")
        gap, index = batch["gap"], batch["index"]
        used, real = found[..., 5] >= 0, box_labels != -1
        self._check("class", found[..., 5])
        self._check("label", box_labels)
        if wrong := set(gap.tolist()) - set(self.gaps):
            raise ValueError(f"gap {min(wrong)}: wanted one of {self.gaps}")
        position = [self.gaps.index(g) for g in gap.tolist()]
        columns = [gap.new_tensor(position), index, used.sum(1), real.sum(1)]
        # float64: a motion IoU just over 0.9 must not become 0.9.
        rows = torch.full((*box_labels.shape, 6), torch.nan, device=boxes.device).double()
        rows[..., :4], rows[..., 4] = boxes, box_labels
        if motion is not None:
            rows[..., 5] = motion
        return {
            "frames": torch.stack([column.to(index).long() for column in columns], 1),
            "detections": found[used].float(),
            "boxes": rows[real],
        }

    def result(self, counted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`by_gap` and `by_class`, the mean over the gaps; the groups, where motion is known."""
        scores = self.scores(counted)
        ap = torch.stack([torch.as_tensor(scores[gap]["AP"]) for gap in self.gaps])
        by_gap = torch.tensor([scores[gap]["mAP"] for gap in self.gaps])
        result = {"by_gap": by_gap, "by_class": ap.nanmean(0)}
        for group in GROUPS:
            if any(group in score for score in scores.values()):
                values = [scores[gap].get(group, math.nan) for gap in self.gaps]
                result[group] = torch.tensor(values)
        return result

    def scores(self, counted: Mapping[str, Tensor]) -> dict[int, GapScores]:
        """Scores of each gap. Millions of detections take minutes."""
        frames, detections, boxes = (counted[name].cpu().numpy() for name in self.rows)
        found_start = np.cumsum(frames[:, 2]) - frames[:, 2]
        true_start = np.cumsum(frames[:, 3]) - frames[:, 3]
        scores = {}
        for position, gap in enumerate(self.gaps):
            here = np.flatnonzero(frames[:, 0] == position)
            # In order of the index, each once: so neither order nor repetition leaves a trace.
            index, first = np.unique(frames[here, 1], return_index=True)
            here = here[first]
            frame, rows = _spread(index, found_start[here], frames[here, 2])
            found = detections[rows]
            score, box = found[:, 4].astype(np.float64), found[:, :4]
            if self.official_rounding:
                # Exactly what writing and reading gives: float32 times 10000 is exact in float64.
                score, box = score.round(4), box.astype(np.float64).round(2)
            found = Detections(frame, found[:, 5].astype(np.int32), score, box)
            frame, rows = _spread(index, true_start[here], frames[here, 3])
            x, label, motion = np.split(boxes[rows], [4, 5], axis=1)
            if self.protocol == "coco":  # which counts to the border of the last pixel
                found, x = found._replace(box=_to_border(found.box)), _to_border(x)
            labels, real = label[:, 0].astype(np.int32), label[:, 0] >= 0
            known = None if np.isnan(motion).all() else motion[real, 0]
            truth = Truth(frame[real], labels[real], x[real], known)
            crowds = Truth(frame[~real], -2 - labels[~real], x[~real])
            ap, by_motion = average_precision(
                truth, found, self.num_classes, self.protocol, crowds if len(crowds.box) else None
            )
            scores[gap] = GapScores(mAP=class_mean(ap), AP=ap, frames=len(index))
            for name, values in by_motion.items():
                scores[gap][name] = class_mean(values)
        return scores

    def _check(self, name: str, classes: Tensor) -> None:
        if classes.numel() and int(classes.max()) >= self.num_classes:
            k = self.num_classes
            raise ValueError(f"{name} {int(classes.max())}: wanted 0..{k - 1}, or -1 for none")


_ROWS = (("frames", 4, torch.int64), ("detections", 6, torch.float32), ("boxes", 6, torch.float64))
"""Rows that are kept, their columns and type. frames: position of the gap, index, how many
detections, how many boxes."""


def _to_border(boxes: np.ndarray) -> np.ndarray:
    """Corners that belong to their boxes -> borders, (N, 4)."""
    return boxes.astype(np.float64) + np.array([0.0, 0.0, 1.0, 1.0])


def _spread(
    index: np.ndarray, start: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of which each has `count` rows from `start` on -> index and number of each row."""
    before = np.cumsum(count) - count
    rows = np.arange(count.sum()) + np.repeat(start - before, count)
    return np.repeat(index, count), rows
