"""Exports a model, and lets no export stand that differs from it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch

from dff.data.files.folders import check_folder
from dff.data.files.whole_files import write_whole
from dff.inference.export.comparison.check import (
    AGREEMENT,
    TOLERANCE,
    Difference,
    compare_graphs,
    compare_results,
)
from dff.inference.export.comparison.frames import Scenes, moving_frames, scenes
from dff.inference.export.description import (
    LEAST_SIDE,
    MULTIPLE,
    SETTINGS,
    Description,
    Format,
    Precision,
    Suppression,
    takes,
)
from dff.inference.export.detection import REGIONS
from dff.inference.export.formats import open_graphs, writer_of
from dff.inference.export.graphs import STEPS, Graph, graphs_of
from dff.inference.export.heads import HeadOutputs, outputs_of
from dff.inference.export.layers import exportable
from dff.inference.export.networks import Graphs, exported_networks
from dff.models.backbones.resnet import Normalize
from dff.models.contracts import Task
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.pair_input import MINIMUM_SIDE
from dff.models.heads.detection.rfcn import DetectionHead
from dff.models.warp import WarpMethod

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DESCRIPTION = "export.json"


@dataclass(frozen=True)
class Wish:
    """What is to be exported, and how.

    Attributes:
        format: Of the files.
        size: Height and width of the frames.
        dynamic: Whether frames may have another size.
        steps: Whether the steps are exported too.
        precision: Of the convolutions and the features.
        warp: How features are sampled.
        suppression: Where overlapping boxes are suppressed.
        tolerance: Of the largest value, by which a map may differ; None is `TOLERANCE`.
        video: Whose frames both are compared on, beside random ones; None is drawn streets.
    """

    format: Format = "onnx"
    size: tuple[int, int] = (600, 1000)
    dynamic: bool = False
    steps: bool = False
    precision: Precision = "fp32"
    warp: WarpMethod = "grid_sample"
    suppression: Suppression = "outside"
    tolerance: float | None = None
    video: Path | None = None


def export(
    model: DeepFeatureFlow,
    tasks: Mapping[str, Task],
    settings: Mapping[str, Any],
    folder: Path,
    wish: Wish,
    tell: Callable[[str], None] = print,
) -> list[Difference]:
    """Writes the graphs of a model to a folder, if they do what the model does.

    They are written beside the folder first, run by their runtime on random frames and on real or
    drawn ones (of two sizes where they are dynamic), and moved to it when they differ by no more
    than the tolerance.

    Args:
        model: A trained model in float32 on the CPU; it stays as it is.
        tasks: Of its heads.
        settings: Of the model, as a checkpoint has them.
        folder: What an earlier export left there is replaced.
        wish: What is wanted.
        tell: Is told what is done and how far each output differs.

    Returns:
        How far each output differs.

    Raises:
        FileNotFoundError: There is no such video.
        NotADirectoryError: The folder is a file.
        FloatingPointError: It differs by more than the tolerance; no file is left.
        ImportError: The format's packages are not installed.
        ValueError: The model cannot be exported so.
    """
    _check(model, wish)
    check_folder(folder)
    seen = scenes(wish.video)
    write = writer_of(wish.format)
    own = model.eval().requires_grad_(False)
    networks = exportable(own, DTYPES[wish.precision], wish.warp)
    graphs = graphs_of(
        networks, _heads(networks, wish), moving_frames(3, size_to_trace(wish)), wish.steps
    )
    said = _description(own, tasks, settings, wish)
    said = replace(said, graphs={g.name: (list(g.inputs), list(g.outputs)) for g in graphs})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
        for graph in graphs:
            tell(f"exporting {graph.name}")
            write(graph, Path(place), said)
        runtime = open_graphs(Path(place), wish.format)
        by_name = {graph.name: graph for graph in graphs}
        tolerance = TOLERANCE[wish.precision] if wish.tolerance is None else wish.tolerance
        differences: list[Difference] = []
        for one in _differences(own, by_name, runtime, seen, wish):
            tell(str(one))
            differences.append(one)
        bad = [d for d in differences if d.fails(tolerance, AGREEMENT[wish.precision])]
        if bad:
            words = "; ".join(" ".join(str(one).split()) for one in bad[:3])
            raise FloatingPointError(
                f"the export differs from the model by more than it may, {tolerance:.0e} of the "
                f"largest value: {words}. No file was written; try --warp gather, another "
                f"--precision, {'one size (no --dynamic), ' if wish.dynamic else ''}or other "
                "versions of torch and the runtime"
            )
        _move(Path(place), folder, wish.format)
    write_whole(folder / DESCRIPTION, said.to_json())
    return differences


def size_to_trace(wish: Wish) -> tuple[int, int]:
    """The size itself; where others are allowed, one at which no map has a side of one pixel.

    What a graph does with such a side would hold for it alone.
    """
    if not wish.dynamic:
        return wish.size
    height, width = (max(3 * MINIMUM_SIDE, side) for side in wish.size)
    return height, width


def sizes_to_check(wish: Wish) -> list[tuple[int, int]]:
    """The size itself, and where others are allowed a smaller one, odd if it may be."""
    if not wish.dynamic:
        return [wish.size]
    least, multiple = LEAST_SIDE[wish.format], MULTIPLE[wish.format]
    height, width = (max(least, side * 3 // 4) for side in wish.size)
    if multiple == 1:
        return [wish.size, (height | 1, width | 1)]
    return [wish.size, (height // multiple * multiple, width // multiple * multiple)]


def _check(model: DeepFeatureFlow, wish: Wish) -> None:
    if min(wish.size) < MINIMUM_SIDE:
        raise ValueError(
            f"--size {wish.size[0]} {wish.size[1]}: wanted at least {MINIMUM_SIDE} pixels on each "
            "side, height first"
        )
    if wish.tolerance is not None and not wish.tolerance > 0:
        raise ValueError(f"--tolerance {wish.tolerance:g}: wanted more than 0, such as 0.001")
    if wish.format == "onnx" and wish.precision == "bf16":
        raise ValueError(
            "--format onnx --precision bf16: ONNX has no convolution in bfloat16 before opset 22, "
            "and 18 is written; give --precision fp16, or --format pt2"
        )
    if not takes(wish.format, wish.dynamic, wish.size, wish.size):
        raise ValueError(
            f"--size {wish.size[0]} {wish.size[1]} --dynamic in {wish.format}: wanted multiples of "
            f"{MULTIPLE[wish.format]} from {LEAST_SIDE[wish.format]} on; leave --dynamic out for "
            "frames of this size alone"
        )
    if wish.suppression == "inside" and not any(
        isinstance(head, DetectionHead) for head in model.heads.values()
    ):
        raise ValueError(
            f"--suppression inside: the heads of this model ({', '.join(model.heads)}) give no "
            "boxes; leave it out"
        )


def _differences(
    model: DeepFeatureFlow,
    exported: Mapping[str, Graph],
    runtime: Graphs,
    seen: Scenes,
    wish: Wish,
) -> Iterator[Difference]:
    """Each output and then each result, on each scene at each size."""
    heads = _heads(model, wish)
    for size, (name, frames_of) in product(sizes_to_check(wish), seen.items()):
        frames = frames_of(size)
        yield from compare_graphs(model, heads, exported, runtime, frames[:3], wish.steps, name)
        if model.flow_from == "key" or wish.steps:
            networks, _ = exported_networks(runtime)
            yield from compare_results(model, heads, networks, frames, name)


def _heads(model: DeepFeatureFlow, wish: Wish) -> dict[str, HeadOutputs]:
    where = (wish.suppression, wish.format)
    return {name: outputs_of(name, head, *where) for name, head in model.heads.items()}


def _description(
    model: DeepFeatureFlow, tasks: Mapping[str, Task], settings: Mapping[str, Any], wish: Wish
) -> Description:
    names: dict[str, Any] = {}
    for task in tasks.values():
        names |= task.saved_names()
    normalize = [m for m in model.feature_network.modules() if isinstance(m, Normalize)][:1]
    packages = ("torch", "onnx", "onnxscript") if wish.format == "onnx" else ("torch",)
    strides = tuple(s for s in model.strides if isinstance(s, int))
    assert len(strides) == len(model.strides)
    return Description(
        format=wish.format,
        precision=wish.precision,
        size=wish.size,
        dynamic=wish.dynamic,
        warp=wish.warp,
        suppression=wish.suppression,
        channels=tuple(model.channels),
        strides=strides,
        flow_network=str(settings.get("flow_network", "flownet")),
        flow_from=model.flow_from,
        flow_stride=model.flow_stride,
        normalisation={
            name: getattr(one, name).flatten().tolist()
            for one in normalize
            for name in ("mean", "std")
        },
        names=names,
        settings={name: settings[name] for name in SETTINGS if name in settings},
        update=model.update is not None,
        made_with={name: version(name) for name in packages},
    )


def _move(place: Path, folder: Path, format: Format) -> None:
    """Moves the files of an export, and removes those of an earlier one that it has not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("key", "current", *STEPS, REGIONS):
        for file in folder.glob(f"{name}.{format}*"):
            file.unlink()
    for file in place.iterdir():
        if os.path.isdir(file):
            shutil.rmtree(file)  # what a compiler left
        else:
            os.replace(file, folder / file.name)
