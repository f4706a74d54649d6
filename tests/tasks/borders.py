"""A task of one's own in one file: where two classes meet."""

import torch
import torch.nn.functional as F
from torch import nn

from dff.inference.results.label_pictures import LabelPictures
from dff.inference.tasks.choice import tasks_of
from dff.lit.module import LitDFF
from dff.models.contracts import Measure, Panel, Task


def borders_of(mask):
    """Classes (B, H, W) -> whether a pixel differs from its left neighbour, (B, H, W) uint8."""
    border = torch.zeros_like(mask, dtype=torch.uint8)
    border[:, :, 1:] = mask[:, :, 1:] != mask[:, :, :-1]
    return border


class BorderHead(nn.Module):
    """One 1x1 layer: whether a cell of the features holds a border."""

    def __init__(self, channels):
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)

    def forward(self, features):
        return self.score(features).float()

    def loss(self, features, targets):
        score, border = self(features), borders_of(targets["mask"]).float()
        truth = F.adaptive_max_pool2d(border.unsqueeze(1), score.shape[-2:])
        return {"borders": F.binary_cross_entropy_with_logits(score, truth)}

    def predict(self, features, size, frame=None):
        score = F.interpolate(self(features), size=size, mode="bilinear", align_corners=False)
        return (score[:, 0] > 0).to(torch.uint8)


class BorderAccuracy:
    """The share of pixels that are right, at each gap."""

    def __init__(self, gaps):
        self.gaps, self.rows = list(gaps), {}
        self.sums = {"right": torch.zeros(len(gaps)), "all": torch.zeros(len(gaps))}

    def count(self, found, batch):
        right = (found == borders_of(batch["mask"])).float().flatten(1)
        at = (batch["gap"][:, None] == batch["gap"].new_tensor(self.gaps)).float()
        return {"right": right.sum(1) @ at, "all": torch.ones_like(right).sum(1) @ at}

    def result(self, counted):
        return {"by_gap": counted["right"] / counted["all"], "by_class": torch.zeros(0)}


class Borders(Task):
    name, targets, suffixes = "borders", ("mask",), (".borders",)
    measure = Measure("border_accuracy", "borders")

    def head(self, channels, strides):
        return BorderHead(*channels)

    def accuracy(self, gaps):
        return BorderAccuracy(gaps)

    def draw(self, pictures, found, threshold):
        return torch.where(found[..., None] > 0, torch.full_like(pictures, 255), pictures)

    def panel(self, picture, found, batch):
        return Panel({"borders": found * 255, "true borders": borders_of(batch["mask"])[0] * 255})

    def files(self, folder, name, labels):
        return LabelPictures(folder, f"{name}.borders")


class LitBorders(LitDFF):
    def make_tasks(self):
        return tasks_of(self.hparams, [Borders()])
