"""Frames that an export is compared on: random ones, and drawn streets or the user's own."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dff.data.synthetic.streets.drawing import draw_video
from dff.data.synthetic.streets.settings import StreetSettings
from dff.data.video.sources import open_video

Scenes = Mapping[str, Callable[[tuple[int, int]], list[Tensor]]]
"""What is seen -> its frames (1, 3, H, W), RGB in [0, 1], for a height and width."""
RANDOM, DRAWN = "random frames", "drawn streets"
FRAMES = 5
"""Of each scene."""
READ = 30
"""Of a video, whose first frames may be black; the last ones that are read are taken."""


def scenes(video: Path | None = None) -> Scenes:
    """Random frames, and frames that look like something: drawn streets if there is no video.

    Args:
        video: A video file, or a folder of frames.

    Raises:
        FileNotFoundError: There is neither.
        ValueError: It has too few frames, or cannot be read.
    """
    name = DRAWN if video is None else video.name
    pictures = drawn_streets() if video is None else pictures_of(video)
    return {
        RANDOM: lambda size: moving_frames(FRAMES, size, seed=1),
        name: lambda size: resized(pictures, size),
    }


def drawn_streets() -> Tensor:
    """A drive along a drawn street, (FRAMES, 3, H, W) uint8 RGB."""
    street = StreetSettings()
    time = street.speed * np.arange(FRAMES, dtype=float)
    drawn = draw_video(np.random.default_rng(street.seed), time, street.height, street.width)
    return _stacked(drawn.frames)


def pictures_of(video: Path) -> Tensor:
    """Consecutive frames of a video, (FRAMES, 3, H, W) uint8 RGB.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It has too few frames, or cannot be read.
    """
    last = deque(islice(open_video(video), READ), maxlen=FRAMES)
    if len(last) < FRAMES:
        raise ValueError(
            f"--video {video}: it has {len(last)} frames, wanted at least {FRAMES} that follow "
            "each other"
        )
    return _stacked(last)


def resized(pictures: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Pictures (n, 3, H, W) uint8 -> frames of a height and width."""
    frames = F.interpolate(pictures.float() / 255, size, mode="bilinear", antialias=True)
    return list(frames.clamp(0, 1).split(1))


def moving_frames(count: int, size: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Random frames (1, 3, H, W), RGB in [0, 1], each moved by some pixels against the last."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    coarse = [
        torch.rand(1, 3, -(-height // cell) + 8, -(-width // cell) + 8, generator=generator)
        for cell in (32, 8)
    ]
    whole = (height + 4 * count, width + 4 * count)
    scene = sum(F.interpolate(c, size=whole, mode="bicubic").clamp(0, 1) / 2 for c in coarse)
    assert isinstance(scene, Tensor)
    return [
        scene[:, :, 3 * i : 3 * i + height, 2 * i : 2 * i + width].contiguous()
        for i in range(count)
    ]


def _stacked(pictures: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2)
