"""A trained model rewritten for inference: the same results, sooner.

Batch norm goes into the convolutions before it, activations and shortcuts into the pass of their
convolution, and each convolution is packed (see `packed`). The rewritten model is a copy that can
neither be trained nor saved; checkpoints stay what they are.
"""

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dff.inference.deploy.packed import InterleavedDeconvolution, PackedConv2d, can_be_packed, pack
from dff.models.backbones.resnet import Block, Normalize
from dff.models.contracts import Features, Flow, Head, PreparedKey
from dff.models.dff import DeepFeatureFlow, levels_of
from dff.models.flow.flownet import FlowDecoder, FlowNet, FlowNetEncoder, PairInput, unexpand
from dff.models.flow.inception import FlowNetInception

LAYERS = (nn.BatchNorm2d, nn.ConvTranspose2d)
"""Layers with parameters, beside convolutions, that a network may have and be rewritten."""
RELU, NOTHING = 0.0, 1.0
"""Slopes of what may follow a convolution."""


def deploy(
    model: DeepFeatureFlow, dtype: torch.dtype = torch.float32, compiled: bool = False
) -> DeepFeatureFlow:
    """A copy of a model for inference on the device where it is.

    A network with layers that cannot be rewritten (grouped convolutions, layer norm, attention)
    stays as it is; in half precision it runs under autocast.

    Results differ by rounding alone: in float32 by less than 1e-4 of the largest feature, in
    bfloat16 by no more than autocast's own distance from float32. Positions, flow, boxes and
    label maps are computed in float32, whatever `dtype` is, as under autocast.

    Args:
        model: A trained model; it stays as it is.
        dtype: Of the convolutions and of the features: float32, bfloat16 or float16.
        compiled: Both networks through `torch.compile`, on CUDA with CUDA graphs; the first frame
            of each size takes long. Where it fails, a warning says so and they run as they are.

    Returns:
        A model in eval mode with the same face. Frames in channels-last memory are fastest.

    Raises:
        ValueError: Another dtype.
    """
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype {dtype}: wanted torch.float32, bfloat16 or float16")
    model = copy.deepcopy(model).eval().requires_grad_(False)
    on_cpu = next(model.parameters(), torch.empty(0)).device.type == "cpu"
    # a clockwork holds the model whose layers it runs
    networks = model if isinstance(model, DeepFeatureFlow) else model.model
    for part in ("feature_network", "flow_network", "tail"):
        setattr(networks, part, _part(getattr(networks, part), dtype))
    for parts in (networks.heads, networks.scale_layers):
        for name, child in list(parts.named_children()):
            parts.register_module(name, _part(child, dtype))
    networks.warp_method = "gather" if on_cpu else "grid_sample"
    network = getattr(model, "flow_network", None)
    if compiled:
        model.feature_network = Compiled(model.feature_network)
        model.flow_network = Compiled(model.flow_network)
    elif isinstance(network, FlowNet | FlowNetInception):
        # in other types the sum costs what it saves
        if dtype == torch.float32 and network.pair.mean.device.type == "cpu":
            layers = network.encoder.conv1.modules()
            network.pair = SplitPair(next(m for m in layers if isinstance(m, PackedConv2d)))
            network.encoder.register_module("conv1", nn.Identity())
    return model


class Compiled(nn.Module):
    """A module through `torch.compile`, or as it is where that fails: no compiler, no such GPU."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        for layer in module.modules():
            if isinstance(layer, PackedConv2d):
                layer.packs = False
        self._compiled: Callable[..., Any] | None = None
        self._failed = False

    def forward(self, *inputs: Tensor) -> Features | Flow:
        """As the module."""
        found: Features | Flow
        if self._failed:
            found = self.module(*inputs)
            return found
        graphs = inputs[0].device.type == "cuda"
        try:
            if self._compiled is None:
                # frozen weights are laid out by the compiler, which cannot look into packed ones
                how: dict[str, Any] = {"options": {"freezing": True}}
                if graphs:
                    how = {"mode": "reduce-overhead"}
                self._compiled = torch.compile(self.module, **how)
            found = self._compiled(*inputs)
        except Exception as error:  # a compiler has no end of ways to fail
            self._failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(
                f"torch.compile failed ({reason}), so {type(self.module).__name__} runs without it",
                stacklevel=2,
            )
            found = self.module(*inputs)
            return found
        if not graphs:
            return found
        # the next run of a graph writes where this one's results are, and features are kept
        return _cloned(found)


def _cloned(found: Features | Flow) -> Features | Flow:
    if isinstance(found, Tensor):
        return found.clone()
    if isinstance(found, Flow):
        context = None if found.context is None else found.context.clone()
        return Flow(found.field.clone(), context)
    return tuple(level.clone() for level in found)


class SplitPair(PairInput):
    """The input of a flow network and its first convolution, which takes the two frames apart.

    It is linear: over a pair it is the sum over both, and the key frame's part is the same for all
    frames that it serves.

    Args:
        first: The convolution, packed, with its activation.
    """

    def __init__(self, first: PackedConv2d) -> None:
        super().__init__()
        current, key = first.weight.split(3, dim=1)
        geometry = first.stride, first.padding, first.dilation
        self.current = PackedConv2d(current, first.bias, *geometry, first.slope)
        self.key = PackedConv2d(key, None, *geometry)

    def prepare(self, key: Tensor) -> PreparedKey:
        """Key frames (B, 3, H, W) -> their part of the first map."""
        halves = super().prepare(key).part
        part = self.key(unexpand(halves)).expand(len(key), -1, -1, -1)
        return PreparedKey(key.shape, part.contiguous(memory_format=torch.channels_last))

    def join(self, current: Tensor, key: Tensor) -> Tensor:
        """Half-size current frames, and the key frames' part -> the first map."""
        first_map: Tensor = self.current(current, added=key)
        return first_map


