"""The region proposal network (Ren et al. 2015), as the official code sets it for R-FCN."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import STRIDE
from dff.models.heads.detection.boxes import (
    base_anchors,
    clip,
    covered,
    decode,
    encode,
    overlaps,
    shifted_anchors,
    suppress,
)

DELTA_STDS = (0.1, 0.1, 0.4, 0.4)
"""The layer learns deltas over these; its outputs times these are deltas."""


class Regions(NamedTuple):
    """The regions of a batch of images.

    Args:
        boxes: (B, P, 4), x1, y1, x2, y2 in pixels, the best first. Rows past `number` repeat the
            first ones in turn.
        scores: (B, P), probability of an object; -1 where the cell is not whole.
        number: (B,) int64, regions that differ.
    """

    boxes: Tensor
    scores: Tensor
    number: Tensor


class AnchorLabels(NamedTuple):
    """What the proposal network should say of each of the K anchors.

    Args:
        labels: (B, K) int64: 1 object, 0 background, -1 ignored.
        deltas: (B, K, 4), over `DELTA_STDS`; of use where the label is 1.
    """

    labels: Tensor
    deltas: Tensor


class RegionProposals(nn.Module):
    """Two sibling 1x1 layers over anchors: is there an object, and where exactly.

    Maps may hold padding: `sizes` says how much of each image is image, and nothing of the rest
    becomes an anchor, a proposal, a label or a part of a loss.

    Args:
        in_channels: Channels of the features.
        scales: Of the anchors, see `base_anchors`.
        ratios: Of the anchors.
        pre_nms: Best anchors that enter suppression.
        proposals: Regions that an image gives.
        nms_threshold: Overlap over which the worse region goes.
        batch: Anchors of an image that the loss is taken of.
        fg_fraction: Share of them that may hold an object.
        stride: Pixels from one cell of the features to the next.
    """

    anchors: Tensor
    stds: Tensor

    def __init__(
        self,
        in_channels: int,
        *,
        scales: Sequence[float] = (8, 16, 32),
        ratios: Sequence[float] = (0.5, 1, 2),
        pre_nms: int = 6000,
        proposals: int = 300,
        nms_threshold: float = 0.7,
        batch: int = 256,
        fg_fraction: float = 0.5,
        stride: int = STRIDE,
    ) -> None:
        super().__init__()
        # Constants of the network's making, not weights: no state dict holds them.
        self.register_buffer("anchors", base_anchors(scales, ratios, stride), persistent=False)
        self.register_buffer("stds", torch.tensor(DELTA_STDS), persistent=False)
        number = len(self.anchors)
        self.scores = nn.Conv2d(in_channels, 2 * number, 1)
        self.deltas = nn.Conv2d(in_channels, 4 * number, 1)
        for layer in (self.scores, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.get_parameter("bias"))
        self.stride = stride
        self.pre_nms = pre_nms
        self.proposals = proposals
        self.nms_threshold = nms_threshold
        self.batch = batch
        self.fg_fraction = fg_fraction

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w) -> scores (B, 2A, h, w), backgrounds first; deltas (B, 4A, h, w).

        Both fp32 under any autocast; the deltas are still over `DELTA_STDS`.
        """
        return self.scores(features).float(), self.deltas(features).float()

    @torch.no_grad()
    def propose(self, scores: Tensor, deltas: Tensor, sizes: Tensor) -> Regions:
        """The regions of each image, from the outputs of `forward`.

        Args:
            scores: (B, 2A, h, w).
            deltas: (B, 4A, h, w).
            sizes: Height and width in pixels of the part of each image that is no padding, (B, 2).
        """
        return propose(
            *self._by_anchor(scores, deltas),
            self.anchors,
            sizes,
            pre_nms=self.pre_nms,
            count=self.proposals,
            nms_threshold=self.nms_threshold,
            stride=self.stride,
        )

    @torch.no_grad()
    def rank(self, scores: Tensor, deltas: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """What `propose` suppresses; arguments as its own, result as that of `rank_regions`."""
        of_anchors = self._by_anchor(scores, deltas)
        return rank_regions(*of_anchors, self.anchors, sizes, self.pre_nms, self.stride)

    def _by_anchor(self, scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        foreground = scores.unflatten(1, (2, -1)).softmax(1)[:, 1]
        return foreground, by_anchor(deltas) * self.stds

    def losses(self, scores: Tensor, deltas: Tensor, labels: AnchorLabels) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of the labelled anchors, and smooth L1 of objects over `batch`.

        Both of each image, then their mean over the images: scalars in fp32.

        Args:
            scores: (B, 2A, h, w), as of `forward`.
            deltas: (B, 4A, h, w), as of `forward`.
            labels: Of `label`.
        """
        pairs = scores.unflatten(1, (2, -1)).permute(0, 3, 4, 2, 1).flatten(1, 3)
        target = labels.labels
        error = F.cross_entropy(
            pairs.flatten(0, 1), target.flatten(), ignore_index=-1, reduction="none"
        )
        error = error.view_as(target).sum(1) / (target >= 0).sum(1).clamp(min=1)
        # Chosen before the subtraction: an anchor without a box has no delta worth reading.
        objects = (target == 1)[..., None]
        distance = torch.where(objects, by_anchor(deltas) - labels.deltas, 0.0)
        distance = F.smooth_l1_loss(distance, torch.zeros_like(distance), reduction="none")
        return error.mean(), (distance.sum((1, 2)) / self.batch).mean()

    @torch.no_grad()
    def label(
        self,
        height: int,
        width: int,
        boxes: Tensor,
        present: Tensor,
        sizes: Tensor,
        generator: torch.Generator | None = None,
        crowds: Tensor | None = None,
    ) -> AnchorLabels:
        """Labels of the anchors of a map; arguments as those of `label_anchors`."""
        anchors = shifted_anchors(self.anchors, height, width, self.stride)
        labels, deltas = label_anchors(anchors, boxes, present, sizes, crowds)
        most = int(self.fg_fraction * self.batch)
        return AnchorLabels(sample(labels, self.batch, most, generator), deltas / self.stds)


def by_anchor(deltas: Tensor) -> Tensor:
    """(B, 4A, h, w) -> (B, h * w * A, 4), in the order of `shifted_anchors`."""
    by_map: Tensor = deltas.unflatten(1, (-1, 4))  # (B, A, 4, h, w)
    return by_map.permute(0, 3, 4, 1, 2).flatten(1, 3)


@torch.no_grad()
def propose(
    foreground: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    sizes: Tensor,
    *,
    pre_nms: int = 6000,
    count: int = 300,
    nms_threshold: float = 0.7,
    stride: int = STRIDE,
) -> Regions:
    """The best regions of each image, as the official C++ operator `Proposal` finds them.

    The last row or column of a map, where it covers less than a whole cell of its image, ranks
    after all others. Where fewer regions than `count` survive, they are repeated in turn, as that
    operator does: in a prediction the final suppression removes the copies, and in training they
    count as regions of their own. The sort is stable, so ties keep the order of the anchors.

    Args:
        foreground: Probability of an object, (B, A, h, w).
        deltas: (B, h * w * A, 4), true deltas.
        anchors: Of one cell, (A, 4).
        sizes: Height and width of each image without its padding, pixels, (B, 2).
        pre_nms: Best anchors that enter suppression.
        count: Regions to give.
        nms_threshold: Overlap over which the worse region goes.
        stride: Pixels from one cell of the maps to the next.
    """
    boxes, scores = rank_regions(foreground, deltas, anchors, sizes, pre_nms, stride)
    kept, number = suppress(boxes, nms_threshold, candidates=scores > -2, limit=count)
    turn = torch.arange(count, device=boxes.device) % number[:, None].clamp(min=1)
    kept = kept.gather(1, turn)
    return Regions(rows_of(boxes, kept), scores.gather(1, kept), number)


@torch.no_grad()
def rank_regions(
    foreground: Tensor, deltas: Tensor, anchors: Tensor, sizes: Tensor, pre_nms: int, stride: int
) -> tuple[Tensor, Tensor]:
    """The best anchors of each image, moved by their deltas and cut to it, the best first.

    Arguments as those of `propose`.

    Returns:
        Boxes (B, N, 4) and scores (B, N), N being `pre_nms` or all anchors: -1 where the cell is
        not whole, -2 where it is padding.
    """
    height, width = foreground.shape[-2:]
    whole = _inside(height, width, sizes // stride, foreground)
    real = _inside(height, width, real_cells(sizes, stride), foreground)
    # Padding ranks last of all, and takes no part even there.
    ranked = torch.where(real, torch.where(whole, foreground, -1.0), -2.0)
    scores, order = ranked.permute(0, 2, 3, 1).flatten(1).sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :pre_nms], order[:, :pre_nms]
    chosen = shifted_anchors(anchors, height, width, stride)[order]
    return clip(decode(chosen, rows_of(deltas, order)), sizes), scores


@torch.no_grad()
def label_anchors(
    anchors: Tensor,
    boxes: Tensor,
    present: Tensor,
    sizes: Tensor,
    crowds: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What each anchor is, before any sampling (Ren et al. 2015, Sec. 3.1.2).

    Only anchors that lie in their image count. An object: the anchors that overlap a box the most,
    all of them at a tie, and those that overlap one by 0.7 or more. Background: less than 0.3 with
    every box. The official code also calls every anchor an object that does not touch a box which
    no anchor touches, a slip for boxes beyond the reach of all anchors; here such a box has none.

    Args:
        anchors: (K, 4).
        boxes: True boxes, (B, N, 4) with N at least 1.
        present: (B, N) bool, rows that are boxes.
        sizes: Height and width of each image without its padding, pixels, (B, 2).
        crowds: (B, N) bool, rows that are crowds: what lies in one by half is no background.

    Returns:
        Labels (B, K) int64: 1, 0, or -1 for neither; deltas to the box that each overlaps the most,
        (B, K, 4), of use where the label is 1.
    """
    x1, y1, x2, y2 = anchors.unbind(1)
    height, width = sizes[:, :1], sizes[:, 1:]
    inside = (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)
    counts = inside[:, :, None] & present[:, None]
    shared = torch.where(counts, overlaps(anchors, boxes), 0.0)
    best, match = shared.max(2)
    nearest = (shared == shared.amax(1, keepdim=True)) & (shared > 0)
    background = inside & (best < 0.3)
    if crowds is not None and crowds.any():
        background &= ~in_crowds(anchors, boxes, crowds)
    labels = torch.where(background, 0, -1)
    labels = torch.where(nearest.any(2) | (best >= 0.7), 1, labels)
    return labels, encode(anchors, rows_of(boxes, match))


def in_crowds(regions: Tensor, boxes: Tensor, crowds: Tensor) -> Tensor:
    """Which regions lie in a crowd by half or more.

    Args:
        regions: (..., K, 4).
        boxes: (B, N, 4).
        crowds: (B, N) bool, which of them are crowds.

    Returns:
        (B, K) bool.
    """
    return ((covered(regions, boxes) >= 0.5) & crowds[:, None]).any(2)


@torch.no_grad()
def sample(
    labels: Tensor, batch: int, most: int, generator: torch.Generator | None = None
) -> Tensor:
    """Takes labels away at random until no image has more than it should.

    Labels within the limits come back as they are.

    Args:
        labels: (B, K) int64: 1, 0 or -1.
        batch: Labels that an image may keep.
        most: Ones among them that it may keep.
        generator: Draws what goes; default PyTorch's own for the device.

    Returns:
        (B, K) int64.
    """
    device = labels.device if generator is None else generator.device
    draw = torch.rand(labels.shape, generator=generator, device=device).to(labels.device)
    one, zero = labels == 1, labels == 0
    one_left = one & (_rank(draw, one) < most)
    zero_left = zero & (_rank(draw, zero) < batch - one_left.sum(1, keepdim=True))
    return torch.where(one_left | zero_left, labels, -1)


def real_cells(sizes: Tensor, stride: int = STRIDE) -> Tensor:
    """Rows and columns of the features that images of `sizes` have, padding apart: rounded up."""
    return (sizes / stride).ceil().long()


def rows_of(values: Tensor, index: Tensor) -> Tensor:
    """Values (B, N, C) at index (B, M) -> (B, M, C)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def _rank(draw: Tensor, among: Tensor) -> Tensor:
    return torch.where(among, draw, 2.0).argsort(1).argsort(1)


def _inside(height: int, width: int, cells: Tensor, like: Tensor) -> Tensor:
    """(B, 1, height, width) bool: cells of each image's first rows and columns."""
    rows = torch.arange(height, device=like.device) < cells[:, :1]
    columns = torch.arange(width, device=like.device) < cells[:, 1:]
    return (rows[:, :, None] & columns[:, None])[:, None]
