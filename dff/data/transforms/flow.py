"""One random draw for both frames of a pair with true flow; the flow follows exactly."""

import cv2
import numpy as np

from dff.data.transforms.pairs import Arrays, ColourChange, check_frame, check_size
from dff.data.transforms.windows import PADDING_COLOUR

_TURN = 1.7  # degrees
_ZOOM = 0.03
_SHIFT = 0.03  # of the output's sides


class FlowTransform:
    """Zoom, rotation, shift, crop, mirroring and colour for both frames, and a little motion more.

    As FlowNet is trained (Dosovitskiy et al. 2015, Sec. 4.3): the same strong geometric change for
    both frames, and a smaller one of the key frame alone, which makes new flow. What comes from
    beyond the frame is padding, and its flow is not known.

    Args:
        size: Height and width of the output, at least 64 each; None keeps that of the frames.
        scale: Smallest and largest zoom: output pixels for each frame pixel. FlowNet: 0.9 to 2.
        rotate: Largest rotation in degrees, to either side. FlowNet: 17.
        translate: Largest shift as a share of the output's sides. FlowNet: 0.2, out of the middle
            of the frame; here the crop already lies anywhere in the frame, and this is on top.
        relative: Strength of the key frame's own motion; 1 is up to 1.7 degrees, 3 % of zoom and
            3 % of the output's sides, 0 is none.
        flip: Probability of mirroring left to right.
        colour: Brightness, contrast and saturation are each multiplied by 1 - colour to 1 + colour.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        scale: tuple[float, float] = (1.0, 1.0),
        rotate: float = 0.0,
        translate: float = 0.0,
        relative: float = 0.0,
        flip: float = 0.5,
        colour: float = 0.0,
    ) -> None:
        if size is not None:
            check_size(tuple(size))
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale {tuple(scale)}: want two numbers, 0 < smallest <= largest")
        ranges = {"rotate": (rotate, 180), "translate": (translate, 1), "relative": (relative, 10)}
        ranges |= {"flip": (flip, 1), "colour": (colour, 1)}
        for name, (value, largest) in ranges.items():
            if not 0 <= value <= largest:
                raise ValueError(f"{name} {value}: want a number from 0 to {largest}")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.scale = (float(scale[0]), float(scale[1]))
        self.rotate, self.translate, self.relative = rotate, translate, relative
        self.flip = flip
        self.colour = ColourChange(colour) if colour else None

    def __call__(self, arrays: Arrays, seed: int) -> Arrays:
        """Returns the arrays of one pair, changed by one draw.

        Args:
            arrays: key, current, flow and flow_known; occluded may be there.
            seed: All that the draw depends on.
        """
        frame = arrays["current"].shape[:2]
        size = self.size or frame
        check_frame(frame, size)
        rng = np.random.default_rng(seed)
        to_current = self._placement(frame, size, rng)
        own = self._own_motion(size, rng)
        to_key = to_current @ own
        frames = [
            _take(arrays[name], where, size)
            for name, where in (("current", to_current), ("key", to_key))
        ]
        if self.colour is not None:
            frames = self.colour(frames, seed)
        changed = {"current": frames[0], "key": frames[1]}
        return changed | _take_flow(arrays, to_current, to_key, size)

    def _placement(
        self, frame: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
    ) -> np.ndarray:
        """Draws the way of output pixels to frame pixels, (3, 3)."""
        zoom = np.exp(rng.uniform(*np.log(self.scale)))
        turn = np.deg2rad(rng.uniform(-1, 1) * self.rotate)
        linear = _rotation(turn) / zoom
        # the turned output's bounding box stays in the frame, or spans it
        output, whole = np.array(size[::-1], float), np.array(frame[::-1], float)
        half = np.abs(linear) @ output / 2
        low, high = np.minimum(half, whole - half), np.maximum(half, whole - half)
        centre = rng.uniform(low, high) - 0.5
        centre += rng.uniform(-1, 1, 2) * self.translate * output / zoom
        if rng.random() < self.flip:
            linear = linear @ np.diag([-1.0, 1.0])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        # whole pixels: a mere crop must not blur
        matrix[:2, 2] = np.rint(centre - linear @ (output - 1) / 2)
        return matrix

    def _own_motion(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Draws the key frame's own motion in output pixels, (3, 3)."""
        turn, zoom, *shift = rng.uniform(-1, 1, 4) * self.relative
        output = np.array(size[::-1], float)
        matrix, middle = np.eye(3), (output - 1) / 2
        matrix[:2, :2] = _rotation(np.deg2rad(turn * _TURN)) * np.exp(zoom * _ZOOM)
        matrix[:2, 2] = middle - matrix[:2, :2] @ middle + np.array(shift) * _SHIFT * output
        return matrix


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _take(image: np.ndarray, where: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, where[:2], size[::-1], flags=how, borderValue=PADDING_COLOUR)


def _take_flow(
    arrays: Arrays, to_current: np.ndarray, to_key: np.ndarray, size: tuple[int, int]
) -> Arrays:
    """Flow, flow_known and occluded at the output's pixels, in output pixels."""

    def take(array: np.ndarray, how: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        flags = how | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(array, to_current[:2], size[::-1], flags=flags, borderMode=border)

    flow, known = arrays["flow"], arrays["flow_known"]
    taken = take(flow, cv2.INTER_NEAREST)
    if known.all():
        # Exact within a motion; between two motions, their mean would be the flow of neither.
        smooth = take(flow, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        near = np.abs(smooth - taken) < 0.5
        taken = np.where((near[..., 0] & near[..., 1])[..., None], smooth, taken)
    known = take(known.astype(np.uint8), cv2.INTER_NEAREST).astype(bool)
    height, width = size
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    # output pixel -> current frame -> along the flow -> key frame -> output pixel of the key frame
    in_frame = _move(to_current, x, y)
    x2, y2 = _move(np.linalg.inv(to_key), *(in_frame[i] + taken[..., i] for i in range(2)))
    moved = np.dstack([x2 - x, y2 - y])
    moved[~known] = 0
    changed = {"flow": moved, "flow_known": known}
    if "occluded" in arrays:
        covered = take(arrays["occluded"].astype(np.uint8), cv2.INTER_NEAREST).astype(bool)
        inside = (x2 >= -0.5) & (x2 <= width - 0.5) & (y2 >= -0.5) & (y2 <= height - 0.5)
        changed["occluded"] = known & (covered | ~inside)
    return changed


def _move(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (a, b, c), (d, e, f) = matrix[:2].astype(np.float32)
    return a * x + (b * y + c), d * x + (e * y + f)
