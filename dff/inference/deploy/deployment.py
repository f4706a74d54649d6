"""A trained model rewritten for inference: the same results, sooner.

Batch norm goes into the convolutions before it, activations and shortcuts into the pass of their
convolution, and each convolution is packed (see `packed`). The rewritten model is a copy that can
neither be trained nor saved; checkpoints stay what they are.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from dff.inference.deploy.fusion import PackedFusion
from dff.inference.deploy.label_maps import label_map_by_strips
from dff.inference.deploy.packed import PackedConv2d
from dff.models.contracts import Features, Flow, Head
from dff.models.dff import DeepFeatureFlow, levels_of
from dff.models.heads.segmentation import label_map


def deploy(
    model: DeepFeatureFlow, dtype: torch.dtype = torch.float32, compiled: bool = False
) -> DeepFeatureFlow:
    """A copy of a model for inference on the device where it is.

    A network that can fuse itself does (see `dff.models.contracts.Fusion`), others are
    rewritten layer by layer. One with layers that cannot be (grouped convolutions, layer norm,
    attention) stays as it is; in half precision it runs under autocast.

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
    # a clockwork holds the model whose layers it runs
    networks = model if isinstance(model, DeepFeatureFlow) else model.model
    model = rewritten(model, _fusion(networks, dtype, compiled))
    if compiled:
        model.feature_network = Compiled(model.feature_network)
        model.flow_network = Compiled(model.flow_network)
    return model


def rewritten(model: DeepFeatureFlow, fusion: PackedFusion) -> DeepFeatureFlow:
    """A copy of a model with other layers, in eval mode; it knows no gradient.

    Args:
        model: A trained model; it stays as it is.
        fusion: Makes the layers.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    networks = model if isinstance(model, DeepFeatureFlow) else model.model
    for part in ("feature_network", "tail"):
        setattr(networks, part, _part(getattr(networks, part), fusion))
    _rewrite_children(networks.heads, fusion)
    if networks.update is not None:
        _rewrite_children(networks.update, fusion)
    _rewrite_flow(networks, fusion)
    return model


def deploy_flow(model: DeepFeatureFlow, device: torch.device | str = "cpu") -> None:
    """Rewrites what propagates in a model, in place and in float32; its other parts stay.

    Args:
        model: Which may have no parameters, as a model of one's own with a classical flow.
        device: Where it runs.
    """
    _rewrite_flow(model, _fusion(model, torch.float32, False))
    if torch.device(device).type != "cpu":
        model.warp_method = "grid_sample"


def _fusion(model: DeepFeatureFlow, dtype: torch.dtype, compiled: bool) -> PackedFusion:
    on_cpu = _on_cpu(model)
    # a compiler joins what it likes; in other types a sum of two parts costs what it saves
    splits_pairs = on_cpu and dtype == torch.float32 and not compiled
    return PackedFusion(dtype, splits_pairs, label_map_by_strips if on_cpu else label_map)


def _on_cpu(model: nn.Module) -> bool:
    return next(model.parameters(), torch.empty(0)).device.type == "cpu"


def _rewrite_flow(model: DeepFeatureFlow, fusion: PackedFusion) -> None:
    model.warp_method = "gather" if _on_cpu(model) else "grid_sample"
    model.flow_network = _part(model.flow_network, fusion)
    if hasattr(model.flow_network, "warp_method"):  # it warps within
        setattr(model.flow_network, "warp_method", model.warp_method)  # noqa: B010
    _rewrite_children(model.scale_layers, fusion)


def _rewrite_children(parts: nn.Module, fusion: PackedFusion) -> None:
    for name, child in list(parts.named_children()):
        parts.register_module(name, _part(child, fusion))


class Compiled(nn.Module):
    """A module through `torch.compile`, or as it is where that fails: no compiler, no such GPU."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        _tell_alike(self, module)
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


class Autocast(nn.Module):
    """A network that is left as it is, computed in half precision where PyTorch holds it safe."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype
        _tell_alike(self, module)

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


def _tell_alike(wrapper: nn.Module, module: nn.Module) -> None:
    """What a model asks its flow network, a wrapper around that answers alike."""
    for name in ("stride", "from_file"):
        if hasattr(module, name):
            setattr(wrapper, name, getattr(module, name))


def _part(module: nn.Module, fusion: PackedFusion) -> nn.Module:
    """A network or a head for inference: rewritten, or as it is where a layer cannot be."""
    if fusion.knows(module):
        return fusion.layer(module)
    return module if fusion.dtype == torch.float32 else Autocast(module, fusion.dtype)
