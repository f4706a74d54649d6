"""Which way up a decoded frame is shown: the display matrix of a file, as players apply it."""

from typing import NamedTuple, cast

import numpy as np
from av.video.frame import VideoFrame


class Orientation(NamedTuple):
    """How stored pixels become those shown: transposed first, then mirrored.

    Attributes:
        transposed: Rows become columns.
        mirrored_x: Left and right change places, after that.
        mirrored_y: Top and bottom change places, after that.
    """

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def mirrors(self) -> bool:
        """Whether no rotation alone does the same."""
        return sum(self) % 2 == 1

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Returns a picture (H, W, 3) as it is shown, in memory of its own order."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.mirrored_x:
            picture = picture[:, ::-1]
        if self.mirrored_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Reads the display matrix of a frame; one of an odd angle gives the nearest quarter turn.

    FFmpeg's matrix is a, b, u, c, d, v, x, y, w: a stored point (x, y) is shown at
    (a x + c y, b x + d y), with x to the right and y down. `frame.rotation` is an angle alone and
    cannot tell a mirrored picture from one that is turned.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(cast("memoryview", data), np.int32).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
