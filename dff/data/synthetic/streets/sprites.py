"""People, bicycles, signs and trees of a drawn street.

Each function takes a random generator and returns a `Sprite`.
"""

import cv2
import numpy as np

from dff.data.synthetic.streets.sketch import PAINTS, TYRE, Sketch, Sprite, pick
from dff.data.synthetic.streets.textures import LEAF_TEXELS, Colour, fractal, leaves

_SKINS: tuple[Colour, ...] = ((236, 192, 160), (214, 160, 124), (160, 106, 76), (106, 70, 52))


def person(rng: np.random.Generator, walks: bool) -> Sprite:
    """Returns a person from the front, or from the side with a long step to the right."""
    height = rng.uniform(1.68, 1.92)
    skin, shirt = pick(rng, _SKINS), rng.uniform(30, 235, 3)
    trousers, hair = rng.uniform(24, 110, 3), rng.uniform(15, 110) * np.array([1.0, 0.75, 0.5])
    sketch = Sketch(1.0, height + 0.04)
    hip, neck, head = height * 0.47, height * 0.83, height * 0.91
    step = 0.24 if walks else 0.11
    for side in (-1, 1):
        shade = 0.8 if side < 0 else 1.0
        foot = side * step
        sketch.limb([(side * 0.08, hip), (side * (step * 0.75), hip / 2)], 0.21, trousers * shade)
        sketch.limb([(side * (step * 0.75), hip / 2), (foot, 0.09)], 0.17, trousers * shade)
        sketch.oval(foot + (0.06 if walks else 0), 0.06, 0.14, 0.06, (34, 30, 30))
    skirt = rng.random() < 0.25
    if skirt:
        sketch.shape(
            [(-0.17, hip + 0.2), (0.17, hip + 0.2), (0.3, hip - 0.28), (-0.3, hip - 0.28)], shirt
        )
    swing = 0.26 if walks else 0.1
    for side in (-1, 1):
        x = side * (0.06 if walks else 0.26)
        elbow = (x + side * swing * 0.5, (hip + neck) / 2)
        hand = (x + side * swing + (0.08 if walks else 0), hip + 0.02)
        sketch.limb([(x, neck - 0.08), elbow, hand], 0.13, shirt * 0.82)
        sketch.disc(*hand, 0.07, skin)
    sketch.round_box(-0.23, 0.23, hip - 0.04, neck, 0.11, shirt)
    if rng.random() < 0.4:
        bag = rng.uniform(40, 200, 3)
        sketch.round_box(-0.4, -0.16, hip + 0.1, neck - 0.1, 0.07, bag)
    if rng.random() < 0.4:
        sketch.box(-0.23, 0.23, hip + 0.2, hip + 0.32, shirt * 0.6 + 80)
    sketch.box(-0.06, 0.06, neck - 0.03, neck + 0.08, skin)
    sketch.oval(0, head, 0.125, 0.155, skin)
    sketch.oval(-0.02 if walks else 0, head + 0.07, 0.135, 0.11, hair)
    return sketch.sprite(rng, 5)


def bicycle(rng: np.random.Generator) -> Sprite:
    """Returns a bicycle with its rider, on the way to the right.

    The wheels are full discs: rings of one pixel could not be learned at stride 16.
    """
    sketch = Sketch(1.95, 1.78)
    paint, shirt = pick(rng, PAINTS), rng.uniform(40, 235, 3)
    skin, trousers = pick(rng, _SKINS), rng.uniform(24, 100, 3)
    radius, back, front = 0.37, -0.56, 0.56
    for x in (back, front):
        sketch.disc(x, radius, radius, TYRE)
        sketch.disc(x, radius, radius * 0.84, (196, 198, 200))
        for angle in np.arange(6) * np.pi / 6:
            dx, dy = radius * 0.82 * np.cos(angle), radius * 0.82 * np.sin(angle)
            sketch.limb([(x - dx, radius - dy), (x + dx, radius + dy)], 0.022, (110, 112, 116))
        sketch.disc(x, radius, 0.07, TYRE)
    crank, seat, bar = (-0.05, 0.36), (-0.22, 0.95), (0.4, 1.02)
    sketch.limb([(-0.2, 1.0), (-0.02, 0.68), (-0.12, 0.3)], 0.17, trousers * 0.7)
    sketch.limb([(back, radius), crank, bar, (front, radius)], 0.085, paint)
    sketch.limb([(back, radius), seat, crank], 0.085, paint)
    sketch.limb([seat, (0.36, 0.9)], 0.085, paint)
    sketch.limb([bar, (0.5, 1.1), (0.42, 1.14)], 0.06, TYRE)
    sketch.oval(-0.24, 0.99, 0.17, 0.05, TYRE)
    sketch.limb([(-0.2, 1.04), (0.16, 0.76), (0.06, 0.3)], 0.19, trousers)
    sketch.oval(0.12, 0.28, 0.13, 0.06, (34, 30, 30))
    sketch.limb([(-0.17, 1.08), (0.1, 1.42)], 0.33, shirt)
    sketch.limb([(0.12, 1.42), (0.26, 1.18), (0.45, 1.12)], 0.12, shirt * 0.8)
    sketch.disc(0.46, 1.12, 0.06, skin)
    sketch.oval(0.22, 1.6, 0.12, 0.14, skin)
    sketch.shape([(0.06, 1.62), (0.1, 1.74), (0.24, 1.77), (0.36, 1.68), (0.36, 1.63)], paint)
    return sketch.sprite(rng, 5)


