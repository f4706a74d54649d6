"""The segmentation head: features -> scores -> a label for each pixel."""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = 255


class SegmentationHead(nn.Module):
    """One 1x1 layer to the score maps, bilinear upsampling to the image, softmax (paper, Sec. 4).

    Args:
        in_channels: Channels of the features.
        num_classes: Score maps, one for each class.
        learned: False where the score layer belongs to the feature network and the scores
            themselves are propagated (split point 0 of Table 5).
    """

    def __init__(self, in_channels: int, num_classes: int, *, learned: bool = True) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scores: nn.Module = nn.Identity()
        if learned:
            self.scores = nn.Conv2d(in_channels, num_classes, 1)
            nn.init.normal_(self.scores.weight, std=0.01)
            nn.init.zeros_(self.scores.get_parameter("bias"))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) -> scores (B, num_classes, h, w)."""
        scores: Tensor = self.scores(features)
        return scores

    def loss(self, features: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean cross-entropy over the pixels that are not 255, at the resolution of the labels.

        Args:
            features: (B, C, h, w).
            targets: `mask` (B, H, W), integer class of each pixel, 255 ignored.

        Returns:
            `segmentation`: a scalar in fp32; 0 where every pixel is ignored.
        """
        mask = targets["mask"].long()
        height, width = mask.shape[-2:]
        scores = _upsample(self(features), (height, width))
        # One row a pixel: in channels-last memory that is a view, and softmax runs along it.
        rows = scores.permute(0, 2, 3, 1).flatten(0, 2)
        total = F.cross_entropy(rows, mask.flatten(), ignore_index=IGNORED, reduction="sum")
        return {"segmentation": total / (mask != IGNORED).sum().clamp(min=1)}

    def confidence(self, features: Tensor) -> Tensor:
        """Mean probability of the classes that win, (B,): how sure the head is of its labels."""
        scores: Tensor = self(features).float()
        return scores.softmax(1).amax(1).mean((1, 2))

    def predict(
        self, features: Tensor, size: tuple[int, int], frame: tuple[int, int] | None = None
    ) -> Tensor:
        """Features (B, C, h, w) -> classes (B, H, W) uint8 of images of `size` (H, W).

        The size of the frames that the networks saw makes no difference here.
        """
        # One image at a time: 19 scores at 1024x2048 in fp32 are 160 MB an image.
        scores = self(features).float()
        if scores.device.type == "cpu":
            return torch.stack([_labels(row, size) for row in scores])
        labels = [_upsample(row, size).argmax(1) for row in scores.split(1)]
        return torch.cat(labels).to(torch.uint8)


@torch.no_grad()
def _labels(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest of the upsampled scores, a few rows at a time: they stay in the cache.

    To find which is largest takes a CPU far longer than to find how large it is. So each score
    becomes an integer, and the number of its class goes behind it. Scores that differ by less than
    2 ** -20 of the largest count as equal, and among those any may be taken.

    Args:
        scores: (num_classes, h, w) float32.
        size: Height and width of the result.

    Returns:
        (H, W) uint8, as bilinear upsampling (`align_corners=False`) and argmax.
    """
    classes, rows, _ = scores.shape
    height, width = size
    bits = (classes - 1).bit_length()
    # Next to this number a float32 has no bits left for fractions of the step above: whatever is
    # computed from scores that it was added to comes out in whole steps, one bit for each.
    exponent = math.frexp(float(scores.abs().max()))[1]
    shift = 3 * 2.0 ** min(max(exponent, -100), 100)
    zero = int(np.float32(shift).view(np.int32))
    # The smallest of the negative scores: among equal ones the first class wins, as in argmax.
    codes = torch.from_numpy((np.arange(classes) - (zero << bits)).astype(np.int32)).view(-1, 1)
    # Along the rows first; as (h, num_classes, W), where a strip of rows is one block of memory.
    wide = F.interpolate((shift - scores).transpose(0, 1), size=width, mode="linear")
    position = ((np.arange(height, dtype=np.float32) + 0.5) * (rows / height) - 0.5).clip(min=0)
    above = position.astype(np.int64)
    counts = np.bincount(above, minlength=rows).tolist()
    shares = torch.from_numpy(position - above.astype(np.float32)).view(-1, 1, 1).split(counts)
    found = torch.empty(height, width, dtype=torch.int32)
    buffer = torch.empty(max(counts), classes, width)
    last = len(wide) - 1
    lines = wide.split(1)
    for row, (share, labels) in enumerate(zip(shares, found.split(counts), strict=True)):
        if n := len(labels):  # a map may be larger than the image
            strip = torch.lerp(lines[row], lines[min(row + 1, last)], share, out=buffer[:n])
            steps = strip.view(torch.int32)
            torch.amin(torch.add(codes, steps, alpha=2**bits, out=steps), 1, out=labels)
    return found.to(torch.uint8).bitwise_and_(2**bits - 1)


def _upsample(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(scores.float(), size=size, mode="bilinear", align_corners=False)
