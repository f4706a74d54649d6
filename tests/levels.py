"""A toy model over two levels of features, and flows that are the same everywhere."""

import torch
import torch.nn.functional as F
from torch import nn

from dff.models.contracts import Flow

CHANNELS, STRIDES = (4, 6), (8, 16)


class Pyramid(nn.Module):
    """Means over cells of 8 and of 16 pixels, and a 1x1 layer on each."""

    channels, strides = CHANNELS, STRIDES

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, c, 1) for c in CHANNELS)

    def forward(self, image):
        cells = [F.avg_pool2d(image, stride, ceil_mode=True) for stride in STRIDES]
        return tuple(layer(level) for layer, level in zip(self.layers, cells, strict=True))


class BothLevels(nn.Module):
    """A head that sees all levels: the mean of each channel of each."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(sum(CHANNELS), 2)

    def forward(self, features):
        return self.layer(torch.cat([level.mean((2, 3)) for level in features], 1))

    def loss(self, features, targets):
        return {"both": F.cross_entropy(self(features), targets["side"])}

    def predict(self, features, size, frame):
        return self(features)


class ConstantFlow(nn.Module):
    """Everything stands `x` image pixels to the right and `y` below in the key frame.

    The context tells where each pixel of the flow lies, in columns and rows of the image.
    """

    context_channels = 2

    def __init__(self, x=0.0, y=0.0, stride=16):
        super().__init__()
        self.x, self.y, self.stride = float(x), float(y), stride

    def forward(self, current, key):
        height, width = (-(-side // self.stride) for side in current.shape[-2:])
        flow = torch.tensor((self.x, self.y)).view(1, 2, 1, 1)
        columns, rows = places(width, self.stride), places(height, self.stride)
        context = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]
        size = len(current), 2, height, width
        return Flow(flow.expand(size), context.expand(size))


def places(count, stride):
    """Where the centres of some pixels of a map lie in the image."""
    return (torch.arange(count) + 0.5) * stride - 0.5
