"""A small model, and frames for it."""

import torch
import torch.nn.functional as F

from dff.inference.tasks.segmentation import Segmentation
from dff.models import build

SIZE = (64, 96)


def small_model(task_layers=1, **kwargs):
    torch.manual_seed(0)
    features = build.feature_network("resnet18", 16, **kwargs)
    return build.deep_feature_flow(features, "flownet_half", [Segmentation(5)], task_layers)


def frames(count, seed=1):
    patches = torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(
        patches, size=SIZE
    )  # unlike fine noise, each frame has features of its own
