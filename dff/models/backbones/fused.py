"""The layers of a ResNet as they are in a deployed model."""

from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FusedBlock(nn.Module):
    """A residual block of convolutions alone: the last one adds the shortcut in its own pass.

    Args:
        convolutions: Each with its activation, the last with that after the sum.
        downsample: The convolution of the shortcut, if it has one.
        out_channels: Channels that come out.
    """

    def __init__(
        self, convolutions: Sequence[nn.Module], downsample: nn.Module | None, out_channels: int
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.downsample, self.out_channels = downsample, out_channels

    def forward(self, x: Tensor) -> Tensor:
        """As `Block`, likewise the others."""
        *others, last = self.convolutions
        result: Tensor = last(_through(others, x), self._shortcut(x))
        return result

    def branch(self, x: Tensor) -> Tensor:
        """What the convolutions add to the shortcut."""
        *others, last = self.convolutions
        result: Tensor = last(_through(others, x), slope=1.0)
        return result

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        """The shortcut of `x`, plus a branch."""
        return F.relu(branch + self._shortcut(x), inplace=True)

    def _shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class Shift(nn.Module):
    """Subtracts a mean; the deviation is in the weights of the next layer."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> the same shape."""
        return image - self.mean


def _through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
