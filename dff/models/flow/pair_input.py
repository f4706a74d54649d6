"""What a flow network makes of its two frames before the first layer."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Fusion, PreparedKey

MINIMUM_SIDE = 64
MEAN = (123.15 / 255, 115.90 / 255, 103.06 / 255)


class PairInput(nn.Module):
    """Current and key frame, RGB in [0, 1] -> both in one tensor of half size, less the mean.

    The mean is a constant of the network's making: no state dict holds it.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, current: Tensor, key: Tensor | PreparedKey) -> Tensor:
        """Both (B, 3, H, W) -> (B, 6, ceil(H / 2), ceil(W / 2)).

        Raises:
            ValueError: The frames differ in shape, or a side is below 64 pixels.
        """
        wanted = f"the flow network reaches stride 128 and needs at least {MINIMUM_SIDE}"
        check_pair(current, key.shape, f"{wanted} on each side")
        if isinstance(key, Tensor):
            key = self.prepare(key)
        return self.join(self.downscale(current), *key.parts)

    def join(self, current: Tensor, key: Tensor) -> Tensor:
        """What `downscale` made of the current and `prepare` of the key frames, in one tensor."""
        return torch.cat((current, key), dim=1)

    def prepare(self, key: Tensor) -> PreparedKey:
        """Key frames (B, 3, H, W) -> (B, 3, ceil(H / 2), ceil(W / 2)), for `forward`."""
        halves = self.downscale(unexpand(key)).expand(len(key), -1, -1, -1)
        return PreparedKey(key.shape, (halves,))

    def downscale(self, frame: Tensor) -> Tensor:
        """One frame of each pair (B, 3, H, W) -> (B, 3, ceil(H / 2), ceil(W / 2))."""
        return _halve(frame).sub_(self.mean)  # now it is a quarter of the pixels


class SplitPair(PairInput):
    """`PairInput` and the first convolution of a flow network, which takes the two frames apart.

    A convolution is linear: over a pair it is the sum over both frames, and the key frame's part is
    the same for all frames that it serves.

    Args:
        first: The convolution, over six channels.
        slope: Of the leaky ReLU that follows it.
        fusion: Makes both halves.
    """

    def __init__(self, first: nn.Conv2d, slope: float, fusion: Fusion) -> None:
        super().__init__()
        halves = []
        for weight in first.weight.split(3, dim=1):
            half = copy.deepcopy(first)
            half.weight, half.in_channels = nn.Parameter(weight, requires_grad=False), 3
            halves.append(half)
        halves[1].bias = None
        self.current = fusion.convolution(halves[0], slope=slope)
        self.key = fusion.convolution(halves[1])

    def prepare(self, key: Tensor) -> PreparedKey:
        """Key frames (B, 3, H, W) -> their part of the first map."""
        (halves,) = super().prepare(key).parts
        part = self.key(unexpand(halves)).expand(len(key), -1, -1, -1)
        return PreparedKey(key.shape, (part.contiguous(memory_format=torch.channels_last),))

    def join(self, current: Tensor, key: Tensor) -> Tensor:
        """Half-size current frames, and the key frames' part -> the first map."""
        first_map: Tensor = self.current(current, added=key)
        return first_map


def check_pair(current: Tensor, key: torch.Size, wanted: str) -> None:
    """Checks two frames (B, 3, H, W) that a flow is asked of.

    Args:
        current: The current frames.
        key: Shape of the key frames.
        wanted: What the message says of sides that are too short: who wants how many pixels.

    Raises:
        ValueError: The frames differ in shape, or a side is below 64 pixels.
    """
    if current.shape != key:
        raise ValueError(
            f"current frame of shape {tuple(current.shape)}, key frame of shape "
            f"{tuple(key)}: give one key frame of the same size with each current frame"
        )
    height, width = current.shape[-2:]
    if min(height, width) < MINIMUM_SIDE:
        raise ValueError(
            f"frames of {height} x {width} pixels: {wanted}; enlarge the frames "
            "(--short_side) or the crop"
        )


def unexpand(rows: Tensor) -> Tensor:
    """The only row of a batch that was made from it by `expand`, else all rows."""
    return rows[:1] if rows.stride(0) == 0 else rows


def _halve(frame: Tensor) -> Tensor:
    """Means over 2x2 pixels; at an odd border, of those that are there, as the official pooling.

    Two sums take a quarter of the time that pooling of three channels takes on a CPU.
    """
    if torch.compiler.is_exporting():  # whether a side is odd would be fixed for all sizes
        return F.avg_pool2d(frame, 2, 2, ceil_mode=True)
    height, width = frame.shape[-2:]
    if height % 2 or width % 2:
        frame = F.pad(frame, (0, width % 2, 0, height % 2), mode="replicate")
    rows = frame[:, :, 0::2] + frame[:, :, 1::2]
    return (rows[..., 0::2] + rows[..., 1::2]).mul_(0.25)
