"""Streets whose motion is not even: stops, sharp turns, cuts, a camera that stands."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dff.data.synthetic.streets.drawing import DrawnVideo, draw_video
from dff.data.synthetic.streets.scene import Drive
from dff.data.synthetic.streets.settings import StreetSettings

_STOP_SHARE = 0.2
_TURN_FRAMES = 6
_TURN = (0.22, 0.34)
"""Radians: within the street's houses on both sides."""
_NOWHERE = np.array([[0, 0, -1e5], [0, 0, -1e5], [0, 0, 1]], float)
"""Texture -> image of a surface in a frame of another street: far outside."""


def draw_mixed(seeds: Sequence[int], frames: int, settings: StreetSettings) -> DrawnVideo:
    """A street video with stops, turns and cuts at random places.

    Args:
        seeds: Source of chance; each of its streets adds its number.
        frames: Of the video.
        settings: How many of each.
    """
    rng = np.random.default_rng([*seeds, 0])
    cuts = rng.permutation(np.arange(5, max(frames - 5, 6)))[: settings.cuts]
    borders = [0, *sorted(set(cuts.tolist())), frames]
    static = rng.random() < settings.static_share
    parts = []
    for number, (start, end) in enumerate(pairwise(borders), 1):
        time = settings.speed * (np.arange(end - start) - (end - start - 1) / 2)
        share = (end - start) / frames
        stops, turns = (_about(rng, share * n) for n in (settings.stops, settings.turns))
        drive = mixed_drive(rng, time, frames, 0 if static else stops, turns, static)
        own = np.random.default_rng([*seeds, number])
        parts.append(draw_video(own, time, settings.height, settings.width, drive=drive))
    return joined(parts)


def mixed_drive(
    rng: np.random.Generator,
    time: np.ndarray,
    frames: int,
    stops: int,
    turns: int,
    static: bool = False,
) -> Drive:
    """A camera that stops and turns at random places.

    Args:
        rng: Source of chance.
        time: (n,) of all that moves, evenly spaced.
        frames: Of the whole video, of which each stop takes a fifth.
        stops: How many.
        turns: How many; a camera that stands turns too.
        static: Whether it stands throughout.
    """
    count = len(time)
    speed = np.full(count, 0.0 if static else 1.0)
    length = max(1, round(_STOP_SHARE * frames))
    for _ in range(stops):
        start = int(rng.integers(0, max(1, count - length)))
        speed[start : start + length] = 0
    if count > 4:  # braking and setting off take a few frames
        speed = np.convolve(np.pad(speed, 2, mode="edge"), np.full(5, 0.2), "valid")
    step = time[1] - time[0] if count > 1 else 0.0
    driven = np.concatenate([[0.0], np.cumsum(speed[1:])]) * step
    turn = np.zeros(count)
    for _ in range(turns):
        start = int(rng.integers(0, max(1, count - _TURN_FRAMES)))
        angle = rng.choice([-1, 1]) * rng.uniform(*_TURN)
        turn += angle * np.clip((np.arange(count) - start) / _TURN_FRAMES, 0, 1)
    # back and forth: two turns to one side would look past the houses
    turn = np.abs((turn / _TURN[1] + 1) % 4 - 2) * _TURN[1] - _TURN[1] if turns else turn
    return Drive(driven - driven[-1] / 2, turn)


def joined(parts: Sequence[DrawnVideo]) -> DrawnVideo:
    """Videos one after the other as one, whose truth knows of no flow across a cut."""
    if len(parts) == 1:
        return parts[0]
    counts = [len(part.labels) for part in parts]
    lengths = [len(part.frames) for part in parts]
    homographies = np.tile(_NOWHERE, (sum(counts), sum(lengths), 1, 1))
    kind = np.min_scalar_type(sum(counts))
    surfaces = []
    for number, part in enumerate(parts):
        row, column = sum(counts[:number]), sum(lengths[:number])
        homographies[row : row + counts[number], column : column + lengths[number]] = (
            part.homographies
        )
        surfaces.append(part.surfaces.astype(kind) + kind.type(row))
    return DrawnVideo(
        np.concatenate([part.frames for part in parts]),
        np.concatenate(surfaces),
        np.concatenate([part.labels for part in parts]),
        homographies,
    )


def _about(rng: np.random.Generator, count: float) -> int:
    """A whole number whose mean is `count`."""
    return int(count) + int(rng.random() < count % 1)
