"""Seq-NMS: detections of a whole video, linked into chains and rescored together.

After Han et al. 2016, "Seq-NMS for Video Object Detection". A box that is weak on one frame,
because the object is blurred or half hidden there, is kept by its neighbours in time. Feature
propagation makes such frames: what is carried far is less sure.
"""

from typing import Literal

import numpy as np

from dff.inference.accuracy.average_precision import paired_iou

Rescore = Literal["mean", "max"]
LINK, SUPPRESS = 0.5, 0.3
"""IoU from which boxes of neighbouring frames are linked, and above which a frame's other boxes
fall to those of a chain; the authors' values."""


def seq_nms(
    rows: np.ndarray, rescore: Rescore = "mean", link: float = LINK, suppress: float = SUPPRESS
) -> np.ndarray:
    """Links detections over time, and gives all of a chain one score.

    Again and again the chain of the highest sum of scores is taken, one box of each of consecutive
    frames, all of one class; other boxes of these frames that overlap with it are dropped. Chains
    of one box end it: what is left keeps its scores.

    Args:
        rows: (M, 7) frame, class, score, x1, y1, x2, y2 of one video, in any order.
        rescore: A chain's boxes get their "mean" score, or the "max".
        link: IoU at least from a frame to the next.
        suppress: IoU above which a box falls to the chain's.

    Returns:
        (N, 7), N <= M, in the order of the frames, then of falling scores.
    """
    kept = [np.zeros((0, 7))]
    for label in np.unique(rows[:, 1]):
        kept.append(_of_class(rows[rows[:, 1] == label], rescore, link, suppress))
    found = np.concatenate(kept)
    return found[np.lexsort((-found[:, 2], found[:, 0]))]


def _of_class(rows: np.ndarray, rescore: Rescore, link: float, suppress: float) -> np.ndarray:
    rows = rows[np.argsort(rows[:, 0], kind="stable")].copy()
    numbers, begins = np.unique(rows[:, 0], return_index=True)
    frames = np.split(np.arange(len(rows)), begins[1:])
    # [f]: (boxes of f, boxes of the frame before) -> linked
    links = [np.zeros((len(frames[0]), 0), bool)]
    for f in range(1, len(frames)):
        one, other = frames[f], frames[f - 1]
        if numbers[f] == numbers[f - 1] + 1:
            links.append(_iou(rows[one, 3:], rows[other, 3:]) >= link)
        else:
            links.append(np.zeros((len(one), 0), bool))
    alive = np.ones(len(rows), bool)  # neither in a chain nor dropped
    dropped = np.zeros(len(rows), bool)
    score = rows[:, 2].copy()
    best, before = score.copy(), np.full(len(rows), -1)
    first = 0
    while True:
        for f in range(first, len(frames)):
            _extend(frames, links, f, score, alive, best, before)
        candidates = np.flatnonzero(alive & (before >= 0))
        if not len(candidates):
            break
        chain = [int(candidates[best[candidates].argmax()])]
        while before[chain[-1]] >= 0:
            chain.append(int(before[chain[-1]]))
        rows[chain, 2] = score[chain].mean() if rescore == "mean" else score[chain].max()
        for box in chain:
            own = frames[np.searchsorted(numbers, rows[box, 0])]
            beaten = _iou(rows[own, 3:], rows[box : box + 1, 3:])[:, 0] > suppress
            gone = own[beaten & alive[own]]
            alive[gone], dropped[gone] = False, True
        alive[chain], dropped[chain] = False, False
        first = int(np.searchsorted(numbers, rows[chain[-1], 0]))
    return rows[~dropped]


def _extend(
    frames: list[np.ndarray],
    links: list[np.ndarray],
    f: int,
    score: np.ndarray,
    alive: np.ndarray,
    best: np.ndarray,
    before: np.ndarray,
) -> None:
    """The best chain that ends at each box of frame f: its sum of scores, and the box before."""
    own = frames[f]
    best[own], before[own] = score[own], -1
    if links[f].shape[1]:
        other = frames[f - 1]
        sums = np.where(links[f] & alive[other], best[other], -np.inf)
        chosen = sums.argmax(1)
        linked = np.isfinite(sums.max(1)) & alive[own]
        best[own[linked]] += sums[linked, chosen[linked]]
        before[own[linked]] = other[chosen[linked]]


def _iou(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, 4) and (M, 4) -> (N, M)."""
    pairs = np.repeat(some, len(others), 0), np.tile(others, (len(some), 1))
    return paired_iou(*pairs).reshape(len(some), len(others))
