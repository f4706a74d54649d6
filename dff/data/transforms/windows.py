"""A window of a frame, and what images, labels, flow, points and boxes become through it."""

from dataclasses import dataclass

import cv2
import numpy as np

from dff.data.samples import IGNORED

SMALLEST_SIDE = 64
"""The flow network halves the frame six times."""
LARGEST_SIDE = 16384
"""Of a frame that is resized: the networks need hundreds of times its memory."""
PADDING_COLOUR = (124, 116, 104)
"""Mean colour of ImageNet, RGB: what the networks see as nothing in particular."""


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels of a frame, resized to `size` and maybe mirrored.

    It may reach beyond the frame: what lies there is padding. Pixel centres follow cv2.resize:
    output x shows frame x' = left + (x + 0.5) * width / size[1] - 0.5, with x counted from the
    other side when flipped.

    Args:
        left: First column; negative beyond the frame.
        top: First row.
        width: Columns of the frame.
        height: Rows of the frame.
        size: Height and width of the output.
        flip: Whether the output is mirrored left to right.
        exact_zoom: Zoom of a whole frame that need not end on a whole output pixel: `size` is its
            rounding, and images are bilinear even where they shrink. None: zoom as size says.
    """

    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]
    flip: bool = False
    exact_zoom: float | None = None

    @property
    def zoom(self) -> np.ndarray:
        """Output pixels for each frame pixel, (2,) float32: x, y."""
        if self.exact_zoom is not None:
            return np.full(2, self.exact_zoom, np.float32)
        return np.array([self.size[1] / self.width, self.size[0] / self.height], np.float32)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Moves points (..., 2), x and y of the frame, to where the output shows them."""
        moved = (points - np.array([self.left, self.top]) + 0.5) * self.zoom - 0.5
        if self.flip:
            moved[..., 0] = self.size[1] - 1 - moved[..., 0]
        return moved

    def image(self, image: np.ndarray) -> np.ndarray:
        """Cuts and resizes an image (H, W, 3) uint8; averages where it shrinks."""
        shrinks = self.width * self.height > self.size[0] * self.size[1]
        shrinks &= self.exact_zoom is None
        return self._take(image, PADDING_COLOUR, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def labels(self, labels: np.ndarray, padding: int = IGNORED) -> np.ndarray:
        """Cuts and resizes labels (H, W) uint8; each output pixel has the label at its centre."""
        # INTER_NEAREST takes the pixel's corner and shifts labels by up to half a frame pixel
        return self._take(labels, padding, cv2.INTER_NEAREST_EXACT)

    def flow(
        self, flow: np.ndarray, known: np.ndarray, occluded: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cuts and resizes a flow, its vectors in output pixels; and which are known, and occluded.

        A pixel whose counterpart falls outside the output is occluded from now on. Padding is not
        known and has zero flow.
        """
        known = self._take(known.astype(np.uint8) * 255, 0, cv2.INTER_LINEAR) == 255
        occluded = self.labels(occluded.astype(np.uint8), padding=0).astype(bool)
        moved = self._take(flow, 0, cv2.INTER_LINEAR) * self.zoom
        if self.flip:
            moved[..., 0] *= -1
        moved[~known] = 0
        height, width = self.size
        x = moved[..., 0] + np.arange(width, dtype=np.float32)
        y = moved[..., 1] + np.arange(height, dtype=np.float32)[:, None]
        inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        return moved, known, occluded | (known & ~inside)

    def boxes(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves boxes (N, 4) along and clips them; and the share of each one's area that is left.

        A box covers whole pixels, from the left border of x1 to the right border of x2, and it is
        the borders that move: a box stays around what it was around, whatever the zoom. Only whole
        frames resized as the authors do have their corners multiplied, as the authors do: what is
        predicted is divided again, and both must be one rule.
        """
        if self.exact_zoom is not None:
            return self._multiplied(corners, self.exact_zoom), np.ones(len(corners))
        borders = corners + np.array([0.0, 0.0, 1.0, 1.0])
        offset = np.array([self.left, self.top] * 2)
        moved = (borders - offset) * np.tile(self.zoom.astype(np.float64), 2)
        height, width = self.size
        if self.flip:
            moved[:, [0, 2]] = width - moved[:, [2, 0]]
        area = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
        moved = moved.clip(0, (width, height, width, height))
        left = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1]) / area
        # one pixel at least, of which a zoom may leave less: its corners would change places
        first = np.minimum(moved[:, :2], (width - 1, height - 1))
        moved = np.concatenate([first, np.maximum(moved[:, 2:] - 1, first)], axis=1)
        return moved.astype(np.float32), left

    def _multiplied(self, corners: np.ndarray, zoom: float) -> np.ndarray:
        moved = corners.astype(np.float64)
        if self.flip:
            moved[:, [0, 2]] = self.width - 1 - moved[:, [2, 0]]
        height, width = self.size  # its rounding may have taken the last fraction of a pixel
        limit = (width - 1, height - 1, width - 1, height - 1)
        return (moved * zoom).clip(0, limit).astype(np.float32)

    def _take(self, array: np.ndarray, padding: int | tuple[int, ...], how: int) -> np.ndarray:
        rows, columns = array.shape[:2]
        right, bottom = self.left + self.width, self.top + self.height
        taken = array[max(self.top, 0) : bottom, max(self.left, 0) : right]
        beyond = (-self.top, bottom - rows, -self.left, right - columns)
        if max(beyond) > 0:
            above, below, before, after = (max(side, 0) for side in beyond)
            taken = cv2.copyMakeBorder(
                taken, above, below, before, after, cv2.BORDER_CONSTANT, value=padding
            )
        height, width = self.size
        zoom = self.exact_zoom or 1.0
        if zoom != 1 and min(taken.shape[:2]) * zoom > 0.5:  # cv2 makes no side of 0
            # given a size alone, cv2 would zoom by the ratio of the sizes
            taken = cv2.resize(taken, None, fx=zoom, fy=zoom, interpolation=how)
        elif taken.shape[:2] != (height, width):
            taken = cv2.resize(taken, (width, height), interpolation=how)
        return cv2.flip(taken, 1) if self.flip else taken


def whole_frame(
    frame: tuple[int, int], short_side: float, max_side: float | None, flip: bool = False
) -> Window:
    """Returns the window that resizes a whole frame as the authors do.

    Args:
        frame: Height and width of the frame.
        short_side: Wanted pixels of its shorter side.
        max_side: Most pixels of its longer side; where it would have more, it gets these, and the
            shorter side fewer than wanted. None: no limit.
        flip: Whether the output is mirrored.
    """
    zoom = short_side / min(frame)
    if max_side is not None and round(zoom * max(frame)) > max_side:
        zoom = max_side / max(frame)
    zoom = min(zoom, LARGEST_SIDE / max(frame))
    # halves to even, as cv2 does: 720 x 0.78125 = 562.5 gives 562
    size = (max(1, round(frame[0] * zoom)), max(1, round(frame[1] * zoom)))
    return Window(0, 0, frame[1], frame[0], size, flip, zoom)
