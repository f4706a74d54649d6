"""Boxes: anchors, coding, overlap and suppression, with the official inclusive corners.

A box is (x1, y1, x2, y2) in pixels, and its corners are pixels that belong to it: it is
x2 - x1 + 1 wide. Overlap and coding count that 1 everywhere. torchvision's `nms` and `box_iou` do
not, and on the boxes of 16 pixels that VID holds, that moves an overlap by some hundredths.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dff.models.contracts import STRIDE

_NOWHERE = (0.0, 0.0, -1.0, -1.0)
"""A box without area: it overlaps nothing."""


def base_anchors(
    scales: Sequence[float] = (8, 16, 32),
    ratios: Sequence[float] = (0.5, 1, 2),
    base: int = STRIDE,
) -> Tensor:
    """The anchors of the cell at the origin, ratios outer and scales inner.

    Widths and heights of a ratio are rounded to whole pixels before they are scaled, as in
    py-faster-rcnn's `generate_anchors`, from which the official code takes them.

    Args:
        scales: Side of an anchor over that of its cell.
        ratios: Height over width.
        base: Side of a cell, the stride of the features, in pixels.

    Returns:
        (len(ratios) * len(scales), 4), fp32.
    """
    centre = (base - 1) / 2
    rows = []
    for ratio in torch.tensor(ratios, dtype=torch.float64):
        width = (base * base / ratio).sqrt().round()
        height = (width * ratio).round()
        for scale in scales:
            half_width, half_height = (width * scale - 1) / 2, (height * scale - 1) / 2
            rows.append((-half_width, -half_height, half_width, half_height))
    return (torch.tensor(rows, dtype=torch.float64) + centre).float()


def shifted_anchors(anchors: Tensor, height: int, width: int, stride: int = STRIDE) -> Tensor:
    """The anchors of every cell of a map, in the order (row, column, anchor).

    Cell (i, j) moves them by exactly (j, i) times the stride: no half pixel.

    Args:
        anchors: Of the cell at the origin, (A, 4).
        height: Rows of the map.
        width: Columns of the map.
        stride: Pixels from one cell to the next.

    Returns:
        (height * width * A, 4).
    """
    y = torch.arange(height, device=anchors.device, dtype=anchors.dtype) * stride
    x = torch.arange(width, device=anchors.device, dtype=anchors.dtype) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack((x, y, x, y), -1)
    return (shifts[:, :, None] + anchors).flatten(0, 2)


def encode(boxes: Tensor, wanted: Tensor) -> Tensor:
    """The deltas (dx, dy, dw, dh) that turn one box into another; the inverse of `decode`.

    Args:
        boxes: Anchors or regions, (..., 4).
        wanted: Boxes that they should become, (..., 4).

    Returns:
        (..., 4): shift of the centre over the box's size, and logarithm of the ratio of sizes.
    """
    x, y, width, height = _centred(boxes)
    wanted_x, wanted_y, wanted_width, wanted_height = _centred(wanted)
    return torch.stack(
        (
            (wanted_x - x) / (width + 1e-14),
            (wanted_y - y) / (height + 1e-14),
            (wanted_width / width).log(),
            (wanted_height / height).log(),
        ),
        -1,
    )


def decode(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Moves boxes by deltas (dx, dy, dw, dh).

    Args:
        boxes: (..., 4).
        deltas: (..., 4).

    Returns:
        (..., 4), not clipped to any image.
    """
    x, y, width, height = _centred(boxes)
    dx, dy, dw, dh = deltas.unbind(-1)
    x, y = dx * width + x, dy * height + y
    half_width, half_height = 0.5 * (dw.exp() * width - 1), 0.5 * (dh.exp() * height - 1)
    return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), -1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes cut to the pixels of their images.

    Args:
        boxes: (B, N, 4).
        sizes: Height and width of each image, (B, 2).

    Returns:
        (B, N, 4): x in 0 .. width - 1, y in 0 .. height - 1.
    """
    last = (sizes.to(boxes.dtype) - 1).flip(-1).repeat(1, 2)[:, None]
    return torch.minimum(boxes.clamp(min=0), last)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each box with each.

    Args:
        first: (..., N, 4).
        second: (..., M, 4).

    Returns:
        (..., N, M); 0 for a box without area.
    """
    shared = _common(first, second)
    union = _area(first)[..., :, None] + _area(second)[..., None, :] - shared
    return torch.where(shared > 0, shared / union, 0.0)


def covered(regions: Tensor, boxes: Tensor) -> Tensor:
    """Share of each region that lies in each box.

    Args:
        regions: (..., N, 4).
        boxes: (..., M, 4).

    Returns:
        (..., N, M).
    """
    return _common(regions, boxes) / _area(regions)[..., :, None].clamp(min=1)


def nms_mask(suppresses: Tensor, candidates: Tensor) -> Tensor:
    """Greedy suppression: who is left when the best box removes its rivals, then the next best.

    Whoever no one suppresses stays; so whoever only they suppress goes; and so on. Each round
    settles at least one more box, and in practice hundreds, so that a few products of a matrix and
    a vector replace a loop over the boxes.

    Args:
        suppresses: (..., N, N) bool; [j, i]: box j, where it is kept, removes box i. It must hold
            no circle: only a better box removes another.
        candidates: (..., N) bool, the boxes that take part.

    Returns:
        (..., N) bool.
    """
    # In another layout, every product below would copy it first.
    matrix = suppresses.float().contiguous()
    keep = candidates
    while True:
        # Several rounds a question: the answer makes a GPU wait for the host.
        before = keep
        for _ in range(4 if keep.is_cuda else 1):
            before = keep
            removed = (keep.float().unsqueeze(-2) @ matrix).squeeze(-2) > 0
            keep = candidates & ~removed
        if torch.equal(keep, before):
            return keep


