"""Flow that is made by hand, for shallow feature flow: no learning, and a scale field of ones.

The paper runs it as a baseline (SFF, Sec. 5). A classical flow has the face of a flow network,
(current, key) -> flow in feature pixels and scale field, so whatever takes one takes the other. It
has no parameters, and no gradient passes through it: training reaches the features and the heads.
"""

from collections.abc import Callable
from typing import Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.flow.flownet import MINIMUM_SIDE, check_pair

STRIDE = 16

FlowFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Current and key picture (h, w, 3) uint8 RGB -> flow (h, w, 2) float32 in their pixels, x first.

A pixel p of the current picture lies at p + flow(p) in the key picture.
"""

DISPreset = Literal["ultrafast", "fast", "medium"]

Reduction = Literal[1, 2, 4]
"""Pixels of the frame, along a side, in one pixel of the pictures that flow is found on."""


@torch.no_grad()
def classical_flow(
    find: FlowFunction, current: Tensor, key: Tensor, reduction: Reduction
) -> tuple[Tensor, Tensor]:
    """Flow and scale field of a batch, as a flow network gives them, from a function on pictures.

    The flow of a feature pixel is the mean over the 16 x 16 image pixels of its cell (fewer at the
    right and the lower border), as FlowNet's last map is average-pooled. So cell 0 covers image
    pixels 0 to 15, with its centre at 7.5, which is where metrics and heads take it to be
    (`align_corners=False`). The pictures are computed on the CPU.

    Args:
        find: The flow of two pictures.
        current: (B, 3, H, W), RGB in [0, 1], of any type, on any device.
        key: Likewise.
        reduction: The pictures are the frames at 1 / reduction of their size.

    Returns:
        Flow (B, 2, ceil(H/16), ceil(W/16)), current -> key, channel 0 = x, in feature pixels,
        float32; scale field (B, 1, ceil(H/16), ceil(W/16)), ones, which fits any number of
        channels. On the meta device, their shapes.

    Raises:
        ValueError: The frames differ in shape, or a side is below 64 pixels.
    """
    wanted = f"a classical flow wants at least {MINIMUM_SIDE} on each side"
    check_pair(current, key.shape, f"{wanted}, as the flow networks do")
    if current.is_meta:
        batch, _, height, width = current.shape
        flow = current.new_empty(
            batch, 2, -(-height // STRIDE), -(-width // STRIDE), dtype=torch.float32
        )
    else:
        pairs = zip(_pictures(current, reduction), _pictures(key, reduction), strict=True)
        found = np.stack([find(one, other) for one, other in pairs])
        flow = torch.from_numpy(found).permute(0, 3, 1, 2).contiguous()
        cell = STRIDE // reduction
        # Ceil mode takes the mean of the pixels that a cut cell has.
        flow = F.avg_pool2d(flow, cell, cell, ceil_mode=True) / cell
        flow = flow.to(current.device)
    return flow, torch.ones_like(flow[:, :1])


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
    """Flow by dense inverse search (Kroeger et al. 2016), as OpenCV has it; the scale field is 1.

    Args:
        preset: OpenCV's "ultrafast", "fast" or "medium": the finest level that is searched, the
            distance of the patches, and the steps of refinement.
        reduction: The flow is found at 1 / reduction of the frames' size: half size, as for the
            paper's flow networks, so that times compare.

    Raises:
        ValueError: There is no such preset or reduction.
    """

    def __init__(self, preset: DISPreset = "fast", reduction: Reduction = 2) -> None:
        super().__init__()
        check_settings("DIS", preset, get_args(DISPreset), reduction)
        self.preset, self.reduction = preset, reduction

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

    def forward(self, current: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) -> flow and scale field; see `classical_flow`."""
        return classical_flow(self.find, current, key, self.reduction)


class NoFlow(nn.Module):
    """Flow of zero: what any other is measured against, and a model without propagation.

    With it features are carried over unchanged, and a network that is trained frame by frame has
    no flow to compute.
    """

    def forward(self, current: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) -> flow and scale field, as `classical_flow` gives them."""
        size = [-(-side // STRIDE) for side in current.shape[-2:]]
        flow = current.new_zeros(len(current), 2, *size, dtype=torch.float32)
        return flow, torch.ones_like(flow[:, :1])
