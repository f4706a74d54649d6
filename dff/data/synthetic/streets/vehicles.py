"""Cars and trucks of a drawn street, from the side and from both ends.

Each function takes a random generator and returns a `Sprite`.
"""

import numpy as np

from dff.data.synthetic.streets.sketch import PAINTS, TYRE, Sketch, Sprite, pick
from dff.data.synthetic.streets.textures import Colour

_CARGO: tuple[Colour, ...] = (
    (232, 230, 224),
    (240, 196, 50),
    (206, 70, 48),
    (64, 104, 176),
    (214, 218, 226),
    (60, 140, 112),
)
_GLASS = (52.0, 68.0, 84.0)
_SHINE = (128.0, 152.0, 170.0)


def car_side(rng: np.random.Generator) -> Sprite:
    """Returns a car that drives to the right."""
    length, height = rng.uniform(3.9, 4.5), rng.uniform(1.45, 1.75)
    paint, half = pick(rng, PAINTS), length / 2 - 0.05
    sketch = Sketch(length, height + 0.06)
    belt, roof = height * 0.58, height
    back, front = -half * rng.uniform(0.72, 0.95), half * rng.uniform(0.3, 0.42)
    cabin = [(back, belt), (back + 0.3, roof - 0.05), (back + 0.5, roof), (front - 0.65, roof)]
    cabin += [(front - 0.45, roof - 0.05), (front + 0.25, belt)]
    sketch.shape(cabin, paint * 0.94)
    sketch.round_box(-half, half, 0.22, belt + 0.06, 0.17, paint)
    sketch.box(-half + 0.03, half - 0.03, 0.2, 0.34, paint * 0.55)
    pillar = (back + front) / 2 - 0.1
    top, low = roof - 0.11, belt + 0.04
    sketch.shape([(back + 0.17, low), (back + 0.42, top), (pillar, top), (pillar, low)], _GLASS)
    sketch.shape(
        [(pillar + 0.1, low), (pillar + 0.1, top), (front - 0.6, top), (front + 0.06, low)], _GLASS
    )
    for x in (pillar - 0.45, pillar + 0.3):
        sketch.shape([(x, low), (x + 0.2, top), (x + 0.32, top), (x + 0.12, low)], _SHINE)
    sketch.limb([(pillar + 0.05, 0.36), (pillar + 0.05, belt)], 0.03, paint * 0.6)
    sketch.limb([(front - 0.05, 0.36), (front - 0.05, belt)], 0.03, paint * 0.6)
    sketch.box(pillar + 0.15, pillar + 0.38, belt - 0.14, belt - 0.09, paint * 0.5)
    sketch.box(half - 0.22, half - 0.02, belt - 0.22, belt - 0.06, (250, 240, 190))
    sketch.box(-half + 0.02, -half + 0.18, belt - 0.22, belt - 0.04, (196, 24, 20))
    for x in (-half * 0.62, half * 0.62):
        sketch.disc(x, 0.33, 0.4, paint * 0.35)
        sketch.wheel(x, 0.33)
    return sketch.sprite(rng)


def car_end(rng: np.random.Generator, front: bool) -> Sprite:
    """Returns a car seen from its front or from its back."""
    width, height = rng.uniform(1.8, 2.0), rng.uniform(1.5, 1.75)
    paint, half = pick(rng, PAINTS), width / 2 - 0.05
    sketch = Sketch(width, height + 0.06)
    belt = height * 0.58
    for side in (-1, 1):
        x = side * (half - 0.2)
        sketch.round_box(x - 0.13, x + 0.13, 0.0, 0.5, 0.06, TYRE)
    sketch.shape(
        [(-half + 0.06, belt), (-half + 0.26, height), (half - 0.26, height), (half - 0.06, belt)],
        paint * 0.92,
    )
    sketch.round_box(-half, half, 0.22, belt + 0.1, 0.14, paint)
    sketch.shape(
        [
            (-half + 0.17, belt + 0.03),
            (-half + 0.32, height - 0.1),
            (half - 0.32, height - 0.1),
            (half - 0.17, belt + 0.03),
        ],
        _GLASS,
    )
    sketch.shape(
        [(-0.3, belt + 0.03), (-0.1, height - 0.1), (0.12, height - 0.1), (-0.08, belt + 0.03)],
        _SHINE,
    )
    lamp = (250, 242, 200) if front else (206, 22, 22)
    for side in (-1, 1):
        x = side * (half - 0.22)
        sketch.round_box(x - 0.16, x + 0.16, belt - 0.24, belt - 0.04, 0.05, lamp)
        sketch.round_box(
            side * (half - 0.02) - 0.07, side * (half - 0.02) + 0.07, belt, belt + 0.14, 0.05, paint
        )
    sketch.box(-half + 0.04, half - 0.04, 0.26, 0.42, paint * 0.45)
    if front:
        sketch.round_box(-0.42, 0.42, belt - 0.3, belt - 0.1, 0.05, (40, 42, 46))
    sketch.box(-0.26, 0.26, 0.36, 0.48, (236, 234, 220))
    return sketch.sprite(rng)


