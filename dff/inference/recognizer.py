"""A model over frames in order: one at a time (live), or many at once (throughput).

Both give the same results, and the schedule is asked about each frame in both. The per-frame
baseline is key duration 1. What is kept between frames is a value that the caller holds, so nothing
needs a reset and two videos cannot mix.
"""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dff.inference.evidence import plan, plans_ahead, served_frames
from dff.inference.key_frame import KeyFrame, Motion, find_flows
from dff.models.contracts import Features, Flow
from dff.models.dff import DeepFeatureFlow, Propagation, levels_of, on_levels
from dff.models.schedule import FixedSchedule, Schedule

Predictions = dict[str, Tensor]
"""Head -> results (n, ...)."""

CPU_BATCH = 2
"""Frames that a CPU takes at once: what more of them leave between two layers outgrows its caches,
and nine frames of 720p take a quarter longer."""


class Recognized(NamedTuple):
    """What was found on frames in order.

    `predictions`: head -> (n, ...). `key_frames`: which of them are key frames, n. `last`: the key
    frame that serves what follows. `finite`: whether all features are, a scalar on the device.
    """

    predictions: Predictions
    key_frames: list[bool]
    last: KeyFrame
    finite: Tensor

    def check(self) -> None:
        """Refuses results of features that are no numbers; waits for the device.

        Raises:
            ValueError: Features are not finite, so that no result would mean anything.
        """
        if not self.finite:
            dtype = levels_of(self.last.features)[0].dtype
            raise ValueError(
                f"features became NaN or infinite (in {dtype}), so nothing is recognised by them: "
                "numbers too large for 16-mixed want --precision bf16-mixed or 32-true, and where "
                "that is set, other weights"
            )


def encode_key_frame(
    model: DeepFeatureFlow, frame: Tensor, size: tuple[int, int] | None = None, index: int = 0
) -> tuple[KeyFrame, Predictions]:
    """Recognises a key frame (1, 3, H, W).

    Args:
        model: In eval mode.
        frame: The frame.
        size: Of the results; None is the frame's.
        index: Of the frame in its video.
    """
    key = _next_key(model, frame, index)
    return key, _predict(model, key.features, frame, size)


def recognize(
    model: DeepFeatureFlow,
    key: KeyFrame,
    frames: Tensor,
    size: tuple[int, int] | None = None,
    mode: Propagation = "full",
) -> Predictions:
    """Recognises frames (n, 3, H, W) that one key frame serves, in one batch."""
    n = len(frames)
    features = model.propagate(key.repeated(n), key.prepared(model, n), frames, mode)
    return _predict(model, features, frames, size)


class _Part(NamedTuple):
    """Frames that went through the networks together, and their features."""

    frames: Tensor
    features: Features
    key: KeyFrame
    is_key: bool


class _Stretch(NamedTuple):
    """Consecutive frames of a video and what recognises them; see `recognize_frames`.

    `began`: the clock when the networks would have begun with the video, had they never waited.
    """

    model: DeepFeatureFlow
    frames: Tensor
    schedule: Schedule
    start: int
    motion: Motion
    began: float

    def key_frame(self, at: int, last: KeyFrame | None) -> KeyFrame:
        """The frame at a place as a key frame, after the last one."""
        return _next_key(self.model, self.frames[at : at + 1], self.start + at, last)

    def carried(self, key: KeyFrame, first: int, end: int) -> tuple[Tensor, Flow, Features]:
        """The next batch of the frames from `first` to `end`, its flow and what it carries."""
        rest = self.frames[first:end]
        some = rest[: batch_size(rest)]
        flow = find_flows(
            self.model, key, some, self.motion and self.motion[first : first + len(some)]
        )
        return some, flow, self.model.carry(key.repeated(len(some)), flow)


