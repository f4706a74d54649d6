"""Pairs in the manner of Flying Chairs, drawn when they are asked for, with exact flow.

Textured shapes lie in layers over a textured background, and each layer has an affine motion of its
own (Dosovitskiy et al. 2015, Sec. 4.2). Pair number i of a seed is always the same.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dff.data.synthetic.chairs.shapes import Part, draw_shape, place
from dff.data.synthetic.chairs.textures import Textures, draw_noise, draw_textures
from dff.data.transforms.pairs import Arrays, check_size

_HEAVIEST = 30.0
"""Most degrees of turn, and with it the most of zoom: heavy tails would give whirls."""


@dataclass(frozen=True)
class DrawnPairSettings:
    """What is drawn. The same settings always give the same pairs.

    A motion is `motion` times |g| ** `power` pixels long, with g normal, and no pixel that is seen
    moves by more than `max_motion`: most motions are small and a few are large, as in Flying
    Chairs. At power 3 the median is 0.3 of `motion`, and 1 in 10 is over 4.5 times as long.

    Args:
        height: Of a frame.
        width: Of a frame.
        max_motion: Longest flow, in pixels.
        motion: Scale of the motions, of the background and of each shape on it, in pixels.
        power: Of their distribution; 1 is half a normal one.
        turn: Scale of the rotations in degrees, with the same power, and at most 30.
        zoom: Scale of the changes of size, as a share, with the same power.
        shapes: Smallest and largest number of shapes.
        noise: Deviation of the noise of each frame, of 255.
        seed: Of all chance.

    Raises:
        ValueError: A setting is out of its range.
    """

    height: int = 256
    width: int = 320
    max_motion: float = 100.0
    motion: float = 3.2
    power: float = 3.0
    turn: float = 0.8
    zoom: float = 0.005
    shapes: tuple[int, int] = (4, 12)
    noise: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_size((self.height, self.width))
        for name in ("max_motion", "motion", "turn", "zoom", "noise", "seed"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} {getattr(self, name)}: want a number from 0")
        if not 0 < self.power <= 6:
            raise ValueError(f"power {self.power}: want a number above 0, up to 6")
        if not 0 <= self.shapes[0] <= self.shapes[1] <= 200:
            raise ValueError(
                f"shapes {tuple(self.shapes)}: want smallest and largest, 0 <= s <= l <= 200"
            )


@dataclass(frozen=True)
class PairDrawing:
    """Draws pairs: number of the pair -> arrays; for `FlowPairs`.

    Args:
        settings: What is drawn.
        split: Splits share no pair and no texture.
    """

    settings: DrawnPairSettings
    split: int = 0

    def __call__(self, index: int) -> Arrays:
        """Draws one pair, as `draw_pair`."""
        return draw_pair(self.settings, index, self.split)


def draw_pair(settings: DrawnPairSettings, index: int, split: int = 0) -> Arrays:
    """Draws pair number `index` of a split.

    Returns:
        current, key (H, W, 3) uint8; flow (H, W, 2) float32, current -> key, of the layer that is
        seen in `current`; flow_known (H, W) bool, all True; occluded (H, W) bool: where another
        layer covers the point in `key`, or it has left the frame.
    """
    rng = np.random.default_rng([settings.seed, split, index])
    textures = draw_textures(settings.seed, split)
    size = settings.height, settings.width
    layers = _Layers(size, textures, rng)
    frame = np.array([(0, 0), (size[1] - 1, size[0] - 1)])
    camera = _capped(_motion(settings, frame.mean(0), rng), frame, settings.max_motion)
    layers.lay_background(camera)
    for _ in range(rng.integers(*settings.shapes, endpoint=True)):
        parts, centre = place(draw_shape(rng), size, rng)
        outline = np.concatenate([points for outlines, _ in parts for points in outlines])
        motion = _capped(camera @ _motion(settings, centre, rng), outline, settings.max_motion)
        layers.add(parts, outline, motion)
    frames = layers.frames
    if settings.noise:
        count = frames[0].size
        noise = draw_noise(settings.seed, settings.noise, 2 * count)
        for number, start in enumerate(rng.integers(0, count, 2)):
            grain = noise[start : start + count].reshape(frames[0].shape)
            frames[number] = cv2.add(frames[number], grain, dtype=cv2.CV_8U)
    flow, occluded = layers.truth()
    known = np.ones(size, bool)
    arrays = {"flow": flow, "flow_known": known, "occluded": occluded}
    return {"current": frames[0], "key": frames[1], **arrays}


# ------------------------------------------------------------------ motions


def _motion(
    settings: DrawnPairSettings, centre: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws a motion about a centre, (3, 3): current -> key."""
    length, turn, *zoom = rng.standard_normal(4)
    heavy = np.abs([length, turn]) ** settings.power * (1, np.sign(turn))
    direction = rng.uniform(0, 2 * np.pi)
    shift = min(settings.motion * heavy[0], settings.max_motion)
    angle = np.deg2rad(np.clip(settings.turn * heavy[1], -_HEAVIEST, _HEAVIEST))
    # both axes alike, and a little apart: the rest of an affine motion
    sizes = np.array([zoom[0], zoom[0] + 0.3 * zoom[1]])
    sizes = np.sign(sizes) * np.abs(sizes) ** settings.power * settings.zoom
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    matrix[:2, :2] = np.array([[cos, -sin], [sin, cos]]) * np.exp(sizes.clip(-0.25, 0.25))
    step = shift * np.array([np.cos(direction), np.sin(direction)])
    matrix[:2, 2] = centre + step - matrix[:2, :2] @ centre
    return matrix


