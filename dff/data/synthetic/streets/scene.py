"""Surfaces of a drawn street, and a camera among them: what `street_drawing` makes frames of.

The world is in metres: x to the right, y down, z along the street; the ground is y = 0. Every
surface is a plane, so that the flow between two frames is known exactly: texture coordinates
(u, v, 1) -> image by one homography for each surface and frame.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dff.data.synthetic.streets.sketch import Sprite
from dff.data.synthetic.streets.textures import (
    FACADE_TEXELS,
    GROUND_TEXELS,
    LEAF_TEXELS,
    SKY_TEXELS,
)

ROAD, SIDEWALK, BUILDING, SIGN, VEGETATION, SKY = 7, 8, 11, 20, 21, 23
PERSON, CAR, TRUCK, BICYCLE = 24, 26, 27, 33
THINGS = (PERSON, CAR, TRUCK, BICYCLE)
"""Label ids (Cityscapes) whose objects have boxes and tracks."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Surface:
    """One textured plane.

    Args:
        texture: RGBA uint8.
        label: Cityscapes label id of every pixel of it.
        planes: (u, v, 1) -> world, (3, 3) for a still one, (frames, 3, 3) for a moving one. Of the
            sky: -> direction.
        layer: What is drawn first, and where shadows fall.
        repeats: The texture is a tile.
        extent: Left, top, right, bottom in texels; infinite where the surface has no border.
        shadow: Size in metres of its soft shadow on the ground, 0 for none.
    """

    texture: np.ndarray
    label: int
    planes: np.ndarray
    layer: Literal["sky", "ground", "wall", "standing"]
    repeats: bool = False
    extent: Box = (-np.inf, -np.inf, np.inf, np.inf)
    shadow: float = 0.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, for each frame.

    Args:
        position: (frames, 3) in the world.
        rotation: (frames, 3, 3), world -> camera.
        focal: (frames,) in pixels.
        centre: x, y of the image point straight ahead.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: np.ndarray
    centre: tuple[float, float]

    def homographies(self, surface: Surface) -> np.ndarray:
        """Returns texture -> image, (frames, 3, 3); the third coordinate is the depth."""
        frames = len(self.position)
        planes = np.broadcast_to(surface.planes, (frames, 3, 3)).copy()
        if surface.layer != "sky":  # the sky is so far away that the position does not matter
            planes[:, :, 2] -= self.position
        lens = np.zeros((frames, 3, 3))
        lens[:, 0, 0] = lens[:, 1, 1] = self.focal
        lens[:, :2, 2] = self.centre
        lens[:, 2, 2] = 1
        return lens @ self.rotation @ planes


@dataclass(frozen=True)
class Drive:
    """How a camera drives.

    Args:
        time: (frames,) its own time, which stands where the camera stands.
        turn: (frames,) radians by which it looks aside.
    """

    time: np.ndarray
    turn: np.ndarray


def _wave(
    rng: np.random.Generator, time: np.ndarray, low: float, high: float, size: float
) -> np.ndarray:
    """Returns a sine of a period between `low` and `high` frames."""
    return size * np.sin(2 * np.pi * (time / rng.uniform(low, high) + rng.random()))


def moving_camera(
    rng: np.random.Generator,
    time: np.ndarray,
    height: int,
    width: int,
    how: Drive | None = None,
) -> tuple[Camera, np.ndarray]:
    """Returns a camera that drives, pans, zooms and bobs; and how far it has driven, in metres.

    Args:
        rng: Source of chance.
        time: (frames,) 0 in the middle of the video, one unit a frame at speed 1.
        height: Of a frame.
        width: Of a frame.
        how: How it drives; None is evenly, with the time.
    """
    time, turn = (time, np.zeros_like(time)) if how is None else (how.time, how.turn)
    pixel = 1 / 346  # radians in a pixel of a frame of the default size
    drive = rng.uniform(0.015, 0.06)
    z = drive * (time + _wave(rng, time, 50, 90, 3.0))
    period = rng.uniform(55, 100)
    pan = rng.uniform(0.85, 2.2) * rng.choice([-1, 1]) * pixel * period / (2 * np.pi)
    yaw = (
        rng.uniform(-0.03, 0.03)
        + pan * np.sin(2 * np.pi * (time / period + rng.uniform(-1, 1) / 8))
        + turn
    )
    pitch = _wave(rng, time, 10, 18, 0.7 * pixel) + _wave(rng, time, 45, 80, 4 * pixel)
    roll = _wave(rng, time, 30, 60, 0.008)
    x = rng.uniform(-0.6, 1.6) + _wave(rng, time, 50, 90, 0.25)
    y = -rng.uniform(1.7, 2.3) + _wave(rng, time, 11, 16, 0.01)
    zero, one = np.zeros_like(time), np.ones_like(time)

    def matrix(rows: list[list[np.ndarray]]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    c, s = np.cos(yaw), np.sin(yaw)
    around_y = matrix([[c, zero, -s], [zero, one, zero], [s, zero, c]])
    c, s = np.cos(pitch), np.sin(pitch)
    around_x = matrix([[one, zero, zero], [zero, c, -s], [zero, s, c]])
    c, s = np.cos(roll), np.sin(roll)
    around_z = matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])
    camera = Camera(
        position=np.stack([x, y, z], -1),
        rotation=around_z @ around_x @ around_y,
        focal=1.0 * width * np.exp(_wave(rng, time, 60, 110, rng.uniform(0.0, 0.07))),
        centre=((width - 1) / 2, 0.46 * (height - 1)),
    )
    return camera, z


