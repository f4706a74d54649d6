"""A schedule asked about frames, with the evidence that it wants."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dff.models.contracts import Flow
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import Evidence, Schedule
from dff.models.warp import WarpMethod, warp


@dataclass(frozen=True)
class LastKey:
    """The last key frame: its number in the video, and the frame (1, 3, H, W)."""

    index: int
    frame: Tensor


def plans_ahead(schedule: Schedule) -> bool:
    """Whether a schedule decides by numbers and frames alone, before any network runs."""
    return schedule.wants <= {"frame"}


def plan(schedule: Schedule, frames: Tensor, start: int, last: LastKey | None) -> Iterator[bool]:
    """Whether each of some consecutive frames is a key frame, by a schedule that plans ahead.

    Args:
        schedule: See `plans_ahead`.
        frames: (n, 3, H, W), RGB in [0, 1].
        start: Number of the first one in its video.
        last: The last key frame before them; None where the video begins.
    """
    shown = "frame" in schedule.wants
    for index, frame in enumerate(frames, start):
        evidence = Evidence(
            index,
            0 if last is None else index - last.index,
            frame.unsqueeze(0) if shown else None,
            last.frame if shown and last is not None else None,
        )
        is_key = schedule.is_key(evidence) or last is None
        if is_key:
            last = LastKey(index, frame.unsqueeze(0))
        yield is_key


def served_frames(
    schedule: Schedule,
    model: DeepFeatureFlow,
    frames: Tensor,
    start: int,
    last: LastKey,
    flow: Flow,
    confidence: Tensor | None,
) -> int:
    """How many frames pass before a schedule asks for a key frame; flow has been found for all.

    Args:
        schedule: Any.
        model: Of whose flow network the flow is.
        frames: (n, 3, H, W), n >= 1, RGB in [0, 1].
        start: Number of the first one in its video.
        last: The last key frame before them.
        flow: From each of them to that key frame.
        confidence: In each of their propagated results, (n,), where the schedule wants it.
    """
    difference = None
    if "difference" in schedule.wants:
        difference = warped_difference(
            last.frame, frames, flow.field, model.flow_stride, model.warp_method
        ).tolist()
    sure = None if confidence is None else confidence.tolist()
    for i in range(len(frames)):
        evidence = Evidence(
            start + i,
            start + i - last.index,
            frames[i : i + 1] if "frame" in schedule.wants else None,
            last.frame if "frame" in schedule.wants else None,
            flow.field[i : i + 1] if "flow" in schedule.wants else None,
            None if difference is None else difference[i],
            None if sure is None else sure[i],
        )
        if schedule.is_key(evidence):
            return i
    return len(frames)


def warped_difference(
    key: Tensor, frames: Tensor, flow: Tensor, stride: int, method: WarpMethod = "grid_sample"
) -> Tensor:
    """Mean absolute difference of frames and the key frame warped onto them.

    Measured at the resolution of the flow; pixels that come from outside the key frame do not
    count.

    Args:
        key: (1, 3, H, W), RGB in [0, 1].
        frames: (n, 3, H, W).
        flow: From the frames to the key frame, (n, 2, h, w), in image pixels.
        stride: Image pixels along a side of one pixel of the flow.
        method: See `warp`.

    Returns:
        (n,), 0 to 1; 1 where nothing of the key frame is left in view.
    """
    small_key, small = (F.avg_pool2d(f.float(), stride, ceil_mode=True) for f in (key, frames))
    shown = torch.cat((small_key, torch.ones_like(small_key[:, :1])), 1)
    warped = warp(shown.expand(len(frames), -1, -1, -1), flow / stride, method)
    inside = warped[:, 3] > 0.5
    error = (warped[:, :3] - small).abs().mean(1)
    total = torch.where(inside, error, 0.0).sum((1, 2))
    count = inside.sum((1, 2))
    return torch.where(count > 0, total / count.clamp(min=1), 1.0)