def recognize_frames(
    model: DeepFeatureFlow,
    frames: Tensor,
    schedule: Schedule,
    key: KeyFrame | None = None,
    start: int = 0,
    size: tuple[int, int] | None = None,
    motion: Motion = None,
) -> Recognized:
    """Recognises consecutive frames of a video, as many at once as one key frame serves.

    Args:
        model: In eval mode, on the frames' device.
        frames: (n, 3, H, W), n >= 1, RGB in [0, 1].
        schedule: Decides which of them are key frames.
        key: The last key frame before them; None where the video begins.
        start: Number of the first frame in its video.
        size: Height and width of the results; None is that of the frames.
        motion: What the file of the video says of it.
    """
    began = time.perf_counter() - (0.0 if key is None else key.seconds)
    stretch = _Stretch(model, frames, schedule, start, motion, began)
    propose = _planned if plans_ahead(schedule) else _looking_ahead
    found: list[Predictions] = []
    key_frames: list[bool] = []
    sums: list[Tensor] = []
    for part in propose(stretch, key):
        found.append(_predict(model, part.features, part.frames, size))
        key_frames += [part.is_key] * len(part.frames)
        # not finite where a feature is not
        sums += [level.sum(dtype=torch.float32) for level in levels_of(part.features)]
        key = part.key
    assert key is not None  # there is a frame at least
    key.seconds = time.perf_counter() - began
    predictions = {name: torch.cat([one[name] for one in found]) for name in found[0]}
    return Recognized(predictions, key_frames, key, torch.stack(sums).isfinite().all())


def _planned(stretch: _Stretch, key: KeyFrame | None) -> Iterator[_Part]:
    """Each key frame by itself, and what it serves in batches."""
    frames, last = stretch.frames, None if key is None else key.as_last()
    is_key = list(plan(stretch.schedule, frames, stretch.start, last))
    begins = [i for i, begin in enumerate(is_key) if begin or i == 0]
    for first, end in zip(begins, [*begins[1:], len(frames)], strict=True):
        if is_key[first]:
            key = stretch.key_frame(first, key)
            yield _Part(key.frame, key.features, key, True)
            first += 1
        assert key is not None  # the first frame of a video is one
        while first < end:
            some, flow, features = stretch.carried(key, first, end)
            first += len(some)
            key = key.after(some, flow, len(some))
            yield _Part(some, features, key, False)


def _looking_ahead(stretch: _Stretch, key: KeyFrame | None) -> Iterator[_Part]:
    """Flow for a batch of frames first; what lies behind a new key frame is found anew from it."""
    model, schedule, count = stretch.model, stretch.schedule, len(stretch.frames)
    done, asks = 0, key is None
    while done < count:
        if asks or key is None:
            key, asks = stretch.key_frame(done, key), False
            yield _Part(key.frame, key.features, key, True)
            done += 1
            continue
        some, flow, features = stretch.carried(key, done, count)
        sure = model.confidence(features) if "confidence" in schedule.wants else None
        key.seconds = time.perf_counter() - stretch.began
        index, last = stretch.start + done, key.as_last()
        served = served_frames(schedule, model, some, index, last, flow, sure)
        if served:
            key = key.after(some, flow, served)
            yield _Part(some[:served], batch_rows(features, slice(served)), key, False)
        done += served
        asks = served < len(some)


def batch_rows(features: Features, rows: slice) -> Features:
    """Some rows of a batch."""
    return on_levels(lambda level: level[rows], features)


def _next_key(
    model: DeepFeatureFlow, frame: Tensor, index: int, last: KeyFrame | None = None
) -> KeyFrame:
    return KeyFrame(frame, model.encode(frame), index, 1 if last is None else last.number + 1)


def recognize_interval(
    model: DeepFeatureFlow, frames: Tensor, size: tuple[int, int] | None = None
) -> Predictions:
    """A key frame and the frames it serves (n, 3, H, W), n >= 1, in one call.

    Raises:
        ValueError: Features are not finite.
    """
    found = recognize_frames(model, frames, FixedSchedule(len(frames)), size=size)
    found.check()
    return found.predictions


def stream(
    model: DeepFeatureFlow,
    frames: Iterable[Tensor],
    schedule: Schedule,
    size: tuple[int, int] | None = None,
) -> Iterator[Predictions]:
    """Live: one frame (1, 3, H, W) in, one result out."""
    key: KeyFrame | None = None
    for index, frame in enumerate(frames):
        recognized = recognize_frames(model, frame, schedule, key, index, size)
        key = recognized.last
        yield recognized.predictions


def batch_size(frames: Tensor) -> int:
    """How many of the frames (n, 3, H, W) are best taken at once on their device."""
    return CPU_BATCH if frames.device.type == "cpu" else len(frames)


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of images or maps (..., H, W)."""
    height, width = images.shape[-2:]
    return height, width


def _predict(
    model: DeepFeatureFlow, features: Features, frames: Tensor, size: tuple[int, int] | None
) -> Predictions:
    frame = size_of(frames)
    return model.predict(features, size or frame, frame)
