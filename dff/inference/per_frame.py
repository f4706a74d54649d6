"""A per-frame model as a `Model`: what `dff speedup` and `dff predict --model` run."""

from pathlib import Path

import torch

from dff.data.datasets.cityscapes import PALETTE
from dff.inference.model import Model
from dff.inference.tasks.detection import Detection
from dff.inference.tasks.names import numbered
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.contracts import Task
from dff.models.names import FlowName
from dff.models.per_frame.model import PerFrameModel, as_deep_feature_flow
from dff.models.per_frame.named import per_frame_model

TRIAL = (256, 320)
"""Size of the image that a model is tried on."""


def load_per_frame(
    spec: str,
    *,
    weights: Path | None = None,
    random: bool = False,
    flow_network: FlowName = "dis_fast",
    device: torch.device | str = "cpu",
) -> Model:
    """A per-frame model as it is, its first half run on key frames alone.

    Nothing is rewritten for inference: at key duration 1 the results are the model's own.

    Args:
        spec: See `per_frame_model`, likewise `weights` and `random`.
        weights: A file.
        random: Random weights.
        flow_network: A classical flow.
        device: Where it runs.

    Raises:
        ConnectionError: Weights cannot be downloaded.
        FileNotFoundError: There is no such file.
        ImportError: A library is not there.
        ValueError: There is no such model, or it has not what it needs.
    """
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
    on_cpu = torch.device(device).type == "cpu"
    networks.warp_method = "gather" if on_cpu else "grid_sample"
    return Model(networks.eval().requires_grad_(False), {task.name: task}, device)


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
