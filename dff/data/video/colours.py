"""Decoded frames as pictures, and the matrix that turns their colours into RGB and back."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from dff.data.video.display_matrix import orientation_of

_CONVERTED = {1, 4, 5, 6, 7, 9}
"""Values of AVColorSpace that swscale converts, BT.2020 with constant luminance (10) apart."""
_CONSTANT_LUMINANCE = 10


def usual_matrix(height: int, width: int) -> Colorspace:
    """Returns the matrix of a video that names none, as players take it.

    BT.709 for HD, which is 720 rows or 1280 columns and more; BT.601 below.
    """
    return Colorspace.ITU709 if height >= 720 or width >= 1280 else Colorspace.ITU601


def matrix_of(frame: VideoFrame) -> Colorspace | None:
    """Returns the matrix of a decoded frame; None where the frame itself names one that is known.

    A frame whose matrix is unknown, or one that is not converted, has the usual one.
    """
    if frame.format.is_rgb or frame.colorspace in _CONVERTED:
        return None
    if frame.colorspace == _CONSTANT_LUMINANCE:
        return Colorspace.BT2020
    return usual_matrix(frame.height, frame.width)


def picture_of(
    frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int, int] | None = None
) -> np.ndarray:
    """A decoded frame as it is shown, (H, W, 3) uint8 RGB.

    Args:
        frame: The frame.
        reformatter: Kept from frame to frame.
        size: Height and width of the picture; those of the frame if None.
    """
    orientation = orientation_of(frame)
    height, width = frame.height, frame.width
    if size is not None:
        height, width = size[:: -1 if orientation.transposed else 1]
    picture = reformatter.reformat(
        frame, width, height, format="rgb24", src_colorspace=matrix_of(frame)
    )
    return orientation.apply(picture.to_ndarray())
