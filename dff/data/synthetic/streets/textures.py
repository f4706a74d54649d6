"""Textures of the still parts of a drawn street: asphalt, paving, facades, leaves, sky.

Each function takes a random generator and returns RGBA uint8. Sizes are in metres; a metre has as
many texels as the nearest place where the surface is seen needs.
"""

import cv2
import numpy as np

GROUND_TEXELS = 44
"""Texels in a metre of road and sidewalk."""
FACADE_TEXELS = 28
"""Texels in a metre of a facade."""
LEAF_TEXELS = 36
"""Texels in a metre of a tree or a hedge."""
SKY_TEXELS = 300
"""Texels in one unit of x / z of the sky."""

Colour = tuple[float, float, float]

_WALLS: tuple[Colour, ...] = (
    (168, 84, 66),
    (196, 120, 86),
    (214, 186, 140),
    (222, 206, 172),
    (186, 150, 118),
    (202, 152, 130),
    (150, 92, 84),
    (176, 172, 188),
    (226, 190, 116),
)


def fractal(
    rng: np.random.Generator, height: int, width: int, coarsest: int, finest: int = 2
) -> np.ndarray:
    """Returns smooth noise (height, width) float32 with deviation about 1, periodic in both axes.

    Args:
        rng: Source of chance.
        height: Rows.
        width: Columns.
        coarsest: Size of the largest spots, in texels.
        finest: Size of the smallest spots, in texels.
    """
    noise = np.zeros((height, width), np.float32)
    size, weight, power = float(coarsest), 1.0, 0.0
    while size >= finest:
        rows, columns = max(2, round(height / size)), max(2, round(width / size))
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        # two more cells on each side, cut off again: without them the tile has a visible seam
        grid = np.pad(grid, 2, mode="wrap")
        step_y, step_x = -(-height // rows), -(-width // columns)
        large = cv2.resize(
            grid, ((columns + 4) * step_x, (rows + 4) * step_y), interpolation=cv2.INTER_CUBIC
        )
        inner = large[2 * step_y : (rows + 2) * step_y, 2 * step_x : (columns + 2) * step_x]
        if inner.shape != noise.shape:
            inner = cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)
        noise += weight * inner
        power += weight**2
        size, weight = size / 2, weight * 0.72
    return noise / np.float32(power**0.5 * 0.75)


def _opaque(rgb: np.ndarray) -> np.ndarray:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), alpha])


def asphalt(
    rng: np.random.Generator, width: float, length: float, marks: bool = False
) -> np.ndarray:
    """Returns a tile of road; `u` runs across it, `v` along it; with `marks`, lane marks."""
    rows, columns = round(length * GROUND_TEXELS), round(width * GROUND_TEXELS)
    base = rng.uniform(78, 104) + np.array([0.0, 1.0, 5.0]) * rng.uniform(-0.6, 1.0)
    image = np.empty((rows, columns, 3), np.float32)
    image[:] = base
    for _ in range(3):  # patches of newer asphalt
        x, y = rng.integers(0, columns), rng.integers(0, rows)
        w, h = rng.integers(30, 110), rng.integers(40, 160)
        image[y : y + h, x : x + w] += rng.uniform(-16, 12)
    for _ in range(4):  # cracks
        walk = np.cumsum(rng.normal(0, 9, (14, 2)) + rng.normal(0, 7, 2), axis=0)
        start = rng.uniform(0, (columns, rows))
        points = (walk + start).astype(np.int32)
        cv2.polylines(image, [points], False, (base * 0.62).tolist(), 2, cv2.LINE_AA)
    if marks:
        metre = GROUND_TEXELS
        tracks = np.cos(np.linspace(0, 4 * np.pi, columns, dtype=np.float32))
        image += 5 * tracks[None, :, None]
        white = (206.0, 206.0, 200.0)
        middle, thick = columns // 2, round(0.09 * metre)
        for line in np.arange(0, length, 4.0):
            top, bottom = round(line * metre), round((line + 2.2) * metre)
            cv2.rectangle(image, (middle - thick, top), (middle + thick, bottom), white, -1)
        for edge in (round(0.25 * metre), columns - round(0.25 * metre)):
            cv2.rectangle(image, (edge - thick, 0), (edge + thick, rows), white, -1)
        hole = (int(rng.uniform(0.2, 0.4) * columns), int(rng.uniform(0.2, 0.8) * rows))
        cv2.circle(image, hole, 15, (base * 0.6).tolist(), -1, cv2.LINE_AA)
        cv2.circle(image, hole, 11, (base * 0.9).tolist(), 2, cv2.LINE_AA)
    image += 9 * fractal(rng, rows, columns, 90, 12)[..., None]
    image += 11 * fractal(rng, rows, columns, 8, 2)[..., None]
    return _opaque(image)


