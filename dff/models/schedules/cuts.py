"""Cuts: two consecutive frames of which one is not the other, moved."""

import torch.nn.functional as F
from torch import Tensor

CUT = 0.45
"""Scores above it are cuts. In 19 real videos of 2,000 frames no other pair reached 0.26, and no
cut between two of them was below 0.64 (docs/results.md)."""

_LONG_SIDE = 40
_REACH = (2, 4)  # rows and columns that a thumbnail may have moved: a tenth of the frame


def cut_score(frame: Tensor, previous: Tensor) -> float:
    """How little of a frame the frame before explains: 0 for equal ones, about 1 for unlike ones.

    Both are compared as thumbnails 40 pixels wide, at the displacement where they agree best, which
    takes no notice of pans and shakes; their difference counts in units of their contrast.

    Args:
        frame: (1, 3, H, W), RGB in [0, 1].
        previous: Likewise.
    """
    one, other = _thumbnail(frame), _thumbnail(previous)
    rows, columns = _REACH
    least = min(
        float((_moved(one, y, x) - _moved(other, -y, -x)).abs().mean())
        for y in range(-rows, rows + 1)
        for x in range(-columns, columns + 1)
    )
    contrast = float((one.std((2, 3)) + other.std((2, 3))).mean()) / 2
    return least / (contrast + 0.02)  # of two even frames, noise is no cut


def _thumbnail(frame: Tensor) -> Tensor:
    height, width = frame.shape[-2:]
    scale = _LONG_SIDE / max(height, width)
    size = [max(2 * _REACH[1], round(side * scale)) for side in (height, width)]
    return F.interpolate(frame.float(), size=size, mode="area").cpu()


def _moved(thumbnail: Tensor, y: int, x: int) -> Tensor:
    """What is left of it where another one, moved by -y and -x, is left too."""
    height, width = thumbnail.shape[-2:]
    return thumbnail[..., max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
