"""Key frames where they are needed: above a threshold, or as many as a budget allows.

The longer a key frame has served, the more frames share its cost. So the best time for the next one
is not where a frame loses so and so much, but where it loses more than the mean of all frames since
the key frame, the cost of that included (the marginal value theorem, Charnov 1976). Where losses
grow evenly from frame to frame, that is where the loss times the number of frames passes a
constant: what is compared is the need of a frame times the frames since the key frame.
"""

import math
from dataclasses import dataclass

from dff.models.schedule import Evidence, Wanted
from dff.models.schedules.needs import Need

TOLERANCE = 0.03
"""By how much of itself a budget is overdrawn, or left over, at most."""
_FIRMNESS = 3.0
"""How far the logarithm of the threshold moves until the tolerance is used up."""


def weighed(need: float, since_key: int) -> float:
    """What is compared with a threshold: a need, and how long the key frame has served."""
    return need * since_key


@dataclass(frozen=True)
class AdaptiveSchedule:
    """A key frame wherever the need times the frames since the last one is above a threshold.

    Args:
        need: Says how much a frame needs to be one.
        threshold: Of that product; None is the need's usual one.
        longest: The largest key duration; None is no limit.

    Raises:
        ValueError: The threshold is not positive.
    """

    need: Need
    threshold: float | None = None
    longest: int | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not self.threshold > 0:
            raise ValueError(f"threshold {self.threshold}: wanted more than 0")

    @property
    def wants(self) -> frozenset[Wanted]:
        """What the need looks at."""
        return self.need.wants

    def is_key(self, evidence: Evidence) -> bool:
        """Compares with the threshold."""
        if evidence.since_key == 0:
            return True
        if self.longest is not None and evidence.since_key >= self.longest:
            return True
        threshold = self.need.usual if self.threshold is None else self.threshold
        return weighed(self.need(evidence), evidence.since_key) > threshold


@dataclass(frozen=True)
class BudgetSchedule:
    """Key frames where they are needed most, as many as a budget allows.

    The threshold rises with each key frame and falls with each other frame, so that what was spent
    at a turn is saved where the camera stands. A cut is a key frame whatever it costs; what it cost
    is saved afterwards.

    Args:
        need: Says how much a frame needs to be a key frame.
        key_duration: The budget: one key frame in so many frames on average, 1 or more.
        frames_per_second: The budget instead: what the networks are to reach. Where they are faster
            even so, each frame becomes a key frame.
        horizon: From so many frames on the budget is held within 5 %. The more, the more can be
            saved for later.

    Raises:
        ValueError: Not exactly one of both is given, or it is out of its range.
    """

    need: Need
    key_duration: float | None = None
    frames_per_second: float | None = None
    horizon: int = 300

    def __post_init__(self) -> None:
        if (self.key_duration is None) == (self.frames_per_second is None):
            raise ValueError("a budget: wanted either key_duration or frames_per_second")
        if self.key_duration is not None and not 1 <= self.key_duration < math.inf:
            raise ValueError(f"mean key duration {self.key_duration}: wanted 1 or more")
        rate = self.frames_per_second
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"{rate} frames per second: wanted more than 0")

    @property
    def wants(self) -> frozenset[Wanted]:
        """What the need looks at, and the clock where the budget is a rate."""
        return self.need.wants | ({"seconds"} if self.frames_per_second is not None else set())

    def is_key(self, evidence: Evidence) -> bool:
        """Compares with a threshold that the budget moves."""
        if evidence.since_key == 0:
            return True
        need, left = weighed(self.need(evidence), evidence.since_key), self._left(evidence)
        if math.isinf(need) or left >= 1:
            return True
        return left > -1 and need > self.need.usual * math.exp(-_FIRMNESS * left)

    def _left(self, evidence: Evidence) -> float:
        """What is left of the budget, in tolerances: -1 is overdrawn as far as it may be."""
        tolerance = TOLERANCE * max(evidence.index, self.horizon)  # in frames
        if self.key_duration is not None:
            due = evidence.index / self.key_duration
            return (due - evidence.key_frames) / max(tolerance / self.key_duration, 0.5)
        assert self.frames_per_second is not None and evidence.seconds is not None
        return (evidence.index - evidence.seconds * self.frames_per_second) / tolerance
