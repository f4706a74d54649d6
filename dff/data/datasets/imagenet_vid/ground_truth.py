"""Boxes of the whole ImageNet VID validation set from two .mat files, and their motion IoU.

The files come with the authors' code. Frames are numbered from 1, in the order of the snippets in
`ImageSets/VID_val_videos.txt`, whose second column is the number of a snippet's first frame.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dff.data.files.mat import read_mat
from dff.data.samples import SampleError

WINDOW = 10
"""Frames before and after that the motion IoU of a box looks at."""


class VidGroundTruth(NamedTuple):
    """Boxes of all frames together.

    `frames`: (F,) int64, numbers of all frames, also of those without a box.
    `frame`: (N,) int64, number of the frame of each box. `label`: (N,) int64, 0..29 in the order of
    `map_vid.txt`. `box`: (N, 4) float64 x1, y1, x2, y2, first and last pixel.
    `motion`: (N,) float64 motion IoU, None where it was not read.
    """

    frames: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    box: np.ndarray
    motion: np.ndarray | None


def read_vid_ground_truth(
    boxes: str | os.PathLike, motion: str | os.PathLike | None = None
) -> VidGroundTruth:
    """Reads the ground truth of the VID validation set.

    Args:
        boxes: `ILSVRC2015_vid_validation_ground_truth_whole.mat`.
        motion: `vid_groundtruth_motion_iou.mat`, which has the same order.

    Raises:
        FileNotFoundError: There is no such file.
        SampleError: A file is damaged, is another one, or the two do not belong together.
    """
    numbers, labels, corners = _read(boxes, "gt_img_ids", "gt_obj_labels", "gt_obj_bboxes")
    frames = numbers.ravel().astype(np.int64)
    counts = np.array([cell.size for cell in labels.flat], np.int64)
    label = _joined([cell.ravel() for cell in labels.flat]).astype(np.int64) - 1
    # A frame without a box holds an empty cell of another shape.
    box = _joined([cell.T.ravel() for cell in corners.flat if cell.size]).reshape(-1, 4)
    if not len(frames) == labels.size == corners.size or len(box) != len(label):
        raise SampleError(
            f"{boxes} holds {len(frames)} frames, labels of {labels.size}, {len(label)} labels and "
            f"{len(box)} boxes: download it again"
        )
    values = None
    if motion is not None:
        (cells,) = _read(motion, "motion_iou")
        if [cell.size for cell in cells.flat] != counts.tolist():
            raise SampleError(
                f"{motion} and {boxes} do not hold the same number of boxes in each frame: they "
                "are of different data sets"
            )
        values = _joined([cell.ravel() for cell in cells.flat])
    return VidGroundTruth(frames, np.repeat(frames, counts), label, box, values)


def motion_iou(frame: np.ndarray, track: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mean IoU of each box with the boxes of its object up to 10 frames before and after.

    As the authors of Flow-Guided Feature Aggregation: the box itself does not count, nor do frames
    in which the object has none, and sides count + 1 pixel.

    Args:
        frame: (N,) int, number of the frame of each box.
        track: (N,) int, the same for one object in every frame; numbers are unique in a snippet
            only, so call this once for each snippet. Below 0 where it is not known.
        box: (N, 4) x1, y1, x2, y2 in pixels; x2, y2 is the last pixel of the box.

    Returns:
        (N,) float64, 1 for an object at rest; NaN for one that no other frame shows or whose track
        is not known.

    Raises:
        ValueError: A track has two boxes in one frame.
    """
    frame, track = np.int64(frame), np.int64(track)
    box = np.float64(box).reshape(-1, 4)
    order = np.lexsort((frame, track))
    frame, track, box = frame[order], track[order], box[order]
    if (twice := (np.diff(frame) == 0) & (np.diff(track) == 0) & (track[1:] >= 0)).any():
        at = int(np.argmax(twice))
        raise ValueError(
            f"track {track[at]} has two boxes in frame {frame[at]}: hand over one snippet at a time"
        )
    total, others = np.zeros(len(frame)), np.zeros(len(frame))
    # Sorted by track and frame, so what is within 10 frames is within 10 rows.
    for step in range(1, WINDOW + 1):
        near = (
            (track[step:] >= 0)
            & (track[step:] == track[:-step])
            & (frame[step:] - frame[:-step] <= WINDOW)
        )
        here = np.flatnonzero(near)
        iou = _iou(box[here], box[here + step])
        for rows in (here, here + step):
            total[rows] += iou
            others[rows] += 1
    result = np.empty(len(frame))
    result[order] = np.divide(total, others, out=np.full(len(frame), np.nan), where=others > 0)
    return result


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of row with row, (n, 4) each; data imports nothing of dff.lit, which has this as well."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + 1
    common = sides.clip(0).prod(1)
    return common / ((a[:, 2:] - a[:, :2] + 1).prod(1) + (b[:, 2:] - b[:, :2] + 1).prod(1) - common)


def _read(path: str | os.PathLike, *names: str) -> list[np.ndarray]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no ground truth at {path}: the authors' code comes with it")
    try:
        content = read_mat(path, names)
    except (OSError, ValueError) as error:
        raise SampleError(f"{path} cannot be read ({error}): download it again") from error
    if missing := [name for name in names if name not in content]:
        raise SampleError(f"{path} has no {missing[0]}: this is another file")
    return [content[name] for name in names]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])
