"""The segmentation head: features -> scores -> a label for each pixel."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Fusion

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
        self.label_map: Callable[[Tensor, tuple[int, int]], Tensor] = label_map
        if learned:
            self.scores = nn.Conv2d(in_channels, num_classes, 1)
            nn.init.normal_(self.scores.weight, std=0.01)
            nn.init.zeros_(self.scores.get_parameter("bias"))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) -> scores (B, num_classes, h, w)."""
        scores: Tensor = self.scores(features)
        return scores

    def fused(self, fusion: Fusion) -> "SegmentationHead":
        """The head for inference."""
        if isinstance(self.scores, nn.Conv2d):
            self.scores = fusion.convolution(self.scores)
        self.label_map = fusion.label_map
        return self

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

    def disagreement(self, features: Tensor, own: Tensor) -> Tensor:
        """How far labels of some features are from those of others, for learning without labels.

        Args:
            features: Propagated, (B, C, h, w).
            own: The network's own of the same frames; no gradient goes to them.

        Returns:
            Mean over the pixels of the features of the divergence KL(own || propagated) between
            the probabilities of the classes, a scalar.
        """
        return divergence(self(features), self(own.detach()))

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
        return self.label_map(self(features).float(), size)


def divergence(scores: Tensor, wanted: Tensor) -> Tensor:
    """KL(wanted || found) of the probabilities of the classes, a scalar.

    Args:
        scores: Found, (B, K, h, w), before the softmax.
        wanted: Likewise.

    Returns:
        The mean over all pixels.
    """
    truth, found = wanted.float().log_softmax(1), scores.float().log_softmax(1)
    return (truth.exp() * (truth - found)).sum(1).mean()


def label_map(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The class with the largest of the upsampled scores in each pixel.

    Args:
        scores: (B, num_classes, h, w) float32.
        size: Height and width of the result.

    Returns:
        (B, H, W) uint8.
    """
    # One image at a time: 19 scores at 1024x2048 in fp32 are 160 MB an image.
    labels = [_upsample(row, size).argmax(1) for row in scores.split(1)]
    return torch.cat(labels).to(torch.uint8)


def _upsample(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(scores.float(), size=size, mode="bilinear", align_corners=False)
