"""Speed and agreement of a per-frame model at several key durations, on one video."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.clips import clips_of_frames
from dff.inference.accuracy.totals import total
from dff.inference.engine import Result
from dff.inference.model import Model
from dff.inference.recognizer import size_of
from dff.models.analysis.complexity import break_even
from dff.models.contracts import Accuracy, Task
from dff.models.schedule import FixedSchedule

ENOUGH = 0.95
"""Share of agreement that a person would hardly see the loss of."""


@dataclass(frozen=True)
class KeyDuration:
    """What one key duration gives.

    Attributes:
        key_duration: l.
        fps: Frames per second of the networks, one frame at a time.
        ms_key: Milliseconds of a key frame.
        ms_current: Of a non-key frame; None at key duration 1.
        agreement: With the model's own result on each frame, by offset from the key frame: mIoU of
            labels, AP at IoU 0.5 of boxes. None where the model found nothing.
    """

    key_duration: int
    fps: float
    ms_key: float
    ms_current: float | None
    agreement: Sequence[float | None]

    @property
    def mean(self) -> float | None:
        """Mean agreement over the offsets."""
        known = [value for value in self.agreement if value is not None]
        return sum(known) / len(known) if known else None

    @property
    def worst(self) -> float | None:
        """Agreement at the worst offset."""
        return min((value for value in self.agreement if value is not None), default=None)


@dataclass(frozen=True)
class Speedup:
    """What skipping frames gives on one video.

    Attributes:
        name: Of the video.
        measure: What agreement is counted in, such as mIoU.
        frames: How many were measured.
        size: Height and width of the frames that the model saw.
        rows: By key duration, 1 first.
    """

    name: str
    measure: str
    frames: int
    size: tuple[int, int]
    rows: Sequence[KeyDuration] = field(default_factory=list)

    @property
    def enough(self) -> int | None:
        """The largest key duration that keeps 95 % agreement on this video; None: none does."""
        kept = [r.key_duration for r in self.rows if r.mean is not None and r.mean >= ENOUGH]
        return max((duration for duration in kept if duration > 1), default=None)

    @property
    def break_even(self) -> int | None:
        """The key duration from which on propagation pays; None: it never does."""
        first, last = self.rows[0], self.rows[-1]
        if last.ms_current is None:
            return None
        return break_even(first.ms_key, last.ms_key, last.ms_current)


def measure_speedup(
    model: Model,
    name: str,
    frames: Sequence[np.ndarray],
    key_durations: Sequence[int],
    resizing: EvaluationTransform | None = None,
    tell: Callable[[str], None] = lambda words: None,
) -> Speedup:
    """Runs a model over frames at each key duration, and compares with key duration 1.

    Args:
        model: Of one task.
        name: Of the video.
        frames: Consecutive, each (H, W, 3) uint8 RGB.
        key_durations: 1 is always measured.
        resizing: Of what the networks see.
        tell: Is told what is being measured.

    Raises:
        ValueError: There are fewer than two frames, or the model fails on one.
    """
    if len(frames) < 2:
        raise ValueError(f"{name} has {len(frames)} frame: wanted two or more to skip any")
    durations = sorted({1, *(d for d in key_durations if d <= len(frames))})
    (task,) = model.tasks.values()
    rows: list[KeyDuration] = []
    own: list[Tensor] = []
    seen = (0, 0)
    for duration in durations:
        tell(f"{name}: key duration {duration}")
        results = _run(model, frames, duration, resizing)
        found = [result.predictions[task.name] for result in results]
        own = own or found
        seen = size_of(results[0].clip.seen)
        rows.append(_row(duration, results, _agreement(task, found, own, duration)))
    return Speedup(name, task.measure.title, len(frames), seen, rows)


def _run(
    model: Model,
    frames: Sequence[np.ndarray],
    key_duration: int,
    resizing: EvaluationTransform | None,
) -> list[Result]:
    engine = model.engine(FixedSchedule(key_duration))
    # the first frames of a run allocate and lay out
    for result in engine.run(clips_of_frames(frames[: min(2, key_duration)], resizing)):
        _check(result)
    results = list(engine.run(clips_of_frames(frames, resizing)))
    for result in results:
        _check(result)
    return results


def _check(result: Result) -> None:
    if result.error is not None:
        raise ValueError(result.error)


def _row(
    duration: int, results: Sequence[Result], agreement: Sequence[float | None]
) -> KeyDuration:
    key = statistics.median(r.seconds for r in results if r.key_frames[0])
    others = [r.seconds for r in results if not r.key_frames[0]]
    current = statistics.median(others) if others else None
    fps = duration / (key + (duration - 1) * (current or 0.0))
    return KeyDuration(duration, fps, 1e3 * key, current and 1e3 * current, agreement)


def _agreement(
    task: Task, found: Sequence[Tensor], own: Sequence[Tensor], key_duration: int
) -> list[float | None]:
    """Agreement at each offset 0 .. l - 1: the model's own results are the truth."""
    counter: Accuracy = task.accuracy(range(key_duration))
    counted = (
        counter.count(
            result,
            {
                **task.as_targets(truth),
                "gap": torch.tensor([index % key_duration]),
                "index": torch.tensor([index]),
            },
        )
        for index, (result, truth) in enumerate(zip(found, own, strict=True))
    )
    by_gap = counter.result(total(counter, counted))["by_gap"].tolist()
    return [None if value != value else value for value in by_gap]
