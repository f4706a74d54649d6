"""Converts the authors' MXNet weights into a PyTorch state dict.

    python scripts/convert_weights.py rfcn_dff_flownet_vid-0000.params dff_vid.pth

INPUT is a .params file with the arrays of Deep Feature Flow, of a ResNet or of FlowNet. OUTPUT is
a state dict with the names of a DeepFeatureFlow: `feature_network.`, `flow_network.` and
`heads.detection.`. Each array is reported as used or left over; `rfcn_bbox_weight_test` and its
bias are left over, for they are `rfcn_bbox_weight` times what the head multiplies by itself.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from dff.models.mxnet_params import read_params
from dff.models.weights import from_official, official_name


def convert(source: Path, target: Path) -> tuple[int, list[str]]:
    """Writes `target` whole or not at all.

    Args:
        source: MXNet .params file.
        target: The state dict to write; its folder must exist.

    Returns:
        Number of arrays used, names of the arrays left over.

    Raises:
        FileNotFoundError: No such file, or no such folder.
        ValueError: `source` cannot be read, or holds none of the networks' arrays.
    """
    arrays = read_params(source)
    state, left_over = from_official(arrays)
    if not state:
        raise ValueError(
            f"{source} holds no array of ResNet or FlowNet: give the authors' weights, for "
            "instance rfcn_dff_flownet_vid-0000.params or resnet_v1_101-0000.params"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {target.parent}: create it first")
    for name in arrays:
        ours = official_name(name.removeprefix("arg:").removeprefix("aux:"))
        print(f"used       {name} -> {ours}" if ours else f"left over  {name}")
    # Written beside the target, then moved: an interrupted run leaves no half file that loads.
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(state, file)
        # A temporary file is private; a weight file is shared as any other.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return len(state), left_over


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="MXNet .params file")
    parser.add_argument("output", type=Path, help="PyTorch state dict to write (.pth)")
    options = parser.parse_args(arguments)
    try:
        used, left_over = convert(options.input, options.output)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{used} arrays used, {len(left_over)} left over: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
