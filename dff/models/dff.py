"""Deep Feature Flow: an expensive network on key frames, propagation by flow on all others."""

from collections.abc import ItemsView, Mapping
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from dff.models.contracts import Head
from dff.models.warp import warp

Propagation = Literal["full", "no_scale", "no_flow", "copy"]
"""How features travel: as the paper; with scale field 1; with flow 0; or carried over unchanged."""


class PreparedKey(NamedTuple):
    """A key frame as a flow network takes it soonest: what it makes of that frame alone."""

    shape: torch.Size
    """Of the key frame: (B, 3, H, W)."""
    part: Tensor
    """(B, ., ., .)."""


def warp_and_scale(
    features: Tensor, flow: Tensor, scale: Tensor, mode: Propagation = "full"
) -> Tensor:
    """Warps features along a flow and multiplies by the scale field, W(f_k, F, S).

    Args:
        features: Of the key frame, (B, C, h, w).
        flow: Current -> key, (B, 2, h, w), feature pixels.
        scale: (B, C, h, w).
        mode: Which parts take effect.

    Returns:
        (B, C, h, w).

    Raises:
        ValueError: An unknown `mode`.
    """
    if mode not in get_args(Propagation):
        raise ValueError(f"propagation {mode!r}: wanted one of {', '.join(get_args(Propagation))}")
    if mode == "copy":
        return features
    if mode != "no_flow":
        features = warp(features, flow)
    if mode == "no_scale":
        return features
    scale = scale.to(features.dtype)
    if mode == "full" and not torch.is_grad_enabled():
        return features.mul_(scale)  # what was warped belongs to nobody else
    return features * scale


class DeepFeatureFlow(nn.Module):
    """Feature network, flow network and heads, joined by warping (Zhu et al. 2017, Algorithm 1).

    Args:
        feature_network: Image (B, 3, H, W), RGB in [0, 1] -> features (B, C, H/16, W/16).
        flow_network: (current, key) -> flow (B, 2, h, w), current -> key in feature pixels, and
            scale field (B, C, h, w). Any flow function serves, a classical one too. One that has
            `prepare(key)` takes what that returns in place of the key frame.
        heads: Name -> task network with `loss(features, targets)`, which gives the parts of its
            loss by name, and `predict(features, size, frame)`; a head never sees which frame its
            features came from.
        tail: Layers of the task network that all heads share (Table 5's split points); what is
            propagated is the input of this.
    """

    def __init__(
        self,
        feature_network: nn.Module,
        flow_network: nn.Module,
        heads: Mapping[str, nn.Module],
        tail: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.feature_network = feature_network
        self.flow_network = flow_network
        self.heads = nn.ModuleDict(heads)
        self.tail = tail if tail is not None else nn.Identity()

    def encode(self, image: Tensor) -> Tensor:
        """The expensive step: image (B, 3, H, W) -> features (B, C, h, w)."""
        features: Tensor = self.feature_network(image)
        return features

    def prepare(self, key: Tensor) -> Tensor | PreparedKey:
        """What `propagate` takes as the key frame (B, 3, H, W): made once for all frames it serves.

        The frame itself where the flow network has nothing to make of it alone.
        """
        prepare = getattr(self.flow_network, "prepare", None)
        return key if prepare is None else prepare(key)

    def propagate(
        self,
        features: Tensor,
        key: Tensor | PreparedKey,
        current: Tensor,
        mode: Propagation = "full",
    ) -> Tensor:
        """The cheap step: W(f_k, F, S), the key frame's features carried to the current frame.

        Args:
            features: Of the key frame, (B, C, h, w).
            key: Key frame, (B, 3, H, W), or what `prepare` made of it.
            current: Current frame, (B, 3, H, W).
            mode: "full" is the method; the others leave a part out, to see what it was worth.

        Returns:
            Features of the current frame, (B, C, h, w).
        """
        if mode == "copy":
            return features
        flow, scale = self.flow_network(current, key)
        return warp_and_scale(features, flow, scale, mode)

    def forward(
        self, key: Tensor, current: Tensor, gap: Tensor, mode: Propagation = "full"
    ) -> Tensor:
        """Features of the current frames of a batch of pairs, row by row.

        A row with gap 0 is its own key frame and takes its features as they are. Every row goes
        through both networks, so each parameter has a gradient in each step, whatever gaps the
        batch holds, and a row of gap 0 gives the flow network exactly zero.

        Args:
            key: (B, 3, H, W).
            current: (B, 3, H, W).
            gap: (B,), current index minus key index.
            mode: See `propagate`.
        """
        features = self.encode(key)
        propagated = self.propagate(features, key, current, mode)
        return torch.where((gap > 0).view(-1, 1, 1, 1), propagated, features)

    def losses(self, features: Tensor, targets: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Head -> part -> loss of the current frames; the parts of a head are to be summed."""
        features = self.tail(features)
        return {name: head.loss(features, targets) for name, head in self.task_networks()}

    def predict(
        self, features: Tensor, size: tuple[int, int], frame: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """The result of each head; nothing here knows of key frames.

        Args:
            features: (B, C, h, w).
            size: Height and width of the images that the results are for.
            frame: Those of the frames that the networks saw, resized from these images; None is
                `size`.
        """
        features, frame = self.tail(features), frame or size
        return {name: head.predict(features, size, frame) for name, head in self.task_networks()}

    def task_networks(self) -> ItemsView[str, Head]:
        """The heads by name."""
        # a ModuleDict does not tell what modules it holds
        return cast("ItemsView[str, Head]", self.heads.items())
