"""FlowNet Inception: the paper's cheapest flow network (its Tables 1 and 2)."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dff.models.contracts import Flow, Fusion, PreparedKey
from dff.models.flow.flownet import FLOW_UNIT, SLOPE, FlowDecoder, initialize
from dff.models.flow.pair_input import PairInput, SplitPair

Normalization = Literal["none", "batch"]
DECODER_WIDTHS = (64, 32, 16, 8)


class Inception(nn.Module):
    """Branches side by side, joined by channel: 1x1 | 1x1-3x3 | 1x1-3x3-3x3 | 3x3 max-pool, 1x1.

    Args:
        inputs: Channels that come in.
        one: Channels of the 1x1 branch, 0 for none.
        three: Channels of the 1x1 and the 3x3 of the second branch.
        five: Channels of the 1x1 and the two 3x3 of the third branch.
        pool: Channels of the pooling branch, 0 for none. With it the module halves the map.
        normalization: As in `FlowNetInception`.
    """

    def __init__(
        self,
        inputs: int,
        one: int,
        three: tuple[int, int],
        five: tuple[int, int, int],
        pool: int = 0,
        *,
        normalization: Normalization = "none",
    ) -> None:
        super().__init__()
        stride = 2 if pool else 1
        norm = normalization
        self.branches = nn.ModuleList()
        if one:
            self.branches.append(convolution(inputs, one, 1, stride, norm))
        # The first 3x3 of a branch strides: it still sees every pixel, where a strided 1x1 in front
        # of it would drop three of four unseen.
        self.branches.append(
            nn.Sequential(
                convolution(inputs, three[0], 1, 1, norm),
                convolution(three[0], three[1], 3, stride, norm),
            )
        )
        self.branches.append(
            nn.Sequential(
                convolution(inputs, five[0], 1, 1, norm),
                convolution(five[0], five[1], 3, stride, norm),
                convolution(five[1], five[2], 3, 1, norm),
            )
        )
        if pool:
            self.branches.append(
                nn.Sequential(nn.MaxPool2d(3, 2, 1), convolution(inputs, pool, 1, 1, norm))
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, sum of the branches, ceil(h / stride), ceil(w / stride))."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class InceptionEncoder(nn.Module):
    """Encoder of the paper's Table 1, right column.

    Args:
        normalization: As in `FlowNetInception`.
    """

    out_channels = (512, 384, 256, 128, 64)

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        norm = normalization
        self.conv1 = convolution(6, 32, 7, 2, norm)
        self.pool1 = nn.MaxPool2d(3, 2, 1)
        self.conv2 = Inception(32, 0, (24, 32), (24, 32, 32), normalization=norm)
        self.conv3_1 = convolution(64, 128, 3, 2, norm)
        self.conv3_2 = Inception(128, 48, (32, 64), (8, 16, 16), normalization=norm)
        self.conv3_3 = Inception(128, 48, (48, 64), (12, 16, 16), normalization=norm)
        self.conv4_1 = Inception(128, 32, (112, 128), (28, 32, 32), 64, normalization=norm)
        self.conv4_2 = Inception(256, 96, (112, 128), (28, 32, 32), normalization=norm)
        self.conv5_1 = Inception(256, 48, (96, 192), (36, 48, 48), 96, normalization=norm)
        self.conv5_2 = Inception(384, 144, (96, 192), (36, 48, 48), normalization=norm)
        self.conv6_1 = Inception(384, 64, (192, 256), (48, 64, 64), 128, normalization=norm)
        self.conv6_2 = Inception(512, 192, (192, 256), (48, 64, 64), normalization=norm)
        initialize(self)

    def forward(self, pair: Tensor) -> list[Tensor]:
        """(B, 6, H/2, W/2) -> maps of strides 64, 32, 16, 8, 4 of that, coarse to fine."""
        conv2 = self.conv2(self.pool1(self.conv1(pair)))
        conv3 = self.conv3_3(self.conv3_2(self.conv3_1(conv2)))
        conv4 = self.conv4_2(self.conv4_1(conv3))
        conv5 = self.conv5_2(self.conv5_1(conv4))
        conv6 = self.conv6_2(self.conv6_1(conv5))
        return [conv6, conv5, conv4, conv3, conv2]


class FlowNetInception(nn.Module):
    """Flow from a pair of frames, at a seventh of FlowNet's cost.

    The paper gives the encoder alone. The decoder is FlowNet's at an eighth of its widths: the
    whole network then costs what the paper's Table 2 says, to 1 % (a quarter: 11 % more).

    Args:
        normalization: `"none"` as in FlowNet itself: statistics of the one or two pairs that fit on
            a GPU in joint training are worth little, and the coarsest map of a small crop is one
            pixel, which has none. From random weights it learned shifted textures faster, too (8
            pairs a step). `"batch"`: batch norm after each convolution of the encoder.

    Raises:
        ValueError: Another normalization.
    """

    FLOW_UNIT = FLOW_UNIT
    stride = 16

    def __init__(self, *, normalization: Normalization = "none") -> None:
        super().__init__()
        if normalization not in ("none", "batch"):
            raise ValueError(f"normalization={normalization!r}: choose one of 'none', 'batch'")
        self.pair = PairInput()
        self.encoder = InceptionEncoder(normalization)
        self.decoder = FlowDecoder(self.encoder.out_channels, DECODER_WIDTHS)
        self.context_channels = self.decoder.out_channels

    def fused(self, fusion: Fusion) -> "FlowNetInception":
        """The network for inference."""
        if fusion.splits_pairs:
            first, *norms, _ = self.encoder.conv1
            for norm in norms:
                first = fuse_conv_bn_eval(cast(nn.Conv2d, first), cast(nn.BatchNorm2d, norm))
            self.pair = SplitPair(cast(nn.Conv2d, first), SLOPE, fusion)
            self.encoder.register_module("conv1", nn.Identity())
        fusion.rewrite(self.encoder)
        self.decoder = self.decoder.fused(fusion)
        return self

    def prepare(self, key: Tensor) -> PreparedKey:
        """What `forward` takes in place of a key frame, as `FlowNet` does."""
        return self.pair.prepare(key)

    def forward(self, current: Tensor, key: Tensor | PreparedKey) -> Flow:
        """Two frames (B, 3, H, W), RGB in [0, 1] -> flow and its context, as `FlowNet` does."""
        flow: Flow = self.decoder(self.encoder(self.pair(current, key)))
        return flow

    def pyramid(self, current: Tensor, key: Tensor) -> list[Tensor]:
        """The raw flows of all five prediction layers, coarse to fine, as `FlowNet` does."""
        return self.decoder.pyramid(self.encoder(self.pair(current, key)))


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int, normalization: Normalization
) -> nn.Sequential:
    """Convolution that keeps (or halves) the map, batch norm if asked for, leaky ReLU."""
    batch_norm = normalization == "batch"
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not batch_norm)
    ]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers)
