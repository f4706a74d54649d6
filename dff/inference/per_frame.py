"""A per-frame model as a `Model`: what `dff speedup` and `dff predict --model` run."""

from pathlib import Path
from typing import get_args

import torch

from dff.data.datasets.cityscapes import PALETTE
from dff.inference.deploy.deployment import deploy_flow
from dff.inference.deploy.device import usable_device
from dff.inference.deploy.label_maps import label_map_by_strips
from dff.inference.model import Model
from dff.inference.tasks.detection import Detection
from dff.inference.tasks.names import numbered
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow
from dff.models.names import ClassicalFlowName, CodecFlowName, FlowFrom, FlowName
from dff.models.per_frame.model import PerFrameModel, as_deep_feature_flow
from dff.models.per_frame.named import per_frame_model
from dff.models.weights.load import load_scale_layers, load_weights
from dff.models.weights.ready import shipped_weights

TRIAL = (256, 320)
"""Size of the image that a model is tried on."""


def load_per_frame(
    spec: str,
    *,
    weights: Path | None = None,
    random: bool = False,
    flow_network: FlowName | CodecFlowName | None = None,
    flow_weights: str | Path | None = None,
    flow_from: FlowFrom | None = None,
    device: torch.device | str | None = "cpu",
) -> Model:
    """A per-frame model as it is, its first half run on key frames alone.

    The model is not rewritten for inference: at key duration 1 the results are its own.

    Args:
        spec: See `per_frame_model`, likewise `weights` and `random`.
        weights: A file.
        random: Random weights.
        flow_network: A classical flow, or a flow network; None is `default_flow`.
        flow_weights: What a flow network has learned, and the scale field where it was trained for
            this model: a file as for `load_weights`. None takes those that come with the package
            for `light`.
        flow_from: How the flow to a key frame is found; None is "key".
        device: Where it runs; None is a GPU where there is one.

    Raises:
        ConnectionError: Weights cannot be downloaded.
        FileNotFoundError: There is no such file.
        ImportError: A library is not there.
        ValueError: There is no such model or device, it has not what it needs, or a flow network
            has learned nothing.
    """
    device = usable_device(device)
    flow_network = flow_network or default_flow(device)
    flow_weights = flow_weights or shipped_weights(flow_network)
    learns_nothing = (*get_args(ClassicalFlowName), *get_args(CodecFlowName))
    if (flow_weights is None) != (flow_network in learns_nothing):
        raise ValueError(
            f"flow network {flow_network} with flow weights {flow_weights}: a classical flow "
            "(dis_fast, ...) has none, and a flow network needs those that it was trained to, "
            "such as a checkpoint of dff fit --config distill; those of light come with dff"
        )
    networks, task = per_frame_networks(spec, weights, random, flow_network, device)
    if flow_weights is not None:
        load_weights(networks.flow_network, flow_weights)
        load_scale_layers(networks.scale_layers, flow_weights)
    networks.flow_from = flow_from or networks.flow_from
    networks.eval().requires_grad_(False)
    deploy_flow(networks, device)
    model = networks.feature_network.model
    if hasattr(model, "label_map") and device.type == "cpu":
        model.label_map = label_map_by_strips
    return Model(networks, {task.name: task}, device)


def default_flow(device: torch.device | str) -> FlowName:
    """The flow of a model that has none of its own: DIS runs on a CPU, and nowhere else."""
    return "dis_fast" if torch.device(device).type == "cpu" else "light"


def per_frame_networks(
    spec: str,
    weights: Path | None = None,
    random: bool = False,
    flow_network: FlowName | CodecFlowName = "zero",
    device: torch.device | str = "cpu",
) -> tuple[DeepFeatureFlow, Task]:
    """A per-frame model as networks, and its task; arguments and errors as `load_per_frame`."""
    model = per_frame_model(spec, weights, random)
    if isinstance(model, torch.nn.Module):
        model = model.to(device).eval()
    task = _task(model)
    image = torch.zeros(1, 3, *TRIAL, device=device)
    try:
        networks = as_deep_feature_flow(model, build.flow_network(flow_network), task.name, image)
    except (RuntimeError, TypeError, AttributeError, IndexError, KeyError) as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(
            f"{spec} failed on a frame of {TRIAL[0]} x {TRIAL[1]} ({words})"
        ) from error
    return networks.to(device), task


def _task(model: PerFrameModel) -> Task:
    names = list(model.names)
    if model.kind == "boxes":
        boxes = Detection(max(len(names), 256))
        boxes.classes = [*names, *numbered(256)[len(names) :]]
        return boxes
    labels = Segmentation(max(len(names), 256))
    labels.classes = [*names, *numbered(256)[len(names) :]]
    labels.palette = [[0, 0, 0], *colours(255)] if len(names) != 19 else PALETTE.tolist()
    return labels


def colours(count: int) -> list[list[int]]:
    """So many colours, each far from those before it."""
    hues = (number * 0.618034 % 1 * 6 for number in range(count))
    ramps = ([abs(h - 3) - 1, 2 - abs(h - 2), 2 - abs(h - 4)] for h in hues)
    return [[round(255 * min(max(v, 0.0), 1.0)) for v in ramp] for ramp in ramps]