def truck_side(rng: np.random.Generator) -> Sprite:
    """Returns a truck that drives to the right: a tall box behind a cab."""
    length, height = rng.uniform(5.4, 6.4), rng.uniform(2.7, 3.1)
    paint, cargo, half = pick(rng, PAINTS), pick(rng, _CARGO), length / 2 - 0.05
    sketch = Sketch(length, height + 0.06)
    cab = half - 1.75
    sketch.box(-half, half - 0.1, 0.45, 0.75, (58, 58, 62))
    sketch.box(-half, cab - 0.12, 0.72, height, cargo)
    sketch.box(-half, cab - 0.12, height - 0.12, height, cargo * 0.75)
    for x in np.arange(-half + 0.5, cab - 0.2, 0.55):
        sketch.limb([(x, 0.8), (x, height - 0.15)], 0.035, cargo * 0.82)
    band = pick(rng, PAINTS)
    middle = rng.uniform(1.4, 2.0)
    sketch.box(-half, cab - 0.12, middle, middle + 0.38, band)
    sketch.disc((cab - half) / 2, middle + 0.2, 0.52, band * 0.7)
    sketch.disc((cab - half) / 2, middle + 0.2, 0.34, (238, 236, 228))
    sketch.shape(
        [(cab, 0.5), (cab, 2.35), (cab + 0.25, 2.5), (half - 0.4, 2.5), (half, 1.45), (half, 0.5)],
        paint,
    )
    sketch.shape(
        [(cab + 0.5, 1.5), (cab + 0.5, 2.3), (half - 0.5, 2.3), (half - 0.16, 1.5)], _GLASS
    )
    sketch.shape([(cab + 0.7, 1.5), (cab + 0.9, 2.3), (cab + 1.05, 2.3), (cab + 0.85, 1.5)], _SHINE)
    sketch.box(half - 0.2, half - 0.01, 0.8, 1.0, (250, 240, 190))
    sketch.box(-half, -half + 0.14, 0.5, 0.7, (200, 24, 20))
    for x in (-half + 0.75, -half + 1.75, half - 0.85):
        sketch.wheel(x, 0.48)
    return sketch.sprite(rng, 6)


def truck_end(rng: np.random.Generator, front: bool) -> Sprite:
    """Returns a truck seen from its front or from its back."""
    height, half = rng.uniform(2.9, 3.3), 1.22
    paint, cargo = pick(rng, PAINTS), pick(rng, _CARGO)
    sketch = Sketch(2 * half + 0.1, height + 0.06)
    for side in (-1, 1):
        x = side * (half - 0.3)
        sketch.round_box(x - 0.2, x + 0.2, 0.0, 0.8, 0.06, TYRE)
    sketch.box(-half, half, 0.6, height, cargo)
    sketch.box(-half, half, height - 0.14, height, cargo * 0.72)
    if front:
        sketch.round_box(-half + 0.06, half - 0.06, 0.35, 2.55, 0.12, paint)
        sketch.round_box(-half + 0.22, half - 0.22, 1.45, 2.35, 0.08, _GLASS)
        sketch.shape([(-0.5, 1.47), (-0.25, 2.33), (0.05, 2.33), (-0.2, 1.47)], _SHINE)
        sketch.box(-0.7, 0.7, 0.8, 1.25, (44, 46, 50))
    else:
        sketch.limb([(0, 0.7), (0, height - 0.15)], 0.05, cargo * 0.55)
        for x in (-0.22, 0.22, -0.9, 0.9):
            sketch.limb([(x, 0.8), (x, height - 0.3)], 0.05, cargo * 0.75)
        sketch.box(-half, half, 1.2, 1.5, pick(rng, PAINTS))
    sketch.box(-half, half, 0.42, 0.68, (52, 52, 56))
    lamp = (250, 242, 200) if front else (210, 24, 22)
    for side in (-1, 1):
        x = side * (half - 0.27)
        sketch.round_box(x - 0.2, x + 0.2, 0.48, 0.68, 0.05, lamp)
    return sketch.sprite(rng, 6)
