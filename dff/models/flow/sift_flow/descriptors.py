"""Dense SIFT: what surrounds each pixel, in 128 numbers."""

import cv2
import numpy as np

ORIENTATIONS = 8
CELLS = 4
LENGTH = CELLS * CELLS * ORIENTATIONS

SHARPNESS = 9
"""Power of the cosine by which a gradient falls into a bin; a neighbouring bin gets 4 %."""

WEAKEST = 0.01
"""Added to a descriptor's norm, so that the noise of flat regions does not become a texture."""


def dense_sift(image: np.ndarray, cell_size: int = 3) -> np.ndarray:
    """SIFT descriptors of all pixels, without scale and rotation (Liu et al. 2011, Sec. 3).

    Around each pixel lie 4 x 4 cells. In each of them, gradients are summed up by orientation,
    with tents as weights, so that a gradient between two cells counts for both (Lowe 2004). The
    128 sums are divided by their norm + 0.01 for pictures in 0..1. 1 is stored as 255.

    Args:
        image: (H, W, 3) or (H, W) uint8. Of colours, the one with the largest gradient counts.
        cell_size: Side of a cell in pixels; a descriptor covers a square of 4 times that.

    Returns:
        (H, W, 128) uint8, ordered by row of the cell, its column, and orientation: bin k holds
        gradients that point to 45 k degrees, from x to y, which is down.

    Raises:
        ValueError: Another type or shape, or a cell size below 1.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"image of shape {image.shape} and type {image.dtype} for SIFT: "
            "wanted (H, W, 3) or (H, W) of uint8"
        )
    if cell_size < 1:
        raise ValueError(f"SIFT with cells of {cell_size} pixels: wanted 1 or more")
    height, width = image.shape[:2]
    margin = CELLS * cell_size
    bordered = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    bands = orientation_bands(bordered)
    taps, first = _tent(cell_size)
    sums = cv2.sepFilter2D(bands, cv2.CV_32F, taps, taps, anchor=(first, first))
    # The centres of the cells lie at -1.5, -0.5, 0.5 and 1.5 cells: in the middle between pixels
    # where the size is odd. `_tent` has taken the half pixel.
    starts = [margin + (2 * cell - 3) * cell_size // 2 for cell in range(CELLS)]
    cells = [sums[top : top + height, left : left + width] for top in starts for left in starts]
    norm = np.sqrt(sum(np.einsum("hwc,hwc->hw", cell, cell) for cell in cells)) + WEAKEST
    factor = (255 / norm)[..., None]
    descriptors = np.empty((height, width, LENGTH), np.uint8)
    for index, cell in enumerate(cells):
        part = descriptors[..., index * ORIENTATIONS : (index + 1) * ORIENTATIONS]
        np.rint(cell * factor, out=part, casting="unsafe")
    return descriptors


def orientation_bands(image: np.ndarray) -> np.ndarray:
    """Gradients, divided among 8 orientations: (H, W) or (H, W, C) uint8 -> (H, W, 8) float32."""
    picture = image.reshape(*image.shape[:2], -1).astype(np.float32) / 255
    central = np.array([-0.5, 0, 0.5], np.float32)
    one = np.ones(1, np.float32)
    border = cv2.BORDER_REPLICATE
    # OpenCV drops the last dimension of one channel.
    dx = cv2.sepFilter2D(picture, cv2.CV_32F, central, one, borderType=border)
    dy = cv2.sepFilter2D(picture, cv2.CV_32F, one, central, borderType=border)
    dx, dy = dx.reshape(picture.shape), dy.reshape(picture.shape)
    length = np.hypot(dx, dy)
    strongest = length.argmax(-1)[..., None]
    dx, dy, length = (
        np.take_along_axis(values, strongest, -1)[..., 0] for values in (dx, dy, length)
    )
    angles = np.arange(ORIENTATIONS) * (2 * np.pi / ORIENTATIONS)
    towards = dx[..., None] * np.cos(angles, dtype=np.float32)
    towards += dy[..., None] * np.sin(angles, dtype=np.float32)
    cosine = np.maximum(towards / np.maximum(length, 1e-6)[..., None], 0)
    eighth = np.square(np.square(np.square(cosine)))
    bands: np.ndarray = eighth ** (SHARPNESS // 8) * cosine * length[..., None]
    return bands


def _tent(cell_size: int) -> tuple[np.ndarray, int]:
    """Weights that fall to 0 one cell from the centre, and the index of the pixel before it."""
    shift = 0.5 * (cell_size % 2)
    reach = int(np.ceil(cell_size + shift)) - 1
    distance = np.arange(-reach, reach + 1) - shift
    taps = np.maximum(1 - np.abs(distance) / cell_size, 0).astype(np.float32)
    return taps, reach