def sign(rng: np.random.Generator) -> Sprite:
    """Returns a large traffic sign on its post."""
    size, height = rng.uniform(0.55, 0.7), rng.uniform(2.5, 3.0)
    sketch = Sketch(2 * size + 0.1, height + 0.04)
    middle, red, blue, white = height - size, (204, 22, 30), (20, 74, 178), (242, 242, 238)
    sketch.box(-0.13, 0.13, 0, middle, (132, 136, 140))
    sketch.box(-0.13, -0.05, 0, middle, (176, 180, 184))
    kind = rng.integers(4)
    if kind == 0:  # no entry, or a limit
        sketch.disc(0, middle, size, red)
        if rng.random() < 0.5:
            sketch.box(-size * 0.7, size * 0.7, middle - 0.1, middle + 0.1, white)
        else:
            sketch.disc(0, middle, size * 0.72, white)
            sketch.box(-size * 0.4, -size * 0.1, middle - 0.2, middle + 0.2, TYRE)
            sketch.box(size * 0.08, size * 0.4, middle - 0.2, middle + 0.2, TYRE)
    elif kind == 1:  # a warning
        for part, colour in ((1.0, red), (0.62, white)):
            s, low = size * part, middle - size * 0.9 + size * (1 - part) * 0.62
            sketch.shape([(-s, low), (s, low), (0, low + 1.8 * s)], colour)
        sketch.box(-0.06, 0.06, middle - 0.3, middle + 0.15, TYRE)
    elif kind == 2:  # a way to go
        sketch.disc(0, middle, size, blue)
        sketch.limb([(0, middle - size * 0.6), (0, middle + size * 0.3)], 0.14, white)
        sketch.shape([(-0.3, middle + 0.1), (0.3, middle + 0.1), (0, middle + 0.48)], white)
    else:  # a notice
        sketch.round_box(-size, size, middle - size, middle + size, 0.08, blue)
        sketch.round_box(-size * 0.7, size * 0.7, middle - size * 0.7, middle + 0.42, 0.05, white)
        sketch.shape([(-0.3, middle - 0.2), (0.3, middle - 0.2), (0, middle + 0.32)], TYRE)
    return sketch.sprite(rng, 4)


def tree(rng: np.random.Generator) -> Sprite:
    """Returns a tree: a crown of many round clumps on a trunk."""
    width, height = rng.uniform(2.8, 3.8), rng.uniform(4.2, 5.6)
    rows, columns = round(height * LEAF_TEXELS), round(width * LEAF_TEXELS)
    image = leaves(rng, rows, columns)
    alpha: np.ndarray = np.zeros((rows, columns), np.uint8)
    crown = round((height - rng.uniform(1.5, 2.0)) * LEAF_TEXELS)
    radius = columns * 0.17
    for angle in np.linspace(0, 2 * np.pi, 15):
        reach = rng.uniform(0.75, 1.0)
        x = columns / 2 + (columns / 2 - radius * 1.1) * reach * np.cos(angle)
        y = crown / 2 + (crown / 2 - radius * 1.1) * reach * np.sin(angle)
        cv2.circle(alpha, (round(x), round(y)), round(radius), 255, -1)
    cv2.ellipse(
        alpha, (columns // 2, crown // 2), (round(columns * 0.34), round(crown * 0.36)),
        0, 0, 360, 255, -1,
    )  # fmt: skip
    image *= np.linspace(1.2, 0.75, rows, dtype=np.float32)[:, None, None]
    leafy = alpha > 0
    trunk = np.zeros_like(alpha)
    half = round(0.16 * LEAF_TEXELS)
    cv2.rectangle(trunk, (columns // 2 - half, crown // 2), (columns // 2 + half, rows), 255, -1)
    bark = (trunk > 0) & ~leafy
    image[bark] = np.array([96, 74, 54]) + 14 * fractal(rng, rows, columns, 10, 3)[bark][:, None]
    alpha = cv2.GaussianBlur(np.maximum(alpha, trunk), (3, 3), 0)
    alpha[0], alpha[:, 0], alpha[:, -1] = 0, 0, 0
    texture = np.dstack([image.clip(0, 255).astype(np.uint8), alpha])
    return Sprite(texture, LEAF_TEXELS, width, height)
