"""The files of one (key, current) pair, read and compared with each other."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from dff.data.files.images import image_size, read_image, read_orientation, read_stored
from dff.data.files.orientation import SIDEWAYS, UPRIGHT, turn
from dff.data.samples import Boxes, SampleError, Snippet
from dff.data.transforms.pairs import Arrays

ReadMask = Callable[[str], np.ndarray]
"""Label file -> (H, W) uint8 train ids; `cityscapes.read_train_ids` or a `folder.MaskReader`."""
BOXES = ("boxes", "box_labels", "tracks")
"""Names of the arrays that boxes are."""


def read_pair(
    snippet: Snippet,
    current: int,
    gap: int,
    read_mask: ReadMask | None,
    with_flow: bool,
    with_boxes: bool,
    known: Arrays | None = None,
) -> Arrays:
    """Reads a pair: `key` and `current`, and of the current frame what is asked for.

    Which way up a frame and its labels are is said in `dff.data.files.orientation`.

    Args:
        snippet: Where its files are.
        current: Number of the current frame.
        gap: Frames from the key frame to it; at 0 both are one array.
        read_mask: As in `TrainingPairs`.
        with_flow: Likewise.
        with_boxes: Likewise.
        known: `current`, and its `mask` and boxes, where they were read before.

    Raises:
        SampleError: A file cannot be used, or two do not belong together; all are named.
        ValueError: The snippet has no boxes.
    """
    if with_boxes and snippet.boxes is None:
        raise ValueError(
            f"no boxes are known of snippet {snippet.name}: use data that has them, or set "
            "with_boxes to false"
        )
    labels = snippet.masks.get(current) or snippet.box_files.get(current, "of the data set")
    paths = (snippet.frames[current - gap], snippet.frames[current], labels)
    boxes_alone = with_boxes and read_mask is None
    try:
        key = None
        if snippet.video is not None and not known:
            # of a video file both are decoded in one go
            *earlier, frame = snippet.video.read([current - gap, current][gap == 0 :])
            arrays = _labels_of(snippet, current, read_mask, with_boxes, frame)
            key = earlier[0] if earlier else frame
        else:
            arrays = dict(known or _labelled(snippet, current, read_mask, with_boxes))
            frame = arrays["current"]
        if key is None:
            key = frame
            if gap and boxes_alone and snippet.video is None:
                key = _read_fitting(paths[0], frame.shape[:2])
            elif gap:
                (key,) = read_frames(snippet, [current - gap])
        if key.shape != frame.shape:
            raise SampleError(
                f"frames of two sizes in one snippet: the key frame is {_size(key)}, the current "
                f"{_size(frame)}"
            )
        if with_flow:
            arrays |= _flow(snippet, current, gap, frame.shape[:2])
    except (SampleError, FileNotFoundError) as error:
        raise SampleError(
            f"{error} (snippet {snippet.name}, key frame {paths[0]}, current frame {paths[1]}, "
            f"labels {paths[2]})"
        ) from error
    arrays["key"] = key
    return arrays


def read_previous(snippet: Snippet, current: int, gap: int, arrays: Arrays) -> np.ndarray:
    """The frame before the current one of a pair; the key frame where it is that one, or missing.

    Args:
        snippet: Of the pair.
        current: Number of its current frame.
        gap: Frames from the key frame to it.
        arrays: What `read_pair` gave.

    Raises:
        SampleError: The frame is damaged, or has another size.
    """
    if gap < 2 or current - 1 not in snippet.frames:
        return arrays["key"]
    (frame,) = read_frames(snippet, [current - 1])
    if frame.shape != arrays["current"].shape:
        raise SampleError(
            f"frames of two sizes in one snippet: {snippet.frames[current - 1]} is {_size(frame)}, "
            f"{snippet.frames[current]} is {_size(arrays['current'])}"
        )
    return frame


def read_frames(snippet: Snippet, numbers: Sequence[int]) -> list[np.ndarray]:
    """Reads frames of a snippet, each (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: A file is missing.
        SampleError: A file is damaged.
    """
    if snippet.video is not None:
        return list(snippet.video.read(numbers))
    return [read_image(snippet.frames[number]) for number in numbers]


def frame_size(snippet: Snippet) -> tuple[int, int] | None:
    """Height and width of the first labelled frame of a snippet; None where it cannot be read."""
    if snippet.video is not None:
        found: tuple[int, int] | None = getattr(snippet.video, "size", None)
        return found
    number = next(iter(snippet.labelled), next(iter(snippet.frames)))
    try:
        return image_size(snippet.frames[number])
    except (SampleError, OSError):
        return None


def _labelled(
    snippet: Snippet, current: int, read_mask: ReadMask | None, with_boxes: bool
) -> Arrays:
    """A labelled frame of image files with its labels."""
    path, orientation = snippet.frames[current], UPRIGHT
    if with_boxes and read_mask is None:
        assert snippet.boxes is not None  # asked for where there are some
        frame = _read_fitting(path, snippet.boxes.boxes(current).frame_size)
    else:
        stored, orientation = read_stored(path)
        frame = turn(stored, orientation)
    return _labels_of(snippet, current, read_mask, with_boxes, frame, orientation)


def _labels_of(
    snippet: Snippet,
    current: int,
    read_mask: ReadMask | None,
    with_boxes: bool,
    frame: np.ndarray,
    orientation: int = UPRIGHT,
) -> Arrays:
    """A frame as `current`, with its labels."""
    arrays = {}
    if read_mask is not None:
        arrays["mask"] = _mask(snippet.masks[current], read_mask, frame.shape[:2], orientation)
    arrays["current"] = frame
    if with_boxes:
        assert snippet.boxes is not None
        boxes = snippet.boxes.boxes(current)
        _check_size(boxes, frame)
        arrays |= dict(zip(BOXES, boxes[:3], strict=True))
    return arrays


def _read_fitting(path: str, size: tuple[int, ...] | None) -> np.ndarray:
    """A frame as it is stored; as it is shown, where that alone has the size."""
    frame, orientation = read_stored(path)
    shown = turn(frame, orientation)
    return shown if size and frame.shape[:2] != tuple(size) == shown.shape[:2] else frame


def _mask(path: str, read_mask: ReadMask, shown: tuple[int, ...], orientation: int) -> np.ndarray:
    """The mask of a frame as that is shown.

    Args:
        path: Of the mask.
        read_mask: Reads it.
        shown: Height and width of the frame as it is shown.
        orientation: Of the frame.
    """
    mask, how = read_mask(path), ""
    # masks that are drawn of outlines are no files, and have no orientation of their own
    own = read_orientation(path) if os.path.isfile(path) else UPRIGHT
    if orientation != UPRIGHT and own == UPRIGHT:
        how = f", turned by its EXIF orientation {orientation}"
        stored = shown[::-1] if orientation >= SIDEWAYS else shown
        if mask.shape == stored == shown:
            raise SampleError(
                f"the frame is turned by its EXIF orientation {orientation}, and nothing tells "
                "whether its mask was drawn on it as viewers show it or as it is stored: turn the "
                "pixels of such frames (magick mogrify -auto-orient) in the first case, take the "
                "mark off them (exiftool -Orientation=) in the second"
            )
        if mask.shape == stored:
            mask = turn(mask, orientation)
    if mask.shape != shown:
        raise SampleError(
            f"labels of another size: {_size(mask)}, but the frame is {shown[0]}x{shown[1]}{how}; "
            "labels have one pixel for each pixel of their frame"
        )
    return mask


def _check_size(boxes: Boxes, frame: np.ndarray) -> None:
    if boxes.frame_size is not None and tuple(boxes.frame_size) != frame.shape[:2]:
        raise SampleError(
            f"boxes of a frame of another size: {boxes.frame_size[0]}x{boxes.frame_size[1]}, but "
            f"the frame is {_size(frame)}; copy frame and annotation again from their source"
        )


def _flow(snippet: Snippet, current: int, gap: int, shape: tuple[int, ...]) -> Arrays:
    flow, occluded = np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)
    known = gap == 0 or snippet.truth is not None
    if gap and snippet.truth is not None:
        flow, occluded = snippet.truth.flow(current, current - gap)
    return {"flow": flow, "flow_known": np.full(shape, known), "occluded": occluded}


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
