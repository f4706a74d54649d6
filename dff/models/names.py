"""What networks, flows and tasks are called in settings; nothing is imported here, not even torch.

Command lines offer these names, so that their help needs none of the networks.
"""

from typing import Literal

FeatureNetworkName = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
FlowNetworkName = Literal[
    "flownet", "flownet_half", "flownet_inception", "light", "raft_small", "raft_large"
]
ClassicalFlowName = Literal[
    "zero", "dis_ultrafast", "dis_fast", "dis_medium", "sift_flow_fast", "sift_flow_slow"
]
ReadyFlowName = Literal[ClassicalFlowName, "light"]
"""Flows that need no training: classical ones, and a flow network whose weights come with dff."""
FlowName = Literal[FlowNetworkName, ClassicalFlowName]
CodecFlowName = Literal["codec"]
"""The motion vectors of a video file: for prediction alone, as data sets of images have none."""
FlowFrom = Literal["key", "chain", "warm"]
"""How the flow to a key frame is found: from the key frame alone; from neighbour to neighbour; or
from the key frame moved to where the frame before saw it. See `dff.models.flow.from_previous`."""
FLOW_FROM_HELP = (
    "how the flow to a key frame is found, where not as in training: from the key frame, from "
    "neighbour to neighbour, or from the key frame moved to where the frame before saw it"
)
TaskName = Literal["segmentation", "detection"]
TaskLayers = Literal[0, 1, 5, 12, 21]
"""Learnable layers left to the task networks (Table 5)."""
Refreshed = Literal[0, 2, 3, 4]
"""Stages of a ResNet that a clockwork runs on each frame: none, up to layer2, to layer3, or all."""
