"""What labels look like as numbers: frames, sizes, classes, and anchors that fit the boxes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dff.data.annotations.box_table import BoxTable
from dff.data.pair_files import frame_size
from dff.data.samples import Snippet

LOOKED_AT = 50
"""Frames whose size is looked at."""
ANCHORS = 3
"""Scales that are proposed."""


def labelled_frames(snippets: Sequence[Snippet]) -> int:
    """How many frames are labelled."""
    return sum(len(snippet.labelled) for snippet in snippets)


def typical_size(snippets: Sequence[Snippet]) -> tuple[int, int] | None:
    """The most frequent size of frames, height and width; None where none can be read."""
    step = max(1, len(snippets) // LOOKED_AT)
    sizes = Counter(frame_size(snippet) for snippet in snippets[::step])
    sizes.pop(None, None)
    return sizes.most_common(1)[0][0] if sizes else None


def all_boxes(snippets: Sequence[Snippet]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (N, 4) and labels (N,) of all boxes, without crowds."""
    tables = [s.boxes for s in snippets if isinstance(s.boxes, BoxTable)]
    corners = np.concatenate([t.corners for t in tables] or [np.zeros((0, 4), np.float32)])
    labels = np.concatenate([t.labels for t in tables] or [np.zeros(0, np.int64)])
    return corners[labels >= 0], labels[labels >= 0]


def anchor_scales(snippets: Sequence[Snippet], zoom: float, stride: int) -> list[float]:
    """Sides of anchors over the stride: the middles of three groups of boxes by their size.

    Args:
        snippets: Labelled videos.
        zoom: Pixels that the networks see for each pixel of a frame.
        stride: Pixels of the networks' input along a side of one feature pixel.

    Returns:
        Increasing; empty where there is no box.
    """
    corners, _ = all_boxes(snippets)
    if not len(corners):
        return []
    sides = np.sort(np.log(side_lengths(corners) * zoom))
    parts = np.array_split(sides, ANCHORS) if len(sides) >= ANCHORS else [sides]
    scales = [float(np.exp(np.median(part)) / stride) for part in parts]
    # anchors that lie closer than half an octave find the same boxes
    kept = [scales[0]]
    for scale in scales[1:]:
        if scale / kept[-1] >= 2**0.5:
            kept.append(scale)
    return [round(scale, 2) for scale in kept]


def side_lengths(corners: np.ndarray) -> np.ndarray:
    """Side of the square of each box's area, (N,), at least a pixel."""
    width, height = (corners[:, 2:] - corners[:, :2] + 1).T
    return np.sqrt(np.maximum(width * height, 1.0))
