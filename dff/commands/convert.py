"""Converts weights of other code into a PyTorch state dict with our names, or a checkpoint.

    dff convert rfcn_dff_flownet_vid-0000.params dff_vid.pth
    dff convert rfcn_dff_flownet_vid-0000.params dff_vid.ckpt
    dff convert flownets_EPE1.951.pth.tar flownet.pth

INPUT is a .params file with the arrays of Deep Feature Flow, of a ResNet or of FlowNet, or a
PyTorch or .safetensors file with FlowNetS as FlowNetPytorch, mmtracking or MEGA name it, or with
the names of a DeepFeatureFlow. OUTPUT is a state dict with the names of a DeepFeatureFlow:
`feature_network.`, `flow_network.` and `heads.`. Each array is reported as used or left over;
`rfcn_bbox_weight_test` and its bias are left over, for they are `rfcn_bbox_weight` times what the
head multiplies by itself.
An OUTPUT that ends in .ckpt is a checkpoint of the detection model for evaluate and predict.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from dff.models.weights.flow import Channels

_OUR_NAME = re.compile(r"(?:.+\.)?((?:feature_network|flow_network|scale_layers|heads)\..+)")


def convert(
    source: Path, target: Path, channels: "Channels | None" = None
) -> tuple[int, list[str]]:
    """Writes `target` whole or not at all.

    Args:
        source: MXNet .params file, or a PyTorch or .safetensors file with FlowNetS or our names.
        target: The state dict to write; its folder must exist.
        channels: Order of the channels that a PyTorch FlowNetS takes; None is that of its code.

    Returns:
        Number of arrays used, names of the arrays left over.

    Raises:
        FileNotFoundError: No such file, or no such folder.
        ValueError: `source` cannot be read, or holds none of the networks' arrays.
    """
    import torch

    state, used, left_over = read(source, channels)
    saved = checkpoint(state, source) if target.suffix == ".ckpt" else state
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {target.parent}: create it first")
    for name, ours in used.items():
        print(f"used       {name} -> {ours}")
    for name in left_over:
        print(f"left over  {name}")
    # Written beside the target, then moved: an interrupted run leaves no half file that loads.
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(saved, file)
        # A temporary file is private; a weight file is shared as any other.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return len(used), left_over


def read(
    source: Path, channels: "Channels | None" = None
) -> "tuple[dict[str, Tensor], dict[str, str], list[str]]":
    """Tensors by our names; names in the file -> ours; names left over. Errors as `convert`."""
    from dff.models.weights.flow import convert_flownet
    from dff.models.weights.load import from_official, official_name, read_state_dict
    from dff.models.weights.mxnet import is_params, read_params

    if source.suffix == ".params" or (source.is_file() and is_params(source)):
        arrays = read_params(source)
        state, left_over = from_official(arrays)
        ours = {
            name: official_name(name.removeprefix("arg:").removeprefix("aux:")) for name in arrays
        }
        used = {name: new for name, new in ours.items() if new}
        if not state:
            raise ValueError(
                f"{source} holds no array of ResNet or FlowNet: give the authors' weights, for "
                "instance rfcn_dff_flownet_vid-0000.params or resnet_v1_101-0000.params"
            )
        return state, used, left_over
    tensors, others, div_flow = read_state_dict(source)
    flow = convert_flownet(tensors, str(source), div_flow, channels)
    names = {name: match[1] for name in tensors if (match := _OUR_NAME.fullmatch(name))}
    if flow is None and names:
        state = {ours: tensors[name] for name, ours in names.items()}
        return state, names, [*(name for name in tensors if name not in names), *others]
    if flow is None:
        raise ValueError(
            f"{source} holds no FlowNetS as FlowNetPytorch, mmtracking or MEGA name it (it has "
            f"{', '.join(list(tensors)[:3])}): give such a file, or the authors' .params; what has "
            "torchvision's names needs no conversion"
        )
    print(f"FlowNetS as in {flow.title}, whose input is {flow.channels.upper()}")
    return flow.state, flow.used, [*flow.left_over, *others]


def checkpoint(state: "dict[str, Tensor]", source: Path) -> dict[str, Any]:
    """A checkpoint of the official detection model, as `load_model` reads it.

    Raises:
        ValueError: There is no detection head, or a tensor does not fit.
    """
    from dff.data.datasets.imagenet_vid.snippets import CLASSES
    from dff.inference.tasks.detection import Detection
    from dff.lit.module import LitDFF

    if "heads.detection.scores.bias" not in state:
        raise ValueError(
            f"{source} holds no detection head, so no model to predict with: name the output .pth"
        )
    classes = len(state["heads.detection.scores.bias"]) // 7**2 - 1
    deep = "feature_network.layer3.22.conv1.weight" in state
    module = LitDFF(
        feature_network="resnet101" if deep else "resnet50",
        flow_network="flownet",
        heads={Detection.name: 1.0},
        num_box_classes=classes,
    )
    if classes == len(CLASSES):
        module.tasks[Detection.name].classes = list(CLASSES)
    try:
        missing, _ = module.model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{source} is of another network: {error}") from error
    # The frame baseline has no flow network; its model serves for key duration 1.
    parts = {name.split(".")[0] for name in state}
    lacking = [n for n in missing if n.split(".")[0] in parts and "num_batches" not in n]
    if lacking:
        raise ValueError(f"{source} lacks {len(lacking)} arrays, {lacking[0]} for one")
    saved = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(saved)
    return saved


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="dff convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=Path, help="MXNet .params, PyTorch or .safetensors file")
    parser.add_argument(
        "output", type=Path, help="state dict (.pth) or checkpoint (.ckpt) to write"
    )
    parser.add_argument(
        "--channels",
        choices=["rgb", "bgr"],
        help="order in which a FlowNetS of PyTorch takes the channels, where it is not that of its "
        "code: bgr for flownets_from_caffe",
    )
    options = parser.parse_args(arguments)
    try:
        used, left_over = convert(options.input, options.output, options.channels)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{used} arrays used, {len(left_over)} left over: {options.output}")
    return 0
