"""Feature network: a ResNet of stride 16 with a dilated 3x3 convolution on top (Zhu et al., 4)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.backbones.fused import FusedBlock, Shift
from dff.models.contracts import STRIDE, Fusion

Depth = Literal[18, 34, 50, 101]
BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
MEAN_STD: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "official": ((123.15 / 255, 115.90 / 255, 103.06 / 255), (1 / 255,) * 3),
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Normalize(nn.Module):
    """RGB in [0, 1] -> the numbers that the network's weights were trained on: (x - mean) / std.

    The two buffers are constants of the network's making, not weights: no state dict holds them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> the same shape."""
        return (image - self.mean) / self.std


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses its running statistics; gamma and beta still learn.

    The official `use_global_stats`: batches of one image per GPU give no statistics of their own.
    Names and state dict equal those of BatchNorm2d. Do not hand it to `convert_sync_batchnorm`,
    which would thaw it.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        # A new module is in training mode, and nobody need call train() or eval() before using it.
        self.train()

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stays in evaluation mode, whatever is asked."""
        return super().train(False)


class Block(nn.Module):
    """Residual block: 3x3-3x3 (`basic`) or 1x1-3x3-1x1, batch norm after each convolution.

    Args:
        inputs: Channels that come in.
        width: Channels inside; a bottleneck returns four times as many.
        basic: Two 3x3 convolutions (ResNet-18, -34) instead of a bottleneck.
        stride: Of the whole block.
        dilation: Of its 3x3 convolutions.
        stride_in: Which convolution of a bottleneck strides; a basic block's first does.
        norm: Makes a batch norm for a number of channels.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        basic: bool,
        stride: int,
        dilation: int,
        stride_in: Literal["first", "second"],
        norm: type[nn.BatchNorm2d],
    ) -> None:
        super().__init__()
        outputs = width if basic else 4 * width
        first, second = (stride, 1) if basic or stride_in == "first" else (1, stride)
        self.conv1 = _conv(inputs, width, 3 if basic else 1, first, dilation if basic else 1)
        self.bn1 = norm(width)
        self.conv2 = _conv(width, width, 3, second, dilation)
        self.bn2 = norm(width)
        if not basic:
            self.conv3 = _conv(width, outputs, 1)
            self.bn3 = norm(outputs)
        self.basic = basic
        self.out_channels = outputs
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), norm(outputs))

    def fused(self, fusion: Fusion) -> FusedBlock:
        """The block for inference."""
        layers = [(self.conv1, self.bn1), (self.conv2, self.bn2)]
        if not self.basic:
            layers.append((self.conv3, self.bn3))
        downsample = None
        if self.downsample is not None:
            downsample = fusion.convolution(*self.downsample)
        # each is followed by a ReLU, the last one after the sum
        convolutions = [fusion.convolution(layer, norm, slope=0.0) for layer, norm in layers]
        return FusedBlock(convolutions, downsample, self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, out_channels, ceil(h / stride), ceil(w / stride))."""
        return self.join(x, self.branch(x))

    def branch(self, x: Tensor) -> Tensor:
        """What the convolutions add to the shortcut."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        if not self.basic:
            x = self.bn3(self.conv3(F.relu(x, inplace=True)))
        return x

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        """The shortcut of `x`, plus a branch: that of `x` itself in `forward`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(branch + shortcut, inplace=True)


class Layers(nn.Sequential):
    """Named layers, run in their order.

    Args:
        layers: Name -> layer.
        channels: Channels that come out.
        strides: Of the one level that comes out.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        channels: int,
        strides: tuple[int, ...] = (STRIDE,),
    ) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.channels, self.strides = (channels,), strides

    @torch.no_grad()
    def fused(self, fusion: Fusion) -> "Layers":
        """The layers for inference: the normalisation of the image is in the first convolution."""
        layers = dict(self.named_children())
        if "normalize" in layers:
            normalize = cast(Normalize, layers["normalize"])
            first = cast(nn.Conv2d, layers["conv1"])
            # zeros around the image are zeros after the mean is subtracted: that stays outside
            first.weight.div_(normalize.std)
            self.register_module("normalize", Shift(normalize.mean))
        fusion.rewrite(self)
        return self


