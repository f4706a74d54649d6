"""Any network of timm as a feature network: its levels joined at stride 16, or a ViT's last tokens.

timm is an extra: `pip install 'dff[timm]'`. It is imported when such a network is built.
"""

import copy
import difflib
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dff.models.backbones.resnet import Normalize
from dff.models.contracts import STRIDE
from dff.models.warp import resample

PREFIX = "timm:"
FINEST_STRIDE = 4
"""Finer levels than this tell a head at stride 16 nothing."""


class TimmFeatures(nn.Module):
    """A network of timm, image (B, 3, H, W) -> features (B, channels, ceil(H / 16), ceil(W / 16)).

    Convolutional and hierarchical networks give levels of stride 4 to 32; where timm can, the last
    ones are dilated to stride 16. All of them are brought to stride 16 and joined by a 1x1. A plain
    transformer gives the tokens of its last block, after its last norm; its stride is that of its
    patches, 14 for DINOv2. A 3x3 convolution with ReLU follows, as `reduce` in the paper's ResNet.
    Frames are padded to a multiple of the largest stride.

    Args:
        name: Of timm's, without `timm:`.
        channels: Of the features.
        batch_norm: "frozen": batch norms keep their statistics, as for pre-trained weights;
            "trained": from scratch.

    Raises:
        ImportError: timm is not there.
        ValueError: timm has no such network, or it gives no level of stride 16 or finer.
    """

    def __init__(
        self,
        name: str,
        channels: int = 256,
        *,
        batch_norm: Literal["frozen", "trained"] = "frozen",
    ) -> None:
        super().__init__()
        self.name, self.batch_norm = name, batch_norm
        config = pretrained_config(name)
        self.normalize = Normalize(config["mean"], config["std"])
        self.backbone, levels, reductions = _build(name)
        self._levels = [i for i, stride in enumerate(reductions) if stride >= FINEST_STRIDE]
        self._strides = [reductions[i] for i in self._levels]
        self._widths = [levels[i] for i in self._levels]
        stride = STRIDE if STRIDE in self._strides else self._strides[0]
        if len(set(self._strides)) > 1 and stride != STRIDE:
            raise ValueError(
                f"{PREFIX}{name} gives levels of stride {', '.join(map(str, reductions))}: wanted "
                "one of stride 16; take another network"
            )
        _check_size(name, self.backbone, max(self._strides))
        self.channels, self.strides = (channels,), (stride,)
        self.join = nn.Conv2d(sum(self._widths), channels, 1)
        self.reduce = nn.Conv2d(channels, channels, 3, padding=1)
        for layer in (self.join, self.reduce):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W), RGB in [0, 1] -> (B, channels, ceil(H / 16), ceil(W / 16))."""
        (stride,) = self.strides
        height, width = image.shape[-2:]
        size = -(-height // stride), -(-width // stride)
        maps = self.backbone(_padded(self.normalize(image), max(self._strides)))
        levels = [
            resample(_channels_first(maps[i], width), s, stride, size)
            for i, s, width in zip(self._levels, self._strides, self._widths, strict=True)
        ]
        joined = self.join(torch.cat(levels, 1))
        return F.relu(self.reduce(F.relu(joined, inplace=True)), inplace=True)

    def train(self, mode: bool = True) -> "TimmFeatures":
        """Frozen batch norms stay in eval mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def load_pretrained(self, state: Mapping[str, Tensor] | None = None) -> str:
        """Takes timm's own weights: of a state dict in timm's naming, or those that timm downloads.

        Args:
            state: The state dict; None lets timm download.

        Returns:
            What was loaded, and under which licence.

        Raises:
            ConnectionError: They cannot be downloaded.
            ValueError: They are of another network.
        """
        overlay: dict[str, Any] = {} if state is None else {"state_dict": dict(state)}
        try:
            loaded, _, _ = _build(self.name, pretrained=True, pretrained_cfg_overlay=overlay)
        except Exception as error:  # whatever timm, the hub and its client raise
            words = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
            if state is not None:
                raise self._foreign(words) from error
            raise ConnectionError(
                f"timm cannot load the weights of {self.name} ({words}): download them where there "
                "is a network and give the file to --model.weights, or leave --model.weights out "
                "to begin from random ones"
            ) from error
        found = loaded.state_dict()
        if state is not None:  # timm passes over what does not fit, which may be all
            given = {_fingerprint(value) for value in state.values()}
            # Older files lack the batches that batch norms have counted, which decide nothing.
            names = [name for name in found if not name.endswith("num_batches_tracked")]
            fits = sum(_fingerprint(found[name]) in given for name in names)
            if fits < 0.9 * len(names):
                raise self._foreign(f"{fits} of {len(names)} tensors fit")
        self.backbone.load_state_dict(found)
        licence = pretrained_config(self.name).get("license") or "not stated by timm"
        return f"weights of {PREFIX}{self.name}; their licence: {licence}"

    def _foreign(self, reason: str) -> ValueError:
        return ValueError(
            f"weights of another network than {PREFIX}{self.name} ({reason}): give a file of its "
            "weights in timm's naming"
        )

    def depths(self) -> Iterator[tuple[str, float]]:
        """Parameter -> how far from the features it is, in blocks of a transformer.

        For a learning rate that falls from layer to layer. The layers of our own have 0, the last
        block 1, the patch embedding the most.

        Raises:
            ValueError: The network is no transformer of equal blocks.
        """
        names = [name for name, _ in self.named_parameters()]
        blocks = [int(m[1]) for n in names if (m := re.search(r"\bblocks\.(\d+)\.", n))]
        if not blocks or len(set(self._strides)) > 1:
            raise ValueError(
                f"layer_decay for {PREFIX}{self.name}: wanted a transformer of blocks that follow "
                "each other, such as timm:vit_small_patch16_dinov3; leave layer_decay out"
            )
        count = max(blocks) + 1
        for name in names:
            block = re.search(r"\bblocks\.(\d+)\.", name)
            if not name.startswith("backbone.") or re.search(r"\b(norm|fc_norm)\.\w+$", name):
                yield name, 0.0
            else:
                yield name, float(count - int(block[1]) if block else count + 1)


