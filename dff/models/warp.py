"""Warping along a flow: the only place of the project that samples a map at moved positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(features: Tensor, flow: Tensor) -> Tensor:
    """Samples the key frame's features where the flow of the current frame points.

    `out(p) = features(p + flow(p))`, bilinear; each of the four neighbours that lies outside the
    map counts as 0 (Eq. 3 and 4; GridGenerator and BilinearSampler of the official code).

    Positions are computed in float32 (float64 for float64 inputs) whatever the precision of the
    features: bfloat16 has 8 bits, which is half a pixel at column 100. Where the flow is not
    finite, the result is 0, and the gradients are 0 too.

    Args:
        features: Features of the key frame (B, C, h, w).
        flow: Current -> key (B, 2, h, w), channel 0 = x, 1 = y, in pixels of this map.

    Returns:
        (B, C, h, w) in the type and memory format of the features.

    Raises:
        ValueError: The flow has another batch or map size than the features, or not two channels.
    """
    batch, _, height, width = features.shape
    if flow.shape != (batch, 2, height, width):
        raise ValueError(
            f"flow of shape {tuple(flow.shape)} for features of shape {tuple(features.shape)}: "
            f"wanted {(batch, 2, height, width)}; resize_flow fits it to the map"
        )
    # Both operands in one full precision: autocast leaves every operation below as it is then.
    dtype = torch.promote_types(torch.promote_types(features.dtype, flow.dtype), torch.float32)
    flow = flow.to(dtype)
    columns = torch.arange(width, device=flow.device, dtype=dtype) + flow[:, 0]
    rows = torch.arange(height, device=flow.device, dtype=dtype)[:, None] + flow[:, 1]
    if features.device.type == "cpu" and not torch.is_grad_enabled():
        sampled = _gather(features, columns, rows)
        # expanded features are neither contiguous nor channels-last, and come from the latter
        return sampled.contiguous() if features.is_contiguous() else sampled
    # The official convention, except that it divides by zero where the map has one row or column.
    align_corners = min(height, width) > 1
    grid = torch.stack(
        (
            _normalised(columns, width, align_corners),
            _normalised(rows, height, align_corners),
        ),
        dim=-1,
    )
    sampled = F.grid_sample(
        features.to(dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=align_corners
    ).to(features.dtype)
    # grid_sample returns NCHW on some devices: the next convolution would have to turn it round.
    if _is_channels_last(features):
        sampled = sampled.contiguous(memory_format=torch.channels_last)
    return sampled


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes a flow map bilinearly; its vectors are scaled along, so they stay in map pixels.

    Args:
        flow: (B, 2, h, w), channel 0 = x, in pixels of its own map.
        size: Height and width of the result.

    Returns:
        (B, 2, *size), in pixels of the new map.
    """
    height, width = flow.shape[-2:]
    if (height, width) == tuple(size):
        return flow
    resized = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    ratio = resized.new_tensor((size[1] / width, size[0] / height))
    return resized * ratio.view(1, 2, 1, 1)


def _gather(features: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """The same sampling by weighted sums of four rows of a table, a row for each feature pixel.

    On a CPU it takes a tenth of the time of grid_sample, which reads one channel after the other.

    Args:
        features: (B, C, h, w).
        columns: (B, h, w), where to sample.
        rows: Likewise.

    Returns:
        (B, C, h, w) in channels-last memory.
    """
    batch, channels, height, width = features.shape
    places, weights = [], []
    for position, size in ((rows, height), (columns, width)):
        position = _bounded(position, size)
        first = position.floor()
        share = position - first
        both = torch.stack((first, first + 1), dim=-1)
        inside = (both >= 0) & (both < size)
        places.append(both.clamp(0, size - 1).long())
        weights.append(torch.stack((1 - share, share), dim=-1) * inside)
    index = places[0][..., :, None] * width + places[1][..., None, :]  # (B, h, w, 2, 2)
    weight = weights[0][..., :, None] * weights[1][..., None, :]
    if features.stride(0) == 0:  # expanded: one key frame for all rows
        features = features[:1]
    else:
        offset = torch.arange(batch, device=index.device) * (height * width)
        index = index + offset.view(-1, 1, 1, 1, 1)
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    sampled = F.embedding_bag(
        index.view(-1, 4),
        table,
        mode="sum",
        per_sample_weights=weight.view(-1, 4).to(features.dtype),
    )
    return sampled.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _bounded(position: Tensor, size: int) -> Tensor:
    # At -1 and at `size`, and beyond, every neighbour is outside. One pixel more keeps the gradient
    # of the border; without the bound, a huge vector would overflow to inf and sample NaN.
    return torch.nan_to_num(position, nan=size + 1.0).clamp(-2.0, size + 1.0)


def _normalised(position: Tensor, size: int, align_corners: bool) -> Tensor:
    """Position in pixels -> grid_sample's coordinate in -1..1."""
    position = _bounded(position, size)
    # Pixel centres sit at 2i / (size - 1) - 1 when corners are aligned, at (2i + 1) / size - 1 when
    # they are not: the same pixels, as long as formula and flag change together. At whole pixels
    # the gradient jumps and rounding picks its side: this order of operations picks the official.
    if align_corners:
        return position / ((size - 1) / 2) - 1.0
    return (2.0 * position + 1.0) / size - 1.0


def _is_channels_last(map_: Tensor) -> bool:
    return not map_.is_contiguous() and map_.is_contiguous(memory_format=torch.channels_last)
