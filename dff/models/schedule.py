"""Which frames of a video are key frames."""

from dataclasses import dataclass
from numbers import Integral
from typing import Literal, Protocol

from torch import Tensor

Wanted = Literal["frame", "previous", "flow", "difference", "confidence", "seconds"]
"""What a schedule may look at beside numbers; see `Evidence`."""


@dataclass(frozen=True)
class Evidence:
    """What a schedule may decide by; only what it wants is there, and costs anything.

    Attributes:
        index: Number of the frame in its video, from 0.
        since_key: Frames since the last key frame, 1 for the frame after it; 0 for the first frame
            of a video, which is a key frame whatever the schedule says.
        key_frames: How many key frames the video had before this frame.
        frame: For "frame" or "previous": the frame as the networks see it, (1, 3, H, W), RGB in
            [0, 1].
        key_frame: For "frame": the last key frame likewise; None for the first frame.
        previous: For "previous": the frame before likewise; None for the first frame.
        flow: For "flow": from this frame to the key frame, (1, 2, h, w) in image pixels.
        context: For "flow": the map (1, M, h, w) that the flow network gives beside its flow; None
            where it gives none.
        differences: For "difference": at the resolution of the flow, (1, 2, h, w): the absolute
            difference of the frame and the key frame warped onto it, 0 to 1, and whether the key
            frame shows what the frame shows there (1 or 0); where it does not, both are 0.
        difference: For "difference": its mean where the key frame shows anything.
        confidence: For "confidence": how sure the task networks are of the propagated result, 0 to
            1, the least of them.
        seconds: For "seconds": what the networks took for the frames of this video before.
    """

    index: int
    since_key: int
    key_frames: int = 0
    frame: Tensor | None = None
    key_frame: Tensor | None = None
    previous: Tensor | None = None
    flow: Tensor | None = None
    context: Tensor | None = None
    differences: Tensor | None = None
    difference: float | None = None
    confidence: float | None = None
    seconds: float | None = None


class Schedule(Protocol):
    """Decides, frame by frame, where a new key frame is taken.

    It keeps nothing between calls, so that one schedule serves many videos at the same time.
    """

    @property
    def wants(self) -> frozenset[Wanted]:
        """What it looks at; a key frame that is asked for after its flow was found costs both."""
        ...

    def is_key(self, evidence: Evidence) -> bool:
        """Says whether a frame is a key frame."""
        ...


@dataclass(frozen=True)
class FixedSchedule:
    """One key frame in every `key_duration` frames (the paper's schedule; l in Eq. 7)."""

    key_duration: int
    wants: frozenset[Wanted] = frozenset()

    def __post_init__(self) -> None:
        if not isinstance(self.key_duration, Integral) or self.key_duration < 1:
            wanted = "a whole number of " if not isinstance(self.key_duration, int) else ""
            raise ValueError(
                f"key duration {self.key_duration!r}: wanted {wanted}at least 1 "
                "(1 runs the feature network on every frame; the paper uses 5 and 10)"
            )

    def is_key(self, evidence: Evidence) -> bool:
        """Every `key_duration`-th frame, whatever it shows."""
        return evidence.index % self.key_duration == 0
