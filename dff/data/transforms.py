"""One random draw for both frames of a pair; the mask and the flow of the current frame follow."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from dff.data.samples import IGNORED

# albumentations asks the network for a newer release when it is imported, and waits 2 s for it
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

SMALLEST_SIDE = 64
"""The flow network halves the frame six times."""
PADDING_COLOUR = (124, 116, 104)
"""Mean colour of ImageNet, RGB: what the networks see as nothing in particular."""

Arrays = dict[str, np.ndarray]
"""key, current: (H, W, 3) uint8; mask: (h, w) uint8; flow: (h, w, 2) float32, with flow_known and
occluded: (h, w) bool. The last three are optional."""


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
    """

    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]
    flip: bool = False

    @property
    def zoom(self) -> np.ndarray:
        """Output pixels for each frame pixel, (2,) float32: x, y."""
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

    def _take(self, array: np.ndarray, padding: int | tuple[int, ...], how: int) -> np.ndarray:
        rows, columns = array.shape[:2]
        right, bottom = self.left + self.width, self.top + self.height
        taken = array[max(self.top, 0) : bottom, max(self.left, 0) : right]
        beyond = (-self.top, bottom - rows, -self.left, right - columns)
        if max(beyond) > 0:
            borders = (max(side, 0) for side in beyond)
            taken = cv2.copyMakeBorder(taken, *borders, cv2.BORDER_CONSTANT, value=padding)
        height, width = self.size
        if taken.shape[:2] != (height, width):
            taken = cv2.resize(taken, (width, height), interpolation=how)
        return cv2.flip(taken, 1) if self.flip else taken


class TrainingTransform:
    """A random window, mirroring and colour, drawn once from the seed of the sample.

    Args:
        size: Height and width of the output, at least 64 each; None keeps the size of the frame.
        scale: Smallest and largest zoom: output pixels for each frame pixel, drawn evenly. At a
            zoom at which the frame is smaller than the output, the rest is padding.
        flip: Probability of mirroring left to right.
        colour: Brightness, contrast and saturation are each multiplied by 1 - colour to 1 + colour.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        size: tuple[int, int] | None,
        scale: tuple[float, float] = (1.0, 1.0),
        flip: float = 0.5,
        colour: float = 0.0,
    ) -> None:
        if size is not None:
            _check_size(tuple(size))
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {tuple(scale)}: want two numbers, 0 < smallest <= largest")
        for name, value in (("flip", flip), ("colour", colour)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} {value}: want a number from 0 to 1")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.scale = (float(scale[0]), float(scale[1]))
        self.flip = flip
        self.colour = _colour_change(colour) if colour else None

    def window(self, frame: tuple[int, int], rng: np.random.Generator) -> Window:
        """Draws the window for a frame of this height and width."""
        size = self.size or frame
        _check_size(size)
        zoom = rng.uniform(*self.scale)
        # chosen first and resized after: resizing a whole 1024x2048 frame is most of the cost
        height, width = (max(1, round(side / zoom)) for side in size)
        top, left = (
            int(rng.integers(min(0, have - want), max(0, have - want), endpoint=True))
            for have, want in ((frame[0], height), (frame[1], width))
        )
        return Window(left, top, width, height, size, bool(rng.random() < self.flip))

    def __call__(self, arrays: Arrays, seed: int) -> Arrays:
        """Returns the arrays of one pair, changed by one draw.

        Args:
            arrays: The pair; key and current may be one and the same array. Mask and flow have the
                size of the frames.
            seed: All that the draw depends on.
        """
        key, current = arrays["key"], arrays["current"]
        window = self.window(current.shape[:2], np.random.default_rng(seed))
        changed = {"mask": window.labels(arrays["mask"])} if "mask" in arrays else {}
        frames = [window.image(current)]
        if key is not current:
            frames.append(window.image(key))
        if self.colour is not None:
            frames = self._change_colour(frames, seed)
        changed |= {"current": frames[0], "key": frames[-1]}
        if "flow" in arrays:
            moved = window.flow(arrays["flow"], arrays["flow_known"], arrays["occluded"])
            changed |= dict(zip(("flow", "flow_known", "occluded"), moved, strict=True))
        return changed

    def _change_colour(self, frames: list[np.ndarray], seed: int) -> list[np.ndarray]:
        # Compose has a generator of its own, which repeats itself in every worker and every epoch
        self.colour.set_random_seed(seed)
        # One tall image, not two targets: contrast is about the mean of the image, and two means
        # would make one colour of the scene two.
        tall = frames[0] if len(frames) == 1 else np.concatenate(frames)
        return np.split(self.colour(image=tall)["image"], len(frames))


@dataclass(frozen=True)
class EvaluationTransform:
    """Resizes both frames until the shorter side is `short_side`; mask and flow stay as they are.

    Args:
        short_side: Pixels, at least 64; None leaves the frames as they are.

    Raises:
        ValueError: short_side is too small.
    """

    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.short_side is not None and self.short_side < SMALLEST_SIDE:
            raise ValueError(
                f"a short side of {self.short_side} is too small: want at least {SMALLEST_SIDE}"
            )

    def __call__(self, arrays: Arrays, seed: int = 0) -> Arrays:
        """Returns the arrays of one pair; the seed changes nothing."""
        key, current = arrays["key"], arrays["current"]
        height, width = current.shape[:2]
        if self.short_side is None or self.short_side == min(height, width):
            return dict(arrays)
        zoom = self.short_side / min(height, width)
        whole = Window(0, 0, width, height, (round(height * zoom), round(width * zoom)))
        resized = whole.image(current)
        return arrays | {
            "current": resized,
            "key": resized if key is current else whole.image(key),
        }


def _colour_change(strength: float) -> Callable:
    import albumentations  # half a second to 3 s, and evaluation and prediction do without

    span = (1 - strength, 1 + strength)
    # no hue: it costs more than all else together
    jitter = albumentations.ColorJitter(
        brightness=span, contrast=span, saturation=span, hue=(0, 0), p=1
    )
    return albumentations.Compose([jitter])


def _check_size(size: tuple[int, ...]) -> None:
    if len(size) != 2:
        raise ValueError(f"size {size}: want height and width")
    if min(size) < SMALLEST_SIDE:
        raise ValueError(
            f"a size of {size[0]}x{size[1]} is too small: height and width must be at least "
            f"{SMALLEST_SIDE}, because the flow network halves the frame six times"
        )