def ground(
    texture: np.ndarray, label: int, x: tuple[float, float], z: tuple[float, float], along: str
) -> Surface:
    """Returns a piece of ground: `x` and `z` are its borders, the tile repeats within them.

    Args:
        texture: A tile; its `v` runs along the street, or along x with `along` = "x".
        label: Label id.
        x: Left and right border in metres.
        z: Near and far border.
        along: "z" or "x", the way that the tile's `v` runs.
    """
    step = 1 / GROUND_TEXELS
    plane = np.zeros((3, 3))
    if along == "z":
        plane[0, 0], plane[2, 1] = step, -step
        plane[:, 2] = x[0], 0, z[1]
        size = x[1] - x[0], z[1] - z[0]
    else:
        plane[2, 0], plane[0, 1] = step, step
        plane[:, 2] = x[0], 0, z[0]
        size = z[1] - z[0], x[1] - x[0]
    extent = (0.0, 0.0, size[0] * GROUND_TEXELS, size[1] * GROUND_TEXELS)
    return Surface(texture, label, plane, "ground", repeats=True, extent=extent)


def endless_ground(texture: np.ndarray, label: int) -> Surface:
    """Returns ground without a border."""
    plane = np.diag([1 / GROUND_TEXELS, 0, -1 / GROUND_TEXELS])[:, [0, 2, 1]]
    return Surface(texture, label, plane, "ground", repeats=True)


def wall(
    texture: np.ndarray,
    label: int,
    corner: tuple[float, float],
    facing: Literal["left", "right", "front"],
) -> Surface:
    """Returns an upright plane on the ground.

    Args:
        texture: Its picture.
        label: Label id.
        corner: x, z of the bottom corner that is left for someone in front of it.
        facing: "right" for the houses on the left, "left" for those on the right.
    """
    texels = LEAF_TEXELS if label == VEGETATION else FACADE_TEXELS
    rows, columns = texture.shape[:2]
    plane = np.zeros((3, 3))
    way = {"right": (2, 1.0), "left": (2, -1.0), "front": (0, 1.0)}[facing]
    plane[way[0], 0] = way[1] / texels
    plane[1, 1] = 1 / texels
    plane[:, 2] = corner[0], -rows / texels, corner[1]
    return Surface(texture, label, plane, "wall", extent=(-0.5, -0.5, columns - 0.5, rows - 0.5))


def endless_sky(texture: np.ndarray, half_width: float, top: float) -> Surface:
    """Returns the sky on the plane z = 1 of directions."""
    plane = np.array([[1 / SKY_TEXELS, 0, -half_width], [0, 1 / SKY_TEXELS, -top], [0, 0, 1]])
    return Surface(texture, SKY, plane, "sky")


def standing(
    sprite: Sprite,
    label: int,
    x: np.ndarray,
    z: np.ndarray,
    turn: np.ndarray,
    lean: np.ndarray,
    shadow: float,
) -> Surface:
    """Returns a sprite on the ground; `x`, `z`, `turn` and `lean` have one value for each frame.

    Args:
        sprite: Its shape.
        label: Label id.
        x: Of its foot, metres.
        z: Of its foot.
        turn: Angle around the upright axis, 0 across the street.
        lean: Angle in its plane.
        shadow: Size of the shadow, metres.
    """
    rows, columns = sprite.texture.shape[:2]
    planes = np.zeros((len(x), 3, 3))
    across = np.stack([np.cos(turn), 0 * turn, np.sin(turn)], -1)
    down = np.array([0.0, 1.0, 0.0])
    cos, sin = np.cos(lean)[:, None], np.sin(lean)[:, None]
    planes[:, :, 0] = (cos * across + sin * down) / sprite.texels
    planes[:, :, 1] = (cos * down - sin * across) / sprite.texels
    foot = np.stack([x, 0 * x, z], -1)
    middle = planes[:, :, 0] * (columns - 1) / 2 + planes[:, :, 1] * (rows - 1)
    planes[:, :, 2] = foot - middle
    return Surface(sprite.texture, label, planes, "standing", shadow=shadow)
