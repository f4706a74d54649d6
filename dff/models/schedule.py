"""Which frames of a video are key frames."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Schedule(Protocol):
    """Decides, frame by frame, where a new key frame is taken."""

    def is_key(self, index: int, frame: Tensor) -> bool:
        """Says whether a frame is a key frame; the first frame of a video (index 0) must be.

        Args:
            index: Number of the frame in its video, from 0.
            frame: The frame itself, (1, 3, H, W), for schedules that look at it.
        """
        ...


@dataclass(frozen=True)
class FixedSchedule:
    """One key frame in every `key_duration` frames (the paper's schedule; l in Eq. 7)."""

    key_duration: int

    def __post_init__(self) -> None:
        if self.key_duration < 1:
            raise ValueError(
                f"key duration {self.key_duration}: wanted at least 1 "
                "(1 runs the feature network on every frame; the paper uses 5 and 10)"
            )

    def is_key(self, index: int, frame: Tensor) -> bool:
        """Every `key_duration`-th frame, whatever it shows."""
        return index % self.key_duration == 0
