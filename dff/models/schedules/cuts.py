"""Cuts: two consecutive frames of which one is not the other, moved."""

import torch.nn.functional as F
from torch import Tensor

CUT = 0.45
"""Scores above it are cuts. In 19 real videos of 2,000 frames no other pair reached 0.31, and no
cut between two of them was below 0.58 (docs/results.md)."""

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
    (rows, columns), (height, width) = _REACH, one.shape[-2:]
    inner = height - 2 * rows, width - 2 * columns
    middle = one[..., rows : rows + inner[0], columns : columns + inner[1]]
    moved = other.unfold(2, inner[0], 1).unfold(3, inner[1], 1)  # (1, 3, shifts, shifts, h, w)
    least = float((moved - middle[:, :, None, None]).abs().mean((1, 4, 5)).min())
    contrast = float((one.std((2, 3)) + other.std((2, 3))).mean()) / 2
    return least / (contrast + 0.02)  # of two even frames, noise is no cut


def _thumbnail(frame: Tensor) -> Tensor:
    height, width = frame.shape[-2:]
    scale = _LONG_SIDE / max(height, width)
    size = [max(3 * _REACH[1], round(side * scale)) for side in (height, width)]
    return F.interpolate(frame.float(), size=size, mode="area").cpu()
