"""Position-sensitive pooling of regions (R-FCN, Dai et al. 2016), with the official rounding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dff.models.contracts import STRIDE


def pool_regions(
    maps: Tensor,
    regions: Tensor,
    owners: Tensor,
    *,
    bins: int = 7,
    stride: int = STRIDE,
    cells: Tensor | None = None,
) -> Tensor:
    """Mean of each bin of each region, each bin in maps of its own.

    A region's corners are rounded to whole pixels, half away from zero; it reaches from
    round(x1) / stride to (round(x2) + 1) / stride and is cut into bins x bins; a bin takes all
    cells that it touches, and one without cells gives 0.

    Not `torchvision.ops.ps_roi_pool` (0.29): that one rounds after the division by the stride, so
    that a region is made of whole cells and its bins are others (on the reference vectors its
    values are off by up to 4.3, of maps drawn from a normal distribution). On a CPU its values also
    leave out the last row and column of the map, which its gradients do not: they are not the
    gradients of what it computes.

    Sums over a bin are differences of a cumulative sum in fp64, which costs the same for a region
    of any size and, unlike fp32, leaves nothing of the rest of the map in the result.

    Args:
        maps: (B, K * bins * bins, h, w); channel (k * bins + i) * bins + j is what bin (i, j) of
            output k reads. Any floating type; the sums are fp64 and the result fp32.
        regions: (R, 4), x1, y1, x2, y2 in pixels of the image, corners inclusive. They get no
            gradient.
        owners: (R,) int64, the image that each region is of.
        bins: Bins to a side.
        stride: Pixels from one cell of the maps to the next.
        cells: (B, 2), rows and columns of each image's map that are not padding; default all.

    Returns:
        (R, K, bins, bins), fp32 (fp64 for fp64 maps).
    """
    means = _bin_means(maps, regions, owners, bins, stride, cells)
    pooled: Tensor = means.transpose(1, 2).unflatten(2, (bins, bins))
    return pooled.to(_result_type(maps))


def vote(
    maps: Tensor,
    regions: Tensor,
    owners: Tensor,
    *,
    bins: int = 7,
    stride: int = STRIDE,
    cells: Tensor | None = None,
) -> Tensor:
    """Mean of `pool_regions` over all bins, (R, K), without laying the bins out in between.

    Arguments as those of `pool_regions`.
    """
    means = _bin_means(maps, regions, owners, bins, stride, cells)
    return means.mean(1).to(_result_type(maps))


def _bin_means(
    maps: Tensor, regions: Tensor, owners: Tensor, bins: int, stride: int, cells: Tensor | None
) -> Tensor:
    batch, channels, height, width = maps.shape
    if channels % bins**2:
        raise ValueError(
            f"{channels} position-sensitive maps for {bins}x{bins} bins: wanted a multiple of "
            f"{bins**2}"
        )
    outputs = channels // bins**2
    if cells is None:
        cells = torch.tensor([[height, width]], device=maps.device).expand(batch, 2)
    limits = cells[owners].to(torch.float32)
    # In double precision coordinates an end that fp32 puts on a whole cell could fall beside it,
    # and a row of cells more would count: the official operator computes in fp32.
    # NaN, as a network that diverges gives it, would become an index beyond all memory.
    x1, y1, x2, y2 = regions.detach().float().nan_to_num().unbind(1)
    top, bottom = _edges(y1, y2, bins, stride, limits[:, :1])
    left, right = _edges(x1, x2, bins, stride, limits[:, 1:])
    top, bottom = top[:, :, None], bottom[:, :, None]
    left, right = left[:, None], right[:, None]

    # The outputs of one bin lie side by side in memory, so that a corner is one copy of a row.
    sums: Tensor = maps.double().unflatten(1, (outputs, bins**2)).permute(0, 2, 3, 4, 1)
    sums = F.pad(sums, (0, 0, 1, 0, 1, 0)).cumsum(2).cumsum(3)
    plane = (height + 1) * (width + 1)
    bin_index = torch.arange(bins**2, device=maps.device).view(1, bins, bins)
    start = (owners.view(-1, 1, 1) * bins**2 + bin_index) * plane
    corners = [
        start + y * (width + 1) + x
        for y, x in ((bottom, right), (top, left), (top, right), (bottom, left))
    ]
    index = torch.stack([corner.flatten(1) for corner in corners])
    # An embedding, since the backward of plain indexing adds row by row on a CPU.
    inner, outer, above, beside = F.embedding(index, sums.reshape(-1, outputs)).unbind()
    area = ((bottom - top) * (right - left)).flatten(1).clamp(min=1)
    return (inner + outer - above - beside) / area[..., None]


def _edges(
    first: Tensor, last: Tensor, bins: int, stride: int, limit: Tensor
) -> tuple[Tensor, Tensor]:
    """First cell and cell past the last of each bin along one axis, (R, bins) int64."""
    start = _round(first)[:, None] / stride
    step = ((_round(last)[:, None] + 1) / stride - start).clamp(min=0.1) / bins
    number = torch.arange(bins, device=first.device, dtype=first.dtype)
    begin = (number * step + start).floor()
    end = ((number + 1) * step + start).ceil()
    first_cell, past_last = (torch.minimum(e.clamp(min=0), limit).long() for e in (begin, end))
    return first_cell, past_last


def _round(x: Tensor) -> Tensor:
    """Half away from zero, as C does; torch.round takes a half to the even side."""
    whole = x.trunc()
    return whole + torch.where((x - whole).abs() >= 0.5, x.sign(), 0.0)


def _result_type(maps: Tensor) -> torch.dtype:
    return torch.float64 if maps.dtype == torch.float64 else torch.float32
