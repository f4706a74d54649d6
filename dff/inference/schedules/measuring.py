"""A run of a model over a video by a schedule, live: what it finds, and what it costs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from dff.inference.accuracy.totals import Counted
from dff.inference.evidence import plans_ahead
from dff.inference.key_frame import KeyFrame
from dff.inference.model import Model
from dff.inference.recognizer import recognize_frames
from dff.inference.schedules.observation import LabelledFrames, count_frame
from dff.inference.speed import clock
from dff.models.schedule import Schedule


class SeenFrame(NamedTuple):
    """A frame of a video, and what is true of it.

    `frame`: as the networks see it, (1, 3, H, W) in [0, 1], on the model's device. `size`: height
    and width of its results. `truth`: its targets, as a batch of one on the CPU; None where it has
    no labels.
    """

    frame: Tensor
    size: tuple[int, int]
    truth: Mapping[str, Tensor] | None = None


@dataclass
class Run:
    """What a run over one video found, and took.

    Attributes:
        number: Of the video, another for each.
        frames: How many it has.
        key_frames: Their numbers.
        after_flow: How many of these became key frames after features had been carried to them.
        seconds: Of the networks, all that the schedule looked at included.
        counted: Task -> number of a labelled frame -> what its accuracy counts there.
    """

    number: int = 0
    frames: int = 0
    key_frames: list[int] = field(default_factory=list)
    after_flow: int = 0
    seconds: float = 0.0
    counted: dict[str, dict[int, Counted]] = field(default_factory=dict)


@torch.inference_mode()
def run_live(model: Model, frames: Iterable[SeenFrame], schedule: Schedule, number: int = 0) -> Run:
    """Runs a model over a video, one frame at a time.

    Args:
        model: On its device.
        frames: Of the video, in order; reading them is not timed.
        schedule: Is asked about each frame.
        number: Of the video.

    Raises:
        ValueError: Features are not finite, the video is too small for the flow network, or the
            schedule does not fit it.
    """
    counters = {name: task.accuracy([0]) for name, task in model.tasks.items()}
    run = Run(number, counted={name: {} for name in counters})
    key: KeyFrame | None = None
    late = not plans_ahead(schedule)
    for index, (frame, size, truth) in enumerate(frames):
        began = clock(model.device)
        found = recognize_frames(model.networks, frame, schedule, key, index, size)
        run.seconds += clock(model.device) - began
        found.check()
        if found.key_frames[0]:
            run.key_frames.append(index)
            run.after_flow += late and key is not None
        key = found.last
        run.frames += 1
        if truth is None:
            continue
        for name, counter in counters.items():
            one = found.predictions[name].cpu()
            run.counted[name][index] = count_frame(counter, one, truth, number, index)
    return run


def measured_fps(
    model: Model, videos: Sequence[LabelledFrames], schedule: Schedule, frames: int = 200
) -> float:
    """Frames per second of the networks, one frame at a time.

    Args:
        model: On its device.
        videos: Of which as many are run as `frames` needs.
        schedule: Is asked about each frame.
        frames: After so many frames no further video is begun.
    """
    warm_up(model, _seen(videos[0]), schedule)
    done, seconds = 0, 0.0
    for video in videos:
        if done >= frames:
            break
        run = run_live(model, _seen(video), schedule)
        done, seconds = done + run.frames, seconds + run.seconds
    return done / seconds


def warm_up(model: Model, frames: Iterable[SeenFrame], schedule: Schedule) -> None:
    """Runs a few frames: the first ones allocate and lay out."""
    run_live(model, islice(frames, 3), schedule)


def _seen(video: LabelledFrames) -> Iterable[SeenFrame]:
    return (SeenFrame(frame, video.size) for frame in video.frames.split(1))
