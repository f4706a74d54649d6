"""The motion vectors of a video file as a flow function.

They lead from each frame to the one before, so that the flow to a key frame is put together from
neighbour to neighbour (`flow_from: chain`). Where a file says nothing (another format, an image, a
frame that was encoded by itself) DIS finds the flow.
"""

from torch import Tensor, nn

from dff.models.contracts import Flow
from dff.models.flow.classical import DISFlow
from dff.models.warp import resample

CELL = 8


class CodecFlow(nn.Module):
    """Flow at stride 8: what the file says where it does, else that of DIS.

    `from_file`: asks whoever reads a video for its motion vectors.
    """

    stride = CELL
    context_channels = 0
    from_file = True

    def __init__(self) -> None:
        super().__init__()
        self.instead = DISFlow("fast")

    def forward(self, current: Tensor, key: Tensor) -> Flow:
        """Frames (B, 3, H, W) of which no file says anything -> their flow by DIS."""
        size = tuple(-(-side // CELL) for side in current.shape[-2:])
        field = self.instead(current, key).field
        return Flow(resample(field, self.instead.stride, CELL, (size[0], size[1])))
