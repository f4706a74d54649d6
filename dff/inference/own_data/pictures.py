"""Labelled frames as they were understood, on one sheet; classes and sizes of boxes as plots."""

import io
import math

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.measures import all_boxes, anchor_scales, side_lengths
from dff.data.datasets.folder import default_colours
from dff.data.files.images import colours_of
from dff.data.pair_files import read_pair
from dff.data.samples import SampleError, Snippet
from dff.inference.own_data.inspection import Inspection
from dff.inference.results.drawing import draw_boxes
from dff.models.contracts import STRIDE

FRAMES = 12
"""On a sheet."""
WIDTH = 420
"""Pixels of a frame on a sheet."""


def sheet(inspection: Inspection) -> list[tuple[str, np.ndarray]]:
    """Labelled frames of all splits with their boxes and masks drawn.

    Returns:
        Of each frame its title and picture, (h, w, 3) uint8.
    """
    shown = []
    share = math.ceil(FRAMES / max(1, len(inspection.sets)))
    for split, found in inspection.sets.items():
        entries = [(s, n) for s in found.snippets for n in s.labelled]
        # those that show something, spread over all videos
        entries = [e for e in entries if _shows(*e)] or entries
        step = max(1, len(entries) // share)
        for snippet, number in entries[step // 2 :: step][:share]:
            try:
                picture = _draw(found, snippet, number)
            except (SampleError, OSError):
                continue
            shown.append((f"{split}: {snippet.name}, frame {number}", picture))
    return shown


def _shows(snippet: Snippet, number: int) -> bool:
    return number in snippet.masks or bool(
        snippet.boxes is not None and len(snippet.boxes.boxes(number).labels)
    )


def _draw(found: AnnotationSet, snippet: Snippet, number: int) -> np.ndarray:
    reader = found.read_mask if number in snippet.masks else None
    arrays = read_pair(snippet, number, 0, reader, False, snippet.boxes is not None)
    picture = arrays["current"].copy()
    if "mask" in arrays:
        palette = list(found.palette) or default_colours(len(found.classes))
        colours = colours_of(arrays["mask"], palette)
        picture = (picture // 2 + colours // 2).astype(np.uint8)
    if "boxes" in arrays:
        labels = arrays["box_labels"]
        names = [*found.box_classes, "ignored"]
        classes = np.where(labels < 0, len(found.box_classes), labels)
        columns = arrays["boxes"], np.ones((len(labels), 1)), classes[:, None]
        rows = torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))
        picture = draw_boxes(torch.from_numpy(picture), rows, names, scores=False).numpy()
    height, width = picture.shape[:2]
    step = max(1, width // WIDTH)
    return picture[::step, ::step] if height > step else picture


def class_balance(inspection: Inspection) -> Figure | None:
    """Boxes of each class, and the share of pixels of each; None where nothing is counted."""
    panels: list[tuple[str, dict[str, float]]] = []
    for name, report in inspection.reports.items():
        if any(report.boxes.values()):
            panels.append(
                (f"boxes, {name}", {n: float(count) for n, count in report.boxes.items()})
            )
        if any(report.pixels.values()):
            panels.append((f"share of pixels, {name}", report.pixels))
    if not panels:
        return None
    rows = max(len(counts) for _, counts in panels)
    figure = Figure(figsize=(4 * len(panels), 1 + 0.25 * min(rows, 40)), layout="constrained")
    for axes, (title, counts) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        largest = sorted(counts.items(), key=lambda entry: -entry[1])[:40][::-1]
        axes.barh([n for n, _ in largest], [value for _, value in largest], color="#4878a8")
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=8)
    return figure


def box_sizes(inspection: Inspection) -> Figure | None:
    """Sides of the boxes and the anchors that fit them; None where there are no boxes."""
    snippets = [snippet for found in inspection.sets.values() for snippet in found.snippets]
    corners, _ = all_boxes(snippets)
    if not len(corners):
        return None
    sides = side_lengths(corners)
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    low, high = max(1.0, float(sides.min())), float(sides.max()) + 1
    axes.hist(sides, bins=np.geomspace(low, max(high, low + 1), 40).tolist(), color="#4878a8")
    for scale in anchor_scales(snippets, 1.0, STRIDE):
        axes.axvline(scale * STRIDE, color="#c44e52", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(ScalarFormatter())
    axes.tick_params(which="both", labelsize=8)
    axes.set_xlabel("side of the square of a box's area, pixels; dashed: anchors that fit")
    axes.set_ylabel("boxes")
    return figure


def as_png(picture: np.ndarray | Figure) -> bytes:
    """A picture (h, w, 3) uint8 or a plot as the bytes of a PNG."""
    drawn = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(drawn, dpi=110, format="png")
    else:
        Image.fromarray(picture).save(drawn, "PNG")
    return drawn.getvalue()
