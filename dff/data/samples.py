"""The types that data hands on: a snippet on disk, a pair for a network, a frame of a video."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NotRequired, Protocol, TypedDict

import numpy as np
from torch import Tensor

IGNORED = 255
"""Label of a pixel that no loss and no metric counts."""


FIRST_CROWD = -2
"""Label of a crowd of class 0; of class 1 it is -3, and so on. -1 is no box at all."""


def crowd_of_class(labels: np.ndarray) -> np.ndarray:
    """Classes from 0 -> the labels of crowds of them."""
    return FIRST_CROWD - labels


def class_of_crowd(labels: np.ndarray) -> np.ndarray:
    """Labels of boxes and crowds -> the classes of both."""
    return np.where(labels <= FIRST_CROWD, FIRST_CROWD - labels, labels)


class SampleError(ValueError):
    """A file of the data set cannot be used; the message names the file and the cure."""


def read_text(path: Path) -> str:
    """A text file of a data set.

    Raises:
        SampleError: It is in another encoding than UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SampleError(f"{path} is no UTF-8 text ({error.reason}): save it as UTF-8") from error


class TrueFlow(Protocol):
    """Exact flow between the frames of one snippet; only drawn data has it."""

    def flow(self, current: int, key: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns flow (H, W, 2) float32, current -> key in image pixels, and occluded (H, W) bool.

        Args:
            current: Number of the frame on whose pixels the flow is defined.
            key: Number of an earlier frame, or the same.
        """
        ...


class FramesByNumber(Protocol):
    """Frames that are no image files, such as those of a video file."""

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Returns frames by their numbers in the snippet, (n, H, W, 3) uint8 RGB.

        Raises:
            SampleError: The video is damaged there.
        """
        ...


class Boxes(NamedTuple):
    """The boxes of one frame; N may be 0.

    `corners`: (N, 4) float32, x1, y1, x2, y2 in pixels of the frame, all inclusive: a box covers
    the pixels x1 to x2, and its width is x2 - x1 + 1.
    `labels`: (N,) int64, classes from 0; or `crowd_of_class`, for a region of many such objects:
    nothing is learned there, and what is found there counts neither as right nor as wrong.
    `tracks`: (N,) int64, the same for one object in every frame of its snippet; -1 where it is not
    known.
    `frame_size`: height and width of the frame that the boxes belong to, where the file tells.
    """

    corners: np.ndarray
    labels: np.ndarray
    tracks: np.ndarray
    frame_size: tuple[int, int] | None = None


class TrueBoxes(Protocol):
    """The boxes of one snippet, read or looked up at each call: no object waits for each box."""

    def boxes(self, frame: int) -> Boxes:
        """Returns the boxes of a labelled frame.

        Args:
            frame: Number of the frame.

        Raises:
            FileNotFoundError: Their file is missing.
            SampleError: Their file cannot be used.
        """
        ...

    def motion(self, frame: int) -> np.ndarray | None:
        """Returns the motion IoU of each box of a labelled frame, (N,), NaN where unknown.

        None where the data set is not judged by motion; see `vid_ground_truth.motion_iou`.
        """
        ...


@dataclass(frozen=True)
class Snippet:
    """Frames of one video in order, some of them labelled. Frames may be missing.

    Args:
        name: Unique in its data set ("frankfurt/frankfurt_000001"); names messages and folders.
        frames: Frame number -> image file, or what messages call the frame where it is one of
            `video`. Numbers of consecutive frames differ by 1.
        labelled: Numbers of the labelled frames, increasing. A frame may be labelled and have no
            object in it.
        masks: Frame number -> mask file, of the labelled frames that have one.
        boxes: Boxes of the labelled frames, where they are known.
        box_files: Frame number -> annotation file of its boxes, where there is one; for messages.
        truth: Exact flow, where it is known.
        video: What gives the frames where they are no image files.
    """

    name: str
    frames: Mapping[int, str]
    labelled: Sequence[int] = ()
    masks: Mapping[int, str] = field(default_factory=dict)
    boxes: TrueBoxes | None = None
    box_files: Mapping[int, str] = field(default_factory=dict)
    truth: TrueFlow | None = None
    video: FramesByNumber | None = None


class Snippets(list[Snippet]):
    """The snippets of one split of a data set, and what was left out of them.

    Args:
        snippets: The snippets.
        labels_left_out: How many label files have no image.
    """

    def __init__(self, snippets: Iterable[Snippet] = (), labels_left_out: int = 0) -> None:
        super().__init__(snippets)
        self.labels_left_out = labels_left_out


def describe(snippets: Iterable[Snippet], longest_gap: int = 9) -> str:
    """Says in one line what was found on disk, and what a training would not use.

    Args:
        snippets: What a `find_snippets` returned, or any other snippets.
        longest_gap: The largest gap between key and current frame that is meant to be used.
    """
    found = list(snippets)
    labelled = sum(len(snippet.labelled) for snippet in found)
    alone = sum(
        not any(number - gap in snippet.frames for gap in range(1, longest_gap + 1))
        for snippet in found
        for number in snippet.labelled
    )
    frames = sum(len(snippet.frames) for snippet in found)
    parts = [
        f"{_count(labelled, 'labelled frame')} in {_count(len(found), 'snippet')}, "
        f"{_count(frames, 'frame')}"
    ]
    if alone:
        parts.append(f"{_count(alone, 'labelled frame')} without an earlier frame (gap 0 only)")
    if left_out := getattr(snippets, "labels_left_out", 0):
        parts.append(f"{_count(left_out, 'label file')} without an image left out")
    return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Pair(TypedDict):
    """One (key, current) pair; a batch of them has a leading dimension B on every tensor.

    `key`, `current`: (3, H, W) uint8, RGB; float in [0, 1] only once on the device.
    `size`: (2,) int64, height and width of key and current; in a batch of several sizes, which are
    padded to the right and below, what is valid of them.
    `gap`: () int64, current index minus key index.
    `mask`: (h, w) uint8, train ids of the current frame, 255 ignored; in training h, w = H, W.
    Absent where the data has boxes alone.
    `index`: () int64, position in the data set: counts each sample once under DDP.
    `place`: () int64, frames from the snippet's first to the current one; in evaluation.
    `skipped`: () int64, damaged samples passed over to find this one.
    `flow`: (2, h, w) float32, current -> key, in mask pixels; zero where `flow_known` is not.
    `flow_known`, `occluded`: (h, w) bool; occluded: the pixel is not to be seen in the key frame.
    `boxes`: (N, 4) float32, x1, y1, x2, y2, inclusive, in pixels of `current`. Padding of a batch
    is rows of 0.
    `frame_boxes`: in evaluation the same in pixels of the frame on disk, exactly as annotated.
    `box_labels`, `tracks`: (N,) int64, as in `Boxes`, crowds included; -1 in padding.
    `motion`: (N,) float64, motion IoU of each box in evaluation, NaN where unknown and in padding.
    `frame_size`: (2,) int64, height and width of the frame on disk, in evaluation.
    `previous`: (3, H, W), the frame before the current one, where flow is found by way of it; the
    key frame where none lies between. `frames`: see `EvaluationIntervals`.
    """

    key: Tensor
    current: Tensor
    size: Tensor
    gap: Tensor
    index: Tensor
    skipped: Tensor
    place: NotRequired[Tensor]
    mask: NotRequired[Tensor]
    flow: NotRequired[Tensor]
    flow_known: NotRequired[Tensor]
    occluded: NotRequired[Tensor]
    boxes: NotRequired[Tensor]
    frame_boxes: NotRequired[Tensor]
    box_labels: NotRequired[Tensor]
    tracks: NotRequired[Tensor]
    motion: NotRequired[Tensor]
    frame_size: NotRequired[Tensor]
    previous: NotRequired[Tensor]
    frames: NotRequired[Tensor]


class TimedFrame(NamedTuple):
    """A frame of a video, and when it is shown.

    `picture`: (H, W, 3) uint8 RGB. `time`: seconds after the first frame, which is at 0; they
    increase. `end`: when it gives way if no frame follows. `motion`: where its parts came from in
    the frame before, where the file was asked for it and says so; see `MotionReader`.
    """

    picture: np.ndarray
    time: float
    end: float
    motion: np.ndarray | None = None