def zebra(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """Returns a zebra crossing over the whole width of a road."""
    image = asphalt(rng, width, depth)
    bars = (np.arange(image.shape[1]) // (GROUND_TEXELS // 2)) % 2 == 0
    paint = image[:, bars, :3].astype(np.float32)
    image[:, bars, :3] = (paint * 0.45 + 135).clip(0, 255)
    return image


def paving(rng: np.random.Generator, width: float, length: float) -> np.ndarray:
    """Returns a tile of sidewalk: slabs with joints, `u` across, `v` along."""
    rows, columns = round(length * GROUND_TEXELS), round(width * GROUND_TEXELS)
    tint = np.array([(178, 162, 146), (186, 156, 136), (172, 166, 150)][rng.integers(3)], float)
    slab = round(rng.uniform(0.55, 0.9) * GROUND_TEXELS)
    y, x = np.indices((rows, columns))
    row = y // slab
    x = x + (row % 2) * (slab // 2)
    shades = rng.normal(0, 9, (rows // slab + 1, columns // slab + 3))
    image = tint + shades[row, x // slab][..., None]
    joints = (y % slab < 2) | (x % slab < 2)
    image[joints] *= 0.72
    image = image.astype(np.float32)
    image += 6 * fractal(rng, rows, columns, 70, 9)[..., None]
    image += 7 * fractal(rng, rows, columns, 5, 2)[..., None]
    return _opaque(image)


def facade(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """Returns the front of a house: bricks or plaster, rows of windows, doors, a roof."""
    metre = FACADE_TEXELS
    rows, columns = round(height * metre), round(width * metre)
    wall = np.array(_WALLS[rng.integers(len(_WALLS))], float) + rng.normal(0, 7, 3)
    image = np.empty((rows, columns, 3), np.float32)
    image[:] = wall
    if rng.random() < 0.55:
        y, x = np.indices((rows, columns))
        brick_row = y // 6
        x = x + (brick_row % 2) * 7
        image += rng.normal(0, 13, (rows // 6 + 1, columns // 14 + 3))[brick_row, x // 14][
            ..., None
        ]
        image[(y % 6 == 0) | (x % 14 == 0)] *= 0.8
    image += 7 * fractal(rng, rows, columns, 60, 3)[..., None]
    frame = tuple(float(c) for c in rng.choice([[236, 232, 224], [70, 56, 48], [120, 132, 120]]))
    glass = np.array([58, 74, 92]) + rng.normal(0, 8, 3)
    storey = round(rng.uniform(2.7, 3.2) * metre)
    pitch = columns / max(2, round(width / rng.uniform(1.9, 2.6)))
    pane_w, pane_h = round(pitch * rng.uniform(0.46, 0.6)), round(storey * rng.uniform(0.48, 0.6))
    roof = round(0.9 * metre)

    def window(left: int, top: int, w: int, h: int) -> None:
        cv2.rectangle(image, (left - 3, top - 3), (left + w + 2, top + h + 2), frame, -1)
        inner = image[max(top, 0) : top + h, max(left, 0) : left + w]
        if not inner.size:
            return
        inner[:] = glass * rng.uniform(0.75, 1.25)
        inner += np.linspace(34, -14, len(inner), dtype=np.float32)[:, None, None]
        if rng.random() < 0.5:  # a curtain
            side = slice(0, w // 3) if rng.random() < 0.5 else slice(w - w // 3, w)
            inner[:, side] = np.array([206, 198, 180]) * rng.uniform(0.7, 1.0)
        cv2.line(image, (left + w // 2, top), (left + w // 2, top + h), frame, 2)
        cv2.line(image, (left, top + h // 2), (left + w, top + h // 2), frame, 1)
        sill = tuple((wall * 0.66).tolist())
        cv2.rectangle(image, (left - 5, top + h + 3), (left + w + 4, top + h + 6), sill, -1)

    for bottom in range(rows - storey, roof + storey // 2, -storey):
        for column in range(round(columns / pitch)):
            left = round((column + 0.5) * pitch - pane_w / 2)
            window(left, bottom - storey // 6 - pane_h, pane_w, pane_h)
        cv2.rectangle(image, (0, bottom), (columns, bottom + 3), (wall * 0.8).tolist(), -1)
    shop = rng.random() < 0.5
    awning = rng.uniform(60, 210, 3)
    for column in range(round(columns / pitch)):
        left = round((column + 0.5) * pitch - pane_w / 2)
        top = rows - round(storey * 0.82)
        if column % 3 == 1:  # a door
            door = rng.uniform(40, 130, 3)
            cv2.rectangle(image, (left, top), (left + pane_w, rows), frame, -1)
            cv2.rectangle(image, (left + 3, top + 3), (left + pane_w - 3, rows), door.tolist(), -1)
        elif shop:
            window(left - 5, top + 6, pane_w + 10, round(storey * 0.55))
        else:
            window(left, top, pane_w, pane_h)
    if shop:
        top = rows - round(storey * 0.98)
        for left in range(0, columns, 20):
            stripe = awning if (left // 20) % 2 else np.array([232.0, 228, 218])
            cv2.rectangle(image, (left, top), (left + 19, top + 14), stripe.tolist(), -1)
    tiles = np.array([(118, 62, 50), (86, 80, 84), (128, 84, 60)][rng.integers(3)], np.float32)
    image[:roof] = tiles + 9 * fractal(rng, rows, columns, 12, 3)[:roof, :, None]
    image[:roof:7] *= 0.75
    image[roof : roof + 5] = np.array(wall * 0.6, np.float32)
    image[-8:] *= 0.7
    return _opaque(image)


def leaves(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Returns foliage (rows, columns, 3) float32: clumps with light on top and dark gaps."""
    green = np.array([rng.uniform(52, 84), rng.uniform(104, 134), rng.uniform(36, 56)])
    clumps = fractal(rng, rows, columns, 46, 14)
    fine = fractal(rng, rows, columns, 9, 2)
    light = 1 + 0.2 * clumps + 0.23 * fine
    warm = np.array([1.0, 0.4, 0.2], np.float32) * 8 * clumps[..., None]
    return (green * light[..., None] + warm).astype(np.float32)


def hedge(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """Returns a row of bushes and trees seen from its side, with a ragged top."""
    rows, columns = round(height * LEAF_TEXELS), round(width * LEAF_TEXELS)
    image = leaves(rng, rows, columns)
    image *= np.linspace(1.12, 0.72, rows, dtype=np.float32)[:, None, None]
    edge = fractal(rng, 8, columns, 90, 5)[4] * 0.11 + 0.22
    alpha = np.arange(rows)[:, None] > edge.clip(0.02, 0.6)[None] * rows
    return np.dstack([image.clip(0, 255), alpha * 255.0]).astype(np.uint8)


def sky(rng: np.random.Generator, half_width: float, top: float, bottom: float) -> np.ndarray:
    """Returns the sky on the plane z = 1, x in +-`half_width`, y in -`top`..`bottom`."""
    rows, columns = round((top + bottom) * SKY_TEXELS), round(2 * half_width * SKY_TEXELS)
    high = np.array([92, 140, 206]) + rng.normal(0, 10, 3)
    low = np.array([196, 214, 232]) + rng.normal(0, 6, 3)
    ramp = np.linspace(0, (top + bottom) / top, rows).clip(0, 1)[:, None, None] ** 1.5
    image = (high * (1 - ramp) + low * ramp).astype(np.float32)
    image = np.repeat(image, columns, axis=1)
    shape = fractal(rng, rows, columns, 160, 6)
    cover = ((shape - rng.uniform(-0.5, 0.6)) * 0.9).clip(0, 1)[..., None]
    shade = 236 + 16 * fractal(rng, rows, columns, 60, 8)[..., None]
    return _opaque(image * (1 - cover) + shade * cover)
