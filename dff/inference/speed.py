"""How fast a model runs on frames that are already on its device."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dff.inference.key_frame import KeyFrame, find_flows
from dff.inference.recognizer import (
    batch_size,
    encode_key_frame,
    recognize,
    recognize_frames,
    recognize_interval,
    size_of,
)
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import Evidence, Schedule, Wanted


@dataclass(frozen=True)
class Speed:
    """Measured time of one key duration, live, each frame synchronised; label maps included."""

    key_duration: int
    fps: float
    ms_key: float
    ms_current: float | None


@torch.inference_mode()
def measure_speed(
    model: DeepFeatureFlow,
    frames: Sequence[Tensor],
    key_durations: Sequence[int],
    rounds: int = 3,
    seconds: float = 0.0,
) -> list[Speed]:
    """Times the fixed key schedule.

    The key durations take turns in each round, so that a machine that slows down slows all of
    them; each figure is the median over the rounds.

    Args:
        model: In eval mode, on the device of the frames.
        frames: Each (1, 3, H, W), at least as many as the largest key duration.
        key_durations: Each at least 1.
        rounds: Measurements of each key duration at least, after a warm-up of both kinds of frames.
        seconds: Rounds go on for so long: small networks need more of them for a steady median.
    """
    longest = max(key_durations)
    if len(frames) < longest:
        raise ValueError(
            f"{len(frames)} frames to measure key duration {longest} on: wanted at least "
            f"{longest}; choose smaller key durations or a longer video"
        )
    key, _ = encode_key_frame(model, frames[0])
    if longest > 1:
        recognize(model, key, frames[1])
    intervals: dict[int, list[list[tuple[float, float]]]] = {d: [] for d in key_durations}
    started = time.perf_counter()
    done = 0
    while done < rounds or time.perf_counter() - started < seconds:
        done += 1
        for duration in key_durations:
            # As many intervals as the longest has frames: a short one alone would be all noise.
            intervals[duration].append(
                [
                    _time_interval(model, frames[start : start + duration])
                    for start in range(0, longest - duration + 1, duration)
                ]
            )
    return [_summary(duration, rows) for duration, rows in intervals.items()]


@torch.inference_mode()
def measure_intervals(
    model: DeepFeatureFlow,
    frames: Sequence[Tensor],
    key_durations: Sequence[int],
    rounds: int = 3,
    seconds: float = 0.0,
) -> list[float]:
    """Frames per second of each key duration where the frames of an interval come together.

    So it is in prediction. The network on each frame, key duration 1, takes them one by one or in
    batches, whichever is faster.

    Args:
        model: As in `measure_speed`, likewise the others.
        frames: Each (1, 3, H, W).
        key_durations: Each at least 1.
        rounds: Measurements, in which the key durations take turns.
        seconds: Rounds go on for so long.
    """
    longest = max(key_durations)
    together = torch.cat(list(frames[:longest]))
    size = size_of(together)

    def on_each(batch: int) -> None:
        for some in together.split(batch):
            model.predict(model.encode(some), size)

    def in_intervals(duration: int) -> None:
        for start in range(0, longest - duration + 1, duration):
            recognize_interval(model, together[start : start + duration])

    ways: list[tuple[int, Callable[[], None]]] = []
    for duration in key_durations:
        if duration > 1:
            ways.append((duration, partial(in_intervals, duration)))
        else:
            batches = sorted({1, batch_size(together)})
            ways += [(1, partial(on_each, batch)) for batch in batches]
    taken: list[list[float]] = [[] for _ in ways]
    started = time.perf_counter()
    while len(taken[0]) < rounds + 1 or time.perf_counter() - started < seconds:
        for (_, way), times in zip(ways, taken, strict=True):
            start = clock(together.device)
            way()
            times.append(clock(together.device) - start)
    fps: dict[int, float] = {}
    for (duration, _), times in zip(ways, taken, strict=True):
        found = longest // duration * duration / statistics.median(times[1:])  # the first warms up
        fps[duration] = max(found, fps.get(duration, 0.0))
    return [fps[duration] for duration in key_durations]


@torch.inference_mode()
def measure_parts(
    model: DeepFeatureFlow, frames: Sequence[Tensor], rounds: int = 5
) -> dict[str, float]:
    """Where the time of a key frame and of another goes: milliseconds of each part, the median.

    Args:
        model: In eval mode, on the device of the frames.
        frames: Two or more, each (1, 3, H, W).
        rounds: Measurements, after a warm-up; the parts take turns.
    """
    key, current = frames[:2]
    size = size_of(key)
    features = model.encode(key)
    prepared = model.prepare(key)
    flow = model.find_flow(prepared, current)
    deep = model.tail(features)
    parts: dict[str, Callable[[], object]] = {
        "feature network": lambda: model.encode(key),
        "flow network": lambda: model.find_flow(prepared, current),
        "warp and scale": lambda: model.carry(features, flow),
        "tail": lambda: model.tail(features),
        **{
            f"head, {name}": partial(head.predict, deep, size, size)
            for name, head in model.task_networks()
        },
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds + 1):
        for name, part in parts.items():
            start = clock(key.device)
            part()
            seconds[name].append(clock(key.device) - start)
    return {name: 1e3 * statistics.median(times[1:]) for name, times in seconds.items()}


@dataclass(frozen=True)
class DecisionSpeed:
    """What it costs to ask a schedule: milliseconds of a frame, beside those where none is asked.

    A key frame of a schedule that looks at flow has gone through the flow network too.
    """

    ms_key: float
    ms_current: float
    ms_key_fixed: float
    ms_current_fixed: float


class _Told(NamedTuple):
    """A schedule that looks at all that another one does, and is told what to answer."""

    asked: Schedule | None
    is_one: bool

    @property
    def wants(self) -> frozenset[Wanted]:
        return frozenset() if self.asked is None else self.asked.wants

    def is_key(self, evidence: Evidence) -> bool:
        if self.asked is not None:
            self.asked.is_key(evidence)
        return self.is_one


@torch.inference_mode()
def measure_decision(
    model: DeepFeatureFlow, frame: Tensor, schedule: Schedule, rounds: int = 5, seconds: float = 0.0
) -> DecisionSpeed:
    """Times frames of both kinds with a schedule's evidence and without; the four take turns.

    What a frame shows has no part in it: the same one is seen again and again, for between unlike
    ones a schedule would find a cut, and look no further.

    Args:
        model: In eval mode, on the device of the frame.
        frame: (1, 3, H, W).
        schedule: Is asked; its answers do not count.
        rounds: Measurements at least, after a warm-up; the median counts.
        seconds: Rounds go on for so long.

    Raises:
        ValueError: The schedule does not fit the model.
    """
    kinds = {
        "ms_key": _Told(schedule, True),
        "ms_current": _Told(schedule, False),
        "ms_key_fixed": _Told(None, True),
        "ms_current_fixed": _Told(None, False),
    }
    key, _ = encode_key_frame(model, frame)
    key = recognize_frames(model, frame, kinds["ms_current_fixed"], key, 1).last
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    started = time.perf_counter()
    while len(taken["ms_key"]) < rounds + 1 or time.perf_counter() - started < seconds:
        for kind, told in kinds.items():
            start = clock(frame.device)
            recognize_frames(model, frame, told, key, 2)
            taken[kind].append(clock(frame.device) - start)
    medians = {kind: 1e3 * statistics.median(times[1:]) for kind, times in taken.items()}
    return DecisionSpeed(**medians)


@torch.inference_mode()
def measure_peak(device: torch.device, dtype: torch.dtype, side: int = 4096) -> float:
    """FLOP/s of a product of two square matrices: what the device can do at best.

    Args:
        device: Where.
        dtype: Of the matrices.
        side: Their rows and columns.
    """
    one, other = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(4):
        start = clock(device)
        one @ other
        seconds.append(clock(device) - start)
    return 2 * side**3 / min(seconds[1:])


def _time_interval(model: DeepFeatureFlow, frames: Sequence[Tensor]) -> tuple[float, float]:
    """Seconds of the key frame, and of all others together."""
    start = clock(frames[0].device)
    key, _ = encode_key_frame(model, frames[0])
    middle = clock(frames[0].device)
    for frame in frames[1:]:
        key = _recognized(model, key, frame)
        _synchronize(frame.device)
    return middle - start, clock(frames[0].device) - middle


def _recognized(model: DeepFeatureFlow, key: KeyFrame, frame: Tensor) -> KeyFrame:
    """Recognises a frame; the key frame as it serves the next one."""
    if getattr(model, "flow_from", "key") == "key":  # a clockwork has no flow
        recognize(model, key, frame)
        return key
    flow = find_flows(model, key, frame)
    model.predict(model.carry(key.features, flow), size_of(frame))
    return key.after(frame, flow, 1)


def _summary(key_duration: int, rounds: list[list[tuple[float, float]]]) -> Speed:
    key = statistics.median(k for r in rounds for k, _ in r)
    others = statistics.median(o for r in rounds for _, o in r)
    whole = statistics.median(sum(k + o for k, o in r) / len(r) for r in rounds)
    current = 1e3 * others / (key_duration - 1) if key_duration > 1 else None
    return Speed(key_duration, key_duration / whole, 1e3 * key, current)


def clock(device: torch.device) -> float:
    """Seconds on a clock, when the device has done all that it was given."""
    _synchronize(device)
    return time.perf_counter()


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
