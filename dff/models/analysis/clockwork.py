"""Clockwork: on the frames between key frames only the shallow stages of a network run anew.

Shelhamer et al. 2016, "Clockwork Convnets for Video Semantic Segmentation": each stage of a network
has its own rate, and a stage whose turn it is not keeps what it held. It has no flow and learns
nothing. Here the rates are two: each frame, or key frames alone.
"""

import copy
from dataclasses import replace
from typing import cast, get_args

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dff.models.analysis import complexity
from dff.models.backbones.resnet import Block, ResNet
from dff.models.dff import DeepFeatureFlow, Propagation
from dff.models.names import Refreshed

__all__ = ["Clockwork", "Refreshed"]


class Clockwork(nn.Module):
    """A per-frame network by the clock, with the face of `DeepFeatureFlow`.

    In a ResNet a stage that is not refreshed is held in place: its shortcuts carry what the stages
    before it found in this frame, and what its convolutions add is that of the key frame. The last
    convolution, to the features, runs on each frame. With all stages refreshed it is the per-frame
    network; with none, the key frame's features are copied.

    What goes from a key frame to the others is one map (B, S, h, w): what each held convolution
    branch added, then the features (the last C channels).

    Args:
        model: A trained model with one task layer, whose flow network is not used; with a whole
            ResNet where some stages are refreshed and others not.
        refreshed: Stages that run on each frame.

    Raises:
        ValueError: The model is cut elsewhere (Table 5), or such a number of stages cannot be kept.
    """

    def __init__(self, model: DeepFeatureFlow, refreshed: Refreshed = 3) -> None:
        super().__init__()
        if refreshed in (2, 3) and not isinstance(model.feature_network, ResNet):
            raise ValueError(
                f"clockwork on a feature network of {type(model.feature_network).__name__}: wanted "
                "a whole ResNet, so a model with task_layers 1"
            )
        if refreshed not in get_args(Refreshed):
            # layer1 and layer2 have maps of other sizes than the features
            raise ValueError(
                f"clockwork with {refreshed} stages refreshed: wanted one of "
                f"{', '.join(map(str, get_args(Refreshed)))}"
            )
        self.model = model
        self.refreshed = refreshed

    def encode(self, image: Tensor) -> Tensor:
        """A key frame (B, 3, H, W) -> what it leaves to others, (B, S, h, w)."""
        if self.refreshed in (0, 4):
            return self._network()(image)  # type: ignore[no-any-return]
        x, branches = self._shallow(image), []
        for block in self._held():
            branches.append(block.branch(x))
            x = block.join(x, branches[-1])
        return torch.cat([*branches, self._reduce(x)], 1)

    def prepare(self, key: Tensor) -> Tensor:
        """As of `DeepFeatureFlow`; nothing is made of the key frame."""
        return key

    def propagate(
        self, features: Tensor, key: Tensor, current: Tensor, mode: Propagation = "full"
    ) -> Tensor:
        """Features (B, C, h, w) of a current frame (B, 3, H, W), from what `encode` gave."""
        if self.refreshed == 0:
            return features
        if self.refreshed == 4:
            return self._network()(current)  # type: ignore[no-any-return]
        held = self._held()
        x = self._shallow(current)
        widths = [block.out_channels for block in held]
        for block, branch in zip(held, features[:, : sum(widths)].split(widths, 1), strict=True):
            x = block.join(x, branch)
        return self._reduce(x)

    def forward(
        self, key: Tensor, current: Tensor, gap: Tensor, mode: Propagation = "full"
    ) -> Tensor:
        """Features of the current frames of a batch of pairs; at gap 0 the per-frame network's."""
        return self.propagate(self.encode(key), key, current, mode)

    def predict(
        self, features: Tensor, size: tuple[int, int], frame: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """The result of each head, from what `encode` or `propagate` gave."""
        (channels,) = self._network().channels
        return self.model.predict(features[:, -channels:], size, frame)

    def _shallow(self, image: Tensor) -> Tensor:
        for name, layer in self._network().named_children():
            if name == f"layer{self.refreshed + 1}":
                break
            image = layer(image)
        return image

    def _held(self) -> list[Block]:
        # in a rewritten model (`deploy`) `FusedBlock`s, which have the same methods
        network = self._network()
        return [b for n in range(self.refreshed + 1, 5) for b in getattr(network, f"layer{n}")]

    def _reduce(self, x: Tensor) -> Tensor:
        network = self._network()
        features: Tensor = network.reduce_relu(network.reduce(x))
        return features

    def _network(self) -> ResNet:
        return cast(ResNet, self.model.feature_network)


@torch.inference_mode()
def clockwork_complexity(clockwork: Clockwork, size: tuple[int, int]) -> complexity.Complexity:
    """FLOPs for a frame of `size` (H, W); what runs on each frame stands as the flow network."""
    cost = complexity.complexity(clockwork.model, size)
    clockwork = copy.deepcopy(clockwork).to("meta").eval()
    frame = torch.empty(1, 3, *size, device="meta")
    kept = clockwork.encode(frame)
    with FlopCounterMode(display=False) as counter:
        clockwork.propagate(kept, frame, frame)
    return replace(cost, flow_network=float(counter.get_total_flops()), warp=0.0)
