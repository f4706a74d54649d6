"""What a model finds on each frame of a video from each key frame that could serve it.

All that schedules are compared by, and that a schedule learns from, is read off this once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dff.inference.accuracy.totals import Counted, total
from dff.inference.model import Model
from dff.inference.recognizer import recognize_frames
from dff.models.contracts import Accuracy, Task
from dff.models.schedule import Evidence, FixedSchedule, Wanted
from dff.models.schedules.needs import Need

_FRAMES = 10**6  # more than any video here has


@dataclass(frozen=True)
class LabelledFrames:
    """A video that is held in memory.

    Attributes:
        name: Of the video.
        frames: As the networks see them, (n, 3, H, W) in [0, 1], on the model's device.
        size: Height and width of the results.
        truth: The targets of each frame, as a batch of one; None compares with the model's own
            results on each frame.
        number: Of the video, another for each.
    """

    name: str
    frames: Tensor
    size: tuple[int, int]
    truth: Sequence[Mapping[str, Tensor]] | None = None
    number: int = 0


@dataclass
class Observation:
    """What was seen on one video of n frames.

    Attributes:
        name: Of the video.
        counted: [key frame][gap]: what the accuracy counts, from gap 0 on.
        accuracy: (n, g): of each frame, the accuracy when its key frame lies 0, .., g - 1 frames
            before it; NaN where that is not known.
        needs: Name -> (n, g): the need of each frame likewise; NaN at gap 0.
        vectors: (frame, gap) -> what a learned schedule reads, where it was asked for.
    """

    name: str
    counted: list[list[Counted]]
    accuracy: np.ndarray
    needs: dict[str, np.ndarray]
    vectors: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class _Watch:
    """A schedule that looks, and never asks for a key frame."""

    def __init__(self, look: Callable[[Evidence], None]) -> None:
        self._look = look
        self.wants: frozenset[Wanted] = frozenset({"previous", "difference", "flow"})

    def is_key(self, evidence: Evidence) -> bool:
        """Looks."""
        self._look(evidence)
        return False


@torch.inference_mode()
def observe(
    model: Model,
    video: LabelledFrames,
    longest: int,
    needs: Mapping[str, Need] | None = None,
    vector: Callable[[Evidence], Tensor] | None = None,
    every: int = 1,
    tell: Callable[[int], None] = lambda frame: None,
) -> Observation:
    """Runs a model from each key frame over the frames that it could serve.

    Args:
        model: Of one task or several; accuracy is that of the first.
        video: The frames.
        longest: The largest key duration.
        needs: What is asked of each frame.
        vector: What is kept of the evidence of each frame.
        every: Begin at every n-th frame alone, 1 for all.
        tell: Is told each frame that is begun at.

    Raises:
        ValueError: Features are not finite, or the video is too small for the flow network.
    """
    name, task = next(iter(model.tasks.items()))
    counter, count = task.accuracy([0]), len(video.frames)
    truth = video.truth
    if truth is None:
        found = recognize_frames(model.networks, video.frames, FixedSchedule(1), size=video.size)
        found.check()
        truth = [task.as_targets(own) for own in found.predictions[name].cpu().split(1)]
    seen = Observation(
        video.name,
        [[] for _ in range(count)],
        np.full((count, longest), np.nan),
        {need: np.full((count, longest), np.nan) for need in needs or {}},
    )
    for key in range(0, count, every):
        tell(key)

        def look(evidence: Evidence, key: int = key) -> None:
            frame, gap = key + evidence.index, evidence.since_key
            for title, need in (needs or {}).items():
                seen.needs[title][frame, gap] = need(evidence)
            if vector is not None:
                seen.vectors[frame, gap] = vector(evidence).clone()

        served = video.frames[key : key + longest]
        found = recognize_frames(model.networks, served, _Watch(look), size=video.size)
        for gap, row in enumerate(found.predictions[name].cpu().split(1)):
            frame = key + gap
            one = count_frame(counter, row, truth[frame], video.number, frame)
            seen.counted[key].append(one)
            seen.accuracy[frame, gap] = accuracy_of(task, [one])
    return seen


def count_frame(
    counter: Accuracy, found: Tensor, truth: Mapping[str, Tensor], number: int, frame: int
) -> Counted:
    """What the accuracy counts on one frame.

    Args:
        counter: Of gap 0.
        found: The result, (1, ...) on the CPU.
        truth: Its targets, as a batch of one.
        number: Of the video.
        frame: Number of the frame in it.
    """
    index = number * _FRAMES + frame  # another for each frame of all videos
    batch = {**truth, "gap": torch.tensor([0]), "index": torch.tensor([index])}
    counted = counter.count(found, batch)
    # a table of 256 x 256 classes for each pair of frames would fill the memory
    return {k: v.to_sparse() if k in counter.sums else v for k, v in counted.items()}


def accuracy_of(task: Task, frames: Iterable[Counted]) -> float:
    """The accuracy over frames by what was counted on each; NaN where nothing was."""
    counter = task.accuracy([0])
    return float(counter.result(total(counter, frames))["by_gap"][0])
