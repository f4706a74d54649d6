"""Flow network of the paper: FlowNet "Simple" at half size, and what all flow networks share."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Flow, PreparedKey

FLOW_UNIT = 20.0
"""Pixels of the half-size image in one unit of the raw predictions, as FlowNet was trained."""

IMAGE_PIXELS = FLOW_UNIT * 2
"""Pixels of the image in one unit of the raw predictions."""

MINIMUM_SIDE = 64
SLOPE = 0.1
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
        return self.join(self.downscale(current), key.part)

    def join(self, current: Tensor, key: Tensor) -> Tensor:
        """What `downscale` made of the current and `prepare` of the key frames, in one tensor."""
        return torch.cat((current, key), dim=1)

    def prepare(self, key: Tensor) -> PreparedKey:
        """Key frames (B, 3, H, W) -> (B, 3, ceil(H / 2), ceil(W / 2)), for `forward`."""
        return PreparedKey(key.shape, self.downscale(unexpand(key)).expand(len(key), -1, -1, -1))

    def downscale(self, frame: Tensor) -> Tensor:
        """One frame of each pair (B, 3, H, W) -> (B, 3, ceil(H / 2), ceil(W / 2))."""
        return _halve(frame).sub_(self.mean)  # now it is a quarter of the pixels


class FlowDecoder(nn.Module):
    """Coarse-to-fine refinement of FlowNet, then the flow at stride 16.

    Args:
        skips: Channels of the encoder's five maps, coarse to fine: strides 64, 32, 16, 8, 4 of the
            half-size image.
        widths: Channels of the four deconvolutions, coarse to fine.
    """

    def __init__(self, skips: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.deconvolutions = nn.ModuleList()
        self.predictions = nn.ModuleList()
        self.upsamplings = nn.ModuleList()
        channels = skips[0]
        for skip, width in zip(skips[1:], widths, strict=True):
            self.deconvolutions.append(nn.ConvTranspose2d(channels, width, 4, 2))
            self.predictions.append(nn.Conv2d(channels, 2, 3, padding=1))
            self.upsamplings.append(nn.ConvTranspose2d(2, 2, 4, 2))
            channels = skip + width + 2
        self.flow = nn.Conv2d(channels, 2, 3, padding=1)
        self.out_channels = channels
        self.activation: nn.Module = nn.LeakyReLU(SLOPE)
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        initialize(self)
        for prediction in (*self.predictions, self.flow):
            # Near zero: a coarse flow feeds every finer one, and 1 unit is 20 pixels already.
            prediction.get_parameter("weight").mul_(0.1)
        tap = torch.tensor((0.25, 0.75, 0.75, 0.25))
        for upsampling in self.upsamplings:
            weight = nn.init.zeros_(upsampling.get_parameter("weight"))
            for channel in range(2):
                weight[channel, channel] = torch.outer(tap, tap)

    def refine(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Encoder's maps, coarse to fine -> four raw flows, coarse to fine, and the joined map.

        The joined map (B, out_channels, h, w) is pooled to stride 16.
        """
        joined = maps[0]
        flows = []
        for skip, deconvolution, prediction, upsampling in zip(
            maps[1:], self.deconvolutions, self.predictions, self.upsamplings, strict=True
        ):
            flow = prediction(joined)
            flows.append(flow.to(_full(flow.dtype)))
            parts = [
                skip,
                self.activation(_crop(deconvolution(joined), skip)),
                _crop(upsampling(flow), skip),
            ]
            if len(flows) == len(self.predictions):  # the finest: joined where it is smaller
                parts = [F.avg_pool2d(part, 2, 2, ceil_mode=True) for part in parts]
            joined = torch.cat(parts, dim=1)
        return flows, joined

    def predict(self, joined: Tensor) -> Tensor:
        """Joined map (B, out_channels, h, w) -> raw flow (B, 2, h, w), float32 under any autocast.

        bfloat16 has 8 bits: a flow of 160 image pixels would come in steps of a whole pixel.
        """
        device = joined.device.type
        # meta tensors, which count FLOPs, know no autocast
        with nullcontext() if joined.is_meta else torch.autocast(device, enabled=False):
            joined = joined.to(_full(joined.dtype))
            if self.flow.weight.dtype == joined.dtype:
                flow: Tensor = self.flow(joined)
                return flow
            weight, bias = self.flow.weight.to(joined), cast(Tensor, self.flow.bias).to(joined)
            return F.conv2d(joined, weight, bias, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Flow:
        """Encoder's maps -> flow at stride 16, the joined map its context."""
        _, joined = self.refine(maps)
        return Flow(self.predict(joined) * IMAGE_PIXELS, joined)

    def pyramid(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Encoder's maps -> the five raw flows, coarse to fine; the last at stride 16."""
        flows, joined = self.refine(maps)
        return [*flows, self.predict(joined)]


class FlowNetEncoder(nn.Module):
    """Ten convolutions of FlowNet "Simple" (Dosovitskiy et al. 2015; the paper's Table 1).

    Args:
        width: Factor on all widths: 1 is FlowNet, 0.5 is FlowNet Half.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        channels = [round(width * c) for c in (64, 128, 256, 512, 512, 1024)]
        self.conv1 = nn.Conv2d(6, channels[0], 7, 2, 3)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 5, 2, 2)
        self.conv3 = nn.Conv2d(channels[1], channels[2], 5, 2, 2)
        self.conv3_1 = nn.Conv2d(channels[2], channels[2], 3, 1, 1)
        self.conv4 = nn.Conv2d(channels[2], channels[3], 3, 2, 1)
        self.conv4_1 = nn.Conv2d(channels[3], channels[3], 3, 1, 1)
        self.conv5 = nn.Conv2d(channels[3], channels[4], 3, 2, 1)
        self.conv5_1 = nn.Conv2d(channels[4], channels[4], 3, 1, 1)
        self.conv6 = nn.Conv2d(channels[4], channels[5], 3, 2, 1)
        self.conv6_1 = nn.Conv2d(channels[5], channels[5], 3, 1, 1)
        self.out_channels = channels[:0:-1]
        self.activation: nn.Module = nn.LeakyReLU(SLOPE)
        initialize(self)

    def forward(self, pair: Tensor) -> list[Tensor]:
        """(B, 6, H/2, W/2) -> maps of strides 64, 32, 16, 8, 4 of that, coarse to fine."""

        def activate(convolution: nn.Conv2d, x: Tensor) -> Tensor:
            activated: Tensor = self.activation(convolution(x))
            return activated

        conv2 = activate(self.conv2, activate(self.conv1, pair))
        conv3 = activate(self.conv3_1, activate(self.conv3, conv2))
        conv4 = activate(self.conv4_1, activate(self.conv4, conv3))
        conv5 = activate(self.conv5_1, activate(self.conv5, conv4))
        conv6 = activate(self.conv6_1, activate(self.conv6, conv5))
        return [conv6, conv5, conv4, conv3, conv2]


class FlowNet(nn.Module):
    """Flow from a pair of frames: FlowNet, or FlowNet Half (the paper's Table 1).

    Layer for layer the released code: deconvolutions with bias that are cropped by one pixel, the
    flow from the joined map pooled to stride 16, from which propagation reads the scale field too.

    Args:
        width: Factor on the widths of encoder and decoder: 1 = FlowNet, 0.5 = FlowNet Half.
    """

    FLOW_UNIT = FLOW_UNIT
    stride = 16

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        widths = [round(width * c) for c in (512, 256, 128, 64)]
        self.pair = PairInput()
        self.encoder = FlowNetEncoder(width)
        self.decoder = FlowDecoder(self.encoder.out_channels, widths)
        self.context_channels = self.decoder.out_channels

    def prepare(self, key: Tensor) -> PreparedKey:
        """What `forward` takes in place of a key frame (B, 3, H, W) that many frames share."""
        return self.pair.prepare(key)

    def forward(self, current: Tensor, key: Tensor | PreparedKey) -> Flow:
        """Two frames (B, 3, H, W), RGB in [0, 1] -> flow and its context.

        Returns:
            Field (B, 2, ceil(H/16), ceil(W/16)) and context of the same size.

        Raises:
            ValueError: The frames differ in shape, or a side is below 64 pixels.
        """
        flow: Flow = self.decoder(self.encoder(self.pair(current, key)))
        return flow

    def pyramid(self, current: Tensor, key: Tensor) -> list[Tensor]:
        """The flows of all five prediction layers, coarse to fine, for pre-training.

        Returns:
            Four flows (B, 2, ., .) of strides 128, 64, 32, 16 of the image, then the one that
            propagation uses, of stride 16 too. One unit is `FLOW_UNIT` pixels of the half-size
            image at every level, so flow in image pixels = 40 times the last.

        Raises:
            ValueError: As in `forward`.
        """
        return self.decoder.pyramid(self.encoder(self.pair(current, key)))


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
            f"frames of {height} x {width} pixels: {wanted}; enlarge the frames or the crop"
        )


def unexpand(rows: Tensor) -> Tensor:
    """The only row of a batch that was made from it by `expand`, else all rows."""
    return rows[:1] if rows.stride(0) == 0 else rows


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Random weights that keep the size of the activations through leaky ReLUs; biases are 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # A transposed convolution of stride 2 adds up a quarter of its taps in each pixel.
            taps = layer.kernel_size[0] * layer.kernel_size[1]
            taps = taps // 4 if isinstance(layer, nn.ConvTranspose2d) else taps
            gain = nn.init.calculate_gain("leaky_relu", SLOPE)
            nn.init.normal_(layer.weight, std=gain / (layer.in_channels * taps) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _halve(frame: Tensor) -> Tensor:
    """Means over 2x2 pixels; at an odd border, of those that are there, as the official pooling.

    Two sums take a quarter of the time that pooling of three channels takes on a CPU.
    """
    height, width = frame.shape[-2:]
    if height % 2 or width % 2:
        frame = F.pad(frame, (0, width % 2, 0, height % 2), mode="replicate")
    rows = frame[:, :, 0::2] + frame[:, :, 1::2]
    return (rows[..., 0::2] + rows[..., 1::2]).mul_(0.25)


def _crop(x: Tensor, like: Tensor) -> Tensor:
    """Cuts a deconvolution's border of 1 pixel, then to the size of the skip connection."""
    height, width = like.shape[-2:]
    return x[:, :, 1 : 1 + height, 1 : 1 + width]


def _full(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
