"""A sheet to draw upright flat shapes on, in metres, and the paints that several shapes share."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from dff.data.synthetic.streets.textures import Colour, fractal

TEXELS = 52
"""Texels in a metre of a sprite."""

PAINTS: tuple[Colour, ...] = (
    (186, 30, 34),
    (28, 66, 158),
    (226, 226, 222),
    (38, 40, 46),
    (158, 164, 172),
    (22, 112, 92),
    (232, 176, 28),
    (120, 30, 76),
    (236, 108, 30),
    (72, 150, 206),
)

TYRE = (26.0, 26.0, 28.0)
_RIM = (168.0, 170.0, 174.0)


@dataclass(frozen=True)
class Sprite:
    """A flat shape that stands on the ground.

    Args:
        texture: RGBA uint8, alpha 0 outside the shape.
        texels: Texels in a metre.
        width: Of the shape in metres; the shape's foot is in the middle of the bottom row.
        height: Of the shape in metres.
    """

    texture: np.ndarray
    texels: int
    width: float
    height: float


class Sketch:
    """A sheet to draw on in metres: x from the middle to the right, y from the ground up."""

    _fine = 2  # drawn so many times finer, then averaged: soft edges for every shape

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._scale = TEXELS * self._fine
        self._sheet = np.zeros(
            (round(height * self._scale), round(width * self._scale), 4), np.float32
        )

    def _at(self, points: Iterable[tuple[float, float]]) -> np.ndarray:
        array = np.array(list(points), float)
        array[:, 0] = (array[:, 0] + self.width / 2) * self._scale
        array[:, 1] = (self.height - array[:, 1]) * self._scale
        return array.round().astype(np.int32)

    def shape(self, points: Iterable[tuple[float, float]], colour: Iterable[float]) -> None:
        """Fills a polygon."""
        cv2.fillPoly(self._sheet, [self._at(points)], (*map(float, colour), 255.0))

    def box(
        self, left: float, right: float, low: float, high: float, colour: Iterable[float]
    ) -> None:
        """Fills an upright rectangle."""
        self.shape([(left, low), (right, low), (right, high), (left, high)], colour)

    def round_box(
        self, left: float, right: float, low: float, high: float, r: float, colour: Iterable[float]
    ) -> None:
        """Fills a rectangle with round corners of radius `r`."""
        colour = tuple(colour)
        self.box(left + r, right - r, low, high, colour)
        self.box(left, right, low + r, high - r, colour)
        for x in (left + r, right - r):
            for y in (low + r, high - r):
                self.disc(x, y, r, colour)

    def disc(self, x: float, y: float, radius: float, colour: Iterable[float]) -> None:
        """Fills a circle."""
        self.oval(x, y, radius, radius, colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Iterable[float]) -> None:
        """Fills an ellipse."""
        centre = tuple(self._at([(x, y)])[0].tolist())
        axes = (max(1, round(rx * self._scale)), max(1, round(ry * self._scale)))
        cv2.ellipse(self._sheet, centre, axes, 0, 0, 360, (*map(float, colour), 255.0), -1)

    def limb(
        self, points: Iterable[tuple[float, float]], thick: float, colour: Iterable[float]
    ) -> None:
        """Draws a thick line through points."""
        line = self._at(points)
        width = max(1, round(thick * self._scale))
        cv2.polylines(self._sheet, [line], False, (*map(float, colour), 255.0), width)

    def wheel(self, x: float, radius: float) -> None:
        """Draws a wheel that stands on the ground."""
        self.disc(x, radius, radius, TYRE)
        self.disc(x, radius, radius * 0.62, _RIM)
        for angle in np.arange(5) * 2 * np.pi / 5 + 0.3:
            tip = (x + 0.55 * radius * np.cos(angle), radius + 0.55 * radius * np.sin(angle))
            self.limb([(x, radius), tip], radius * 0.14, (84, 86, 90))
        self.disc(x, radius, radius * 0.16, (60, 60, 64))

    def sprite(self, rng: np.random.Generator, grain: float = 7.0) -> Sprite:
        """Returns the drawing with light from above, and a little dirt."""
        sheet = self._sheet
        small = cv2.resize(
            sheet, None, fx=1 / self._fine, fy=1 / self._fine, interpolation=cv2.INTER_AREA
        )
        alpha = small[..., 3:] / 255
        rgb = small[..., :3] / np.maximum(alpha, 1e-3)
        rows, columns = rgb.shape[:2]
        rgb *= np.linspace(1.1, 0.88, rows, dtype=np.float32)[:, None, None]
        rgb += grain * fractal(rng, rows, columns, 24, 3)[..., None]
        image = np.dstack([rgb.clip(0, 255), alpha * 255]).round().astype(np.uint8)
        return Sprite(image, TEXELS, self.width, self.height)


def flipped(sprite: Sprite) -> Sprite:
    """Returns the sprite that faces the other way."""
    texture = np.ascontiguousarray(sprite.texture[:, ::-1])
    return Sprite(texture, sprite.texels, sprite.width, sprite.height)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> np.ndarray:
    """Returns about one of the colours."""
    return np.array(colours[rng.integers(len(colours))], float) + rng.normal(0, 8, 3)