def pretrained_config(name: str) -> Mapping[str, Any]:
    """What timm knows of a network: its mean, deviation, licence.

    Raises:
        ImportError: timm is not there.
        ValueError: timm has no such network.
    """
    timm = import_timm()
    if not timm.is_model(name):
        bare = name.partition(".")[0]
        near = difflib.get_close_matches(bare, timm.list_models(), n=3, cutoff=0.5)
        cure = f"the nearest are {', '.join(near)}" if near else "timm.list_models() names them all"
        raise ValueError(f"timm {timm.__version__} has no network {name!r}: {cure}")
    config = timm.get_pretrained_cfg(name)
    return cast("Mapping[str, Any]", config.to_dict()) if config is not None else _USUAL


_USUAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "license": None}


def import_timm() -> ModuleType:
    """timm, or a sentence that says how to get it.

    Raises:
        ImportError: It is not there.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            "a feature network timm:NAME needs timm, which is not installed: "
            "pip install 'dff[timm]'"
        ) from error
    return timm


def _build(name: str, **settings: Any) -> tuple[nn.Module, list[int], list[int]]:
    """The network without its head, channels and strides of its levels; fine to coarse."""
    timm = import_timm()
    network = _first_accepted(
        name,
        [
            {"features_only": True, "output_stride": STRIDE, **settings},
            {"features_only": True, "strict_img_size": False, **settings},
            {"features_only": True, "dynamic_img_size": True, **settings},
            {"features_only": True, **settings},
        ],
    )
    channels = list(network.feature_info.channels())
    strides = list(network.feature_info.reduction())
    if len(set(strides)) > 1:
        return network, channels, strides
    # A plain transformer: `features_only` would drop its last norm.
    whole = _first_accepted(
        name,
        [{"dynamic_img_size": True, "num_classes": 0, **settings}, {"num_classes": 0, **settings}],
    )
    last = timm.models._features.FeatureGetterNet(whole, out_indices=(-1,), norm=True)
    return last, channels[-1:], strides[-1:]


def _first_accepted(name: str, attempts: list[dict[str, Any]]) -> Any:
    """Builds a network with the first of several settings that it takes."""
    timm = import_timm()
    refusal: Exception | None = None
    for settings in attempts:
        structure = {k: v for k, v in settings.items() if not k.startswith("pretrained")}
        try:
            with torch.device("meta"):  # tried without memory and random numbers
                timm.create_model(name, **structure)
        except (TypeError, AssertionError, NotImplementedError, AttributeError) as error:
            refusal = error
            continue
        except RuntimeError:  # asks for a number while it is built, which meta tensors have not
            pass
        return timm.create_model(name, **settings)
    raise ValueError(
        f"{PREFIX}{name} gives no features ({type(refusal).__name__}: {str(refusal)[:120]}): take "
        "another network"
    ) from refusal


def _check_size(name: str, backbone: nn.Module, multiple: int) -> None:
    """Refuses a network that takes images of one size alone."""
    try:
        trial = copy.deepcopy(backbone).to("meta").eval()
        trial(torch.empty(1, 3, 2 * multiple, 3 * multiple, device="meta"))
    except Exception as error:  # each says it in its own way
        raise ValueError(
            f"{PREFIX}{name} takes images of one size alone, and videos have others "
            f"({str(error).splitlines()[0][:120]}): take another network"
        ) from error


def _fingerprint(value: Tensor) -> tuple[torch.Size, float]:
    return value.shape, float(value.double().sum())


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Zeros, which is the mean colour by now, to the right and below."""
    height, width = image.shape[-2:]
    right, below = -width % multiple, -height % multiple
    if torch.compiler.is_exporting():  # that nothing lacks would be fixed for all sizes
        return F.pad(image, (0, right, 0, below))
    return F.pad(image, (0, right, 0, below)) if right or below else image


def _channels_first(level: Tensor, channels: int) -> Tensor:
    """(B, C, h, w), whatever of both layouts a network gives."""
    if level.shape[1] != channels and level.shape[-1] == channels:
        return level.permute(0, 3, 1, 2)
    return level
