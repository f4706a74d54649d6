"""Convolutions rewritten for inference: the same sums in the order that a machine does fast.

Each takes the weights of a trained layer as it is built, and is never saved. On a CPU its weights
are laid out once for oneDNN, which the plain layer does anew in each call: for the small maps of a
flow network that takes longer than the sums. The activation, and the shortcut that a residual
block adds, are part of the same pass.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOW_DILATION = 3
"""From here on bfloat16 on a CPU leaves oneDNN's fast path: ten times the time at dilation 6."""
FEW_OUTPUTS = 2
"""Up to here oneDNN's 3x3 in float32 takes up to twice the time of `FoldedConv2d`."""


class PackedConv2d(nn.Module):
    """A convolution, what is added to its result, and an activation.

    Args:
        weight: (O, I, k, k); its type is that of the computation and of the result.
        bias: (O,), or None.
        stride: Of the convolution.
        padding: Zeros around the map.
        dilation: Of the convolution.
        slope: Of the leaky ReLU that follows: max(x, slope * x). 0 is ReLU, 1 nothing at all.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        slope: float = 1.0,
    ) -> None:
        super().__init__()
        self.dtype, self.slope = weight.dtype, slope
        self.stride, self.padding, self.dilation = list(stride), list(padding), list(dilation)
        weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer(
            "bias", None if bias is None else bias.detach().clone(), persistent=False
        )
        self._packed: Tensor | None = None
        self.packs = True

    def forward(self, x: Tensor, added: Tensor | None = None, slope: float | None = None) -> Tensor:
        """Map (B, I, h, w) of any type -> (B, O, h', w').

        Args:
            x: The map.
            added: What is added before the activation, of the result's shape.
            slope: Another activation than the layer's own.
        """
        slope = self.slope if slope is None else slope
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.packs and self._packed is None:
            self._packed = self._pack(x)
            self.packs = self._packed is not None
        if self._packed is not None:
            return self._packed_forward(x, added, slope)
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)
        return _activate(y if added is None else y.add_(added), slope)

    def _pack(self, x: Tensor) -> Tensor | None:
        """The weights as oneDNN wants them for maps like this one; None where it cannot."""
        # Meta tensors count FLOPs, and other devices have their own libraries.
        if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return None
        try:
            packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, self.stride, self.dilation, 1, list(x.shape)
            )
            return packed
        except (RuntimeError, AttributeError):  # no bfloat16 on this CPU, or another torch
            return None

    def _packed_forward(self, x: Tensor, added: Tensor | None, slope: float) -> Tensor:
        how = {0.0: "relu", 1.0: "none"}.get(slope, "leaky_relu")
        scalars = [slope] if how == "leaky_relu" else []
        geometry = (self.bias, self.padding, self.stride, self.dilation, 1)
        y: Tensor
        if added is None:
            pointwise = torch.ops.mkldnn._convolution_pointwise
            y = pointwise(x, self._packed, *geometry, how, scalars, "")
            return y
        added = added.to(self.dtype).contiguous(memory_format=torch.channels_last)
        sums = torch.ops.mkldnn._convolution_pointwise.binary
        if how == "relu":  # the only one that it takes after a sum
            y = sums(x, added, self._packed, *geometry, "add", 1.0, how, [], "")
            return y
        y = sums(x, added, self._packed, *geometry, "add", 1.0, None, [], "")
        return _activate(y, slope)


class SpaceToBatch(nn.Module):
    """A dilated 3x3 as a plain one over the d * d interleaved sub-grids of the map.

    Pixel (r, c) sees those at (r +- d, c +- d) alone, which all lie in its own sub-grid.

    Args:
        convolution: Without dilation and stride, with padding 1.
        dilation: d.
    """

    def __init__(self, convolution: PackedConv2d, dilation: int) -> None:
        super().__init__()
        self.convolution, self.dilation = convolution, dilation

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) -> (B, O, h, w)."""
        batch, _, height, width = x.shape
        d = self.dilation
        h, w = -(-height // d), -(-width // d)
        x = F.pad(x.to(self.convolution.dtype), (0, w * d - width, 0, h * d - height))
        grids = x.permute(0, 2, 3, 1).reshape(batch, h, d, w, d, -1).permute(0, 2, 4, 1, 3, 5)
        y: Tensor = self.convolution(grids.reshape(batch * d * d, h, w, -1).permute(0, 3, 1, 2))
        y = y.permute(0, 2, 3, 1).reshape(batch, d, d, h, w, -1).permute(0, 3, 1, 4, 2, 5)
        return y.reshape(batch, h * d, w * d, -1).permute(0, 3, 1, 2)[:, :, :height, :width]


class FoldedConv2d(nn.Module):
    """A 3x3 with very few outputs as one matrix product, whose nine parts are then added up.

    Each pixel of the map gives its share to the nine pixels around it: that reads the map once,
    where the plain convolution reads it nine times for next to no sums.

    Args:
        weight: (O, I, 3, 3) of a convolution of stride 1 and padding 1.
        bias: (O,), or None.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.dtype = weight.dtype
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        weight = weight.detach().flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)
        self.register_buffer("weight", weight.contiguous(), persistent=False)  # (O * 9, I)
        self.register_buffer("bias", bias.detach().view(-1, 1, 1).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) -> (B, O, h, w)."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        parts = self.weight @ x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        return F.fold(parts, x.shape[-2:], 3, padding=1).add_(self.bias)


class InterleavedDeconvolution(nn.Module):
    """A 4x4 deconvolution of stride 2 as one 2x2 convolution whose channels are then interleaved.

    Every second pixel of the result along each side, from one of two starts, is a 2x2 convolution
    of the map. The four of them are one convolution with four times the channels.

    Args:
        layer: 4x4, stride 2, no padding.
        dtype: Of the computation.
        slope: As in `PackedConv2d`.
    """

    def __init__(self, layer: nn.ConvTranspose2d, dtype: torch.dtype, slope: float = 1.0) -> None:
        super().__init__()
        taps = layer.weight.detach().to(dtype)  # (I, O, 4, 4)
        phases = [taps[:, :, a::2, b::2].flip(2, 3) for a in (0, 1) for b in (0, 1)]
        weight = torch.stack(phases).transpose(1, 2).flatten(0, 1)
        bias = None if layer.bias is None else layer.bias.detach().to(dtype).repeat(4)
        self.convolution = PackedConv2d(weight, bias, padding=(1, 1), slope=slope)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) -> (B, O, 2h + 2, 2w + 2)."""
        y: Tensor = self.convolution(x)
        y = y.permute(0, 2, 3, 1)
        batch, height, width, _ = y.shape  # h + 1, w + 1
        y = y.reshape(batch, height, width, 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        return y.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def can_be_packed(layer: nn.Conv2d) -> bool:
    """Whether a convolution is a plain one: one group, a padding of zeros, no class of its own."""
    plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
    return plain and not isinstance(layer.padding, str)


def pack(
    layer: nn.Conv2d, dtype: torch.dtype, slope: float = 1.0
) -> PackedConv2d | SpaceToBatch | FoldedConv2d:
    """A convolution for inference in `dtype`, with what follows it.

    Raises:
        ValueError: It is none that `can_be_packed`.
    """
    if not can_be_packed(layer):
        raise ValueError(f"{layer} cannot be packed: wanted one group and a padding of zeros")
    bias = None if layer.bias is None else layer.bias.to(dtype)
    weight, dilation = layer.weight.to(dtype), layer.dilation[0]
    same = layer.stride == (1, 1) and layer.padding == layer.dilation
    if weight.device.type == "cpu" and layer.kernel_size == (3, 3) and same:
        if dtype == torch.bfloat16 and dilation >= SLOW_DILATION:
            return SpaceToBatch(PackedConv2d(weight, bias, padding=(1, 1), slope=slope), dilation)
        # in bfloat16 the nine parts would be rounded one by one
        if dtype == torch.float32 and dilation == 1 and len(weight) <= FEW_OUTPUTS and slope == 1:
            return FoldedConv2d(weight, bias)
    padding = cast("Sequence[int]", layer.padding)  # which may be a word in general
    return PackedConv2d(weight, bias, layer.stride, padding, layer.dilation, slope)


def _activate(x: Tensor, slope: float) -> Tensor:
    if slope == 1:
        return x
    return F.leaky_relu(x, slope, inplace=True) if slope else F.relu(x, inplace=True)
