"""FlowNetS weights of other PyTorch code -> the names and the conventions of `FlowNet`.

All of them take the current (first) image before the key (second) one, and mean flow current ->
key. Their deconvolutions of 4x4, stride 2 and padding 1 are ours without padding, cropped by one
pixel. What differs besides the names stands in `NAMINGS`, and is put into the weights.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from dff.models.flow.flownet import FLOW_UNIT, FlowNet
from dff.models.flow.pair_input import MEAN
from dff.models.weights.files import current_name

Channels = Literal["rgb", "bgr"]

_CONVOLUTIONS = (
    *("conv1", "conv2", "conv3", "conv3_1", "conv4", "conv4_1"),
    *("conv5", "conv5_1", "conv6", "conv6_1"),
)
_NORM_KINDS = ("weight", "bias", "running_mean", "running_var")
_NORM_EPSILON = 1e-5
_WITHOUT_BIAS = ("decoder.deconvolutions", "decoder.predictions", "decoder.upsamplings")
"""Layers that have biases in some of the codes and none in others; `decoder.flow` is the last
prediction."""


@dataclass(frozen=True)
class Naming:
    """The names and the input of FlowNetS in one code base.

    Args:
        title: Whose it is.
        layers: Its layers -> ours.
        mean: What it subtracts from red, green and blue in [0, 1].
        channels: The order in which it takes them.
        norms: Its batch norms -> the convolution of ours in front of them.
    """

    title: str
    layers: Mapping[str, str]
    mean: tuple[float, float, float]
    channels: Channels
    norms: Mapping[str, str] = field(default_factory=dict)


NAMINGS = (
    Naming(
        "FlowNetPytorch",
        {
            **{f"{name}.0": f"encoder.{name}" for name in _CONVOLUTIONS},
            **{f"deconv{5 - i}.0": f"decoder.deconvolutions.{i}" for i in range(4)},
            **{f"predict_flow{6 - i}": f"decoder.predictions.{i}" for i in range(4)},
            **{f"upsampled_flow{6 - i}_to_{5 - i}": f"decoder.upsamplings.{i}" for i in range(4)},
            "predict_flow2": "decoder.flow",
        },
        (0.45, 0.432, 0.411),
        "rgb",
        {f"{name}.1": f"encoder.{name}" for name in _CONVOLUTIONS},
    ),
    Naming(
        "mmtracking",
        {
            **{f"{n[:5]}.{int('_' in n)}.conv": f"encoder.{n}" for n in _CONVOLUTIONS},
            **{f"deconv{5 - i}.conv": f"decoder.deconvolutions.{i}" for i in range(4)},
            **{f"predict_flow{6 - i}.conv": f"decoder.predictions.{i}" for i in range(4)},
            **{f"upsample_flow{5 - i}.conv": f"decoder.upsamplings.{i}" for i in range(4)},
            "predict_flow.conv": "decoder.flow",
        },
        # The means of blue, green, red, taken from RGB: so it was trained, so it stays.
        (0.411, 0.432, 0.450),
        "rgb",
    ),
    Naming(
        "MEGA",
        {
            **{name.replace("conv1", "flow_conv1"): f"encoder.{name}" for name in _CONVOLUTIONS},
            **{f"deconv{5 - i}": f"decoder.deconvolutions.{i}" for i in range(4)},
            **{f"Convolution{i + 1}": f"decoder.predictions.{i}" for i in range(4)},
            **{f"upsample_flow{6 - i}to{5 - i}": f"decoder.upsamplings.{i}" for i in range(4)},
            "Convolution5": "decoder.flow",
            "Convolution5_scale": "decoder.scale",
        },
        (122.7717 / 255, 115.9465 / 255, 102.9801 / 255),
        "bgr",
    ),
)


@dataclass(frozen=True)
class FlowWeights:
    """What a file of another code base gives.

    Args:
        title: Whose naming it is.
        channels: The order in which that network takes the channels; `state` takes RGB.
        state: Tensors by our names, with the prefix `flow_network.` or `scale_layers.`.
        used: Names in the file -> the tensor of ours that they went into.
        left_over: Names in the file that FlowNet has no place for.
    """

    title: str
    channels: Channels
    state: dict[str, Tensor]
    used: dict[str, str]
    left_over: list[str]


def convert_flownet(
    tensors: Mapping[str, Tensor],
    source: str,
    div_flow: Any = None,
    channels: Channels | None = None,
) -> FlowWeights | None:
    """FlowNetS of FlowNetPytorch, mmtracking or MEGA, alone or within a model -> ours.

    Batch norms are folded into their convolutions, biases that a code does without are 0, the first
    layer takes RGB less our mean, and one unit of flow is 20 pixels. Two differences remain: beyond
    the border the first layer sees our mean colour where it saw theirs, and the last prediction
    looks at the map pooled to stride 16, as in MEGA and the official code, where FlowNetPytorch and
    mmtracking look at stride 4 of the network's input.

    Args:
        tensors: State dict of the file.
        source: Name of the file, for messages.
        div_flow: What FlowNetPytorch divided the flow by, as its files tell; None is 20.
        channels: Order of the channels that the network takes; None is that of its naming.

    Returns:
        None for a file in none of the namings.

    Raises:
        ValueError: It is FlowNetC, a tensor is missing or of another shape, `div_flow` is no
            positive number.
    """
    found = _recognize(tensors)
    if found is None:
        return None
    naming, prefix = found
    inside = {key[len(prefix) :]: v for key, v in tensors.items() if key.startswith(prefix)}
    if any(name.startswith("conv_redir") for name in inside):
        raise ValueError(
            f"{source} holds FlowNetC, which correlates its two frames: another network; give a "
            "checkpoint of FlowNetS, which FlowNetPytorch calls flownets"
        )
    names = _names(naming, inside)
    _check_complete(naming, names, inside, source)
    _check_shapes(names, inside, source)
    order = channels or naming.channels
    ours = {our: inside[name].float() for name, our in names.items()}
    _fold_norms(ours)
    _fill_biases(ours)
    _take_input(ours, naming.mean, order)
    _take_unit(ours, _unit(div_flow, source))
    return FlowWeights(
        naming.title,
        order,
        {current_name(f"flow_network.{our}"): value for our, value in ours.items()},
        {
            prefix + name: current_name(f"flow_network.{_target(our)}")
            for name, our in names.items()
        },
        [key for key in tensors if not key.startswith(prefix) or key[len(prefix) :] not in names],
    )


def _recognize(tensors: Iterable[str]) -> tuple[Naming, str] | None:
    """The naming of which a file has most of the decoder, and the prefix of the names there."""
    best: tuple[int, Naming, str] | None = None
    for naming in NAMINGS:
        decoder = tuple(f"{n}.weight" for n, ours in naming.layers.items() if "decoder" in ours)
        prefixes: Counter[str] = Counter()
        for key in tensors:
            prefixes.update({key[: -len(n)] for n in decoder if f".{key}".endswith(f".{n}")})
        for prefix, hits in prefixes.items():
            if 2 * hits > len(decoder) and (best is None or hits > best[0]):
                best = hits, naming, prefix
    return best and (best[1], best[2])


def _names(naming: Naming, inside: Iterable[str]) -> dict[str, str]:
    """Names in the file -> ours; the four tensors of a batch norm become `LAYER.norm.KIND`."""
    names = {}
    for name in inside:
        layer, _, kind = name.rpartition(".")
        if layer in naming.layers and kind in ("weight", "bias"):
            names[name] = f"{naming.layers[layer]}.{kind}"
        elif layer in naming.norms and kind in _NORM_KINDS:
            names[name] = f"{naming.norms[layer]}.norm.{kind}"
    return names


def _target(our: str) -> str:
    return our.partition(".norm.")[0] + ".weight" if ".norm." in our else our


def _check_complete(
    naming: Naming, names: Mapping[str, str], inside: Iterable[str], source: str
) -> None:
    have = set(names.values())
    normed = {our.partition(".norm.")[0] for our in have if ".norm." in our}
    # Some codes give a kind of layer no biases, but then none of that kind has one.
    biased = {p for p in _WITHOUT_BIAS if any(o.startswith(p) and o.endswith("bias") for o in have)}
    lacking = []
    for layer, ours in naming.layers.items():
        kind = ours.rpartition(".")[0] if ours != "decoder.flow" else "decoder.predictions"
        wants = ["weight"] if ours != "decoder.scale" else []
        if (kind == "encoder" and ours not in normed) or kind in biased:
            wants.append("bias")
        lacking += [f"{layer}.{want}" for want in wants if f"{ours}.{want}" not in have]
    for norm, ours in naming.norms.items():
        if ours in normed:
            lacking += [f"{norm}.{k}" for k in _NORM_KINDS if f"{ours}.norm.{k}" not in have]
    if lacking:
        unknown = [name for name in inside if name not in names][:3]
        raise ValueError(
            f"{source} holds FlowNetS with the names of {naming.title}, but lacks "
            f"{len(lacking)} of its tensors ({', '.join(lacking[:3])})"
            f"{' and has ' * bool(unknown)}{', '.join(unknown)}: give the whole checkpoint as it "
            "was saved"
        )


def _check_shapes(names: Mapping[str, str], inside: Mapping[str, Tensor], source: str) -> None:
    by_ours = {our: inside[name] for name, our in names.items()}
    sizes = [1, 64]  # channels of the scale field and of the first layer: all that may vary
    for i, our in enumerate(("decoder.scale.weight", "encoder.conv1.weight")):
        if our in by_ours and by_ours[our].ndim:
            sizes[i] = len(by_ours[our])
    with torch.device("meta"):
        network = FlowNet(width=sizes[1] / 64)
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    wanted["decoder.scale.weight"] = torch.Size((sizes[0], network.context_channels, 1, 1))
    wanted["decoder.scale.bias"] = torch.Size((sizes[0],))
    for name, our in names.items():
        layer, norm, _ = our.partition(".norm.")
        shape = wanted[f"{layer}.bias"] if norm else wanted[our]
        if inside[name].shape != shape:
            raise ValueError(
                f"{source} holds another network than FlowNetS: {name} is "
                f"{tuple(inside[name].shape)} there, and wanted is {tuple(shape)}"
            )


def _fold_norms(ours: dict[str, Tensor]) -> None:
    for layer in [name.removesuffix(".norm.weight") for name in ours if ".norm.weight" in name]:
        gamma, beta, mean, variance = (ours.pop(f"{layer}.norm.{kind}") for kind in _NORM_KINDS)
        factor = gamma / (variance + _NORM_EPSILON).sqrt()
        bias = ours.get(f"{layer}.bias", torch.zeros_like(beta))
        ours[f"{layer}.weight"] = ours[f"{layer}.weight"] * factor.view(-1, 1, 1, 1)
        ours[f"{layer}.bias"] = beta + (bias - mean) * factor


def _fill_biases(ours: dict[str, Tensor]) -> None:
    for name in [name for name in ours if name.endswith("weight")]:
        weight, bias = ours[name], f"{name.removesuffix('weight')}bias"
        transposed = "deconvolutions" in name or "upsamplings" in name
        channels = weight.shape[1] if transposed else weight.shape[0]
        if bias not in ours:
            # MEGA adds a 1 to a scale field without bias.
            value = 1.0 if name == "decoder.scale.weight" else 0.0
            ours[bias] = weight.new_full((channels,), value)


def _take_input(
    ours: dict[str, Tensor], mean: tuple[float, float, float], channels: Channels
) -> None:
    """Lets the first layer take RGB less our mean, in place of what it was trained with."""
    weight = ours["encoder.conv1.weight"]
    if channels == "bgr":
        weight = weight[:, [2, 1, 0, 5, 4, 3]]
    shift = weight.new_tensor([our - their for our, their in zip(MEAN, mean, strict=True)] * 2)
    ours["encoder.conv1.weight"] = weight
    ours["encoder.conv1.bias"] = ours["encoder.conv1.bias"] + weight.sum((2, 3)) @ shift


def _unit(div_flow: Any, source: str) -> float:
    try:
        unit = FLOW_UNIT if div_flow is None else float(div_flow)
    except (TypeError, ValueError):
        unit = 0.0
    if not 0 < unit < float("inf"):
        raise ValueError(
            f"{source} says div_flow = {div_flow!r}: wanted the positive number of pixels in one "
            "unit of flow, such as 20; correct that entry of the file"
        )
    return unit


def _take_unit(ours: dict[str, Tensor], unit: float) -> None:
    """Lets one unit of flow be 20 pixels; what the upsampled flow tells finer layers stays."""
    factor = unit / FLOW_UNIT
    for name, value in ours.items():
        if name.startswith(("decoder.predictions", "decoder.flow")):
            ours[name] = value * factor
        elif name.startswith("decoder.upsamplings") and name.endswith("weight"):
            ours[name] = value / factor
