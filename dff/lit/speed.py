"""How fast a model runs on frames that are already on its device."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dff.models.dff import DeepFeatureFlow
from dff.models.recognizer import recognize, take_key


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
    key, _ = take_key(model, frames[0])
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


def _time_interval(model: DeepFeatureFlow, frames: Sequence[Tensor]) -> tuple[float, float]:
    """Seconds of the key frame, and of all others together."""
    start = _now(frames[0].device)
    key, _ = take_key(model, frames[0])
    middle = _now(frames[0].device)
    for frame in frames[1:]:
        recognize(model, key, frame)
        _synchronize(frame.device)
    return middle - start, _now(frames[0].device) - middle


def _summary(key_duration: int, rounds: list[list[tuple[float, float]]]) -> Speed:
    key = statistics.median(k for r in rounds for k, _ in r)
    others = statistics.median(o for r in rounds for _, o in r)
    whole = statistics.median(sum(k + o for k, o in r) / len(r) for r in rounds)
    current = 1e3 * others / (key_duration - 1) if key_duration > 1 else None
    return Speed(key_duration, key_duration / whole, 1e3 * key, current)


def _now(device: torch.device) -> float:
    _synchronize(device)
    return time.perf_counter()


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
