"""A model with the layers that other runtimes know: nothing packed, nothing laid out by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dff.inference.deploy.deployment import rewritten
from dff.inference.deploy.fusion import NOTHING, PackedFusion
from dff.models.dff import DeepFeatureFlow
from dff.models.heads.segmentation import label_map
from dff.models.warp import WarpMethod


def exportable(model: DeepFeatureFlow, dtype: torch.dtype, warp: WarpMethod) -> DeepFeatureFlow:
    """A copy of a model for export: batch norm in the convolutions, one way of warping.

    Args:
        model: A trained model on the CPU; it stays as it is.
        dtype: Of the convolutions and the features.
        warp: How it samples.

    Raises:
        ValueError: The model has layers that stay in float32, and half precision is wanted; or its
            flow is an algorithm, not a network.
    """
    flow = model.flow_network
    if not any(True for _ in flow.parameters()):
        raise ValueError(
            f"the flow of this model is an algorithm ({type(flow).__name__}), which no graph can "
            "hold: give --flow_network light, or export a model with a flow network"
        )
    fusion = PlainFusion(dtype)
    parts = {"feature network": model.feature_network, "flow network": flow, "tail": model.tail}
    for name, part in parts.items():
        if dtype != torch.float32 and not fusion.knows(part):
            raise ValueError(
                f"the {name} of this model ({type(part).__name__}) has layers that are exported in "
                "float32 alone: give --precision fp32"
            )
    copy = rewritten(model, fusion)
    copy.warp_method = warp
    if hasattr(copy.flow_network, "warp_method"):
        setattr(copy.flow_network, "warp_method", warp)  # noqa: B010
    return copy


class PlainFusion(PackedFusion):
    """A `Fusion` that leaves convolutions to the runtime.

    Args:
        dtype: Of the convolutions and of the features.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(dtype, False, label_map)

    def convolution(
        self,
        layer: nn.Conv2d,
        norm: nn.BatchNorm2d | None = None,
        slope: float = NOTHING,
        exact: bool = False,
    ) -> nn.Module:
        """A convolution with what follows it; see `Fusion.convolution`."""
        if norm is not None:
            layer = fuse_conv_bn_eval(layer, norm)
        return Activated(layer, torch.float32 if exact else self.dtype, slope)

    def deconvolution(self, layer: nn.ConvTranspose2d, slope: float = NOTHING) -> nn.Module:
        """A deconvolution with what follows it."""
        return Activated(layer, self.dtype, slope)


class Activated(nn.Module):
    """A convolution, what is added to its result, and an activation.

    Args:
        layer: The convolution, or deconvolution.
        dtype: Of the computation and the result.
        slope: Of the leaky ReLU that follows; 0 is ReLU, 1 nothing at all.
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype, slope: float) -> None:
        super().__init__()
        self.layer, self.dtype, self.slope = layer.to(dtype), dtype, slope

    @property
    def weight(self) -> Tensor:
        """Of the convolution."""
        return self.layer.get_parameter("weight")

    @property
    def bias(self) -> Tensor | None:
        """Of the convolution."""
        bias: Tensor | None = self.layer.bias  # type: ignore[assignment]
        return bias

    def forward(self, x: Tensor, added: Tensor | None = None, slope: float | None = None) -> Tensor:
        """Map (B, I, h, w) -> (B, O, h', w'); see `PackedConv2d.forward`."""
        y: Tensor = self.layer(x.to(self.dtype))
        if added is not None:
            y = y + added.to(self.dtype)
        slope = self.slope if slope is None else slope
        if slope == NOTHING:
            return y
        return F.leaky_relu(y, slope) if slope else F.relu(y)