class ResNet(Layers):
    """Image (B, 3, H, W), RGB in [0, 1] -> features (B, channels, ceil(H / 16), ceil(W / 16)).

    He et al. 2016, changed as in section 4 of the paper: conv5 keeps its stride of 16 and dilates
    every 3x3 by 2, then a 3x3 of dilation 6 with ReLU reduces to `channels`. Parameters carry
    torchvision's names; the last convolution is `reduce`.

    A network that starts from random weights should train its batch norm (`"trained"`).

    Args:
        depth: 18, 34, 50 or 101.
        channels: Channels of the features.
        stride_in: Convolution of a bottleneck that strides: its first 1x1 (the official weights) or
            its 3x3, the second (torchvision's weights).
        batch_norm: `"frozen"`: running statistics always, gamma and beta learn, as in the official
            code. `"trained"`: ordinary batch norm.
        normalization: What the weights expect: pixels of 0..255 less their mean (`"official"`), or
            torchvision's mean and standard deviation.

    Raises:
        ValueError: An argument is none of its choices.
    """

    normalize: Normalize
    conv1: nn.Conv2d
    layer3: nn.Sequential
    layer4: nn.Sequential
    reduce: nn.Conv2d
    reduce_relu: nn.ReLU

    def __init__(
        self,
        depth: Depth = 101,
        *,
        channels: int = 1024,
        stride_in: Literal["first", "second"] = "first",
        batch_norm: Literal["frozen", "trained"] = "frozen",
        normalization: Literal["official", "torchvision"] = "official",
    ) -> None:
        _choose("depth", depth, BLOCKS)
        _choose("stride_in", stride_in, ("first", "second"))
        _choose("batch_norm", batch_norm, ("frozen", "trained"))
        _choose("normalization", normalization, MEAN_STD)
        norm = FrozenBatchNorm2d if batch_norm == "frozen" else nn.BatchNorm2d
        basic = depth < 50
        layers: dict[str, nn.Module] = {
            "normalize": Normalize(*MEAN_STD[normalization]),
            "conv1": _conv(3, 64, 7, 2),
            "bn1": norm(64),
            "relu": nn.ReLU(inplace=True),
            "maxpool": nn.MaxPool2d(3, 2, 1),
        }
        inputs = 64
        for number, count in enumerate(BLOCKS[depth], start=1):
            blocks = []
            for index in range(count):
                block = Block(
                    inputs,
                    64 * 2 ** (number - 1),
                    basic=basic,
                    stride=2 if index == 0 and number in (2, 3) else 1,
                    dilation=2 if number == 4 else 1,
                    stride_in=stride_in,
                    norm=norm,
                )
                inputs = block.out_channels
                blocks.append(block)
            layers[f"layer{number}"] = nn.Sequential(*blocks)
        layers["reduce"] = nn.Conv2d(inputs, channels, 3, padding=6, dilation=6)
        layers["reduce_relu"] = nn.ReLU(inplace=True)
        super().__init__(layers, channels)
        self.depth = depth
        self.stride_in = stride_in
        self.normalization = normalization
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        """Random weights under which a network of any depth keeps the size of its activations."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Official input is some 58 times as large as torchvision's: frozen statistics keep that.
        usual = torch.tensor(MEAN_STD["torchvision"][1]).view(1, 3, 1, 1)
        self.conv1.weight.mul_(self.normalize.std / usual)
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        for block in blocks:
            # Each block adds its branch to the sum: without this the features would double in
            # every one of the 33 blocks as long as the statistics are frozen.
            nn.init.constant_((block.bn2 if block.basic else block.bn3).weight, len(blocks) ** -0.5)
            if block.downsample is not None:
                weight = block.downsample.get_parameter("0.weight")
                nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear")


def split(network: ResNet, task_layers: Literal[21, 12, 5, 1]) -> tuple[Layers, nn.Module]:
    """Cuts a feature network where Table 5 of the paper does: what propagates lies in between.

    Both parts share the network's layers (nothing is copied) under the network's own names, so the
    state dicts of front and tail together are that of the whole. `tail(front(image))` equals
    `network(image)`.

    Args:
        network: The whole feature network.
        task_layers: Convolutions that the task network keeps, counted in ResNet-101 with its
            shortcuts, the task network's own 1x1 being the last: 1 = none of these layers; 5 =
            `reduce` and the last block of layer4; 12 = `reduce` and layer4; 21 = and three blocks
            of layer3, or as many as leave one.

    Returns:
        Front (image -> intermediate features of stride 16, `channels` of them) and tail
        (intermediate features -> features).

    Raises:
        ValueError: No such split.
    """
    _choose("task_layers", task_layers, (21, 12, 5, 1))
    if task_layers == 1:
        return network, nn.Identity()
    # How many blocks of each layer move to the tail.
    moved = {"layer4": 1 if task_layers == 5 else len(network.layer4)}
    if task_layers == 21:
        moved["layer3"] = min(3, len(network.layer3) - 1)
    front: dict[str, nn.Module] = {}
    tail: dict[str, nn.Module] = {}
    for name, layer in network.named_children():
        if name in moved and isinstance(layer, nn.Sequential):
            cut = len(layer) - moved[name]
            if cut:
                front[name] = layer[:cut]
            tail[name] = layer[cut:]
        else:
            (tail if name.startswith("reduce") else front)[name] = layer
    blocks = cast("Sequence[Block]", front["layer4" if "layer4" in front else "layer3"])
    return Layers(front, blocks[-1].out_channels), Layers(tail, *network.channels)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def _choose(name: str, value: object, choices: Collection[object]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: choose one of {', '.join(map(repr, choices))}")
