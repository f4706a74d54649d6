"""Average precision of boxes in plain numpy: ImageNet VID's, with motion groups, VOC's and COCO's.

Three protocols over one matching. In each frame, detections in order of score take boxes of their
class, each box once:

| protocol | sides | IoU at least | a detection takes | area under the curve |
|---|---|---|---|---|
| `vid` | x2 - x1 + 1 | min(0.5, wh / ((w + 10)(h + 10))) | the best box still free | all points |
| `voc` | x2 - x1 + 1 | 0.5 | the best box, or none if that is taken | all points |
| `coco` | x2 - x1 | 0.50, 0.55 .. 0.95, mean | the best box still free | 101 points |

`vid` is the evaluation of the authors' code, `lib/dataset/imagenet_vid_eval.py`; its motion groups
are those of Flow-Guided Feature Aggregation, `lib/dataset/imagenet_vid_eval_motion.py`. Equal
scores are taken by frame, then as they were given; the authors' sort leaves their order open.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

BoxMetric = Literal["vid", "voc", "coco"]
Group = Literal["slow", "medium", "fast"]
GROUPS: tuple[Group, ...] = ("slow", "medium", "fast")
"""Motion groups: motion IoU over 0.9, 0.7 to 0.9, under 0.7."""
COCO_LEVELS = np.linspace(0.5, 0.95, 10)
COCO_DETECTIONS = 100
PAIRS_AT_ONCE = 1 << 20
"""About so many IoUs are held at a time, whatever the size of the data set."""


class Truth(NamedTuple):
    """Boxes that are there, N of all frames together, in any order.

    `frame`, `label`: (N,) int. `box`: (N, 4) x1, y1, x2, y2 in pixels.
    `motion`: (N,) motion IoU, NaN where unknown; None if it is known of no box.
    """

    frame: np.ndarray
    label: np.ndarray
    box: np.ndarray
    motion: np.ndarray | None = None


class Detections(NamedTuple):
    """Boxes that were found, M of all frames together, in any order.

    `frame`, `label`: (M,) int. `score`: (M,). `box`: (M, 4) x1, y1, x2, y2 in pixels.
    """

    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray
    box: np.ndarray


class Scores(NamedTuple):
    """Average precision of each class.

    `ap`: (K,) float64, NaN for a class without a box.
    `by_motion`: name of the group -> likewise; empty if no motion is known.
    """

    ap: np.ndarray
    by_motion: dict[Group, np.ndarray]


def class_mean(ap: np.ndarray) -> float:
    """Mean over the classes that have a box, NaN if none has; (K,) -> mAP."""
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else float("nan")


def paired_iou(first: np.ndarray, second: np.ndarray, extra: float = 1.0) -> np.ndarray:
    """IoU of row with row, (P, 4) and (P, 4) float64 -> (P,).

    Args:
        first: x1, y1, x2, y2 in pixels.
        second: Likewise.
        extra: 1 where x2 is the last pixel of the box, as in VID; 0 where it is its border.
    """
    # In the authors' order of operations: an IoU at its threshold must fall on the same side.
    ax1, ay1, ax2, ay2 = first.T
    bx1, by1, bx2, by2 = second.T
    width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1) + extra
    height = np.minimum(ay2, by2) - np.maximum(ay1, by1) + extra
    common = np.maximum(width, 0) * np.maximum(height, 0)
    union = (ax2 - ax1 + extra) * (ay2 - ay1 + extra)
    union += (bx2 - bx1 + extra) * (by2 - by1 + extra) - common
    # A box without area, which COCO's sides allow, overlaps nothing.
    return np.divide(common, union, out=np.zeros_like(union), where=union > 0)


def lenient_thresholds(box: np.ndarray) -> np.ndarray:
    """IoU from which VID takes a box as found, (N, 4) -> (N,): at most 0.5, less for small boxes.

    Ten pixels of tolerance: a box of 10 x 10 is found from an IoU of 0.25.
    """
    width, height = box[:, 2] - box[:, 0] + 1, box[:, 3] - box[:, 1] + 1
    return np.minimum(width * height / ((width + 10) * (height + 10)), 0.5)


def motion_groups(motion: np.ndarray) -> np.ndarray:
    """Position in `GROUPS` of each motion IoU, (N,) -> (N,) int8; -1 where it is NaN."""
    known = np.where(motion > 0.9, 0, np.where(motion >= 0.7, 1, 2))
    return np.where(np.isnan(motion), -1, known).astype(np.int8)


def average_precision(
    truth: Truth,
    detections: Detections,
    num_classes: int,
    protocol: BoxMetric = "vid",
    crowds: Truth | None = None,
) -> Scores:
    """Scores detections against all boxes, by class and by motion group.

    A group asks how well the boxes of that motion are found. Boxes of the other groups are no
    positives, but take part in the matching, and a detection that takes one is neither right nor
    wrong. A detection that takes no box counts as wrong (FGFA's rule) if the box of its frame that
    it overlaps most, of whatever class, is in the group; not at all if that one is in another
    group; in a frame without boxes, by the group's share of all boxes; and where it overlaps both
    kinds alike, mostly not at all, by the share of the frame's boxes that are *not* in the group,
    as FGFA's code has it. A box of unknown motion is in no group.

    Args:
        truth: The boxes; labels 0..K-1.
        detections: Labels 0..K-1, scores and boxes already rounded where that is wanted.
        num_classes: K.
        protocol: See the head of this file. `coco` counts 100 detections of a frame and class.
        crowds: Regions of many objects: a detection that takes no box, and of which a share of at
            least the IoU that is asked for lies in a crowd of its class, is neither right nor
            wrong, as COCO has it.
    """
    truth, detections = _in_order(truth, detections)
    if protocol == "coco":
        detections = Detections(*(column[_leading(detections)] for column in detections))
    found, wrong = _match(truth, detections, protocol)
    share = _share_in_crowds(detections, crowds, 0.0 if protocol == "coco" else 1.0)
    levels = COCO_LEVELS if protocol == "coco" else np.full(1, 0.5)
    labels = detections.label
    by_class = np.lexsort((-detections.score, labels))
    borders = np.searchsorted(labels[by_class], np.arange(num_classes + 1))

    def areas(counted: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        positives = np.bincount(truth.label[counted], minlength=num_classes)
        counted = np.append(counted, False)  # found is -1, the last, where no box was taken
        ap = np.full((len(found), num_classes), np.nan)
        for label in np.flatnonzero(positives):
            rows = by_class[borders[label] : borders[label + 1]]
            for level, taken in enumerate(found):
                hit = counted[taken[rows]]
                miss = (taken[rows] < 0) & (share[rows] < levels[level])
                miss = miss if weight is None else miss * weight[rows]
                area = _area_at_101_points if protocol == "coco" else _area_of_envelope
                ap[level, label] = area(hit, miss, positives[label])
        return ap.mean(0)

    by_motion: dict[Group, np.ndarray] = {}
    if truth.motion is not None and not np.isnan(truth.motion).all():
        group = motion_groups(truth.motion)
        by_motion = {name: areas(group == k, wrong[k]) for k, name in enumerate(GROUPS)}
    return Scores(areas(np.ones(len(truth.frame), bool), None), by_motion)


def _share_in_crowds(detections: Detections, crowds: Truth | None, extra: float) -> np.ndarray:
    """Largest share of each detection in a crowd of its frame and class, (M,); M by frame."""
    share = np.zeros(len(detections.frame))
    if crowds is None:
        return share
    box = detections.box.astype(np.float64)
    for frame, label, crowd in zip(
        crowds.frame, crowds.label, crowds.box.astype(np.float64), strict=True
    ):
        rows = slice(*np.searchsorted(detections.frame, [frame, frame + 1]))
        low, high = np.maximum(box[rows, :2], crowd[:2]), np.minimum(box[rows, 2:], crowd[2:])
        common = np.maximum(high - low + extra, 0).prod(1)
        area = (box[rows, 2:] - box[rows, :2] + extra).prod(1)
        part = np.divide(common, area, out=np.zeros_like(area), where=area > 0)
        part[detections.label[rows] != label] = 0
        share[rows] = np.maximum(share[rows], part)
    return share


def _in_order(truth: Truth, detections: Detections) -> tuple[Truth, Detections]:
    """Rows by frame, detections of a frame by falling score; boxes in float64."""
    order = np.argsort(truth.frame, kind="stable")
    motion = None if truth.motion is None else truth.motion[order]
    box = truth.box[order].astype(np.float64)
    truth = Truth(truth.frame[order], truth.label[order], box, motion)
    order = np.lexsort((-detections.score, detections.frame))
    return truth, Detections(*(column[order] for column in detections))


def _leading(detections: Detections) -> np.ndarray:
    """Which are among the first 100 of their frame and class, (M,) bool; M in order."""
    order = np.lexsort((detections.label, detections.frame))  # stable: scores still fall
    frame, label = detections.frame[order], detections.label[order]
    new = (frame[1:] != frame[:-1]) | (label[1:] != label[:-1])
    position = np.arange(len(order))
    first = np.maximum.accumulate(np.where(np.append(True, new)[: len(order)], position, 0))
    kept = np.empty(len(order), bool)
    kept[order] = position - first < COCO_DETECTIONS
    return kept


def _match(
    truth: Truth, detections: Detections, protocol: BoxMetric
) -> tuple[np.ndarray, np.ndarray]:
    """Which box each detection takes, and how wrong it is if it takes none.

    Returns:
        (levels, M) int32 rows of `truth`, -1 for none; (3, M) weights for each motion group,
        (3, 0) if no motion is known.
    """
    levels = COCO_LEVELS if protocol == "coco" else np.zeros(1)
    least = lenient_thresholds(truth.box) if protocol == "vid" else np.full(len(truth.box), 0.5)
    group = None if truth.motion is None else motion_groups(truth.motion)
    count = len(detections.frame)
    found = np.full((len(levels), count), -1, np.int32)
    wrong = np.empty((len(GROUPS), 0 if group is None else count))
    start, stop = (np.searchsorted(truth.frame, detections.frame, side) for side in _SIDES)
    for rows in _blocks(detections.frame, stop - start):
        boxes = stop[rows] - start[rows]
        before = np.cumsum(boxes) - boxes
        row = np.repeat(np.arange(len(boxes)), boxes)
        box = np.arange(len(row)) + np.repeat(start[rows] - before, boxes)
        same = detections.label[rows][row] == truth.label[box]
        if group is None:  # IoU with other classes is asked for by the groups alone
            row, box, same = row[same], box[same], True
        found_box = detections.box[rows].astype(np.float64)
        iou = paired_iou(found_box[row], truth.box[box], 0.0 if protocol == "coco" else 1.0)
        if group is not None:
            wrong[:, rows] = _weights(group, box, iou, boxes)
        kept = np.flatnonzero(same & (iou >= least[box]))
        kept = kept[np.lexsort((-iou[kept], row[kept]))]  # of equal IoUs the first box
        row, box, iou = row[kept], box[kept], iou[kept]
        if protocol == "voc":
            row, box, iou = (column[_is_first(row)] for column in (row, box, iou))
        for level, least_iou in enumerate(levels):
            over = iou >= least_iou
            _take(found[level, rows], row[over], box[over], len(truth.box))
    return found, wrong


_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def _blocks(frame: np.ndarray, pairs: np.ndarray) -> Iterator[slice]:
    """Runs of whole frames that have about `PAIRS_AT_ONCE` pairs each."""
    first = np.flatnonzero(_is_first(frame))
    # Rows without any pair cost memory as well.
    number = np.cumsum(pairs + 1)[first] // PAIRS_AT_ONCE
    borders = [*first[_is_first(number)], len(frame)]
    yield from (slice(a, b) for a, b in pairwise(borders))


def _is_first(values: np.ndarray) -> np.ndarray:
    """Where a run of equal values begins, (n,) -> (n,) bool."""
    return np.append(True, values[1:] != values[:-1])[: len(values)]


def _take(found: np.ndarray, row: np.ndarray, box: np.ndarray, boxes: int) -> None:
    """Greedy matching, all frames at once: writes the box that each detection takes to `found`.

    One detection after the other would be a loop of millions. In each round a detection is settled
    if it is the first of all that could still take its best free box: nobody before it can. The
    first detection of a frame always is, so there are at most as many rounds as a frame has boxes.

    Args:
        found: (m,) -1 everywhere.
        row: Of each pair that may match: the detection, rising; its best box comes first.
        box: Of each pair: the box.
        boxes: How many there are.
    """
    earliest = np.empty(boxes, np.int64)
    taken = np.zeros(boxes, bool)
    while len(row):
        earliest[box[::-1]] = row[::-1]  # of repeated indices the last is kept: the lowest row
        settled = _is_first(row) & (earliest[box] == row)
        found[row[settled]] = box[settled]
        taken[box[settled]] = True
        open_pairs = ~taken[box] & (found[row] < 0)
        row, box = row[open_pairs], box[open_pairs]


def _weights(group: np.ndarray, box: np.ndarray, iou: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How wrong a detection that takes no box is in each group, (3, m): see `average_precision`.

    Args:
        group: (N,) of all boxes.
        box: Of each pair of a detection and a box of its frame, ordered by detection.
        iou: Of each pair.
        boxes: (m,) how many pairs a detection has.
    """
    share = [np.mean(group == k) for k in range(len(GROUPS))]
    weights = np.repeat(np.array(share)[:, None], len(boxes), 1)
    some = boxes > 0
    if not some.any():
        return weights
    first = (np.cumsum(boxes) - boxes)[some]
    of_pair = group[box]
    best = [
        np.maximum.reduceat(np.where(of_pair == k, iou, -1.0), first)
        for k in range(-1, len(GROUPS))
    ]
    for k in range(len(GROUPS)):
        inside = best[k + 1]
        outside = np.maximum.reduce([b for i, b in enumerate(best) if i != k + 1])
        others = np.add.reduceat((of_pair != k).astype(np.int64), first) / boxes[some]
        weights[k, some] = np.where(inside > outside, 1.0, np.where(outside > inside, 0.0, others))
    return weights


def _precision(hit: np.ndarray, miss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count of hits, and the highest precision from each detection on; (m,) each."""
    hits = np.cumsum(hit, dtype=np.float64)
    counted = hits + np.cumsum(miss, dtype=np.float64)
    precision = hits / np.maximum(counted, np.finfo(np.float64).eps)
    return hits, np.maximum.accumulate(precision[::-1])[::-1]


def _area_of_envelope(hit: np.ndarray, miss: np.ndarray, positives: int) -> float:
    """Area under the falling envelope; recall grows by 1 / positives at each hit."""
    _, envelope = _precision(hit, miss)
    return envelope[hit].sum() / positives


def _area_at_101_points(hit: np.ndarray, miss: np.ndarray, positives: int) -> float:
    """Mean of the envelope at the recalls 0, 0.01 .. 1; 0 at those never reached."""
    hits, envelope = _precision(hit, miss)
    position = np.searchsorted(hits / positives, np.linspace(0, 1, 101))
    return np.append(envelope, 0.0)[position].mean()
