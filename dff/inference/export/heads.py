"""What a graph gives of a head, and what is made of that outside of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dff.inference.deploy.label_maps import label_map_by_strips
from dff.inference.export.description import Format, Suppression
from dff.inference.export.detection import DetectionOutputs
from dff.inference.export.suppression import KEPT, SuppressedOutputs
from dff.models.contracts import Features
from dff.models.dff import levels_of
from dff.models.heads.detection.rfcn import DetectionHead
from dff.models.heads.segmentation import SegmentationHead, label_map

Maps = tuple[Tensor, ...]
Run = Callable[[str, Sequence[Tensor]], Sequence[Tensor]]
"""Runs a graph by its name on inputs in their order."""


class HeadOutputs(Protocol):
    """A head, cut into what is in the graph and what is outside.

    `names`: of the outputs. `needed`: how many of them, from the first, `finish` reads; the others
    are for programs that want to do nothing outside. `ranked`: the outputs are rows in the order of
    their scores, where two that are nearly equal may change places.
    """

    names: tuple[str, ...]
    needed: int
    ranked: bool

    def maps(self, features: Features, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """In the graph: features of frames of a size -> the outputs."""

    def graphs(
        self, maps: Sequence[Tensor], frame: tuple[int, int]
    ) -> Mapping[str, tuple[Callable[..., Maps], Mapping[str, Tensor], tuple[str, ...]]]:
        """Graphs of its own that `finish` runs, from the outputs for a frame of a size.

        Name -> its function, examples of its inputs, names of its outputs.
        """

    def finish(
        self, maps: Sequence[Tensor], size: tuple[int, int], frame: tuple[int, int], run: Run
    ) -> Tensor:
        """Outside: the first outputs -> results, as `Head.predict` gives them."""

    def confidence(self, maps: Sequence[Tensor]) -> Tensor | None:
        """How sure the head is, (B,); None where it cannot tell."""

    def agreement(self, found: Tensor, own: Tensor) -> float:
        """Share of the model's own results that are found too."""


class SegmentationOutputs:
    """Scores, and the labels that they make at the size of the frame.

    Args:
        head: Of the model; outside of a graph its weights make no difference.
    """

    names: tuple[str, ...] = ("scores", "labels")
    needed, ranked = 1, False

    def __init__(self, head: SegmentationHead) -> None:
        self.head = head

    def maps(self, features: Features, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Scores (B, K, h, w) float32, labels (B, H, W) uint8."""
        (level,) = levels_of(features)
        scores = self.head(level).float()
        return scores, label_map(scores, size)

    def graphs(
        self, maps: Sequence[Tensor], frame: tuple[int, int]
    ) -> Mapping[str, tuple[Callable[..., Maps], Mapping[str, Tensor], tuple[str, ...]]]:
        """None."""
        return {}

    def finish(
        self, maps: Sequence[Tensor], size: tuple[int, int], frame: tuple[int, int], run: Run
    ) -> Tensor:
        """Labels (B, H, W) uint8 of images of `size`."""
        return label_map_by_strips(maps[0], size)

    def confidence(self, maps: Sequence[Tensor]) -> Tensor:
        """As the head tells it."""
        return maps[0].softmax(1).amax(1).mean((1, 2))

    def agreement(self, found: Tensor, own: Tensor) -> float:
        """Share of the pixels with the same label."""
        return float((found == own).double().mean())


def outputs_of(
    name: str, head: nn.Module, suppression: Suppression = "outside", format: Format = "onnx"
) -> HeadOutputs:
    """What a graph gives of a head.

    Args:
        name: Of the head.
        head: The head.
        suppression: Where overlapping boxes are suppressed.
        format: Of the files, if that is inside of the graphs.

    Raises:
        ValueError: A head of another kind.
    """
    if isinstance(head, SegmentationHead):
        return SegmentationOutputs(head)
    if isinstance(head, DetectionHead):
        inside = suppression == "inside"
        return SuppressedOutputs(head, KEPT[format]) if inside else DetectionOutputs(head)
    raise ValueError(
        f"the head {name} ({type(head).__name__}) cannot be exported: wanted a segmentation or a "
        "detection"
    )


@torch.no_grad()
def finished(
    heads: dict[str, HeadOutputs],
    maps: Sequence[Tensor],
    size: tuple[int, int],
    frame: tuple[int, int],
    run: Run,
) -> dict[str, Tensor]:
    """Head -> results, from the needed outputs of all heads, one after the other."""
    found, start = {}, 0
    for name, head in heads.items():
        found[name] = head.finish(maps[start : start + head.needed], size, frame, run)
        start += head.needed
    return found
