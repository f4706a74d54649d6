"""End-point errors from sums that are exact over any split into batches and processes."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from dff.models.contracts import STRIDE
from dff.models.warp import resample


def owned_by_rank(index: Tensor, rank: int, world_size: int) -> Tensor:
    """Which rows of a batch this process counts, so that all processes count each sample once.

    A sequential distributed sampler gives sample i to process i % world_size and then repeats
    some to make the shares equal; what is repeated lands elsewhere. The rule also holds where
    every process sees every sample.
    """
    return index % world_size == rank


def dense_flow(flow: Tensor, frame: tuple[int, int], size: tuple[int, int] | None = None) -> Tensor:
    """The flow of some pixels (B, 2, h, w) -> that of all pixels of an image, (B, 2, H, W).

    Args:
        flow: In pixels of `frame`, over which its own pixels spread evenly.
        frame: Height and width of the frames that the network saw.
        size: Those of the image, where the frames were resized from it; None is `frame`.

    Returns:
        In pixels of the image.
    """
    size = size or frame
    zoom = flow.new_tensor([size[1] / frame[1], size[0] / frame[0]]).view(1, 2, 1, 1)
    return F.interpolate(flow.float() * zoom, size=size, mode="bilinear", align_corners=False)


def flow_of_cells(flow: Tensor, stride: int, frame: tuple[int, int], cell: int = STRIDE) -> Tensor:
    """Flow as features feel it: that of each of their pixels, still in image pixels.

    Args:
        flow: (B, 2, h, w) in image pixels, of a flow network of this `stride`.
        stride: Image pixels along a side of one pixel of the flow.
        frame: Height and width of the frames.
        cell: Image pixels along a side of one pixel of the features.

    Returns:
        (B, 2, ceil(H / cell), ceil(W / cell)).
    """
    height, width = frame
    return resample(flow, stride, cell, (-(-height // cell), -(-width // cell)))


SPEEDS = {"s0_10": (0.0, 10.0), "s10_40": (10.0, 40.0), "s40": (40.0, float("inf"))}
"""Groups of pixels by the length of their true motion, in image pixels: from, and below."""


class SpeedEndPointError(Metric):
    """Mean end-point error by the speed of the true motion, in image pixels.

    The groups are those of the MPI Sintel benchmark (Butler et al., ECCV 2012): `SPEEDS`.
    """

    full_state_update = False
    error: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(len(SPEEDS), dtype=torch.float64)
        for name in ("error", "pixels"):
            self.add_state(name, zeros.clone(), dist_reduce_fx="sum")

    def update(self, flow: Tensor, truth: Tensor, known: Tensor) -> None:
        """Counts a batch; arguments as those of `GapEndPointError.update`."""
        error = torch.hypot(*(flow.double() - truth).unbind(1))
        speed = torch.hypot(*truth.double().unbind(1))
        for position, (low, high) in enumerate(SPEEDS.values()):
            counted = known & (speed >= low) & (speed < high)
            self.error[position] += error[counted].sum()
            self.pixels[position] += counted.sum()

    def compute(self) -> Tensor:
        """Error of each group, (3,); NaN where no pixel moves so fast."""
        return self.error / self.pixels


class GapEndPointError(Metric):
    """Mean end-point error by gap, in image pixels, and that of zero flow beside it.

    Args:
        gaps: The gaps that are evaluated.
    """

    full_state_update = False
    error: Tensor
    zero_error: Tensor
    pixels: Tensor

    def __init__(self, gaps: list[int]) -> None:
        super().__init__()
        self.gaps = list(gaps)
        zeros = torch.zeros(len(gaps), dtype=torch.float64)
        for name in ("error", "zero_error", "pixels"):
            self.add_state(name, zeros.clone(), dist_reduce_fx="sum")

    def update(self, flow: Tensor, truth: Tensor, known: Tensor, gap: Tensor) -> None:
        """Counts a batch.

        Args:
            flow: (B, 2, H, W) in image pixels.
            truth: Likewise.
            known: (B, H, W) bool, where the truth is known.
            gap: (B,), each one of `gaps`.
        """
        # where: unknown flow may be infinite
        error = torch.where(known, torch.hypot(*(flow.double() - truth).unbind(1)), 0.0)
        zero_error = torch.where(known, torch.hypot(*truth.double().unbind(1)), 0.0)
        for row, g in enumerate(gap.tolist()):
            position = self.gaps.index(g)
            self.error[position] += error[row].sum()
            self.zero_error[position] += zero_error[row].sum()
            self.pixels[position] += known[row].sum()

    def compute(self) -> Tensor:
        """Error of the flow and of zero flow, (2, gaps); NaN where nothing was counted."""
        # One tensor: torchmetrics would make a scalar of a (gaps,) of one gap.
        return torch.stack([self.error, self.zero_error]) / self.pixels
