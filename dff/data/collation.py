"""Pairs of several sizes as one batch: padded to the right and below, and what is valid is told."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from dff.data.samples import IGNORED, Pair
from dff.data.transforms.windows import PADDING_COLOUR

_FRAMES = ("key", "current", "previous")
_PLANES = {
    "key": 0,
    "current": 0,
    "previous": 0,
    "mask": IGNORED,
    "flow": 0,
    "flow_known": 0,
    "occluded": 0,
}
"""What each kind of planes (..., H, W) is padded with; the frames get a colour after that."""
_ROWS = {"boxes": 0, "frame_boxes": 0, "box_labels": -1, "tracks": -1, "motion": math.nan}
"""What each kind of rows (N, ...) is padded with."""


def collate(pairs: Sequence[Pair]) -> Pair:
    """Joins pairs to a batch; for a DataLoader.

    Frames are padded to the largest height and width among them with the colour that the networks
    see as nothing, masks with 255, flow with zeros that are not known, and boxes to the largest
    number of them with rows of 0 whose label and track are -1. `size` says which part of each frame
    is valid. Pairs of one size and one number of boxes are joined as they are.

    Args:
        pairs: All with the same keys.
    """
    padded: list[dict[str, Any]] = [dict(pair) for pair in pairs]
    for name in padded[0].keys() & (_PLANES.keys() | _ROWS.keys()):
        tensors = [pair[name] for pair in padded]
        rank = tensors[0].ndim
        wanted = [max(tensor.shape[axis] for tensor in tensors) for axis in range(rank)]
        for pair, tensor in zip(padded, tensors, strict=True):
            if list(tensor.shape) != wanted:
                pair[name] = _pad(name, tensor, wanted)
    frames = [name for name in _FRAMES if name in padded[0]]
    for pair in padded:
        pair |= {name: pair[name].permute(1, 2, 0) for name in frames}
    batch = default_collate(padded)
    # in memory the channels stay last, as they were read, and as convolutions like them
    return batch | {name: batch[name].permute(0, 3, 1, 2) for name in frames}


def _pad(name: str, tensor: Tensor, wanted: list[int]) -> Tensor:
    value = _PLANES[name] if name in _PLANES else _ROWS[name]
    larger = torch.full(wanted, value, dtype=tensor.dtype)
    if name in _FRAMES:
        larger[:] = torch.tensor(PADDING_COLOUR, dtype=tensor.dtype)[:, None, None]
    larger[tuple(slice(length) for length in tensor.shape)] = tensor
    return larger
