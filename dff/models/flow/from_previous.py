"""Flow to the key frame by way of the frame before: the motion that is left to find is short.

A flow network knows short motions better than long ones, and ten frames after a key frame motions
are long. The frame before has a flow to the key frame already, so that no more than one frame's
motion has to be found: between both frames ("chain"), which adds the errors of all frames, or
between the current frame and the key frame moved to where the frame before saw it ("warm"), which
looks at the key frame itself and can mend the errors of the frames between.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dff.models.contracts import Flow
from dff.models.names import FlowFrom
from dff.models.warp import WarpMethod, flow_at_level, warp


class Trail(NamedTuple):
    """What is known of the frame before the current one.

    `frame`: (B, 3, H, W). `field`: its flow to the key frame, (B, 2, h, w) in image pixels; 0 where
    it is the key frame itself.
    """

    frame: Tensor
    field: Tensor


def flow_from_previous(
    network: nn.Module,
    key: Tensor,
    current: Tensor,
    before: Trail,
    how: FlowFrom,
    method: WarpMethod = "grid_sample",
) -> Flow:
    """The flow from the current to the key frame, by way of the frame before.

    Args:
        network: A `FlowNetwork`.
        key: Key frames (B, 3, H, W).
        current: Current frames, likewise.
        before: Of the frames before them.
        how: "chain" or "warm".
        method: How frames and flow are sampled. "gather" is for many channels: of three it takes a
            CPU ten times as long.
    """
    stride = int(network.stride)  # type: ignore[arg-type]
    middle = before.frame
    if how == "warm":
        height, width = key.shape[-2:]
        pixels = flow_at_level(before.field, stride, 1, (height, width))
        middle = warp(key, _inside(pixels), method)
    found: Flow = network(current, middle)
    return found._replace(field=compose(found.field, before.field, stride, method))


def compose(
    first: Tensor, second: Tensor, stride: float, method: WarpMethod = "grid_sample"
) -> Tensor:
    """The flow along one flow and then along another, in float32.

    Args:
        first: From a frame to a frame between, (B, 2, h, w) in image pixels.
        second: From there to a third one, likewise. Beyond its border it goes on as at the border.
        stride: Image pixels along a side of one pixel of both.
        method: How the second one is sampled.

    Returns:
        (B, 2, h, w) in image pixels: `first(p) + second(p + first(p))`.
    """
    first, second = first.float(), second.float()
    return first + warp(second, _inside(first / stride), method)


def _inside(flow: Tensor) -> Tensor:
    """Flow in pixels of its map, cut where it would leave the map; a flow of no number is 0."""
    height, width = flow.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    flow = torch.nan_to_num(flow, nan=0.0)
    x = (columns + flow[:, 0]).clamp(0, width - 1) - columns
    y = (rows + flow[:, 1]).clamp(0, height - 1) - rows
    return torch.stack((x, y), dim=1)
