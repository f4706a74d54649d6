"""A small flow network with cost volumes: features compared, flow refined from coarse to fine.

FlowNet "Simple" must learn to compare two frames by convolutions over both. Networks of today give
each frame features of its own and compare them by inner products (the cost volumes of PWC-Net, Sun
et al. 2018), with one small module that refines the flow again and again (RAFT, Teed and Deng
2020). That learns sooner, generalises further, and needs a fifteenth of FlowNet Half's parameters.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.contracts import Flow, Fusion, PreparedKey
from dff.models.flow.flownet import IMAGE_PIXELS, SLOPE, initialize
from dff.models.flow.pair_input import MEAN, check_pair, unexpand
from dff.models.warp import WarpMethod, resample, warp

CHANNELS = (16, 32, 48, 80, 96, 128)
"""Of the encoder's maps, of strides 2, 4, .., 64."""
DEVIATION = 0.25
"""Of the pixels of photographs, RGB in [0, 1]."""
LEVELS = (8, 16, 32, 64)
"""Strides of the levels, fine to coarse."""
UPDATES = (64, 32, 16, 16, 8)
"""Strides at which the flow is refined, in this order."""
COMPARED, CONTEXT, HIDDEN = 64, 32, 32
"""Channels of what is compared, of what the refinement sees of the current frame, and of what it
hands on."""
RADIUS = 2
"""Pixels of a level, to each side, within which a key frame's feature is looked for."""
BLOCK = 32
"""Pixels of a row that are compared in one product of matrices."""


class LightFlow(nn.Module):
    """Flow from a pair of frames, by cost volumes on a pyramid; 0.67 million parameters.

    At each level, the key frame's features are warped by the flow found so far, compared with the
    current frame's within a few pixels, and one module, the same for all levels, refines the flow.
    The features of a key frame are computed once for all frames that it serves.

    `warp_method`: how features are sampled.
    """

    stride = 8
    context_channels = HIDDEN + CONTEXT

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.encoder = LightEncoder()
        self.refinement = Refinement()
        self.warp_method: WarpMethod = "grid_sample"

    def prepare(self, key: Tensor) -> PreparedKey:
        """Key frames (B, 3, H, W) -> their features, which `forward` takes in their place."""
        maps = self.encoder.compared(self.encoder((unexpand(key) - self.mean) / DEVIATION))
        return PreparedKey(key.shape, tuple(m.expand(len(key), -1, -1, -1) for m in maps))

    def forward(self, current: Tensor, key: Tensor | PreparedKey) -> Flow:
        """Two frames (B, 3, H, W), RGB in [0, 1] -> flow and its context, at stride 8.

        Returns:
            Field (B, 2, ceil(H/8), ceil(W/8)) and context of the same size.

        Raises:
            ValueError: The frames differ in shape, or a side is below 64 pixels.
        """
        flows, context = self._refined(current, key)
        return Flow(flows[-1], context)

    def pyramid(self, current: Tensor, key: Tensor) -> list[Tensor]:
        """The flow after each refinement, coarse to fine, for training; units as in `FlowNet`.

        Raises:
            ValueError: As in `forward`.
        """
        return [flow / IMAGE_PIXELS for flow in self._refined(current, key)[0]]

    def fused(self, fusion: Fusion) -> "LightFlow":
        """The network for inference; the change of the flow is computed in float32 in any case."""
        self.encoder, self.refinement = self.encoder.fused(fusion), self.refinement.fused(fusion)
        return self

    def _refined(self, current: Tensor, key: Tensor | PreparedKey) -> tuple[list[Tensor], Tensor]:
        wanted = "the flow network reaches stride 64 and needs at least 64 on each side"
        check_pair(current, key.shape, wanted)
        if isinstance(key, Tensor):
            key = self.prepare(key)
        encoded = self.encoder((current - self.mean) / DEVIATION)
        of_current, contexts = self.encoder.compared(encoded), self.encoder.contexts(encoded)
        first = of_current[-1]
        flow = first.new_zeros((len(first), 2, *first.shape[-2:]), dtype=torch.float32)
        hidden = first.new_zeros((len(first), HIDDEN, *first.shape[-2:]))
        flows: list[Tensor] = []
        before = UPDATES[0]
        for stride in UPDATES:
            level = stride.bit_length() - LEVELS[0].bit_length()
            size = (of_current[level].shape[-2], of_current[level].shape[-1])
            if stride != before:
                flow = resample(flow, before, stride, size)
                hidden = resample(hidden, before, stride, size)
            in_level = flow / stride
            features = key.parts[level]
            # at the first level nothing has moved yet
            moved = warp(features, in_level, self.warp_method) if flows else features
            costs = cost_volume(of_current[level], moved, RADIUS)
            change, hidden = self.refinement(costs, in_level, contexts[level], hidden)
            flow = flow + change.float() * stride
            flows.append(flow)
            before = stride
        return flows, torch.cat((hidden, contexts[0]), dim=1)


