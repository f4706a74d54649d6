"""Classical flow, for shallow feature flow: no learning, and a scale field of 1.

The paper runs it as a baseline (SFF, Sec. 5). A classical flow has the face of a flow network, so
whatever takes one takes the other. It has no parameters and no context, and no gradient passes
through it: training reaches the features and the heads.
"""

from collections.abc import Callable
from typing import Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Flow
from dff.models.flow.pair_input import MINIMUM_SIDE, check_pair

FlowFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Current and key picture (h, w, 3) uint8 RGB -> flow (h, w, 2) float32 in their pixels, x first.

A pixel p of the current picture lies at p + flow(p) in the key picture.
"""

DISPreset = Literal["ultrafast", "fast", "medium"]

Reduction = Literal[1, 2, 4]
"""Pixels of the frame, along a side, in one pixel of the pictures that flow is found on."""


@torch.no_grad()
def classical_flow(find: FlowFunction, current: Tensor, key: Tensor, reduction: Reduction) -> Flow:
    """The flow of a batch, as a flow network gives it, from a function on pictures.

    The pictures are computed on the CPU.

    Args:
        find: The flow of two pictures.
        current: (B, 3, H, W), RGB in [0, 1], of any type, on any device.
        key: Likewise.
        reduction: The pictures are the frames at 1 / reduction of their size; it is the stride of
            the flow.

    Returns:
        Field (B, 2, ceil(H / reduction), ceil(W / reduction)) without context. On the meta device,
        its shape.

    Raises:
        ValueError: The frames differ in shape, or a side is below 64 pixels.
    """
    wanted = f"a classical flow wants at least {MINIMUM_SIDE} on each side"
    check_pair(current, key.shape, f"{wanted}, as the flow networks do")
    if current.is_meta:
        batch, _, height, width = current.shape
        size = -(-height // reduction), -(-width // reduction)
        return Flow(current.new_empty(batch, 2, *size, dtype=torch.float32))
    pairs = zip(_pictures(current, reduction), _pictures(key, reduction), strict=True)
    found = np.stack([find(one, other) for one, other in pairs])
    field = torch.from_numpy(found).permute(0, 3, 1, 2).contiguous()
    return Flow(field.to(current.device) * reduction)


def _pictures(frames: Tensor, reduction: int) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] -> (B, ceil(H / reduction), ceil(W / reduction), 3) uint8."""
    frames = frames.float()
    if reduction > 1:
        frames = F.avg_pool2d(frames, reduction, reduction, ceil_mode=True)
    # Bytes before they leave the device: a quarter of what there is to copy.
    pictures = (frames.clamp(0, 1) * 255).round().byte()
    return pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def check_settings(kind: str, preset: str, presets: tuple[str, ...], reduction: int) -> None:
    """Raises ValueError for a preset or a reduction that there is not."""
    if preset not in presets:
        raise ValueError(f"{kind} preset {preset!r}: wanted one of {', '.join(presets)}")
    if reduction not in get_args(Reduction):
        choices = ", ".join(map(str, get_args(Reduction)))
        raise ValueError(f"{kind} reduction {reduction!r}: wanted one of {choices}")


class DISFlow(nn.Module):
    """Flow by dense inverse search (Kroeger et al. 2016), as OpenCV has it.

    Args:
        preset: OpenCV's "ultrafast", "fast" or "medium": the finest level that is searched, the
            distance of the patches, and the steps of refinement.
        reduction: The flow is found at 1 / reduction of the frames' size: half size, as for the
            paper's flow networks, so that times compare.

    Raises:
        ValueError: There is no such preset or reduction.
    """

    context_channels = 0

    def __init__(self, preset: DISPreset = "fast", reduction: Reduction = 2) -> None:
        super().__init__()
        check_settings("DIS", preset, get_args(DISPreset), reduction)
        self.preset, self.reduction = preset, reduction
        self.stride: int = reduction

    def find(self, current: np.ndarray, key: np.ndarray) -> np.ndarray:
        """The flow of two pictures; see `FlowFunction`."""
        # OpenCV's object holds buffers and cannot be copied, which a module must be.
        search = cv2.DISOpticalFlow.create(
            {
                "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
                "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
                "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
            }[self.preset]
        )
        grey, other = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (current, key))
        # None: no flow to begin with, which OpenCV's stubs do not know
        flow: np.ndarray = search.calc(grey, other, None)  # type: ignore[call-overload]
        return flow

    def forward(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W) -> their flow; see `classical_flow`."""
        return classical_flow(self.find, current, key, self.reduction)


class NoFlow(nn.Module):
    """Flow of zero: what any other is measured against, and a model without propagation.

    With it features are carried over unchanged, and a network that is trained frame by frame has
    no flow to compute.
    """

    stride = 16
    context_channels = 0

    def forward(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W) -> a flow of zeros."""
        size = [-(-side // self.stride) for side in current.shape[-2:]]
        return Flow(current.new_zeros(len(current), 2, *size, dtype=torch.float32))
