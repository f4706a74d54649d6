"""The networks of the paper by name."""

from collections.abc import Callable, Sequence
from typing import Literal, cast, get_args

from torch import nn

from dff.models.backbones.resnet import Depth, Layers, ResNet, split
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.classical import DISFlow, NoFlow
from dff.models.flow.flownet import FlowNet
from dff.models.flow.inception import FlowNetInception
from dff.models.flow.sift_flow.sift_flow import SIFTFlow
from dff.models.names import (
    ClassicalFlowName,
    FeatureNetworkName,
    FlowName,
    FlowNetworkName,
    TaskLayers,
)

__all__ = ["ClassicalFlowName", "FeatureNetworkName", "FlowName", "FlowNetworkName", "TaskLayers"]
__all__ += ["deep_feature_flow", "feature_network", "flow_network"]


def feature_network(
    name: FeatureNetworkName = "resnet101",
    channels: int = 1024,
    *,
    stride_in: Literal["first", "second"] = "first",
    batch_norm: Literal["frozen", "trained"] = "frozen",
    normalization: Literal["official", "torchvision"] = "official",
) -> ResNet:
    """A ResNet of stride 16 (paper, Sec. 4); arguments as those of `ResNet`."""
    depth = cast(Depth, int(name.removeprefix("resnet")))
    return ResNet(
        depth,
        channels=channels,
        stride_in=stride_in,
        batch_norm=batch_norm,
        normalization=normalization,
    )


def flow_network(name: FlowName = "flownet", feature_channels: int = 1024) -> nn.Module:
    """A flow network with a scale field of `feature_channels`, or a classical flow.

    A classical flow has no parameters, and a scale field of ones with one channel.

    Raises:
        ValueError: An unknown name.
    """
    if name not in get_args(FlowName):
        raise ValueError(f"flow network {name!r}: wanted one of {', '.join(get_args(FlowName))}")
    if name == "zero":
        return NoFlow()
    if name in get_args(ClassicalFlowName):
        kind, _, preset = name.rpartition("_")
        kinds: dict[str, Callable[..., nn.Module]] = {"dis": DISFlow, "sift_flow": SIFTFlow}
        return kinds[kind](preset)
    if name == "flownet_inception":
        return FlowNetInception(feature_channels)
    return FlowNet(feature_channels, width={"flownet": 1.0, "flownet_half": 0.5}[name])


def deep_feature_flow(
    features: ResNet,
    flow: FlowName,
    tasks: Sequence[Task],
    task_layers: TaskLayers = 1,
) -> DeepFeatureFlow:
    """Joins a feature network, a flow network and a head for each task.

    Args:
        features: The whole feature network, as `feature_network` gives it; weights may be loaded.
        flow: Name of the flow network, or of a classical flow.
        tasks: One or more.
        task_layers: Learnable layers left to the task networks (Table 5): 1 is each head's own
            layer alone; 5, 12, 21 take the last layers of the feature network too; 0 propagates
            the scores of a task that can be cut there.

    Raises:
        ValueError: `task_layers` is 0, and the tasks are others than one that can be cut.
    """
    channels = features.out_channels
    if task_layers == 0:
        parts = tasks[0].cut(channels) if len(tasks) == 1 else None
        if parts is None:
            raise ValueError(
                f"task_layers 0 propagates the scores of the segmentation, and heads are "
                f"{[task.name for task in tasks]}: take heads [segmentation], or task_layers 1 or "
                "more"
            )
        scores, head, number = parts
        front = Layers({"0": features, "1": scores}, number)
        return DeepFeatureFlow(front, flow_network(flow, number), {tasks[0].name: head})
    heads = {task.name: task.head(channels) for task in tasks}
    front, tail = split(features, task_layers)
    return DeepFeatureFlow(front, flow_network(flow, front.out_channels), heads, tail)
