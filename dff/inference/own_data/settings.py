"""Settings of a training on `Auto` data that its labels tell: heads, classes, anchors, steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dff.data.annotations.annotation_set import AnnotationSet
from dff.data.annotations.looking import read
from dff.data.annotations.measures import anchor_scales, labelled_frames, typical_size
from dff.inference.tasks.detection import Detection
from dff.inference.tasks.segmentation import Segmentation
from dff.models.contracts import STRIDE

PASSES = 30
"""Times that each labelled frame is seen, where that makes neither too few steps nor too many."""
STEPS = (300, 20_000)
WINDOW = (384, 384)
"""Training windows of a segmentation, where frames are larger."""
_MEASURES = {task.name: f"val/{task.measure.name}" for task in (Segmentation, Detection)}
SHORT_SIDE = 480
"""Shorter side of whole frames for detection, where frames are larger."""


def settings_of(data: Mapping[str, Any], batch_size: int) -> tuple[dict[str, Any], list[str]]:
    """What the labels of a folder tell a training.

    Args:
        data: Settings of `Auto`.
        batch_size: Pairs a step, of all devices together.

    Returns:
        Key -> value, as flags would set them; and what was chosen and why, one sentence each.

    Raises:
        FileNotFoundError: A file is missing.
        SampleError: The labels cannot be used.
    """
    root = data["root"]
    with_masks = bool(data.get("with_masks"))
    splits = read(root, data.get("format"), with_masks, data.get("masks"))
    training = splits.sets.get("train") or splits.sets["all"]
    chosen: dict[str, Any] = {}
    told = []
    heads = {}
    if training.read_mask is not None:
        heads[Segmentation.name] = 1.0
        chosen["model.init_args.num_classes"] = len(training.classes)
    if training.box_classes and data.get("with_boxes") is not False:
        heads[Detection.name] = 1.0
        chosen["model.init_args.num_box_classes"] = len(training.box_classes)
        chosen["model.init_args.box_metric"] = "voc"
    chosen["model.init_args.heads"] = heads
    told.append(f"learns {' and '.join(heads)}, because that is labelled")
    size = typical_size(training.snippets)
    if Detection.name in heads:
        told += _for_boxes(training, size, chosen)
    elif size is not None and min(size) > max(WINDOW):
        chosen["data.init_args.size"] = list(WINDOW)
        told.append(f"trains on windows of {WINDOW[0]}x{WINDOW[1]} of frames of {_sides(size)}")
    number = labelled_frames(training.snippets)
    steps = int(np.clip(PASSES * number / batch_size, *STEPS).round(-1))
    chosen["trainer.max_steps"] = steps
    chosen["checkpoint.monitor"] = _MEASURES[next(iter(heads))]
    chosen["trainer.val_check_interval"] = max(1, steps // 4)
    chosen["trainer.check_val_every_n_epoch"] = None
    told.append(f"takes {steps} steps of {batch_size} for {number} labelled frames")
    return chosen, told


def _for_boxes(
    training: AnnotationSet, size: tuple[int, int] | None, chosen: dict[str, Any]
) -> list[str]:
    """Size of the frames and anchors."""
    zoom, told = 1.0, []
    if size is not None and min(size) > SHORT_SIDE:
        zoom = SHORT_SIDE / min(size)
        chosen["data.init_args.short_side"] = SHORT_SIDE
        chosen["data.init_args.max_side"] = 2 * SHORT_SIDE
        told.append(f"frames of {_sides(size)} get a shorter side of {SHORT_SIDE}")
    scales = anchor_scales(training.snippets, zoom, STRIDE)
    if scales:
        chosen["model.init_args.detection"] = {"anchor_scales": scales}
        sides = ", ".join(f"{scale * STRIDE:.0f}" for scale in scales)
        told.append(f"anchors have sides of {sides} pixels, by the sizes of the boxes")
    return told


def _sides(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
