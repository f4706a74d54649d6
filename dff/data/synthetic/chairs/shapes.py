"""Outlines of the shapes of drawn pairs: chairs, polygons, round things, some with a hole."""

from itertools import pairwise

import numpy as np

Part = tuple[list[np.ndarray], float]
"""Outlines (N, 2), of which one inside another is a hole, and how light the part is."""

_ROUND = np.linspace(0, 2 * np.pi, 40, endpoint=False)


def draw_shape(rng: np.random.Generator) -> list[Part]:
    """Draws a shape of about radius 1."""
    kind = rng.random()
    if kind < 0.45:
        return _chair(rng)
    if kind < 0.6:  # polygon
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        return [([_circle(angles) * rng.uniform(0.5, 1, (len(angles), 1))], 1.0)]
    blob = _circle(_ROUND)
    if kind < 0.85:
        waves = np.arange(2, 6)
        phases, heights = rng.uniform(0, 2 * np.pi, (4, 1)), rng.uniform(0, 0.6, (4, 1))
        bumps = (heights / waves[:, None] * np.cos(waves[:, None] * _ROUND + phases)).sum(0)
        blob *= (1 + bumps)[:, None]
    outlines = [blob]
    if rng.random() < 0.5:  # with a hole
        outlines.append(blob[::2] * rng.uniform(0.3, 0.7) + rng.uniform(-0.1, 0.1, 2))
    return [(outlines, 1.0)]


def _circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _chair(rng: np.random.Generator) -> list[Part]:
    """A chair from the front: legs, a seat, and a back that is full, slatted or barred."""
    half, leg = rng.uniform(0.4, 0.6), rng.uniform(0.025, 0.07)
    deep, lean = rng.uniform(0.15, 0.35), rng.uniform(-0.25, 0.25)
    foot, back = rng.uniform(0.7, 1.0), rng.uniform(0.6, 1.0)
    far = half * rng.uniform(0.75, 0.95)
    parts: list[Part] = []
    for x in (lean - far, lean + far - 2 * leg):
        parts.append(([_box(x, -deep, x + 2 * leg, foot - deep)], 0.45))
    for x in (-half, half - 2 * leg):
        parts.append(([_box(x, 0, x + 2 * leg, foot)], 0.7))
    left, right, top = lean - far, lean + far, -deep - back
    outlines, bars = [_box(left, top, right, -deep)], int(rng.integers(0, 6))
    low = -deep - back * rng.uniform(0, 0.3)
    edge = 1.5 * leg
    if bars and rng.random() < 0.5:
        edges = np.linspace(left + edge, right, bars + 1)
        outlines += [_box(a, top + edge, b - edge, low) for a, b in pairwise(edges) if b - edge > a]
    elif bars:
        edges = np.linspace(top + edge, low, bars + 1)
        outlines += [
            _box(left + edge, a, right - edge, b - edge) for a, b in pairwise(edges) if b - edge > a
        ]
    parts.append((outlines, 0.85))
    seat = np.array([(lean - far, -deep), (lean + far, -deep), (half, 0), (-half, 0)])
    parts.append(([seat], 1.0))
    parts.append(([_box(-half, 0, half, 1.5 * leg)], 0.6))
    return parts


def place(
    parts: list[Part], size: tuple[int, int], rng: np.random.Generator
) -> tuple[list[Part], np.ndarray]:
    """Turns, stretches and moves a shape to its place in the current frame; and its centre."""
    radius = np.hypot(*size) * np.exp(rng.uniform(np.log(0.05), np.log(0.28)))
    upright = len(parts) > 1
    angle = np.deg2rad(rng.normal(0, 8)) if upright else rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = radius * np.array([[cos, -sin], [sin, cos]]) * rng.uniform(0.7, 1.0, 2)
    centre = rng.uniform(-0.05, 1.05, 2) * size[::-1]
    placed = [([o @ linear.T + centre for o in outlines], light) for outlines, light in parts]
    return placed, centre
