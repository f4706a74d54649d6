"""What drawn pairs are made of: backgrounds like photographs, and materials of shapes."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dff.data.synthetic.streets.sketch import PAINTS
from dff.data.synthetic.streets.textures import asphalt, facade, fractal, hedge, leaves, paving, sky

BACKGROUNDS, MATERIALS = 12, 32
HEIGHT, WIDTH = 384, 480
"""Of a background."""
MATERIAL = 160
"""Both sides of a material; its halves mirror each other, so that it goes on without a seam."""
_KINDS = 8
"""Of materials; see `_material`."""
_PLAIN = (0, 2, 6)
_EARTH = (8.0, 45.0)
"""Hues of soil, wood and grass."""


@dataclass(frozen=True)
class Textures:
    """A pool of textures, RGB uint8.

    Args:
        backgrounds: Each (384, 480, 3).
        materials: Each (160, 160, 3).
        plain: Those of them of which furniture is made: wood, paint, metal.
    """

    backgrounds: tuple[np.ndarray, ...]
    materials: tuple[np.ndarray, ...]
    plain: tuple[np.ndarray, ...]


@lru_cache(maxsize=4)
def draw_textures(*seed: int) -> Textures:
    """Draws the pool of a seed, once for each process; about a second."""
    rng = np.random.default_rng(seed)
    kinds = (_landscape, _town, _things, _clouded)
    backgrounds = [kinds[n % len(kinds)](rng) for n in range(BACKGROUNDS)]
    # in turn and not by chance: a pool of few has some of each
    materials = [_material(rng, n) for n in range(MATERIALS)]
    materials = [_bytes(material) for material in materials]
    plain = [material for n, material in enumerate(materials) if n % _KINDS in _PLAIN]
    return Textures(tuple(map(_bytes, backgrounds)), tuple(materials), tuple(plain))


@lru_cache(maxsize=4)
def draw_noise(seed: int, strength: float, count: int) -> np.ndarray:
    """Returns `count` numbers of normal noise, int8, to be cut at random places."""
    noise = np.random.default_rng([seed, 1]).standard_normal(count, dtype=np.float32)
    return np.rint(noise * strength).clip(-127, 127).astype(np.int8)


def _bytes(image: np.ndarray) -> np.ndarray:
    # The softening of a lens: what is finer than two pixels cannot be followed below a pixel.
    image = image[..., :3].clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), 0.6))


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes to cover height x width, and cuts."""
    zoom = max(height / image.shape[0], width / image.shape[1])
    size = (max(width, round(image.shape[1] * zoom)), max(height, round(image.shape[0] * zoom)))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how)[:height, :width].astype(np.float32)


def _paint(rng: np.random.Generator) -> np.ndarray:
    return np.array(PAINTS[rng.integers(len(PAINTS))], np.float32)


def _colours(
    rng: np.random.Generator, count: int, hues: tuple[float, float] = (0, 180)
) -> np.ndarray:
    """Colours of one hue (of cv2's 180) from dark to light, (count, 3) float32 RGB."""
    hue = (rng.uniform(*hues) + rng.normal(0, 7, count)) % 180
    saturation = rng.uniform(15, 120) + rng.normal(0, 15, count)
    value = np.linspace(rng.uniform(20, 70), rng.uniform(150, 245), count)
    hsv = np.stack([hue, saturation.clip(0, 255), value], axis=1)[None].astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].astype(np.float32)


def _mapped(
    rng: np.random.Generator, values: np.ndarray, hues: tuple[float, float] = (0, 180)
) -> np.ndarray:
    """Colours values of about -2 to 2 by a scale of colours."""
    count = 6
    colours = _colours(rng, count, hues)
    places = ((values + 2) / 4).clip(0, 1) * (count - 1)
    ramp = [np.interp(np.linspace(0, count - 1, 256), range(count), c) for c in colours.T]
    table = np.stack(ramp, axis=1).astype(np.float32)
    return table[(places * (255 / (count - 1))).astype(np.uint8)]


def _clouded(rng: np.random.Generator) -> np.ndarray:
    """Rock, water or cloth: spots of all sizes, drawn out in one direction."""
    long = rng.uniform(1, 3)
    rows = round(HEIGHT * (long if rng.random() < 0.7 else 1))
    noise = fractal(rng, rows, WIDTH, int(rng.integers(60, 240)), 3)
    noise = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    image = _mapped(rng, noise * rng.uniform(0.6, 1.0))
    above, below = rng.uniform(0.7, 1.2, 2)
    light = np.linspace(above, below, HEIGHT, dtype=np.float32)[:, None, None]
    return image * light


