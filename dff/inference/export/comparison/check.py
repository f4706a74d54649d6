"""An export beside the model that it was made from: how far they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dff.inference.export.comparison.frames import RANDOM
from dff.inference.export.graphs import Graph, graphs_of
from dff.inference.export.heads import HeadOutputs
from dff.inference.export.networks import Graphs
from dff.inference.recognizer import recognize_frames
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import FixedSchedule

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
"""Of the largest value of a map, by which an export may differ from the model in float32."""
AGREEMENT = {"fp32": 0.999, "fp16": 0.99, "bf16": 0.95}
"""Share of the results that must be the same."""
KEY_DURATION = 3
"""Of the engine, where all of it is compared."""


@dataclass(frozen=True)
class Difference:
    """How far one output of a graph is from the model's own.

    Attributes:
        what: The output, and whose it is.
        frames: What is seen on the frames, such as "random frames".
        size: Height and width of the frames.
        relative: The largest difference over the largest value; None for results.
        equal: Share of the results that are the same; None for maps.
    """

    what: str
    frames: str
    size: tuple[int, int]
    relative: float | None = None
    equal: float | None = None

    def fails(self, tolerance: float, agreement: float) -> bool:
        """Whether it differs by more than it may; NaN does."""
        if self.relative is not None:
            return not self.relative <= tolerance
        return self.equal is not None and not self.equal >= agreement

    def __str__(self) -> str:
        height, width = self.size
        place = f"{self.what:28} {f'{height}x{width}':9}"
        if self.relative is not None:
            return f"{place} differs by {self.relative:.1e} of the largest value on {self.frames}"
        return f"{place} equal: {100 * (self.equal or 0):.3f} % on {self.frames}"


@torch.no_grad()
def compare_graphs(
    model: DeepFeatureFlow,
    heads: Mapping[str, HeadOutputs],
    exported: Mapping[str, Graph],
    runtime: Graphs,
    frames: Sequence[Tensor],
    steps: bool,
    seen: str = RANDOM,
) -> list[Difference]:
    """Each output of each graph beside the same of the model, in float32 and as it was trained.

    Args:
        model: The model itself.
        heads: Of it.
        exported: The graphs that were exported, by name.
        runtime: Runs them.
        frames: A key frame and two that follow it, (1, 3, H, W).
        steps: Whether there are steps.
        seen: What is seen on the frames.

    Raises:
        ValueError: An output has another shape than the model's own.
    """
    size = (frames[0].shape[-2], frames[0].shape[-1])
    found = []
    for graph in graphs_of(model, heads, frames, steps):
        types = [example.dtype for example in exported[graph.name].inputs.values()]
        inputs = list(graph.inputs.values())
        wanted = graph.module(*inputs)
        cast = [value.to(dtype) for value, dtype in zip(inputs, types, strict=True)]
        got = runtime.run(graph.name, cast)
        maps = dict(zip(graph.outputs, zip(wanted, got, strict=True), strict=True))
        for head in heads.values():
            if head.ranked and head.names[0] in maps:
                rows = zip(*(maps.pop(name) for name in head.names), strict=True)
                of_model, of_export = (head.finish(r, size, size, runtime.run) for r in rows)
                what = f"{graph.name}: {head.names[0]}"
                same = head.agreement(of_export, of_model)
                found.append(Difference(what, seen, size, equal=same))
        for name, (own, other) in maps.items():
            what = f"{graph.name}: {name}"
            _check_shape(what, other, own, size)
            if own.is_floating_point():
                found.append(Difference(what, seen, size, relative=_relative(other, own)))
            else:
                same = float((own == other).double().mean())
                found.append(Difference(what, seen, size, equal=same))
    return found


@torch.no_grad()
def compare_results(
    model: DeepFeatureFlow,
    heads: Mapping[str, HeadOutputs],
    networks: DeepFeatureFlow,
    frames: Sequence[Tensor],
    seen: str = RANDOM,
) -> list[Difference]:
    """The results of the engine on the export beside those on the model.

    Args:
        model: The model itself.
        heads: Of it.
        networks: Of the export.
        frames: Consecutive ones, (1, 3, H, W).
        seen: What is seen on them.
    """
    size = (frames[0].shape[-2], frames[0].shape[-1])
    schedule, together = FixedSchedule(KEY_DURATION), torch.cat(list(frames))
    own = recognize_frames(model, together, schedule).predictions
    got = recognize_frames(networks, together, schedule).predictions
    return [
        Difference(f"engine: {name}", seen, size, equal=head.agreement(got[name], own[name]))
        for name, head in heads.items()
    ]


def _check_shape(what: str, found: Tensor, own: Tensor, size: tuple[int, int]) -> None:
    """An exporter may take for any size what holds for the sizes like the traced one alone."""
    if found.shape != own.shape:
        raise ValueError(
            f"{what} of the export is {tuple(found.shape)} for frames of {size[0]}x{size[1]}, and "
            f"{tuple(own.shape)} of the model: this network cannot be exported for any size; leave "
            "--dynamic out, and export once for each size"
        )


def _relative(found: Tensor, own: Tensor) -> float:
    largest = float(own.abs().max())
    return float((found.float() - own.float()).abs().max()) / (largest or 1.0)
