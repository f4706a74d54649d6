"""A schedule asked about frames, with the evidence that it wants."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dff.models.contracts import Flow
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import Evidence, Schedule
from dff.models.warp import WarpMethod, warp


@dataclass(frozen=True)
class LastKey:
    """The last key frame, and what a schedule may be told of the frames until now.

    Attributes:
        index: Its number in the video.
        frame: The frame, (1, 3, H, W).
        key_frames: How many key frames the video has had, this one included.
        previous: The last frame that was recognised, likewise; None where it is the key frame.
        seconds: What the networks took for the frames of this video until now.
    """

    index: int
    frame: Tensor
    key_frames: int = 1
    previous: Tensor | None = None
    seconds: float = 0.0


def plans_ahead(schedule: Schedule) -> bool:
    """Whether a schedule decides by numbers and frames alone, before any network runs."""
    return schedule.wants <= {"frame", "previous"}


def plan(schedule: Schedule, frames: Tensor, start: int, last: LastKey | None) -> Iterator[bool]:
    """Whether each of some consecutive frames is a key frame, by a schedule that plans ahead.

    Args:
        schedule: See `plans_ahead`.
        frames: (n, 3, H, W), RGB in [0, 1].
        start: Number of the first one in its video.
        last: The last key frame before them; None where the video begins.
    """
    for index, frame in enumerate(frames.split(1), start):
        is_key = schedule.is_key(_told(schedule, index, frame, last))
        if last is None:
            last, is_key = LastKey(index, frame), True
        elif is_key:
            last = LastKey(index, frame, last.key_frames + 1)
        else:
            last = replace(last, previous=frame)
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
    maps = None
    if "difference" in schedule.wants:
        maps = warped_differences(
            last.frame, frames, flow.field, model.flow_stride, model.warp_method
        )
    means = [] if maps is None else mean_difference(maps).tolist()
    sure = None if confidence is None else confidence.tolist()
    for i, frame in enumerate(frames.split(1)):
        evidence = _told(schedule, start + i, frame, last)
        if "flow" in schedule.wants:
            own = flow.rows(slice(i, i + 1))
            evidence = replace(evidence, flow=own.field, context=own.context)
        if maps is not None:
            evidence = replace(evidence, differences=maps[i : i + 1], difference=means[i])
        if sure is not None:
            evidence = replace(evidence, confidence=sure[i])
        if schedule.is_key(evidence):
            return i
        last = replace(last, previous=frame)
    return len(frames)


def _told(schedule: Schedule, index: int, frame: Tensor, last: LastKey | None) -> Evidence:
    """What is known of a frame before any network has seen it."""
    wants = schedule.wants
    shown = frame if wants & {"frame", "previous"} else None
    if last is None:
        return Evidence(index, 0, frame=shown, seconds=0.0 if "seconds" in wants else None)
    before = last.frame if last.previous is None else last.previous
    return Evidence(
        index,
        index - last.index,
        last.key_frames,
        frame=shown,
        key_frame=last.frame if "frame" in wants else None,
        previous=before if "previous" in wants else None,
        seconds=last.seconds if "seconds" in wants else None,
    )


def warped_differences(
    key: Tensor, frames: Tensor, flow: Tensor, stride: int, method: WarpMethod = "grid_sample"
) -> Tensor:
    """Absolute difference of frames and the key frame warped onto them, and where it is known.

    Args:
        key: (1, 3, H, W), RGB in [0, 1].
        frames: (n, 3, H, W).
        flow: From the frames to the key frame, (n, 2, h, w), in image pixels.
        stride: Image pixels along a side of one pixel of the flow.
        method: See `warp`.

    Returns:
        (n, 2, h, w), see `Evidence.differences`: pixels that come from outside the key frame have
        no difference.
    """
    small_key, small = (F.avg_pool2d(f.float(), stride, ceil_mode=True) for f in (key, frames))
    shown = torch.cat((small_key, torch.ones_like(small_key[:, :1])), 1)
    warped = warp(shown.expand(len(frames), -1, -1, -1), flow / stride, method)
    inside = (warped[:, 3:] > 0.5).float()
    error = (warped[:, :3] - small).abs().mean(1, keepdim=True)
    return torch.cat((torch.where(inside > 0, error, 0.0), inside), 1)


def mean_difference(maps: Tensor) -> Tensor:
    """The mean of differences (n, 2, h, w): (n,), 0 to 1; 1 where the key frame shows nothing."""
    total, count = maps.sum((2, 3)).unbind(1)
    return torch.where(count > 0, total / count.clamp(min=1), 1.0)
