"""Deep Feature Flow: an expensive network on key frames, propagation by flow on all others."""

from collections.abc import Callable, ItemsView, Mapping, Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from dff.models.contracts import Features, Flow, Head, PreparedKey
from dff.models.flow.from_previous import Trail, flow_from_previous
from dff.models.names import FlowFrom
from dff.models.update import UpdateBranch
from dff.models.warp import Stride, WarpMethod, flow_at_level, resample, warp

Propagation = Literal["full", "no_scale", "no_flow", "copy"]
"""How features travel: as the paper; with scale field 1; with flow 0; or carried over unchanged."""


def warp_and_scale(
    features: Tensor,
    flow: Tensor,
    scale: Tensor | None,
    mode: Propagation = "full",
    method: WarpMethod = "grid_sample",
) -> Tensor:
    """Warps one level along a flow and multiplies it by the scale field, W(f_k, F, S).

    Args:
        features: Of the key frame, (B, C, h, w).
        flow: Current -> key, (B, 2, h, w), in pixels of the features.
        scale: (B, C, h, w); None is 1 everywhere.
        mode: Which parts take effect.
        method: How features are sampled.

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
        features = warp(features, flow, method)
    if mode == "no_scale" or scale is None:
        return features
    return features * scale.to(features.dtype)


class DeepFeatureFlow(nn.Module):
    """Feature network, flow network and heads, joined by warping (Zhu et al. 2017, Algorithm 1).

    Args:
        feature_network: A `FeatureNetwork`: image -> one map, or several levels.
        flow_network: A `FlowNetwork`, or any other flow function, a classical one for instance.
        heads: Name -> task network, each a `Head`; it never sees which frame its features came
            from.
        tail: Layers of the task network that all heads share (Table 5's split points); what is
            propagated is the input of this.
        warp_method: How features are sampled; training wants "grid_sample".
        flow_from: How the flow to a key frame is found, where the frame before is known.
    """

    def __init__(
        self,
        feature_network: nn.Module,
        flow_network: nn.Module,
        heads: Mapping[str, nn.Module],
        tail: nn.Module | None = None,
        warp_method: WarpMethod = "grid_sample",
        flow_from: FlowFrom = "key",
    ) -> None:
        super().__init__()
        self.flow_from = flow_from
        self.feature_network = feature_network
        self.channels, self.strides = _shape_of_levels(feature_network)
        # of a network that resizes images itself
        self._strides_for: Callable[[tuple[int, int]], Sequence[Stride]] | None
        self._strides_for = getattr(feature_network, "strides_for", None)
        self.flow_network, self.scale_layers = flow_network, nn.ModuleList()
        self.use_flow(flow_network)
        self.heads = nn.ModuleDict(heads)
        self.tail = tail if tail is not None else nn.Identity()
        self.update: UpdateBranch | None = None
        self.warp_method: WarpMethod = warp_method

    @property
    def flow_from(self) -> FlowFrom:
        """How the flow to a key frame is found, where the frame before is known.

        Raises:
            ValueError: Something else is set.
        """
        return self._flow_from

    @flow_from.setter
    def flow_from(self, how: FlowFrom) -> None:
        if how not in get_args(FlowFrom):
            raise ValueError(f"flow_from {how!r}: wanted one of {', '.join(get_args(FlowFrom))}")
        if self.from_file and how != "chain":
            raise ValueError(
                f"flow_from {how!r} with the flow of the codec, whose vectors lead from each frame "
                "to the one before: wanted chain, or another flow"
            )
        self._flow_from: FlowFrom = how

    @property
    def from_file(self) -> bool:
        """Whether flow is what the file of a video says of its motion; see `CodecFlow`."""
        return bool(getattr(getattr(self, "flow_network", None), "from_file", False))

    def use_flow(self, flow_network: nn.Module) -> None:
        """Propagates along another flow from here on; its scale field is 1 until it is trained.

        Motion vectors of a file lead from neighbour to neighbour: with them, so does the flow.
        """
        self.flow_network = flow_network
        if self.from_file:
            self.flow_from = "chain"
        self.flow_stride = int(cast(int, flow_network.stride))
        # One 1x1 layer for each level, on what the flow network gives beside its flow; weights 0
        # and bias 1, so that an untrained scale field changes nothing.
        context_channels = int(cast(int, flow_network.context_channels))
        layers = [nn.Conv2d(context_channels, c, 1) for c in self.channels if context_channels]
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.ones_(layer.get_parameter("bias"))
        self.scale_layers = nn.ModuleList(layers)

    def use_update(self, network: nn.Module | None) -> None:
        """Lets a light network correct carried features from here on; see `UpdateBranch`.

        Raises:
            ValueError: Features have several levels.
        """
        if len(self.channels) > 1:
            raise ValueError(
                f"an update branch for features of {len(self.channels)} levels: wanted one level"
            )
        stride = self.strides[0]
        assert isinstance(stride, int)
        self.update = UpdateBranch(network, self.channels[0], stride)

    def encode(self, image: Tensor) -> Features:
        """The expensive step: image (B, 3, H, W) -> features."""
        features: Features = self.feature_network(image)
        return features

    def prepare(self, key: Tensor) -> Tensor | PreparedKey:
        """What `propagate` takes as the key frame (B, 3, H, W): made once for all frames it serves.

        The frame itself where the flow network has nothing to make of it alone.
        """
        prepare = getattr(self.flow_network, "prepare", None)
        return key if prepare is None else prepare(key)

    def propagate(
        self,
        features: Features,
        key: Tensor | PreparedKey,
        current: Tensor,
        mode: Propagation = "full",
        before: Trail | None = None,
    ) -> Features:
        """The cheap step: W(f_k, F, S), the key frame's features carried to the current frame.

        Args:
            features: Of the key frame.
            key: Key frame, (B, 3, H, W), or what `prepare` made of it.
            current: Current frame, (B, 3, H, W).
            mode: "full" is the method; the others leave a part out, to see what it was worth, and
                the update branch too.
            before: Of the frame before, where `flow_from` takes it; `key` is then the key frame.

        Returns:
            Features of the current frame, in the form of the key frame's.
        """
        if mode == "copy":
            return features
        return self.carry(features, self.find_flow(key, current, before), mode)

    def find_flow(
        self, key: Tensor | PreparedKey, current: Tensor, before: Trail | None = None
    ) -> Flow:
        """The flow from the current to the key frame; arguments as those of `propagate`."""
        if before is None:
            flow: Flow = self.flow_network(current, key)
        else:
            assert isinstance(key, Tensor)  # it is moved, or has no part in it
            flow = flow_from_previous(self.flow_network, key, current, before, self.flow_from)
        return self._completed(flow, current)

    def told_flow(self, field: Tensor, current: Tensor) -> Flow:
        """A flow (1, 2, h, w) that is known already, as `find_flow` gives it."""
        return self._completed(Flow(field), current)

    def _completed(self, flow: Flow, current: Tensor) -> Flow:
        seen = current if self.update is not None else None
        return flow._replace(size=(current.shape[-2], current.shape[-1]), current=seen)

    def carry(self, features: Features, flow: Flow, mode: Propagation = "full") -> Features:
        """Propagates along a flow that has been found already; see `propagate`."""
        levels = levels_of(features)
        carried = tuple(self._carry(level, flow, mode, i) for i, level in enumerate(levels))
        return carried if isinstance(features, tuple) else carried[0]

    def _carry(self, features: Tensor, flow: Flow, mode: Propagation, level: int) -> Tensor:
        if mode == "copy":
            return features
        size = (features.shape[-2], features.shape[-1])
        scale = None if mode == "no_scale" else self.scale_field(flow, size, level)
        stride = self._stride(flow, level)
        pixels = flow_at_level(flow.field, self.flow_stride, stride, size)
        carried = warp_and_scale(features, pixels, scale, mode, self.warp_method)
        if self.update is None or flow.current is None or mode != "full":
            return carried
        updated: Tensor = self.update(carried, flow.current, self.feature_network)
        return updated

    def scale_field(self, flow: Flow, size: tuple[int, int], level: int = 0) -> Tensor | None:
        """The scale field S of one level of features of `size` (h, w): (B, C, h, w).

        None where the flow has no context to read it from: then it is 1.
        """
        if flow.context is None or not len(self.scale_layers):
            return None
        scale: Tensor = self.scale_layers[level](flow.context)
        return resample(scale, self.flow_stride, self._stride(flow, level), size)

    def _stride(self, flow: Flow, level: int) -> Stride:
        if self._strides_for is None or flow.size is None:
            return self.strides[level]
        return self._strides_for(flow.size)[level]

    def forward(
        self,
        key: Tensor,
        current: Tensor,
        gap: Tensor,
        mode: Propagation = "full",
        previous: Tensor | None = None,
    ) -> Features:
        """Features of the current frames of a batch of pairs, row by row.

        A row with gap 0 is its own key frame and takes its features as they are. Every row goes
        through both networks, so each parameter has a gradient in each step, whatever gaps the
        batch holds, and a row of gap 0 gives the flow network exactly zero.

        Args:
            key: (B, 3, H, W).
            current: (B, 3, H, W).
            gap: (B,), current index minus key index.
            mode: See `propagate`.
            previous: The frames before the current ones, (B, 3, H, W), where `flow_from` takes
                them. Their own flow comes from the key frame, and does not learn here.
        """
        before = self.trail(key, previous, gap)
        features = self.encode(key)
        carried = self.propagate(features, key, current, mode, before)
        return chosen_rows(gap > 0, carried, features)

    def trail(self, key: Tensor, previous: Tensor | None, gap: Tensor) -> Trail | None:
        """What is known of the frames before those of pairs; None where `flow_from` is "key".

        Arguments as those of `forward`. No gradient goes to the flow of these frames.
        """
        if previous is None or self.flow_from == "key":
            return None
        with torch.no_grad():
            field = self.find_flow(key, previous).field
        # the frame before a frame at gap 1 is the key frame
        return Trail(previous, field * (gap > 1).view(-1, 1, 1, 1))

    def losses(
        self, features: Features, targets: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        """Head -> part -> loss of the current frames; the parts of a head are to be summed."""
        features = self.tail(features)
        return {name: head.loss(features, targets) for name, head in self.task_networks()}

    def predict(
        self, features: Features, size: tuple[int, int], frame: tuple[int, int] | None = None
    ) -> dict[str, Tensor]:
        """The result of each head; nothing here knows of key frames.

        Args:
            features: Of the images.
            size: Height and width of the images that the results are for.
            frame: Those of the frames that the networks saw, resized from these images; None is
                `size`.
        """
        features, frame = self.tail(features), frame or size
        return {name: head.predict(features, size, frame) for name, head in self.task_networks()}

    def confidence(self, features: Features) -> Tensor:
        """How sure the heads are of their results, 0 to 1, (B,); the least of those that tell.

        Raises:
            ValueError: No head can tell.
        """
        features = self.tail(features)
        able = [head for _, head in self.task_networks() if hasattr(head, "confidence")]
        if not able:
            raise ValueError(
                f"the schedule wants a confidence, and the heads {', '.join(self.heads)} have no "
                "method `confidence`: take another schedule, or another head"
            )
        return torch.stack([head.confidence(features) for head in able]).amin(0)

    def task_networks(self) -> ItemsView[str, Head]:
        """The heads by name."""
        # a ModuleDict does not tell what modules it holds
        return cast("ItemsView[str, Head]", self.heads.items())


def chosen_rows(chosen: Tensor, features: Features, others: Features) -> Features:
    """Row by row of a batch, `features` where `chosen` (B,) says so, else `others`."""
    rows = chosen.view(-1, 1, 1, 1)
    return on_levels(lambda level, other: torch.where(rows, level, other), features, others)


def repeated(features: Features, count: int) -> Features:
    """The features of one image so many times, without a copy."""
    return on_levels(lambda level: level.expand(count, *level.shape[1:]), features)


def levels_of(features: Features) -> tuple[Tensor, ...]:
    """The levels of features, of which there may be one."""
    return features if isinstance(features, tuple) else (features,)


def on_levels(function: Callable[..., Tensor], features: Features, *others: Features) -> Features:
    """Applies a function to each level; the result has the form of `features`."""
    levels = zip(levels_of(features), *map(levels_of, others), strict=True)
    results = tuple(function(*level) for level in levels)
    return results if isinstance(features, tuple) else results[0]


def _shape_of_levels(network: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    channels, strides = getattr(network, "channels", None), getattr(network, "strides", None)
    if not channels or not strides or len(channels) != len(strides):
        raise ValueError(
            f"the feature network {type(network).__name__} has channels {channels} and strides "
            f"{strides}: wanted both, a number for each level, such as (1024,) and (16,)"
        )
    return tuple(channels), tuple(strides)
