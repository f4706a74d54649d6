"""Frames as bytes -> frames as networks take them."""

import torch
from torch import Tensor


def to_unit_range(frames: Tensor) -> Tensor:
    """Frames (B, 3, H, W) uint8 -> float in [0, 1], channels last, which convolutions like best."""
    return frames.float().div_(255).contiguous(memory_format=torch.channels_last)
