"""Frames of a drawn street: the surfaces of a scene through its camera.

A pixel is its integer coordinate, in the textures and in the frames; `homographies` and the drawing
share this, so the flow from the homographies is exact.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dff.data.synthetic.streets.plan import plan_street
from dff.data.synthetic.streets.scene import THINGS, Drive, Surface

_NEAR = 0.4  # metres: nothing nearer is drawn
_BLOB = 32


@dataclass(frozen=True)
class DrawnVideo:
    """Frames with their exact truth.

    Args:
        frames: (frames, H, W, 3) uint8, RGB.
        surfaces: (frames, H, W), number of the surface at each pixel.
        labels: (surfaces,) uint8, Cityscapes label id of each surface.
        homographies: (surfaces, frames, 3, 3), texture -> image, the third coordinate is the depth.
    """

    frames: np.ndarray
    surfaces: np.ndarray
    labels: np.ndarray
    homographies: np.ndarray


class _Levels:
    """A texture and its halved copies: each place is drawn from the one that fits its size."""

    def __init__(self, surface: Surface) -> None:
        texture: np.ndarray = surface.texture.astype(np.float32)
        texture[..., :3] *= texture[..., 3:] / 255
        self.levels = [texture]
        while min(texture.shape[:2]) >= 8 and len(self.levels) < 7:
            rows, columns = texture.shape[0] // 2, texture.shape[1] // 2
            texture = cv2.resize(texture, (columns, rows), interpolation=cv2.INTER_AREA)
            self.levels.append(texture)
        self.levels = [np.rint(level).astype(np.uint8) for level in self.levels]
        if surface.repeats:
            self.border = cv2.BORDER_WRAP
        elif surface.layer == "standing":
            self.border = cv2.BORDER_CONSTANT
        else:
            self.border = cv2.BORDER_REPLICATE

    def look_up(self, u: np.ndarray, v: np.ndarray, level: np.ndarray | float) -> np.ndarray:
        """Returns RGBA (h, w, 4) float32 at texture coordinates.

        Args:
            u: (h, w) float32.
            v: (h, w) float32.
            level: How often the texture is to be halved, for each place or for all.
        """
        level = np.clip(level, 0, len(self.levels) - 1)
        low, high = int(np.min(level)), int(np.ceil(np.max(level)))
        if low == high:
            return self._sample(low, u, v).astype(np.float32)
        total = np.zeros((*u.shape, 4), np.float32)
        for number in range(low, high + 1):
            weight = (1 - np.abs(level - number)).clip(0, 1).astype(np.float32)
            # sizes change smoothly over a plane: each level serves a band of the window
            band = _band(weight > 0) if weight.ndim else np.s_[:, :]
            part = self._sample(number, u[band], v[band])
            total[band] += part * (weight[band][..., None] if weight.ndim else weight)
        return total

    def _sample(self, number: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        texture, (rows, columns) = self.levels[number], self.levels[0].shape[:2]
        across, down = np.float32(texture.shape[1] / columns), np.float32(texture.shape[0] / rows)
        half = np.float32(0.5)
        x, y = (u, v) if number == 0 else ((u + half) * across - half, (v + half) * down - half)
        return cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=self.border)


def _band(mask: np.ndarray) -> tuple[slice, slice]:
    """Returns the rows and columns in which a mask is set, if it is set anywhere."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.s_[:0, :0]
    return np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _window(
    surface: Surface, homography: np.ndarray, height: int, width: int
) -> tuple[int, int, int, int] | None:
    """Returns x0, y0, x1, y1 of the part of the frame that the surface can reach."""
    rows, columns = surface.texture.shape[:2]
    left, top, right, bottom = surface.extent
    if surface.layer == "standing":
        left, top, right, bottom = -1.0, -1.0, float(columns), float(rows)
    if not np.isfinite(left):
        return 0, 0, width, height
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    points = np.c_[corners, np.ones(4)] @ homography.T
    kept = []
    for here, there in zip(points, np.roll(points, -1, axis=0), strict=True):
        if here[2] >= _NEAR:
            kept.append(here)
        if (here[2] >= _NEAR) != (there[2] >= _NEAR):
            kept.append(here + (there - here) * (_NEAR - here[2]) / (there[2] - here[2]))
    if not kept:
        return None
    flat = np.array(kept)
    flat = flat[:, :2] / flat[:, 2:]
    x0, y0 = np.maximum(np.floor(flat.min(0)) - 1, 0)
    x1, y1 = np.minimum(np.ceil(flat.max(0)) + 2, (width, height))
    return (int(x0), int(y0), int(x1), int(y1)) if x0 < x1 and y0 < y1 else None


