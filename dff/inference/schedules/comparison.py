"""Schedules at equal numbers of key frames: what each keeps, on average and where it is worst."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dff.inference.accuracy.totals import Counted
from dff.inference.schedules.observation import Observation, accuracy_of
from dff.models.contracts import Task
from dff.models.schedules.adaptive import weighed
from dff.models.schedules.oracle import best_key_frames

STRETCH = 10
"""Frames of the worst stretch."""


@dataclass(frozen=True)
class ScheduleRow:
    """What one schedule gives on all videos.

    Attributes:
        schedule: "fixed", the name of a need, or "oracle".
        asked: The mean key duration that was asked for; NaN where none was.
        key_frames: By video, their numbers.
        frames: How many all videos have.
        accuracy: Over all frames together.
        mean: Mean over the frames of the accuracy of each.
        fifth: Their 5th percentile.
        worst: The lowest mean over ten consecutive frames.
        threshold: Of the need; None for others.
        enough: The fewest key frames with which it is as accurate as the fixed schedule; None for
            others, and where none of the thresholds that were tried gives that.
        fps: Frames per second, measured; None where it was not.
        after_flow: Key frames that became some after features had been carried to them; None where
            nobody counted.
        speedup_eq7: Over the per-frame network, by Eq. 7 with these numbers; None likewise.
    """

    schedule: str
    asked: float
    key_frames: Sequence[Sequence[int]]
    frames: int
    accuracy: float
    mean: float
    fifth: float
    worst: float
    threshold: float | None = None
    enough: int | None = None
    fps: float | None = None
    after_flow: int | None = None
    speedup_eq7: float | None = None

    @property
    def keys(self) -> int:
        """Number of key frames."""
        return sum(map(len, self.key_frames))

    @property
    def key_duration(self) -> float:
        """The mean key duration."""
        return self.frames / self.keys


def compare(
    task: Task, seen: Sequence[Observation], key_durations: Sequence[int], oracle: bool = True
) -> list[ScheduleRow]:
    """All schedules at each mean key duration.

    Args:
        task: Of the accuracy.
        seen: Of each video, with the same needs.
        key_durations: Those of the fixed schedule; the others have as many key frames.
        oracle: Also the best choice of key frames, which knows the accuracy of each.

    Raises:
        ValueError: A key duration is longer than what was seen.
    """
    rows = []
    for duration in key_durations:
        longest = seen[0].accuracy.shape[1]
        if duration > longest:
            raise ValueError(f"key duration {duration}: at most {longest} was looked at")
        fixed = [list(range(0, len(one.accuracy), duration)) for one in seen]
        count = sum(map(len, fixed))
        plain = _row(task, "fixed", duration, seen, fixed)
        rows.append(plain)
        for need in seen[0].needs:
            threshold = threshold_for(seen, need, count)
            row = _row(task, need, duration, seen, _all_keys(seen, need, threshold), threshold)
            rows.append(replace(row, enough=_enough(task, seen, need, count, plain.accuracy)))
        if oracle:
            best = [
                best_key_frames(_known(one.accuracy), len(keys))
                for one, keys in zip(seen, fixed, strict=True)
            ]
            rows.append(_row(task, "oracle", duration, seen, best))
    return rows


def adaptive_key_frames(need: np.ndarray, threshold: float) -> list[int]:
    """The key frames of `AdaptiveSchedule`, by needs (n, g) of each frame at each gap."""
    keys = [0]
    for frame in range(1, len(need)):
        gap = frame - keys[-1]
        if gap >= need.shape[1] or weighed(need[frame, gap], gap) > threshold:
            keys.append(frame)
    return keys


def threshold_for(seen: Sequence[Observation], need: str, count: int) -> float:
    """The threshold that gives at most so many key frames over all videos, and nearly as many."""
    gaps = np.arange(seen[0].accuracy.shape[1])
    values = np.concatenate([(one.needs[need] * gaps).ravel() for one in seen])
    values = np.unique(values[np.isfinite(values)])
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        keys = sum(map(len, _all_keys(seen, need, values[middle])))
        low, high = (low, middle) if keys <= count else (middle + 1, high)
    return float(values[low])


def _all_keys(seen: Sequence[Observation], need: str, threshold: float) -> list[list[int]]:
    return [adaptive_key_frames(one.needs[need], threshold) for one in seen]


def _enough(
    task: Task, seen: Sequence[Observation], need: str, count: int, accuracy: float
) -> int | None:
    """The fewest key frames, up to `count`, with which a schedule has that accuracy over all."""
    found = None
    for tried in range(count, len(seen) - 1, -max(1, count // 50)):
        keys = _all_keys(seen, need, threshold_for(seen, need, tried))
        if accuracy_of(task, _counted(seen, keys)) < accuracy:
            break
        found = sum(map(len, keys))
    return found


def chosen_gaps(key_frames: Sequence[int], frames: int) -> list[tuple[int, int]]:
    """Key frame and gap of each frame."""
    keys = np.searchsorted(key_frames, np.arange(frames), side="right") - 1
    return [(key_frames[k], f - key_frames[k]) for f, k in enumerate(keys.tolist())]


def _counted(seen: Sequence[Observation], key_frames: Sequence[Sequence[int]]) -> Iterator[Counted]:
    """What was counted on each frame of all videos under some key frames."""
    for one, keys in zip(seen, key_frames, strict=True):
        for key, gap in chosen_gaps(keys, len(one.accuracy)):
            yield one.counted[key][gap]


def by_frame(seen: Observation, key_frames: Sequence[int]) -> np.ndarray:
    """The accuracy of each frame under some key frames, (n,)."""
    pairs = chosen_gaps(key_frames, len(seen.accuracy))
    return np.array([seen.accuracy[key + gap, gap] for key, gap in pairs])


def _row(
    task: Task,
    schedule: str,
    asked: float,
    seen: Sequence[Observation],
    key_frames: Sequence[Sequence[int]],
    threshold: float | None = None,
) -> ScheduleRow:
    frames = [by_frame(one, keys) for one, keys in zip(seen, key_frames, strict=True)]
    accuracy = accuracy_of(task, _counted(seen, key_frames))
    return row_of_frames(schedule, asked, key_frames, accuracy, frames, threshold)


def row_of_frames(
    schedule: str,
    asked: float,
    key_frames: Sequence[Sequence[int]],
    accuracy: float,
    frames: Sequence[np.ndarray],
    threshold: float | None = None,
) -> ScheduleRow:
    """A row of what is known of each frame; arguments as in `ScheduleRow`.

    Args:
        schedule: Its name.
        asked: Mean key duration.
        key_frames: By video.
        accuracy: Over all frames together.
        frames: By video, the accuracy of each frame (n,), NaN where it is not known.
        threshold: Of the need.
    """
    values = np.concatenate(frames)
    known = values[~np.isnan(values)]
    return ScheduleRow(
        schedule,
        asked,
        key_frames,
        len(values),
        accuracy,
        float(known.mean()) if len(known) else float("nan"),
        float(np.quantile(known, 0.05)) if len(known) else float("nan"),
        min((w for w in map(_worst_stretch, frames) if not np.isnan(w)), default=float("nan")),
        threshold,
    )


def _worst_stretch(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    width = min(STRETCH, len(values))
    if not width:
        return float("nan")
    return float(np.convolve(values, np.full(width, 1 / width), "valid").min())


def _known(accuracy: np.ndarray) -> np.ndarray:
    """Where nothing is known of any pair of a frame, none of them is better than another."""
    nothing = np.isnan(accuracy[:, :1])
    return np.where(nothing & np.isnan(accuracy), 0.0, accuracy)