@torch.no_grad()
def suppress(
    boxes: Tensor,
    threshold: float,
    *,
    candidates: Tensor | None = None,
    limit: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression of boxes that are already in order, the best first.

    A box goes where its overlap with a better one that stays is over (not at) the threshold. The
    order is the caller's, so ties of the scores are broken as the caller's sort breaks them.

    Args:
        boxes: (B, N, 4), each image's best first.
        threshold: Overlap over which the worse box goes.
        candidates: (B, N) bool, the boxes that take part; default all.
        limit: Boxes wanted of an image at most; once all images have them, the rest is not read.

    Returns:
        Indices of the boxes kept, (B, limit) or (B, N), the best first, and their number (B,).
        Entries past the number are 0.
    """
    batch, number = boxes.shape[:2]
    limit = number if limit is None else min(limit, number)
    if candidates is None:
        candidates = boxes.new_ones(batch, number, dtype=torch.bool)
    # The last place of each row takes what is not kept, and is never read.
    kept = boxes.new_tensor(_NOWHERE).repeat(batch, limit + 1, 1)
    indices = torch.zeros(batch, limit + 1, dtype=torch.int64, device=boxes.device)
    count = torch.zeros(batch, 1, dtype=torch.int64, device=boxes.device)
    # A GPU would rather have few large blocks; on a CPU the matrix should stay in the cache.
    block = 2048 if boxes.is_cuda else 256
    for start in range(0, number, block):
        rows, free = boxes[:, start : start + block], candidates[:, start : start + block]
        if start:
            better = kept[:, : min(start, limit)]
            free = free & ~(overlaps(better, rows) > threshold).any(1)
        keep = nms_mask((overlaps(rows, rows) > threshold).triu(1), free)
        place = torch.where(keep, count + keep.cumsum(1) - 1, limit).clamp(max=limit)
        kept.scatter_(1, place[..., None].expand_as(rows), rows)
        position = torch.arange(start, start + rows.shape[1], device=boxes.device)
        indices.scatter_(1, place, position.expand(batch, -1))
        count = count + keep.sum(1, keepdim=True)
        if start + block < number and bool((count >= limit).all()):
            break
    count = count[:, 0].clamp(max=limit)
    filled = torch.arange(limit, device=boxes.device) < count[:, None]
    return torch.where(filled, indices[:, :limit], 0), count


@torch.no_grad()
def best_detections(
    probabilities: Tensor, boxes: Tensor, *, nms: float, score_threshold: float, most: int
) -> Tensor:
    """Suppression within each class, then the best of each image.

    Args:
        probabilities: (B, P, C), of objects alone.
        boxes: (B, P, 4), the same for all classes.
        nms: Overlap over which the worse of a class goes.
        score_threshold: Only scores over this count.
        most: Detections of an image.

    Returns:
        (B, most, 6), rows x1, y1, x2, y2, score, class, the highest score first; a row without a
        detection has score 0 and class -1.
    """
    scores = probabilities.transpose(1, 2)
    rank = scores.argsort(dim=2, descending=True, stable=True).argsort(2)
    rivals = (overlaps(boxes, boxes) > nms)[:, None]
    # One matrix a class, in the order of the regions, spares a sorted copy of boxes for each class.
    better = rank[..., :, None] < rank[..., None, :]
    keep = nms_mask(rivals & better, scores > score_threshold)
    return best_rows(scores, keep, boxes, most)


def best_rows(scores: Tensor, keep: Tensor, boxes: Tensor, most: int) -> Tensor:
    """The best of each image, of all classes together.

    Args:
        scores: (B, C, P).
        keep: (B, C, P) bool, those that no rival suppressed.
        boxes: (B, P, 4), the same for all classes.
        most: Detections of an image.

    Returns:
        (B, most, 6), as of `best_detections`.
    """
    classes, number = scores.shape[1:]
    # Padded, so that a batch of few regions and classes fills its rows too.
    flat = F.pad(torch.where(keep, scores, 0.0).flatten(1), (0, max(0, most - classes * number)))
    best, order = flat.sort(dim=1, descending=True, stable=True)
    best, order = best[:, :most], order[:, :most]
    found = best > 0
    label = torch.where(found, (order // number).clamp(max=classes - 1), -1)
    rows = torch.where(
        found[..., None], boxes.gather(1, (order % number)[..., None].expand(-1, -1, 4)), 0.0
    )
    return torch.cat((rows, best[..., None], label[..., None].to(rows.dtype)), 2)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    return x1 + 0.5 * (width - 1), y1 + 0.5 * (height - 1), width, height


def _common(first: Tensor, second: Tensor) -> Tensor:
    """Pixels that each box has in common with each, (..., N, M)."""
    a, b = first[..., :, None, :], second[..., None, :, :]
    width = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0]) + 1
    height = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1]) + 1
    return width.clamp(min=0) * height.clamp(min=0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)
