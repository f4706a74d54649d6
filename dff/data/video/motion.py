"""Motion as the file itself has it: the vectors by which its encoder predicted each frame.

H.264, MPEG-4 Part 2 and MPEG-2 give them to whoever asks before the first frame is decoded. They
cost next to nothing, and say for each block where it came from; not where it truly was, only where
something like it was.
"""

import warnings

import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

CODECS = ("h264", "mpeg4", "mpeg2video", "mpeg1video")
CELL = 8
"""Pixels along a side of a cell of the field: the smallest block that most encoders choose."""
_AROUND = (3, 7, 15, 31, 63)
"""Cells along a side of the squares, near ones first, that cells without a vector are filled by."""


def ask_for_motion(path: str, stream: VideoStream) -> bool:
    """Asks a decoder for vectors, before its first frame; says whether its format has any."""
    if stream.codec_context.name not in CODECS:
        say_none(path, f"its format is {stream.codec_context.name}")
        return False
    stream.codec_context.options = {"flags2": "+export_mvs"}
    return True


def say_none(path: str, reason: str) -> None:
    """Warns that a video has no motion of its own."""
    warnings.warn(
        f"{path} says nothing of its motion ({reason}), so its flow is found by DIS: files of "
        "H.264, MPEG-4 and MPEG-2 that are shown upright have motion vectors",
        stacklevel=2,
    )


class MotionReader:
    """The motion of the frames of one stream, in the order in which they are shown."""

    def __init__(self) -> None:
        self._since = 0  # frames since the last one that others are predicted from

    def field(self, frame: VideoFrame) -> np.ndarray | None:
        """Where each cell of a frame came from in the frame before it.

        Vectors to earlier frames alone count, those of frames that lie further back by their share;
        cells without one have the mean of those around them.

        Returns:
            (ceil(h / 8), ceil(w / 8), 2) float32, x first, in pixels; None where there are none, as
            in frames that are predicted from no other.
        """
        self._since += 1
        distance = self._since
        if PictureType(frame.pict_type) != PictureType.B:
            self._since = 0
        data = frame.side_data.get("MOTION_VECTORS")
        if data is None:
            return None
        rows = data.to_ndarray()
        rows = rows[(rows["source"] < 0) & (rows["motion_scale"] > 0)]
        if not len(rows):
            return None
        motion = np.stack([rows["motion_x"], rows["motion_y"]], 1).astype(np.float32)
        motion /= rows["motion_scale"][:, None] * np.float32(distance)
        return _painted(rows, motion, frame.height, frame.width)


def _painted(rows: np.ndarray, motion: np.ndarray, height: int, width: int) -> np.ndarray:
    """Motion (n, 2) of blocks, by the centres and sizes in their rows, on a grid of cells."""
    grid = np.zeros((-(-height // CELL), -(-width // CELL), 3), np.float32)
    left, top = (rows[f"dst_{a}"].astype(int) - rows[s].astype(int) // 2 for a, s in ("xw", "yh"))
    for block_height, block_width in set(zip(rows["h"].tolist(), rows["w"].tolist(), strict=True)):
        own = (rows["h"] == block_height) & (rows["w"] == block_width)
        for y in range(0, block_height, CELL):
            for x in range(0, block_width, CELL):
                row, column = (top[own] + y) // CELL, (left[own] + x) // CELL
                inside = (0 <= row) & (row < grid.shape[0]) & (0 <= column)
                inside &= column < grid.shape[1]
                place = row[inside], column[inside]
                grid[(*place, slice(0, 2))] = motion[own][inside]
                grid[(*place, 2)] = 1
    field, known = grid[..., :2].copy(), grid[..., 2] > 0
    for side in _AROUND:
        around = cv2.blur(grid, (side, side), borderType=cv2.BORDER_REPLICATE)
        filled = ~known & (around[..., 2] > 1e-4)
        field[filled] = around[filled][:, :2] / around[filled][:, 2:]
        known |= filled
    return field


def at_size(field: np.ndarray, size: tuple[int, ...], new_size: tuple[int, int]) -> np.ndarray:
    """A field of frames of `size` (h, w) for the same frames at another size, in their pixels."""
    if size == new_size:
        return field
    cells = -(-new_size[1] // CELL), -(-new_size[0] // CELL)
    scale = np.array([new_size[1] / size[1], new_size[0] / size[0]], np.float32)
    return cv2.resize(field, cells, interpolation=cv2.INTER_LINEAR) * scale