def _footprint(
    inverse: np.ndarray, u: np.ndarray, v: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many texels a pixel spans in u and in v, squared."""
    a, b = inverse[:, 0].astype(np.float32), inverse[:, 1].astype(np.float32)
    squared = depth * depth
    wide = ((a[0] - u * a[2]) ** 2 + (b[0] - u * b[2]) ** 2) * squared
    tall = ((a[1] - v * a[2]) ** 2 + (b[1] - v * b[2]) ** 2) * squared
    return wide, tall


class _Canvas:
    """One frame in the making."""

    def __init__(self, height: int, width: int, haze: np.ndarray, number_type: type) -> None:
        self.image = np.zeros((height, width, 3), np.float32)
        self.surfaces: np.ndarray = np.zeros((height, width), number_type)
        self.nearness = np.full((height, width), -1.0, np.float32)  # 1 / depth
        self.haze = haze

    def draw(self, number: int, surface: Surface, levels: _Levels, homography: np.ndarray) -> None:
        height, width = self.surfaces.shape
        window = _window(surface, homography, height, width)
        if window is None:
            return
        x0, y0, x1, y1 = window
        inverse = np.linalg.inv(homography)
        x, y = np.arange(x0, x1), np.arange(y0, y1)[:, None]
        # along a column and along a row the three sums are linear: rounded to float32 once
        u, v, near = ((row[0] * x + (row[1] * y + row[2])).astype(np.float32) for row in inverse)
        part = np.s_[y0:y1, x0:x1]
        known, image, surfaces = self.nearness[part], self.image[part], self.surfaces[part]
        sky = surface.layer == "sky"
        shown = near > (1e-6 if sky else np.maximum(known * np.float32(0.99), np.float32(1e-3)))
        if not shown.any():
            return
        band = _band(shown)
        known, image, surfaces, shown = known[band], image[band], surfaces[band], shown[band]
        u, v, near = u[band], v[band], near[band]
        depth = 1 / np.where(shown, near, np.float32(1))
        u, v = u * depth, v * depth
        if surface.layer in ("sky", "standing"):  # small or far: of one size everywhere
            spot = np.unravel_index(int(shown.argmax()), shown.shape)
            wide, tall = _footprint(inverse, u[spot], v[spot], depth[spot])
            colour = levels.look_up(u, v, 0.5 * np.log2(max((wide + tall) / 2, 1e-6)))
        else:
            wide, tall = _footprint(inverse, u, v, depth)
            level = np.float32(0.5) * np.log2(np.maximum((wide + tall) / 2, np.float32(1e-6)))
            colour = levels.look_up(u, v, np.where(shown, level, level[shown].min()))
        cover = shown.astype(np.float32)
        left, top, right, bottom = surface.extent
        if np.isfinite(left):
            for inside, size in (
                (np.minimum(u - left, right - u), wide),
                (np.minimum(v - top, bottom - v), tall),
            ):
                edge = inside / np.sqrt(np.maximum(size, np.float32(1e-6)))
                cover *= (edge + np.float32(0.5)).clip(0, 1)
        colour *= cover[..., None]
        alpha = colour[..., 3:] / np.float32(255)
        colour = colour[..., :3]
        if not sky:
            clear = np.exp(depth * np.float32(-1 / 110))[..., None]
            colour = colour * clear + self.haze * (alpha * (1 - clear))
        image *= 1 - alpha
        image += colour
        hit = alpha[..., 0] > 0.5
        surfaces[hit] = number
        known[hit] = 0 if sky else near[hit]

    def shade(self, shadow: Surface, blob: _Levels, homography: np.ndarray, ground: int) -> None:
        """Darkens the ground under a standing surface; surfaces 1..`ground` are ground."""
        height, width = self.surfaces.shape
        window = _window(shadow, homography, height, width)
        if window is None:
            return
        x0, y0, x1, y1 = window
        part = np.s_[y0:y1, x0:x1]
        shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]])
        dark = cv2.warpPerspective(blob.levels[0][..., 3], shift @ homography, (x1 - x0, y1 - y0))
        on_ground = (self.surfaces[part] >= 1) & (self.surfaces[part] <= ground)
        self.image[part] *= (1 - dark.astype(np.float32) / 255 * on_ground * 0.62)[..., None]


def _shadows(surface: Surface) -> np.ndarray:
    """Returns blob texture -> world for each frame, from the foot of a standing surface."""
    rows, columns = surface.texture.shape[:2]
    foot = surface.planes @ np.array([(columns - 1) / 2, rows - 1, 1])
    across = surface.planes[:, :, 0] * [1, 0, 1]
    across = across / np.linalg.norm(across, axis=1, keepdims=True)
    back = np.stack([-across[:, 2], across[:, 1], across[:, 0]], -1)
    step = surface.shadow * 1.25 / (_BLOB - 1)
    deep = max(0.45, min(1.7, surface.shadow * 0.5)) / (_BLOB - 1)
    planes = np.stack([across * step, -back * deep, foot * [1, 0, 1]], -1)
    planes[:, :, 2] -= (planes[:, :, 0] + planes[:, :, 1]) * (_BLOB - 1) / 2
    return planes


def _lit(
    rng: np.random.Generator, time: np.ndarray, frames: np.ndarray, noise: float
) -> np.ndarray:
    """Returns frames in uneven light: colour cast, slow and quick gain, gamma, sensor noise."""
    cast = rng.uniform(0.94, 1.06, 3)
    gain = rng.uniform(0.88, 1.1) * (
        1 + 0.05 * np.sin(2 * np.pi * (time / rng.uniform(25, 60) + rng.random()))
    )
    gain = gain * rng.normal(1, 0.012, len(time))
    gamma = np.exp(0.06 * np.sin(2 * np.pi * (time / rng.uniform(30, 70) + rng.random())))
    lit = np.empty(frames.shape, np.uint8)
    levels = np.arange(256) / 255
    for frame, image in enumerate(frames):
        curve = 255 * (levels[:, None] ** gamma[frame] * gain[frame] * cast)
        table = curve.clip(0, 255).astype(np.float32)
        bright = np.stack([table[image[..., c], c] for c in range(3)], -1)
        bright += noise * rng.standard_normal(bright.shape, dtype=np.float32)
        lit[frame] = np.rint(bright).clip(0, 255)
    return lit


def draw_video(
    rng: np.random.Generator,
    time: np.ndarray,
    height: int,
    width: int,
    light: bool = True,
    drive: Drive | None = None,
) -> DrawnVideo:
    """Returns a street video and its truth.

    Args:
        rng: Source of chance.
        time: (frames,) 0 in the middle of the video, one unit a frame at speed 1.
        height: Of a frame.
        width: Of a frame.
        light: Light that changes, sensor noise and shadows. Without it, colours move as the
            surfaces do.
        drive: How the camera drives; None is evenly, with the time.
    """
    surfaces, camera = plan_street(rng, time, height, width, drive)
    homographies = np.stack([camera.homographies(surface) for surface in surfaces])
    levels = [_Levels(surface) for surface in surfaces]
    labels = np.array([surface.label for surface in surfaces], np.uint8)
    haze = np.array([186, 202, 218], np.float32) * rng.uniform(0.92, 1.06)
    ground = sum(surface.layer == "ground" for surface in surfaces)
    axis = np.linspace(-1, 1, _BLOB)
    blob = (1 - np.hypot(axis, axis[:, None])).clip(0, 1) ** 0.8 * 255
    disc = np.dstack([np.zeros((_BLOB, _BLOB, 3)), blob]).astype(np.uint8)
    shadows = {
        number: Surface(disc, 0, _shadows(surface), "standing")
        for number, surface in enumerate(surfaces)
        if surface.shadow > 0 and light
    }
    shadow_levels = _Levels(Surface(disc, 0, np.eye(3), "standing"))
    shadow_homographies = {n: camera.homographies(shadow) for n, shadow in shadows.items()}
    frames = np.empty((len(time), height, width, 3), np.uint8)
    maps = np.empty((len(time), height, width), np.min_scalar_type(len(surfaces)))
    for frame in range(len(time)):
        canvas = _Canvas(height, width, haze, maps.dtype.type)

        def depth(number: int, frame: int = frame) -> float:
            rows, columns = surfaces[number].texture.shape[:2]
            return float(homographies[number, frame, 2] @ [columns / 2, rows - 1, 1])

        walls = [n for n, s in enumerate(surfaces) if s.layer == "wall"]
        upright = [n for n, s in enumerate(surfaces) if s.layer == "standing"]
        first = range(ground + 1)  # the sky and the ground lie in their own order
        for number in (*first, *sorted(walls, key=depth, reverse=True)):
            canvas.draw(number, surfaces[number], levels[number], homographies[number, frame])
        for number, shadow in shadows.items():
            canvas.shade(shadow, shadow_levels, shadow_homographies[number][frame], ground)
        for number in sorted(upright, key=depth, reverse=True):
            canvas.draw(number, surfaces[number], levels[number], homographies[number, frame])
        frames[frame] = np.rint(canvas.image).clip(0, 255)
        maps[frame] = canvas.surfaces
    if light:
        frames = _lit(rng, time, frames, noise=2.0)
    return DrawnVideo(frames, maps, labels, homographies)


def instance_ids(labels: np.ndarray) -> np.ndarray:
    """Returns the Cityscapes instance id of each surface: label * 1000 + k for things."""
    ids = labels.astype(np.uint16)
    for label in THINGS:
        which = np.flatnonzero(labels == label)
        ids[which] = label * 1000 + np.arange(len(which))
    return ids
