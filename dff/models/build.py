"""The networks of the paper by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

from torch import nn

from dff.models.backbones.resnet import Depth, Layers, ResNet, split
from dff.models.backbones.timm import PREFIX as TIMM
from dff.models.backbones.timm import TimmFeatures
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.classical import DISFlow, NoFlow
from dff.models.flow.codec import CodecFlow
from dff.models.flow.flownet import FlowNet
from dff.models.flow.inception import FlowNetInception
from dff.models.flow.light import LightFlow
from dff.models.flow.raft import UPDATES, RAFTFlow, RAFTSize
from dff.models.flow.sift_flow.sift_flow import SIFTFlow
from dff.models.names import (
    ClassicalFlowName,
    CodecFlowName,
    FeatureNetworkName,
    FlowFrom,
    FlowName,
    FlowNetworkName,
    TaskLayers,
)
from dff.models.update import CHANNELS

__all__ = ["ClassicalFlowName", "FeatureNetworkName", "FlowFrom", "FlowName", "FlowNetworkName"]
__all__ += ["TaskLayers", "deep_feature_flow", "feature_network", "flow_network"]


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


def networks(settings: Mapping[str, Any], tasks: Sequence[Task]) -> DeepFeatureFlow:
    """The networks of a model by its settings.

    Args:
        settings: Of `LitDFF`, as a checkpoint has them; those that lack have its defaults.
        tasks: Of the heads.
    """
    return deep_feature_flow(
        whole_feature_network(settings),
        settings.get("flow_network", "flownet"),
        tasks,
        settings.get("task_layers", 1),
        settings.get("flow_from", "key"),
        settings.get("flow_updates"),
        update_network(settings.get("update_network"), settings.get("batch_norm", "frozen")),
    )


def whole_feature_network(settings: Mapping[str, Any]) -> ResNet | TimmFeatures:
    """The feature network of a model by its settings, before any of its layers become a tail.

    Raises:
        ImportError: It is one of timm, which is not installed.
        ValueError: There is no such network.
    """
    name = settings.get("feature_network", "resnet101")
    if name.startswith(TIMM):
        return TimmFeatures(
            name.removeprefix(TIMM),
            settings.get("feature_channels", 1024),
            batch_norm=settings.get("batch_norm", "frozen"),
        )
    known = get_args(FeatureNetworkName)
    if name not in known:
        raise ValueError(
            f"feature network {name!r}: wanted one of {', '.join(known)}, or {TIMM}NAME for any "
            "network of timm, such as timm:convnext_tiny"
        )
    wanted = ("stride_in", "batch_norm", "normalization")
    return feature_network(
        name,
        settings.get("feature_channels", 1024),
        **{name: settings[name] for name in wanted if name in settings},
    )


def update_network(
    name: str | None, batch_norm: Literal["frozen", "trained"] = "frozen"
) -> nn.Module | Literal["half"] | None:
    """The network of an update branch: "resnet18" and the like, "timm:NAME", "half", or None.

    Raises:
        ImportError: It is one of timm, which is not installed.
        ValueError: There is no such network.
    """
    if name is None or name == "half":
        return "half" if name else None
    settings = {"feature_network": name, "feature_channels": CHANNELS, "batch_norm": batch_norm}
    if name in get_args(FeatureNetworkName):  # its weights come from torchvision
        settings |= {"stride_in": "second", "normalization": "torchvision"}
    return whole_feature_network(settings)


def flow_network(
    name: FlowName | CodecFlowName = "flownet", updates: int | None = None
) -> nn.Module:
    """A flow network, or a classical flow, which has no parameters.

    Args:
        name: Of it.
        updates: How often RAFT refines its flow; None is as torchvision runs it.

    Raises:
        ValueError: An unknown name, or updates of another network than RAFT.
    """
    if name == "codec":
        return CodecFlow()
    if name not in get_args(FlowName):
        raise ValueError(f"flow network {name!r}: wanted one of {', '.join(get_args(FlowName))}")
    if updates is not None and not name.startswith("raft"):
        raise ValueError(
            f"flow_updates {updates} with {name}: raft_small and raft_large alone have them; leave "
            "flow_updates out"
        )
    if name == "zero":
        return NoFlow()
    if name in get_args(ClassicalFlowName):
        kind, _, preset = name.rpartition("_")
        kinds: dict[str, Callable[..., nn.Module]] = {"dis": DISFlow, "sift_flow": SIFTFlow}
        return kinds[kind](preset)
    if name == "flownet_inception":
        return FlowNetInception()
    if name == "light":
        return LightFlow()
    if name == "raft_small" or name == "raft_large":
        size: RAFTSize = "small" if name == "raft_small" else "large"
        return RAFTFlow(size, UPDATES if updates is None else updates)
    return FlowNet(width={"flownet": 1.0, "flownet_half": 0.5}[name])


def deep_feature_flow(
    features: ResNet | TimmFeatures,
    flow: FlowName,
    tasks: Sequence[Task],
    task_layers: TaskLayers = 1,
    flow_from: FlowFrom = "key",
    flow_updates: int | None = None,
    update: nn.Module | Literal["half"] | None = None,
) -> DeepFeatureFlow:
    """Joins a feature network, a flow network and a head for each task.

    Args:
        features: The whole feature network, as `feature_network` gives it; weights may be loaded.
        flow: Name of the flow network, or of a classical flow.
        tasks: One or more.
        task_layers: Learnable layers left to the task networks (Table 5): 1 is each head's own
            layer alone; 5, 12, 21 take the last layers of the feature network too; 0 propagates
            the scores of a task that can be cut there.
        flow_from: How the flow to a key frame is found.
        flow_updates: See `flow_network`.
        update: The network of an update branch, which sees each non-key frame; "half" is the
            feature network at half size.

    Raises:
        ValueError: `task_layers` is 0, and the tasks are others than one that can be cut.
    """
    network = flow_network(flow, flow_updates)
    front, heads, tail = _parts(features, tasks, task_layers)
    model = DeepFeatureFlow(front, network, heads, tail, flow_from=flow_from)
    if update is not None:
        model.use_update(None if update == "half" else update)
    return model


def _parts(
    features: ResNet | TimmFeatures, tasks: Sequence[Task], task_layers: TaskLayers
) -> tuple[nn.Module, dict[str, nn.Module], nn.Module | None]:
    """What is propagated comes out of the first; the heads; the layers before them all."""
    if task_layers == 0:
        parts = tasks[0].cut(*features.channels) if len(tasks) == 1 else None
        if parts is None:
            raise ValueError(
                f"task_layers 0 propagates the scores of the segmentation, and heads are "
                f"{[task.name for task in tasks]}: take heads [segmentation], or task_layers 1 or "
                "more"
            )
        scores, head, number = parts
        front = Layers({"0": features, "1": scores}, number, features.strides)
        return front, {tasks[0].name: head}, None
    heads = {task.name: task.head(features.channels, features.strides) for task in tasks}
    if task_layers == 1:
        return features, heads, None
    if not isinstance(features, ResNet):
        raise ValueError(
            f"task_layers {task_layers} cuts a ResNet of the paper (its Table 5), and the feature "
            f"network is {TIMM}{features.name}: take task_layers 1 or 0"
        )
    first, tail = split(features, task_layers)
    return first, heads, tail
