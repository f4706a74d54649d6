"""An update branch: a light network sees each non-key frame, for what no flow can bring there.

What comes into view and what was hidden has no place in the key frame. As in Accel (Jain et al.
2019), a cheap network looks at the current frame, and its features correct the carried ones; here
by how far a small layer moves them towards what the light network says in their place, which is
nowhere until it has learned.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.warp import resample

CHANNELS = 128
"""Of the light network's features, and of the layer that joins them with the carried ones."""


class UpdateBranch(nn.Module):
    """Carried features (B, C, h, w) and their frames (B, 3, H, W) -> corrected features.

    Args:
        network: A `FeatureNetwork` of one level; None is the expensive one at half size, which
            costs a quarter of a key frame.
        channels: C.
        stride: Image pixels along a side of one pixel of the carried features.
    """

    def __init__(self, network: nn.Module | None, channels: int, stride: int) -> None:
        super().__init__()
        self.network, self.stride = network, stride
        own, self.own_stride = channels, 2 * stride
        if network is not None:
            (own,), (self.own_stride,) = network.channels, network.strides  # type: ignore[misc]
        self.carried = nn.Conv2d(channels, CHANNELS, 1)
        self.seen = nn.Conv2d(own, CHANNELS, 1)
        self.join = nn.Conv2d(2 * CHANNELS, CHANNELS, 3, padding=1)
        self.said = nn.Conv2d(own, channels, 1)
        self.share = nn.Conv2d(CHANNELS, channels, 1)
        for layer in (self.carried, self.seen, self.join, self.said):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
        if network is None:  # its features mean what the carried ones mean
            nn.init.dirac_(self.said.weight)
        nn.init.zeros_(self.share.weight)  # an untrained branch changes nothing
        nn.init.zeros_(self.share.get_parameter("bias"))

    def forward(self, features: Tensor, frame: Tensor, expensive: nn.Module) -> Tensor:
        """See the class; in the type of the features.

        Args:
            features: Carried, (B, C, h, w).
            frame: What they were carried to, (B, 3, H, W).
            expensive: The feature network.
        """
        size = (features.shape[-2], features.shape[-1])
        seen: Tensor
        if self.network is None:
            seen = expensive(F.avg_pool2d(frame, 2, ceil_mode=True))
        else:
            seen = self.network(frame)
        seen = resample(seen, self.own_stride, self.stride, size)
        both = torch.cat((self.carried(features), self.seen(seen)), 1)
        share = torch.tanh(self.share(F.relu(self.join(F.relu(both)))))
        change: Tensor = share * (self.said(seen) - features)
        return features + change.to(features.dtype)
