"""What each part costs: FLOPs, Eq. 5 to 7 of the paper, and when propagation begins to pay."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dff.models.dff import DeepFeatureFlow, levels_of


@dataclass(frozen=True)
class Complexity:
    """FLOPs (one multiply-add counts as 2) for one frame of a stated size.

    `heads` is all of the task networks, `by_head` the share that each has for itself. A classical
    flow does not compute on tensors: its operations are not counted, and its FLOPs are 0. `update`
    is the update branch, where there is one.
    """

    feature_network: float
    flow_network: float
    warp: float
    heads: float
    by_head: Mapping[str, float] = field(default_factory=dict)
    update: float = 0.0

    @property
    def key_frame(self) -> float:
        """FLOPs of a key frame, and of every frame without Deep Feature Flow."""
        return self.feature_network + self.heads

    @property
    def propagation(self) -> float:
        """FLOPs of carrying features to a frame, without recognising it."""
        return self.flow_network + self.warp + self.update

    @property
    def current_frame(self) -> float:
        """FLOPs of a frame that is not a key frame."""
        return self.propagation + self.heads

    @property
    def one_over_r(self) -> float | None:
        """O(N_feat) / O(F), the paper's Table 2; F with its decoder and its scale layer.

        None where the flow is a classical one.
        """
        return self.feature_network / self.flow_network if self.flow_network else None

    @property
    def r(self) -> float:
        """Cost of a current frame over that of a key frame, all terms counted (Eq. 5)."""
        return self.current_frame / self.key_frame


def speedup(key_duration: int, r: float) -> float:
    """Speed over the per-frame network for one key frame in every `key_duration` (Eq. 7)."""
    return key_duration / (1 + (key_duration - 1) * r)


def run_speedup(cost: Complexity, frames: int, key_frames: int, after_flow: int = 0) -> float:
    """Eq. 7 for key frames wherever they lie: speed of a run over the per-frame network.

    With one key frame in every l frames and none of them `after_flow`, it is `speedup(l, r)`.

    Args:
        cost: Of the model.
        frames: Of all videos.
        key_frames: How many of them are key frames.
        after_flow: How many of these became key frames after features had been carried to them,
            which costs both.
    """
    spent = key_frames * cost.key_frame + (frames - key_frames) * cost.current_frame
    return frames * cost.key_frame / (spent + after_flow * cost.propagation)


def break_even(per_frame: float, key: float, current: float) -> int | None:
    """The smallest key duration at which the mean cost of a frame is below the per-frame network's.

    Args:
        per_frame: Cost of a frame without Deep Feature Flow (any unit).
        key: Cost of a key frame.
        current: Cost of a frame that is not a key frame.

    Returns:
        The key duration, at least 2; None where propagation never pays.
    """
    if current >= per_frame:
        return None
    # key + (l - 1) * current < l * per_frame
    return max(2, int((key - current) / (per_frame - current)) + 1)


@torch.inference_mode()
def complexity(model: DeepFeatureFlow, size: tuple[int, int]) -> Complexity:
    """Counts the FLOPs of a model for a frame of `size` (H, W), without computing anything."""
    model = copy.deepcopy(model).to("meta").eval()
    frame = torch.empty(1, 3, *size, device="meta")
    features, feature_network = _count(model.feature_network, frame)
    flow, flow_network = _count(model.flow_network, frame, frame)
    flow_network += sum(_count(layer, flow.context)[1] for layer in model.scale_layers)
    _, tail = _count(model.tail, features)
    deep = model.tail(features)
    by_head = {name: _count(head, deep)[1] for name, head in model.heads.items()}
    heads = tail + sum(by_head.values())
    # FlopCounterMode counts sampling and products as nothing. For each element: 4 taps of a
    # multiply-add, and one product with the scale field.
    warp = 9.0 * sum(level.numel() for level in levels_of(features))
    update = 0.0
    if model.update is not None:
        update = _count(model.update, features, frame, model.feature_network)[1]
    return Complexity(feature_network, flow_network, warp, heads, by_head, update)


def _count(module: nn.Module, *inputs: Any) -> tuple[Any, float]:
    with FlopCounterMode(display=False) as counter:
        output = module(*inputs)
    return output, float(counter.get_total_flops())
