"""The engine: videos in, a model, a schedule, results out.

Frames are decoded in one thread, recognised in another and written in a third. A live stream is the
same with clips of one frame.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from dff.data.read_ahead import ReadAhead
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.transforms.unit_range import to_unit_range
from dff.data.video.clips import Clip, Clips
from dff.data.video.sources import VideoInput
from dff.inference.evidence import LastKey, plan, plans_ahead
from dff.inference.key_frame import KeyFrame
from dff.inference.recognizer import CPU_BATCH, Predictions, recognize_frames, size_of
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import Schedule

LOOK_AHEAD = 8
"""Frames in a clip where a schedule looks at flow: a GPU finds the flow of all of them at once."""


@dataclass(frozen=True)
class Result:
    """What was found on the frames of a clip, or why nothing was.

    Attributes:
        clip: The frames.
        predictions: Head -> results (n, ...) on the CPU, at the size of the frames.
        key_frames: Which of the frames are key frames, n.
        error: Why there are no predictions, else None; nothing of this video follows an error.
        started: Clock (`time.perf_counter`) when the networks took the clip.
        seconds: What they took.
    """

    clip: Clip
    predictions: Predictions = field(default_factory=dict)
    key_frames: Sequence[bool] = ()
    error: str | None = None
    started: float = 0.0
    seconds: float = 0.0


class Sink(Protocol):
    """Takes results in order; what it makes of a video is whole, or not there."""

    def put(self, result: Result) -> None:
        """Takes the results of the next clip; may wait while too much is still to be done."""

    def finish(self) -> None:
        """Waits until all is done."""

    def cancel(self) -> None:
        """Removes what is not finished."""


class Engine:
    """Recognises the clips of videos, each after the one before it.

    Args:
        model: In eval mode, best rewritten by `deploy`, on `device`.
        schedule: Asked about each frame.
        device: Where the model is.
    """

    def __init__(
        self, model: DeepFeatureFlow, schedule: Schedule, device: torch.device | str = "cpu"
    ) -> None:
        self.model, self.schedule, self.device = model, schedule, torch.device(device)
        self._key: KeyFrame | None = None
        self._failed = ""  # the video, of whose later clips no result is wanted

    @torch.inference_mode()
    def step(self, clip: Clip) -> Result:
        """The results of the next clip; an error in a clip, or by one, is that video's end."""
        started = time.perf_counter()
        if clip.first:
            self._key, self._failed = None, ""
        error = clip.error
        if error is None and clip.video.name == self._failed:
            error = "an earlier part of it failed"
        if error is not None:
            return Result(clip, error=error, started=started)
        frames = to_unit_range(clip.seen.to(self.device, non_blocking=True))
        try:
            size = size_of(clip.frames)
            found = recognize_frames(
                self.model, frames, self.schedule, self._key, clip.start, size, clip.motion
            )
            found.check()
        except ValueError as fault:  # too small for the flow network: the next video may not be
            self._failed = clip.video.name
            return Result(clip, error=str(fault), started=started)
        self._key = None if clip.last else found.last
        predictions = {name: value.cpu() for name, value in found.predictions.items()}
        seconds = time.perf_counter() - started
        return Result(clip, predictions, found.key_frames, None, started, seconds)

    def run(self, clips: Iterable[Clip]) -> Iterator[Result]:
        """The results of clips, as they come."""
        return map(self.step, clips)


def read_clips(
    videos: Iterable[VideoInput],
    schedule: Schedule,
    resizing: EvaluationTransform | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
    check: Callable[[], object] | None = None,
    motion: bool = False,
) -> ReadAhead[Clip]:
    """The clips of videos for an engine, read ahead in a thread beside it.

    A clip is a key frame and the frames that it serves, as far as the schedule can tell before any
    network runs: so many go through the networks together.

    Args:
        videos: What to read; each is asked for when the one before it has been read.
        schedule: That of the engine.
        resizing: Of what the networks see.
        rank: This process, from 0; it takes videos rank, rank + world_size, ...
        world_size: Number of processes.
        device: Of the engine.
        check: See `ReadAhead`.
        motion: Whether the engine's model takes flow `from_file`.
    """
    on_gpu = torch.device(device).type == "cuda"
    ahead = plans_ahead(schedule)
    look = LOOK_AHEAD if on_gpu else CPU_BATCH
    clips = Clips(
        videos,
        (lambda: _KeyFrames(schedule)) if ahead else (lambda: lambda number, _: number % look == 0),
        rank=rank,
        world_size=world_size,
        resizing=resizing,
        motion=motion,
    )
    return ReadAhead(map(Clip.pinned, clips) if on_gpu else clips, check=check)


def predict_videos(engine: Engine, clips: Iterable[Clip], sink: Sink) -> None:
    """Lets an engine recognise clips, and a sink take the results beside it."""
    try:
        for result in engine.run(clips):
            sink.put(result)
        sink.finish()
    except BaseException:
        sink.cancel()
        raise


class _KeyFrames:
    """Says where a schedule that plans ahead begins a clip: at each key frame of one video."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.last: LastKey | None = None

    def __call__(self, number: int, picture: np.ndarray) -> bool:
        frame = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)
        if "frame" in self.schedule.wants:
            frame = to_unit_range(frame)
        (is_key,) = plan(self.schedule, frame, number, self.last)
        if is_key:
            self.last = LastKey(number, frame)
        return is_key