class PackedBlock(nn.Module):
    """A residual block of convolutions alone: the last one adds the shortcut in its own pass."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        super().__init__()
        pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if not block.basic:
            pairs.append((block.conv3, block.bn3))
        # each is followed by a ReLU, the last after the sum
        self.convolutions = nn.ModuleList(_fold(c, norm, dtype, RELU) for c, norm in pairs)
        self.out_channels = block.out_channels
        self.downsample: nn.Module | None = None
        if block.downsample is not None:
            convolution, norm = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(block.downsample))
            self.downsample = _fold(convolution, norm, dtype, NOTHING)

    def forward(self, x: Tensor) -> Tensor:
        """As `Block`, likewise the others."""
        *others, last = self.convolutions
        result: Tensor = last(_through(others, x), self._shortcut(x))
        return result

    def branch(self, x: Tensor) -> Tensor:
        """What the convolutions add to the shortcut."""
        *others, last = self.convolutions
        result: Tensor = last(_through(others, x), slope=NOTHING)
        return result

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        """The shortcut of `x`, plus a branch."""
        return F.relu(branch + self._shortcut(x), inplace=True)

    def _shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


def _through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class Shift(nn.Module):
    """Subtracts a mean; the deviation is in the weights of the next layer."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> the same shape."""
        return image - self.mean


class Autocast(nn.Module):
    """A network that is left as it is, computed in half precision where PyTorch holds it safe."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, *inputs: Tensor) -> Features | Flow:
        """As the module."""
        with torch.autocast(inputs[0].device.type, self.dtype):
            found: Features | Flow = self.module(*inputs)
            return found

    def predict(self, features: Features, *sizes: tuple[int, int]) -> Tensor:
        """As the head."""
        with torch.autocast(levels_of(features)[0].device.type, self.dtype):
            found: Tensor = cast(Head, self.module).predict(features, *sizes)
            return found


def _part(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A network or a head for inference: rewritten, or as it is where a layer cannot be."""
    if all(_known(layer) for layer in module.modules() if not any(layer.children())):
        if isinstance(module, nn.Conv2d):
            return pack(module, dtype)
        _rewrite(module, dtype)
        return module
    return module if dtype == torch.float32 else Autocast(module, dtype)


def _known(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return can_be_packed(layer)
    return isinstance(layer, LAYERS) or not any(True for _ in layer.parameters())


def _rewrite(module: nn.Module, dtype: torch.dtype, slope: float = NOTHING) -> None:
    """Replaces the layers within a module; `slope` is of what follows its own convolutions."""
    if isinstance(module, nn.Sequential):
        _join_sequence(module, dtype)
    for name, child in module.named_children():
        if isinstance(child, Block):
            setattr(module, name, PackedBlock(child, dtype))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, pack(child, dtype, slope))
        elif isinstance(child, FlowDecoder):
            _rewrite_decoder(child, dtype)
        else:
            _rewrite(child, dtype, _take_activation(child))


def _rewrite_decoder(decoder: FlowDecoder, dtype: torch.dtype) -> None:
    """The last flow is computed in float32, whatever `dtype` is."""
    slope = _take_activation(decoder)
    # a ModuleList gives plain modules
    deconvolutions = cast("Iterable[nn.ConvTranspose2d]", decoder.deconvolutions)
    upsamplings = cast("Iterable[nn.ConvTranspose2d]", decoder.upsamplings)
    predictions = cast("Iterable[nn.Conv2d]", decoder.predictions)
    decoder.deconvolutions = nn.ModuleList(
        InterleavedDeconvolution(layer, dtype, slope) for layer in deconvolutions
    )
    decoder.upsamplings = nn.ModuleList(
        InterleavedDeconvolution(layer, dtype) for layer in upsamplings
    )
    decoder.predictions = nn.ModuleList(pack(layer, dtype) for layer in predictions)
    decoder.register_module("flow", pack(decoder.flow, torch.float32))


def _take_activation(module: nn.Module) -> float:
    """The slope of the activation that a flow network has after each layer; its layers get it."""
    if not isinstance(module, FlowNetEncoder | FlowDecoder):
        return NOTHING
    slope = cast(nn.LeakyReLU, module.activation).negative_slope
    module.activation = nn.Identity()
    return slope


def _join_sequence(layers: nn.Sequential, dtype: torch.dtype) -> None:
    """Convolutions of a sequence take in the normalisation and the activation around them."""
    for position, layer in enumerate(layers):
        if not isinstance(layer, nn.Conv2d):
            continue
        before = layers[position - 1] if position else None
        if isinstance(before, Normalize):
            layer.weight.div_(before.std)
            layers[position - 1] = Shift(before.mean)
        after, slope = position + 1, NOTHING
        following = layers[after] if after < len(layers) else None
        norm = following if isinstance(following, nn.BatchNorm2d) else None
        if norm is not None:
            layers[after] = nn.Identity()
            after += 1
        if after < len(layers) and isinstance(layers[after], nn.ReLU | nn.LeakyReLU):
            slope = getattr(layers[after], "negative_slope", RELU)
            layers[after] = nn.Identity()
        layers[position] = _fold(layer, norm, dtype, slope)


def _fold(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d | None, dtype: torch.dtype, slope: float
) -> nn.Module:
    if norm is not None:
        convolution = fuse_conv_bn_eval(convolution, norm)
    return pack(convolution, dtype, slope)
