"""Weights from elsewhere: the authors' MXNet files, torchvision, and our own checkpoints."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dff.models.heads.detection.rfcn import OFFICIAL_NAMES
from dff.models.weights.files import check_finite, names_within, read_torch
from dff.models.weights.flow import convert_flownet
from dff.models.weights.mxnet import is_params, read_params
from dff.models.weights.safetensors import is_safetensors, read_safetensors

TORCHVISION = "torchvision:"
SHIPPED = {"dff:light": Path(__file__).with_name("light.pth")}
"""Weights that come with the package, by the name that they have in settings."""

NEW_LAYERS = ("reduce", "scale_layers", "heads")
"""Parts that the paper adds to the networks it starts from: a file may lack them."""

_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
_RESNET_UNIT = re.compile(r"(res|bn)([2-5])([a-z])(\d*)_branch(1|2[abc])_(\w+)")
_FLOWNET_ENCODER = re.compile(r"(flow_conv1|conv[2-6]|conv[3-6]_1)_(weight|bias)")
_FLOWNET_DECODER = {
    **{f"deconv{5 - i}": f"deconvolutions.{i}" for i in range(4)},
    **{f"Convolution{i + 1}": f"predictions.{i}" for i in range(4)},
    **{f"upsample_flow{6 - i}to{5 - i}": f"upsamplings.{i}" for i in range(4)},
    "Convolution5": "flow",
}


@dataclass(frozen=True)
class WeightReport:
    """What became of the arrays of a file.

    Args:
        used: Names of the network's tensors that were set.
        missing: Names of the network's tensors that the file lacks; they keep their values.
        left_over: Names in the file that the network has no place for.
    """

    used: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.used)} tensors used, {len(self.missing)} missing {_few(self.missing)}, "
            f"{len(self.left_over)} left over {_few(self.left_over)}"
        )


def load_weights(module: nn.Module, source: str | Path) -> WeightReport:
    """Sets the weights of a network from a file, or not at all.

    Takes the authors' MXNet files (`.params`: Deep Feature Flow, ResNet, FlowNet), state dicts with
    our names or torchvision's (`.pth`, `.safetensors`), Lightning checkpoints (`.ckpt`), and
    FlowNetS of FlowNetPytorch, mmtracking and MEGA. The network may be a part of what the file
    holds; the file may lack the layers of `NEW_LAYERS`, and nothing else. Nothing of a file is
    executed.

    Args:
        module: A ResNet, a flow network, or a whole DeepFeatureFlow.
        source: A file; `torchvision:NAME` for weights that torchvision downloads, for instance
            `torchvision:resnet50` or `torchvision:ResNet50_Weights.IMAGENET1K_V2`; or `dff:light`
            for those of the flow network `light`, which come with the package.

    Returns:
        The names that were used, missing and left over.

    Raises:
        FileNotFoundError: There is no such file.
        ConnectionError: torchvision's weights cannot be downloaded.
        ValueError: The file is of another kind, of another network, or has a tensor of another
            shape or one that is not finite; the message names the file and the cure.
    """
    source = str(source)
    if not module.state_dict():
        raise ValueError(
            f"weights {source} for {type(module).__name__}, which has none to set: a classical "
            "flow learns nothing; leave out --model.flow_weights, or take a flow network"
        )
    if source.startswith(TORCHVISION):
        state, origin = _from_torchvision(source.removeprefix(TORCHVISION)), "torchvision"
        left_over: list[str] = []
    else:
        state, left_over, origin = read_weights(source)
    _warn_of_convention(module, source, origin)
    return _fit(module, state, left_over, source)


def load_heads(heads: nn.ModuleDict, source: str | Path) -> list[str]:
    """Sets those heads of which a file holds every tensor in its shape; the others stay as new.

    Args:
        heads: Of a DeepFeatureFlow.
        source: As for `load_weights`.

    Returns:
        Names of the heads that were set.
    """
    if str(source).startswith(TORCHVISION):
        return []
    state, _, _ = read_weights(source)
    taken = []
    for name, head in heads.items():
        mark, own = f"heads.{name}.", head.state_dict()
        found = {key.partition(mark)[2]: value for key, value in state.items() if mark in key}
        if own and all(k in found and found[k].shape == v.shape for k, v in own.items()):
            check_finite({f"{mark}{k}": found[k] for k in own}, source)
            head.load_state_dict({k: found[k] for k in own})
            taken.append(name)
    return taken


def load_scale_layers(layers: nn.ModuleList, source: str | Path) -> bool:
    """Sets the scale layers of a model from a file that holds all of them in their shapes.

    Args:
        layers: Of a DeepFeatureFlow.
        source: As for `load_weights`.

    Returns:
        Whether they were set; otherwise they stay as they are.
    """
    state, mark = read_weights(source)[0], "scale_layers."
    found = {key.partition(mark)[2]: value for key, value in state.items() if mark in key}
    own = layers.state_dict()
    fits = found.keys() == own.keys() and all(found[k].shape == v.shape for k, v in own.items())
    if fits:
        check_finite({f"{mark}{key}": value for key, value in found.items()}, source)
        layers.load_state_dict(found)
    return fits


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], list[str], str]:
    """Tensors of a file by our names, the names left over, and `"official"` or `"file"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of none of these kinds, or holds no state dict.
    """
    path = SHIPPED.get(str(path), Path(path))
    if path.is_file() and (path.suffix == ".params" or is_params(path)):
        return *from_official(read_params(path)), "official"
    tensors, others, div_flow = read_state_dict(path)
    if flow := convert_flownet(tensors, str(path), div_flow):
        tensors = {k: v for k, v in tensors.items() if k not in flow.used} | flow.state
    return tensors, others, "file"


def read_state_dict(path: str | Path) -> tuple[dict[str, Tensor], list[str], Any]:
    """The tensors of a PyTorch or safetensors file as they are named there, wrappers aside.

    Returns:
        Tensors; names of what is no tensor; the file's `div_flow`, None where it has none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no state dict, nor a checkpoint that holds one.
    """
    if Path(path).is_file() and is_safetensors(path):
        return names_within(read_safetensors(path)), [], None
    cure = "give a .params or .safetensors file, or what torch.save wrote of a state_dict()"
    state = read_torch(path, "weights", cure)
    div_flow = state.get("div_flow") if isinstance(state, dict) else None
    for entry in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(entry), dict):
            state = state[entry]
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state dict: save network.state_dict() instead")
    named = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return names_within(named), [str(k) for k in state if k not in named], div_flow


def from_official(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], list[str]]:
    """Official arrays -> tensors by the names of a DeepFeatureFlow, and the names left over.

    Args:
        arrays: Name -> array, with or without `arg:` and `aux:`.

    Returns:
        Name -> tensor with the prefix `feature_network.`, `flow_network.`, `scale_layers.` or
        `heads.`; names left over.
    """
    state, left_over = {}, []
    for name, array in arrays.items():
        ours = official_name(name.removeprefix("arg:").removeprefix("aux:"))
        if ours is None:
            left_over.append(name)
        else:
            state[ours] = torch.from_numpy(np.ascontiguousarray(array))
    return state, left_over


def official_name(name: str) -> str | None:
    """`res4b22_branch2a_weight` -> `feature_network.layer3.22.conv1.weight`; None if unknown."""
    if name == "conv1_weight":
        return "feature_network.conv1.weight"
    layer, _, kind = name.rpartition("_")
    if layer == "feat_conv_3x3":
        return f"feature_network.reduce.{kind}"
    if name.startswith("bn_conv1_"):
        kind = _BATCH_NORM.get(name.removeprefix("bn_conv1_"))
        return kind and f"feature_network.bn1.{kind}"
    if unit := _RESNET_UNIT.fullmatch(name):
        return _resnet_name(*unit.groups())
    if encoder := _FLOWNET_ENCODER.fullmatch(name):
        return f"flow_network.encoder.{encoder[1].removeprefix('flow_')}.{encoder[2]}"
    if layer in OFFICIAL_NAMES and kind in ("weight", "bias"):
        return f"heads.detection.{OFFICIAL_NAMES[layer]}.{kind}"
    if layer == "Convolution5_scale" and kind in ("weight", "bias"):
        return f"scale_layers.0.{kind}"
    if layer in _FLOWNET_DECODER and kind in ("weight", "bias"):
        return f"flow_network.decoder.{_FLOWNET_DECODER[layer]}.{kind}"
    return None


def _resnet_name(
    part: str, stage: str, letter: str, number: str, branch: str, kind: str
) -> str | None:
    # ResNet-101 counts the units of its long stages (a, b1, b2, ...), ResNet-50 spells (a, b, c).
    unit = int(number) if number else ord(letter) - ord("a")
    ours = _BATCH_NORM.get(kind) if part == "bn" else {"weight": "weight"}.get(kind)
    if ours is None or (number and letter != "b"):
        return None
    if branch == "1":
        layer = "downsample.1" if part == "bn" else "downsample.0"
    else:
        layer = f"{'bn' if part == 'bn' else 'conv'}{'abc'.index(branch[1]) + 1}"
    return f"feature_network.layer{int(stage) - 1}.{unit}.{layer}.{ours}"


def _from_torchvision(name: str) -> dict[str, Tensor]:
    # Imported here: only this way needs it, and it is slow to import.
    from torchvision import models

    try:
        weights = models.get_weight(name) if "." in name else models.get_model_weights(name).DEFAULT
    except (ValueError, AttributeError, KeyError) as error:
        raise ValueError(
            f"torchvision has no weights {name!r}: name a model (resnet50) or its weights "
            "(ResNet50_Weights.IMAGENET1K_V2)"
        ) from error
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise ConnectionError(
            f"{weights} cannot be downloaded from {weights.url} ({error}): download it where there "
            "is a network and give the file instead"
        ) from error


def _warn_of_convention(module: nn.Module, source: str, origin: str) -> None:
    network = getattr(module, "feature_network", module)
    wanted = {"official": ("first", "official"), "torchvision": ("second", "torchvision")}
    has = (getattr(network, "stride_in", None), getattr(network, "normalization", None))
    if origin in wanted and has != (None, None) and has != wanted[origin]:
        warnings.warn(
            f"weights of {source} expect stride_in={wanted[origin][0]!r} and "
            f"normalization={wanted[origin][1]!r}; the network has {has[0]!r} and {has[1]!r}: its "
            "features will be wrong until it has learned them anew",
            stacklevel=3,
        )


def _fit(
    module: nn.Module, state: Mapping[str, Tensor], left_over: Iterable[str], source: str
) -> WeightReport:
    own = module.state_dict()
    prefix = _best_prefix(own, state)
    wrong = f"{source} holds the weights of another network than this {type(module).__name__}"
    if prefix is None:
        raise ValueError(
            f"{wrong}: nothing fits (it has {_few(state)}, wanted {_few(own)}); give the file of "
            "this network, or load it into the part of the model that it belongs to"
        )
    found = {key[len(prefix) :]: key for key in state if key.startswith(prefix)}
    used = [name for name in own if name in found]
    for name in used:
        if state[found[name]].shape != own[name].shape:
            raise ValueError(
                f"{wrong}: {name} is {tuple(state[found[name]].shape)} there and "
                f"{tuple(own[name].shape)} here; build the network that was saved (depth, "
                "channels, width, classes), or drop this tensor from the file"
            )
    # Counters of training steps; the official files have none, and nothing reads them.
    missing = [n for n in own if n not in found and not n.endswith("num_batches_tracked")]
    lacking = [name for name in missing if not set(NEW_LAYERS) & set(name.split("."))]
    parts = {name.split(".")[0] for name in used}
    foreign = [name for name in found if name not in own and name.split(".")[0] in parts]
    if lacking or foreign:
        raise ValueError(
            f"{wrong}: it lacks {len(lacking)} tensors {_few(lacking)} and has {len(foreign)} that "
            f"do not belong here {_few(foreign)}; build the network that was saved (depth, width), "
            "or load the file into the part of the model that it belongs to"
        )
    check_finite({found[name]: state[found[name]] for name in used}, source)
    module.load_state_dict({name: state[found[name]] for name in used}, strict=False)
    taken = {found[name] for name in used}
    rest = [key for key in state if key not in taken]
    return WeightReport(tuple(used), tuple(missing), (*rest, *left_over))


def _best_prefix(own: Mapping[str, Tensor], state: Iterable[str]) -> str | None:
    """The prefix under which most names of the file are names of the network, the shortest first.

    A checkpoint of a trainer calls the network `model.`, a whole model calls it `feature_network.`.
    """
    hits: Counter[str] = Counter()
    for key in state:
        start = 0
        while True:
            if key[start:] in own:
                hits[key[:start]] += 1
            start = key.find(".", start) + 1
            if start == 0:
                break
    return min(hits, key=lambda prefix: (-hits[prefix], len(prefix)), default=None)


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "(none)"
