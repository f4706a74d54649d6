"""Flow network of the paper: FlowNet "Simple" at half size, and what all flow networks share."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Flow, Fusion, PreparedKey
from dff.models.flow.pair_input import PairInput, SplitPair

FLOW_UNIT = 20.0
"""Pixels of the half-size image in one unit of the raw predictions, as FlowNet was trained."""

IMAGE_PIXELS = FLOW_UNIT * 2
"""Pixels of the image in one unit of the raw predictions."""

SLOPE = 0.1


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

    def fused(self, fusion: Fusion) -> "FlowDecoder":
        """The decoder for inference; the last flow is computed in float32 in any case."""
        # a ModuleList gives plain modules
        deconvolutions = cast("Iterable[nn.ConvTranspose2d]", self.deconvolutions)
        upsamplings = cast("Iterable[nn.ConvTranspose2d]", self.upsamplings)
        predictions = cast("Iterable[nn.Conv2d]", self.predictions)
        self.deconvolutions = nn.ModuleList(fusion.deconvolution(d, SLOPE) for d in deconvolutions)
        self.upsamplings = nn.ModuleList(fusion.deconvolution(d) for d in upsamplings)
        self.predictions = nn.ModuleList(fusion.convolution(c) for c in predictions)
        self.register_module("flow", fusion.convolution(self.flow, exact=True))
        self.activation = nn.Identity()
        return self

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

    def fused(self, fusion: Fusion) -> "FlowNetEncoder":
        """The encoder for inference: each activation is in the pass of its convolution."""
        for name, layer in list(self.named_children()):
            if isinstance(layer, nn.Conv2d):
                self.register_module(name, fusion.convolution(layer, slope=SLOPE))
        self.activation = nn.Identity()
        return self

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

    def fused(self, fusion: Fusion) -> "FlowNet":
        """The network for inference."""
        if fusion.splits_pairs:
            self.pair = SplitPair(self.encoder.conv1, SLOPE, fusion)
            self.encoder.register_module("conv1", nn.Identity())
        self.encoder, self.decoder = self.encoder.fused(fusion), self.decoder.fused(fusion)
        return self

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


def _crop(x: Tensor, like: Tensor) -> Tensor:
    """Cuts a deconvolution's border of 1 pixel, then to the size of the skip connection."""
    height, width = like.shape[-2:]
    return x[:, :, 1 : 1 + height, 1 : 1 + width]


def _full(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
