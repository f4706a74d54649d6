"""What the networks found, drawn on the frames."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, flow_to_image

from dff.data.files.images import colours_of
from dff.models.contracts import Task

Palette = Sequence[Sequence[int]]


def draw_predictions(
    frames: Tensor,
    predictions: Mapping[str, Tensor],
    tasks: Mapping[str, Task],
    threshold: float = 0.5,
) -> Tensor:
    """Frames under what was found on them, task after task.

    Args:
        frames: (n, 3, H, W) uint8 RGB, on the CPU.
        predictions: Of a model, on the CPU.
        tasks: Of the model.
        threshold: Results with a lower score are not drawn.

    Returns:
        (n, H, W, 3) uint8.
    """
    pictures = frames.permute(0, 2, 3, 1)
    for name, task in tasks.items():
        if name in predictions:
            pictures = task.draw(pictures, predictions[name], threshold)
    return pictures


def mark_key_frames(pictures: np.ndarray, key_frames: Sequence[bool]) -> None:
    """Draws a bright line below key frames, which shows the schedule at work.

    Args:
        pictures: (n, H, W, 3) uint8, drawn on.
        key_frames: n.
    """
    height = pictures.shape[1]
    for picture, is_key in zip(pictures, key_frames, strict=True):
        if is_key:
            picture[-max(2, height // 100) :] = 255


def overlay(frames: Tensor, labels: Tensor, palette: Palette) -> Tensor:
    """Frames (n, 3, H, W) uint8 under the colours of labels (n, H, W) -> (n, H, W, 3) uint8."""
    # Halves of uint8 need no wider type, and no temporary of one. In numpy, as torch would keep
    # all cores from the networks beside which videos are written.
    pictures = frames.permute(0, 2, 3, 1).numpy() >> 1
    halves = [[value >> 1 for value in colour] for colour in palette]
    for picture, classes in zip(pictures, labels, strict=True):
        picture += _colours(classes, halves)
    return torch.from_numpy(pictures)


def colour_labels(labels: Tensor, palette: Palette) -> Tensor:
    """Classes (..., H, W) -> colours (..., H, W, 3) uint8; 255 and classes without colour black."""
    return torch.from_numpy(_colours(labels, palette))


def _colours(labels: Tensor, palette: Palette) -> np.ndarray:
    return colours_of(labels.cpu().numpy().astype(np.uint8, copy=False), palette)


def draw_boxes(
    picture: Tensor,
    detections: Tensor,
    names: Sequence[str],
    threshold: float = 0.5,
    scores: bool = True,
) -> Tensor:
    """Draws one picture's boxes, each with its name and score.

    Args:
        picture: (H, W, 3) uint8.
        detections: (D, 6): x1, y1, x2, y2, score, class; class -1 is an empty row.
        names: Of the classes.
        threshold: Boxes with a lower score are left out.
        scores: Whether scores are written too.

    Returns:
        (H, W, 3) uint8.
    """
    shown = detections[(detections[:, 4] >= threshold) & (detections[:, 5] >= 0)]
    if not len(shown):
        return picture
    height, width = picture.shape[:2]
    shown = shown.flip(0)  # the surest last, on top of the others
    boxes = shown[:, :4].clone()
    # A box of a single row or column of pixels is drawn too.
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width - 1)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height - 1)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2])  # regression may cross them by a pixel
    classes = shown[:, 5].int().tolist()
    drawn = draw_bounding_boxes(
        picture.permute(2, 0, 1).contiguous(),
        boxes,
        labels=[
            f"{names[c]} {s:.2f}" if scores else names[c]
            for c, s in zip(classes, shown[:, 4].tolist(), strict=True)
        ],
        colors=[_colour(c) for c in classes],
        width=max(1, round(height / 300)),
    )
    return drawn.permute(1, 2, 0)


def _colour(number: int) -> tuple[int, int, int]:
    """A light colour for each class, far from those before it."""
    hue = number * 0.618034 % 1 * 6
    ramp = [abs(hue - 3) - 1, 2 - abs(hue - 2), 2 - abs(hue - 4)]
    red, green, blue = (round(255 * (0.25 + 0.75 * min(max(v, 0.0), 1.0))) for v in ramp)
    return red, green, blue


def colour_flow(flow: Tensor) -> Tensor:
    """Flow (n, 2, H, W) as colours (n, H, W, 3) uint8, on one scale; as zero where not finite."""
    flow = torch.nan_to_num(flow, 0.0, 0.0, 0.0)
    return flow_to_image(flow).permute(0, 2, 3, 1)
