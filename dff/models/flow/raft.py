"""RAFT (Teed and Deng 2020) as torchvision has it, under the contract of a flow network.

All pairs of pixels of both frames are compared once, and a recurrent module refines the flow with
what it looks up there. It is far more accurate on long motions than the paper's networks and costs
more than they do: it serves where the per-frame network is very heavy, and as a measure for others.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.models.optical_flow.raft import RAFT

from dff.models.contracts import Flow
from dff.models.flow.flownet import IMAGE_PIXELS
from dff.models.flow.pair_input import check_pair
from dff.models.warp import resample

RAFTSize = Literal["small", "large"]
UPDATES = 12
"""Of the flow, as torchvision runs it."""
_SMALLEST = 128  # the coarsest of its four tables of comparisons has two pixels on a side then
_SIDE = 8


class RAFTFlow(RAFT):  # type: ignore[misc]  # torchvision has no types
    """RAFT's flow at stride 8; the names of its weights are torchvision's.

    Weights come by name (`torchvision:raft_small`, or `torchvision:Raft_Large_Weights.C_T_SKHT_V2`)
    or from a file of them.

    Args:
        size: "small" has 1.0 million parameters, "large" 5.3 million.
        updates: How often the flow is refined; fewer are faster, and less accurate.

    Raises:
        ValueError: Fewer than one update.
    """

    stride = _SIDE
    context_channels = 0

    def __init__(self, size: RAFTSize = "small", updates: int = UPDATES) -> None:
        made = {"small": raft_small, "large": raft_large}[size](weights=None)
        super().__init__(
            feature_encoder=made.feature_encoder,
            context_encoder=made.context_encoder,
            corr_block=made.corr_block,
            update_block=made.update_block,
            mask_predictor=made.mask_predictor,
        )
        self.updates = updates

    @property
    def updates(self) -> int:
        """How often the flow is refined.

        Raises:
            ValueError: Fewer than once is set.
        """
        return self._updates

    @updates.setter
    def updates(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"{count} updates of RAFT's flow: wanted 1 or more")
        self._updates = count

    def forward(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W), RGB in [0, 1] -> flow (B, 2, ceil(H / 8), ceil(W / 8)).

        Raises:
            ValueError: The frames differ in shape, or a side is below 64 pixels.
        """
        return Flow(self._refined(current, key)[-1])

    def pyramid(self, current: Tensor, key: Tensor) -> list[Tensor]:
        """The flow after each of the last five updates, for training; units as in `FlowNet`.

        Raises:
            ValueError: As in `forward`.
        """
        return [flow / IMAGE_PIXELS for flow in self._refined(current, key)[-5:]]

    def _refined(self, current: Tensor, key: Tensor) -> list[Tensor]:
        check_pair(current, key.shape, "RAFT wants at least 64 on each side")
        height, width = current.shape[-2:]
        bottom, right = (max(_SMALLEST, -(-s // _SIDE) * _SIDE) - s for s in (height, width))
        # as trained: values from -1 to 1; enlarged to the right and below, so that no pixel moves
        frames = [
            F.pad(2 * frame - 1, (0, right, 0, bottom), mode="replicate")
            for frame in (current, key)
        ]
        found = super().forward(*frames, num_flow_updates=self.updates)
        size = -(-height // _SIDE), -(-width // _SIDE)
        return [resample(flow.float(), 1, _SIDE, size) for flow in found]