class LightEncoder(nn.Module):
    """One frame (B, 3, H, W) -> maps of strides 8, 16, 32, 64, and what is made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        inputs = 3
        for number, width in enumerate(CHANNELS):
            layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, 2, 1), nn.LeakyReLU(SLOPE)]
            if number >= 2:
                layers += [nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(SLOPE)]
            self.stages.append(nn.Sequential(*layers))
            inputs = width
        levels = CHANNELS[-len(LEVELS) :]
        self.compare = nn.ModuleList(nn.Conv2d(c, COMPARED, 1) for c in levels)
        self.context = nn.ModuleList(nn.Conv2d(c, CONTEXT, 1) for c in levels)
        initialize(self)

    def forward(self, frame: Tensor) -> list[Tensor]:
        """Frame less the mean (B, 3, H, W) -> its maps, fine to coarse."""
        maps = []
        for stage in self.stages:
            frame = stage(frame)
            maps.append(frame)
        return maps[-len(LEVELS) :]

    def compared(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps -> features (B, COMPARED, ., .) of length 2, whose inner products are compared."""
        return [
            2 * F.normalize(layer(map_), dim=1)
            for layer, map_ in zip(self.compare, maps, strict=True)
        ]

    def contexts(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps -> what the refinement sees of them, (B, CONTEXT, ., .)."""
        return [layer(map_) for layer, map_ in zip(self.context, maps, strict=True)]

    def fused(self, fusion: Fusion) -> "LightEncoder":
        """The encoder for inference."""
        fusion.rewrite(self)
        return self


class Refinement(nn.Module):
    """Changes the flow by what the cost volume around it says; the same at all levels."""

    def __init__(self) -> None:
        super().__init__()
        costs = (2 * RADIUS + 1) ** 2
        self.motion = nn.Sequential(nn.Conv2d(costs + 2, 32, 3, 1, 1), nn.LeakyReLU(SLOPE))
        self.join = nn.Sequential(
            nn.Conv2d(32 + CONTEXT + HIDDEN, 64, 3, 1, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(64, 48, 3, 1, 1),
            nn.LeakyReLU(SLOPE),
        )
        self.hand_on = nn.Conv2d(48, HIDDEN, 1)
        self.change = nn.Conv2d(48, 2, 3, 1, 1)
        initialize(self)
        with torch.no_grad():
            self.change.weight.mul_(0.1)

    def forward(
        self, costs: Tensor, flow: Tensor, context: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cost volume, flow, context and hidden map, (B, ., h, w) -> change of the flow, hidden.

        Flow and its change are in pixels of the level.
        """
        motion = self.motion(torch.cat((costs, flow.to(costs.dtype)), dim=1))
        joined = self.join(torch.cat((motion, context, hidden.to(motion.dtype)), dim=1))
        return self.change(joined), torch.tanh(self.hand_on(joined))

    def fused(self, fusion: Fusion) -> "Refinement":
        """The module for inference."""
        change = self.change
        fusion.rewrite(self)
        self.register_module("change", fusion.convolution(change, exact=True))
        return self


def cost_volume(current: Tensor, key: Tensor, radius: int) -> Tensor:
    """Inner products of each pixel's feature with those of the key frame around it.

    Rows are cut into blocks, whose products with all that their pixels may meet are one product of
    matrices: a band of its result is what is wanted.

    Args:
        current: (B, C, h, w).
        key: Likewise.
        radius: Pixels to each side.

    Returns:
        (B, (2 radius + 1)^2, h, w), row by row of the window.
    """
    if torch.compiler.is_exporting():  # a number of blocks would be fixed for all sizes
        return _costs_by_shifts(current, key, radius)
    batch, channels, height, width = current.shape
    side, block = 2 * radius + 1, min(BLOCK, width)
    count = -(-width // block)
    beyond = count * block - width
    own = F.pad(current, (0, beyond)).permute(0, 2, 3, 1)
    own = own.reshape(batch, height, count, block, channels)
    reached = F.pad(key, (radius, radius + beyond, radius, radius)).permute(0, 2, 3, 1)
    blocks = reached.unfold(2, block + 2 * radius, block)  # (B, h + 2r, count, C, block + 2r)
    bands = []
    for row in range(side):
        products = torch.matmul(own, blocks[:, row : row + height].to(own.dtype))
        # pixel i of a block meets the columns i .. i + 2r: rows one longer begin at the diagonal
        flat = F.pad(products.flatten(-2), (0, block))
        bands.append(flat.view(batch, height, count, block, -1)[..., :side])
    costs = torch.cat(bands, dim=-1).reshape(batch, height, count * block, side * side)
    return costs[:, :, :width].permute(0, 3, 1, 2)


def _costs_by_shifts(current: Tensor, key: Tensor, radius: int) -> Tensor:
    """The same, one product of maps for each place in the window."""
    height, width = current.shape[-2:]
    reached = F.pad(key.to(current.dtype), (radius,) * 4)
    places = range(2 * radius + 1)
    moved = [reached[:, :, y : y + height, x : x + width] for y in places for x in places]
    return torch.cat([(current * there).sum(1, keepdim=True) for there in moved], 1)
