"""Layers of a trained network rewritten for inference: fewer, each packed (see `packed`)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dff.inference.deploy.packed import InterleavedDeconvolution, can_be_packed, pack

LAYERS = (nn.BatchNorm2d, nn.ConvTranspose2d)
"""Layers with parameters, beside convolutions, that a network may have and be rewritten."""
RELU, NOTHING = 0.0, 1.0
"""Slopes of what may follow a convolution."""


class PackedFusion:
    """The `Fusion` of `dff.models.contracts`, with packed convolutions.

    Args:
        dtype: Of the convolutions and of the features.
        splits_pairs: Whether the first layer of a flow network takes the two frames apart.
        label_map: Makes labels of scores.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        splits_pairs: bool,
        label_map: Callable[[Tensor, tuple[int, int]], Tensor],
    ) -> None:
        self.dtype, self.splits_pairs, self.label_map = dtype, splits_pairs, label_map

    def knows(self, module: nn.Module) -> bool:
        """Whether each layer within a module can be rewritten, or stay beside those that are."""
        leaves = (layer for layer in module.modules() if not any(layer.children()))
        return all(
            can_be_packed(layer)
            if isinstance(layer, nn.Conv2d)
            else isinstance(layer, LAYERS) or not any(True for _ in layer.parameters())
            for layer in leaves
        )

    def layer(self, module: nn.Module) -> nn.Module:
        """What takes the place of a network, a head or a layer."""
        fused: Callable[[PackedFusion], nn.Module] | None = getattr(module, "fused", None)
        if fused is not None:
            return fused(self)
        if isinstance(module, nn.Conv2d):
            return self.convolution(module)
        self.rewrite(module)
        return module

    def rewrite(self, module: nn.Module) -> None:
        """Replaces the layers within a module, joining what stands in its sequences."""
        if isinstance(module, nn.Sequential):
            self._join(module)
        for name, child in list(module.named_children()):
            module.register_module(name, self.layer(child))

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
        return pack(layer, torch.float32 if exact else self.dtype, slope)

    def deconvolution(self, layer: nn.ConvTranspose2d, slope: float = NOTHING) -> nn.Module:
        """A 4x4 deconvolution of stride 2, with what follows it."""
        return InterleavedDeconvolution(layer, self.dtype, slope)

    def _join(self, layers: nn.Sequential) -> None:
        """Convolutions of a sequence take in the batch norm and the activation after them."""
        for position, layer in enumerate(layers):
            if not isinstance(layer, nn.Conv2d):
                continue
            after, slope = position + 1, NOTHING
            following = layers[after] if after < len(layers) else None
            norm = following if isinstance(following, nn.BatchNorm2d) else None
            if norm is not None:
                layers[after] = nn.Identity()
                after += 1
            if after < len(layers) and isinstance(layers[after], nn.ReLU | nn.LeakyReLU):
                slope = getattr(layers[after], "negative_slope", RELU)
                layers[after] = nn.Identity()
            layers[position] = self.convolution(layer, norm, slope)
