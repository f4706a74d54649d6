"""`DetectionMetric`: mean average precision by gap, exact over any split into processes."""

from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from dff.lit.metrics.average_precision import (
    Detections,
    Protocol,
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


class DetectionMetric(Metric):
    """Detections and boxes of every frame, and their average precision by gap.

    Average precision is no sum over frames, so all rows are kept: 24 bytes a detection and gap.
    The same frame is counted once for each gap, however often a sampler repeats it, and neither the
    order of frames nor their split into batches and processes changes the result.

    The figures of ImageNet VID are over all gaps together. For them, hand `update` the key
    duration in the place of the gap; `gaps` then holds key durations.

    Args:
        gaps: The gaps that are evaluated.
        num_classes: K; classes are 0..K-1, without a background.
        protocol: "vid" (the official one), "voc" (fixed 0.5) or "coco" (0.50 to 0.95): see
            `average_precision`.
        official_rounding: Take scores with 4 decimals and boxes with 2, as the authors' code writes
            them to its result files.
    """

    full_state_update = False
    # as `update` finds them; once the processes have gathered, each is one tensor
    frames: list[Tensor]
    detections: list[Tensor]
    boxes: list[Tensor]

    def __init__(
        self,
        gaps: list[int],
        num_classes: int,
        protocol: Protocol = "vid",
        official_rounding: bool = True,
    ) -> None:
        super().__init__()
        self.gaps, self.num_classes = list(gaps), num_classes
        self.protocol, self.official_rounding = protocol, official_rounding
        for name in _STATES:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self,
        detections: Tensor,
        boxes: Tensor,
        box_labels: Tensor,
        gap: Tensor,
        index: Tensor,
        motion: Tensor | None = None,
    ) -> None:
        """Keeps a batch.

        Args:
            detections: (B, D, 6) rows x1, y1, x2, y2, score, class; class -1 is an unused row.
                Corners in pixels of the frame that `boxes` stand in.
            boxes: (B, N, 4) x1, y1, x2, y2.
            box_labels: (B, N) int, -1 is padding.
            gap: (B,), each one of `gaps`.
            index: (B,) int, which frame of the data set it is.
            motion: (B, N) motion IoU of each box, NaN where unknown; None if none is known.

        Raises:
            ValueError: A class is K or more, or a gap is none of `gaps`.
        """
        used, real = detections[..., 5] >= 0, box_labels >= 0
        self._check("class", detections[..., 5])
        self._check("label", box_labels)
        if wrong := set(gap.tolist()) - set(self.gaps):
            raise ValueError(f"gap {min(wrong)}: wanted one of {self.gaps}")
        position = [self.gaps.index(g) for g in gap.tolist()]
        columns = [gap.new_tensor(position), index, used.sum(1), real.sum(1)]
        self.frames.append(torch.stack([column.to(index).long() for column in columns], 1))
        self.detections.append(detections[used].float())
        # float64: a motion IoU just over 0.9 must not become 0.9.
        rows = torch.full((*box_labels.shape, 6), torch.nan, device=boxes.device).double()
        rows[..., :4], rows[..., 4] = boxes, box_labels
        if motion is not None:
            rows[..., 5] = motion
        self.boxes.append(rows[real])

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the rows of all processes."""
        for name, (width, dtype) in _STATES.items():
            if isinstance(rows := getattr(self, name), list) and not rows:
                # torchmetrics would send a flat float32 tensor of no rows, and the processes that
                # have some would wait for another shape.
                rows.append(torch.zeros(0, width, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> dict[int, GapScores]:
        """Scores of each gap. Millions of detections take minutes."""
        frames, detections, boxes = (_rows(getattr(self, name), name) for name in _STATES)
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
            known = None if np.isnan(motion).all() else motion[:, 0]
            truth = Truth(frame, label[:, 0].astype(np.int32), x, known)
            ap, by_motion = average_precision(truth, found, self.num_classes, self.protocol)
            scores[gap] = GapScores(mAP=class_mean(ap), AP=ap, frames=len(index))
            for name, values in by_motion.items():
                scores[gap][name] = class_mean(values)
        return scores

    def _check(self, name: str, classes: Tensor) -> None:
        if classes.numel() and int(classes.max()) >= self.num_classes:
            k = self.num_classes
            raise ValueError(f"{name} {int(classes.max())}: wanted 0..{k - 1}, or -1 for none")


# Columns and type of each state. frames: position of the gap, index, detections, boxes.
_STATES = {
    "frames": (4, torch.int64),
    "detections": (6, torch.float32),
    "boxes": (6, torch.float64),
}


def _rows(state: list[Tensor] | Tensor, name: str) -> np.ndarray:
    width, dtype = _STATES[name]
    parts = [state] if isinstance(state, Tensor) else state
    return torch.cat([torch.zeros(0, width, dtype=dtype), *(p.cpu() for p in parts)]).numpy()


def _spread(
    index: np.ndarray, start: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of which each has `count` rows from `start` on -> index and number of each row."""
    before = np.cumsum(count) - count
    rows = np.arange(count.sum()) + np.repeat(start - before, count)
    return np.repeat(index, count), rows