def _landscape(rng: np.random.Generator) -> np.ndarray:
    """Sky over leaves over ground."""
    horizon = int(rng.integers(HEIGHT // 4, HEIGHT * 2 // 3))
    image = np.empty((HEIGHT, WIDTH, 3), np.float32)
    image[:horizon] = _fit(sky(rng, 0.8, 0.9, 0.1)[..., :3], horizon, WIDTH)
    if rng.random() < 0.5:
        ground = leaves(rng, HEIGHT - horizon, WIDTH)
    else:
        noise = fractal(rng, HEIGHT - horizon, WIDTH, 70, 3)
        ground = _mapped(rng, 0.7 * noise, _EARTH)
    image[horizon:] = ground
    bushes = hedge(rng, WIDTH / 36, rng.uniform(2.0, 5.0))
    rows = min(len(bushes), horizon)
    alpha = bushes[:rows, :WIDTH, 3:] / np.float32(255)
    there = image[horizon - rows : horizon, : bushes.shape[1]]
    there += alpha * (bushes[:rows, :WIDTH, :3] - there)
    return image


def _town(rng: np.random.Generator) -> np.ndarray:
    """Fronts of houses under the sky, behind a sidewalk or a road."""
    image = _fit(sky(rng, 0.8, 0.9, 0.1)[..., :3], HEIGHT, WIDTH)
    foot = int(rng.integers(HEIGHT * 3 // 5, HEIGHT * 9 // 10))
    left = 0
    while left < WIDTH:
        house = facade(rng, rng.uniform(5, 9), rng.uniform(6, 12))[-foot:, : WIDTH - left, :3]
        image[foot - len(house) : foot, left : left + house.shape[1]] = house
        left += house.shape[1]
    ground = (paving if rng.random() < 0.5 else asphalt)(rng, 11.0, 3.0)
    image[foot:] = _fit(ground[..., :3], HEIGHT - foot, WIDTH)
    return image


def _things(rng: np.random.Generator) -> np.ndarray:
    """Many things in a heap, each lit from above."""
    image = _clouded(rng)
    colours = np.concatenate([_colours(rng, 5), _colours(rng, 5), [_paint(rng), _paint(rng)]])
    for _ in range(int(rng.integers(40, 90))):
        centre = rng.uniform((0, 0), (WIDTH, HEIGHT)).astype(int).tolist()
        axes = (rng.uniform(8, 60) * rng.uniform(0.5, 1.0, 2)).astype(int)
        angle, colour = rng.uniform(0, 180), colours[rng.integers(len(colours))]
        box = cv2.boxPoints((centre, (2 * axes).tolist(), angle)).astype(np.int32)
        for part in np.linspace(1, 0, 5):  # lighter towards the upper left
            tone = (colour * (1.1 - 0.55 * part)).tolist()
            at = [
                round(c - 0.25 * float(a) * (1 - part)) for c, a in zip(centre, axes, strict=True)
            ]
            if angle < 90:
                size = np.maximum(axes * (0.2 + 0.8 * part), 1).astype(int).tolist()
                cv2.ellipse(image, at, size, angle, 0, 360, tone, -1, cv2.LINE_AA)
            else:
                middle = np.array(at)
                inner = middle + (box - np.array(centre)) * (0.35 + 0.65 * part)
                cv2.fillPoly(image, [inner.astype(np.int32)], tone, cv2.LINE_AA)
    image += 6 * fractal(rng, HEIGHT, WIDTH, 12, 3)[..., None]
    return image


def _material(rng: np.random.Generator, number: int) -> np.ndarray:
    half = MATERIAL // 2
    kind = number % _KINDS
    if kind == 0:  # wood: fibres along one axis
        noise = fractal(rng, half * 6, half, 60, 3)
        image = _mapped(rng, cv2.resize(noise, (half, half)) * 0.8, _EARTH)
        if rng.random() < 0.5:
            image = image.transpose(1, 0, 2)
    elif kind == 1:  # cloth with stripes or checks
        image = np.repeat(_paint(rng)[None], half * half, 0).reshape(half, half, 3)
        step, other = int(rng.integers(5, 16)), _paint(rng)
        image[:, np.arange(half) // step % 2 == 0] = other
        if rng.random() < 0.5:
            rows = np.arange(half) // step % 2 == 0
            image[rows] = 0.5 * image[rows] + 0.5 * _paint(rng)
    elif kind == 2:  # paint, a little dirty
        image = np.full((half, half, 3), _paint(rng), np.float32)
        image += 5 * fractal(rng, half, half, 40, 4)[..., None]
    elif kind == 3:
        image = _mapped(rng, fractal(rng, half, half, 30, 2))
    elif kind == 4:
        wall = facade(rng, 4.0, 6.0)
        image = _fit(wall[60:, :, :3], half, half)
    elif kind == 5:
        image = (
            leaves(rng, half, half) if rng.random() < 0.5 else _fit(paving(rng, 3, 3), half, half)
        )
    elif kind == 6:  # metal or leather: nearly one colour, with a shine
        shine = np.linspace(0, rng.uniform(2, 8), half, dtype=np.float32)
        tone = rng.uniform(20, 200) + rng.uniform(10, 50) * np.sin(shine)
        image = np.repeat(np.repeat(tone[None, :, None], half, 0), 3, 2)
        image += 4 * fractal(rng, half, half, 20, 2)[..., None]
    else:  # spots
        image = np.full((half, half, 3), _paint(rng), np.float32)
        for _ in range(int(rng.integers(12, 40))):
            centre = rng.integers(0, half, 2).tolist()
            colour = _paint(rng).tolist()
            cv2.circle(image, centre, int(rng.integers(2, 10)), colour, -1, cv2.LINE_AA)
    image = image[..., :3].astype(np.float32)
    image += 3 * fractal(rng, half, half, 6, 2)[..., None]
    image = np.concatenate([image, image[::-1]])
    return np.concatenate([image, image[:, ::-1]], axis=1)