def _capped(motion: np.ndarray, outline: np.ndarray, longest: float) -> np.ndarray:
    """The same motion, shortened so that no pixel of the outline's box moves by more."""
    low, high = outline.min(0) - 1, outline.max(0) + 1  # soft edges reach beyond the outline
    corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
    moves = corners @ (motion[:2, :2] - np.eye(2)).T + motion[:2, 2]
    length = np.hypot(*moves.T).max()  # largest at a corner, for it is convex
    if length <= longest:
        return motion
    return np.eye(3) + (motion - np.eye(3)) * (longest / length)


# ------------------------------------------------------------------- layers


class _Layers:
    """Two frames to which layers are added from the back to the front."""

    def __init__(self, size: tuple[int, int], textures: Textures, rng: np.random.Generator) -> None:
        self.size, self.textures, self.rng = size, textures, rng
        self.frames: list[np.ndarray] = []
        self.seen = [np.zeros(size, np.uint8) for _ in range(2)]  # number of the layer on top
        self.motions: list[np.ndarray] = []
        self.windows: list[tuple[slice, slice] | None] = []

    def lay_background(self, motion: np.ndarray) -> None:
        """Both frames from one picture, of which they show a part."""
        picture = self.textures.backgrounds[self.rng.integers(len(self.textures.backgrounds))]
        zoom = self.rng.uniform(0.65, 1.0)
        angle = np.deg2rad(self.rng.normal(0, 5))
        linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if self.rng.random() < 0.5:
            linear[:, 0] *= -1
        where = np.eye(3)
        where[:2, :2] = linear
        place = self.rng.uniform(0.35, 0.65, 2) * picture.shape[1::-1]
        where[:2, 2] = place - linear @ (np.array(self.size[::-1]) / 2)
        gains = self.rng.uniform(0.7, 1.15) * self.rng.uniform(0.85, 1.15, 3)
        for back in (np.eye(3), np.linalg.inv(motion)):
            taken = _take(picture, where @ back, (slice(0, self.size[0]), slice(0, self.size[1])))
            self.frames.append(_multiply(taken, gains))
        self.motions.append(motion)
        self.windows.append((slice(0, self.size[0]), slice(0, self.size[1])))

    def add(self, parts: list[Part], outline: np.ndarray, motion: np.ndarray) -> None:
        """Adds a shape: it lies at `outline` in the current frame, and moves to the key frame."""
        chair = len(parts) > 1
        plain = chair and self.rng.random() < 0.7
        materials = self.textures.plain if plain else self.textures.materials
        material = materials[self.rng.integers(len(materials))]
        angle, scale = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(0.5, 1.0)
        if chair:
            angle *= 0.02
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        where = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
        where[:2, 2] = self.rng.uniform(0, len(material), 2)
        # from the shape's middle: far from it, rounding of the matrix would be felt
        where[:2, 2] -= where[:2, :2] @ outline.mean(0)
        gains = self.rng.uniform(0.55, 1.1) * self.rng.uniform(0.8, 1.2, 3)
        number = len(self.motions)
        self.motions.append(motion)
        for frame, moved in enumerate((np.eye(3), motion)):
            window = _window(outline @ moved[:2, :2].T + moved[:2, 2], self.size)
            if frame == 0:
                self.windows.append(window)
            if window is None:
                continue
            alpha, light = _cover(parts, moved, window)
            texture = _multiply(_take(material, where @ np.linalg.inv(moved), window), gains)
            if light is not None:
                texture = cv2.multiply(texture, cv2.merge([light] * 3), scale=1 / 255)
            under = self.frames[frame][window]
            weight = alpha * np.float32(1 / 255)
            self.frames[frame][window] = cv2.blendLinear(texture, under, weight, 1 - weight)
            self.seen[frame][window][alpha > 127] = number

    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Flow (H, W, 2) float32 current -> key, and occluded (H, W) bool."""
        height, width = self.size
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        flow = np.empty((height, width, 2), np.float32)
        for number, (motion, window) in enumerate(zip(self.motions, self.windows, strict=True)):
            if window is None:
                continue
            (a, b, c), (d, e, f) = (motion - np.eye(3))[:2].astype(np.float32)
            rows, columns = y[window[0]], x[window[1]]
            here = self.seen[0][window] == number
            flow[window][..., 0][here] = (a * columns + (b * rows + c))[here]
            flow[window][..., 1][here] = (d * columns + (e * rows + f))[here]
        x, y = flow[..., 0] + x, flow[..., 1] + y
        inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        # Covered where all four pixels around its new place show layers above its own: fewer would
        # be its own edge, which falls between the pixels anew in the key frame.
        lowest = cv2.erode(self.seen[1], np.ones((2, 2), np.uint8), anchor=(0, 0))
        there = cv2.remap(
            lowest, x - 0.5, y - 0.5, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        return flow, ~inside | (there > self.seen[0])


def _window(points: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """The part of a frame in which points lie, with a border for soft edges; None outside."""
    first = np.maximum(np.floor(points.min(0)).astype(int) - 2, 0)
    last = np.minimum(np.ceil(points.max(0)).astype(int) + 3, size[::-1])
    if (first >= last).any():
        return None
    return slice(first[1], last[1]), slice(first[0], last[0])


def _take(picture: np.ndarray, where: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """A window of a frame, through frame pixel -> texel; beyond its edges the picture mirrors."""
    rows, columns = window
    matrix = where[:2].copy()
    matrix[:, 2] += matrix[:, :2] @ (columns.start, rows.start)
    return cv2.warpAffine(
        picture,
        matrix,
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _multiply(picture: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) with each channel multiplied by its gain."""
    # OpenCV's stubs know no scalar of four numbers
    return cv2.multiply(picture, (*gains, 0))  # type: ignore[call-overload]


def _cover(
    parts: list[Part], moved: np.ndarray, window: tuple[slice, slice]
) -> tuple[np.ndarray, np.ndarray | None]:
    """How much of each pixel the shape covers, and how light it is there, (h, w) uint8."""
    rows, columns = window
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    offset = moved[:2, 2] - (columns.start, rows.start)
    alpha = np.zeros(shape, np.uint8)
    light = np.full(shape, 255, np.uint8) if len(parts) > 1 else None
    for outlines, tone in parts:
        # 16ths of a pixel
        fine = [np.rint((o @ moved[:2, :2].T + offset) * 16).astype(np.int32) for o in outlines]
        cv2.fillPoly(alpha, fine, 255, cv2.LINE_AA, 4)
        if light is not None:
            cv2.fillPoly(light, fine, round(255 * tone), cv2.LINE_AA, 4)
    return alpha, light
