"""Warping along a flow: the only place of the project that samples a map at moved positions."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

WarpMethod = Literal["grid_sample", "gather"]
"""How features are sampled: by PyTorch's `grid_sample`, or by weighted sums of rows of a table.

Both give the same result up to rounding. "gather" takes a CPU a tenth of the time.
"""


def warp(features: Tensor, flow: Tensor, method: WarpMethod = "grid_sample") -> Tensor:
    """Samples the key frame's features where the flow of the current frame points.

    `out(p) = features(p + flow(p))`, bilinear; each of the four neighbours that lies outside the
    map counts as 0 (Eq. 3 and 4; GridGenerator and BilinearSampler of the official code).

    Positions are computed in float32 (float64 for float64 inputs) whatever the precision of the
    features: bfloat16 has 8 bits, which is half a pixel at column 100. Where the flow is not
    finite, the result is 0, and the gradients are 0 too.

    Args:
        features: Features of the key frame (B, C, h, w).
        flow: Current -> key (B, 2, h, w), channel 0 = x, 1 = y, in pixels of this map.
        method: See `WarpMethod`.

    Returns:
        (B, C, h, w) in the type and memory format of the features.

    Raises:
        ValueError: The flow has another batch or map size than the features, or not two channels.
    """
    batch, _, height, width = features.shape
    if flow.shape != (batch, 2, height, width):
        raise ValueError(
            f"flow of shape {tuple(flow.shape)} for features of shape {tuple(features.shape)}: "
            f"wanted {(batch, 2, height, width)}; flow_at_level fits it to the map"
        )
    # Both operands in one full precision: autocast leaves every operation below as it is then.
    dtype = torch.promote_types(torch.promote_types(features.dtype, flow.dtype), torch.float32)
    flow = flow.to(dtype)
    columns = torch.arange(width, device=flow.device, dtype=dtype) + flow[:, 0]
    rows = torch.arange(height, device=flow.device, dtype=dtype)[:, None] + flow[:, 1]
    if method == "gather":
        sampled = _gather(features, columns, rows)
        # expanded features are neither contiguous nor channels-last, and come from the latter
        return sampled.contiguous() if features.is_contiguous() else sampled
    # The official convention, except that it divides by zero where the map has one row or column.
    align_corners = bool(min(height, width) > 1)
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


LARGEST_PADDING = 64
"""Image pixels, to the right and below, that features may have beyond a map."""

Stride = float | tuple[float, float]
"""Image pixels along a side of one pixel of a map; of rows and of columns where they differ."""


def flow_at_level(
    flow: Tensor, stride: Stride, level_stride: Stride, size: tuple[int, int]
) -> Tensor:
    """Flow in image pixels -> flow in the pixels of one level of the features.

    Args:
        flow: (B, 2, h, w), channel 0 = x, in image pixels.
        stride: Of the flow.
        level_stride: Of the level.
        size: Height and width of the level.

    Returns:
        (B, 2, *size), in pixels of the level.
    """
    resampled = resample(flow, stride, level_stride, size)
    if not isinstance(level_stride, tuple):
        return resampled / level_stride
    return resampled / resampled.new_tensor(level_stride[::-1]).view(1, 2, 1, 1)


def resample(map_: Tensor, stride: Stride, new_stride: Stride, size: tuple[int, int]) -> Tensor:
    """Resamples a map that covers an image to another stride; pixels keep their place in it.

    A coarser map has the means over the cells of its pixels (fewer at the right and the lower
    border); a finer one is interpolated bilinearly between pixel centres.

    Args:
        map_: (B, C, h, w).
        stride: Of the map.
        new_stride: Of the result.
        size: Height and width of the result.

    Returns:
        (B, C, *size).

    Raises:
        ValueError: The map covers less of the image than the result should.
    """
    old, new = _by_side(stride), _by_side(new_stride)
    cell = [max(1, int(n / o)) for o, n in zip(old, new, strict=True)]
    if max(cell) > 1:
        # Ceil mode takes the mean of the pixels that a cut cell has.
        map_ = F.avg_pool2d(map_, cell, cell, ceil_mode=True)
    ratio = [o * c / n for o, c, n in zip(old, cell, new, strict=True)]
    if ratio != [1.0, 1.0]:
        # The exact ratio, not that of the sizes, which are rounded up: no pixel may move.
        map_ = F.pad(map_, (0, 1, 0, 1), mode="replicate")
        map_ = F.interpolate(map_, scale_factor=ratio, mode="bilinear", align_corners=False)
    height, width = size
    below, right = max(0, height - map_.shape[-2]), max(0, width - map_.shape[-1])
    if below * new[0] > LARGEST_PADDING or right * new[1] > LARGEST_PADDING:
        raise ValueError(
            f"a map of {tuple(map_.shape[-2:])} pixels at stride {new_stride} for features of "
            f"{height} x {width}: it covers less of the image; the flow network and the feature "
            "network must tell their strides as they are"
        )
    if below or right:  # a network that pads its frames has features beside them
        map_ = F.pad(map_, (0, right, 0, below), mode="replicate")
    return map_[..., :height, :width]


def _by_side(stride: Stride) -> tuple[float, float]:
    return stride if isinstance(stride, tuple) else (stride, stride)


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
    index, weight = index.view(-1, 4), weight.view(-1, 4).to(features.dtype)
    if torch.compiler.is_exporting():  # other runtimes have no bag, and a loop in its place
        sampled = (F.embedding(index, table) * weight[..., None]).sum(1)
    else:
        sampled = F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)
    return sampled.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _bounded(position: Tensor, size: int) -> Tensor:
    # At -1 and at `size`, and beyond, every neighbour is outside. One pixel more keeps the gradient
    # of the border; without the bound, a huge vector would overflow to inf and sample NaN.
    # Any place outside does for NaN: one that depends on the size would be fixed in an export.
    return torch.nan_to_num(position, nan=-2.0).clamp(-2.0, size + 1.0)


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
