"""How much a frame needs to be a key frame: a number, by which schedules decide."""

import math
from dataclasses import dataclass, field
from typing import Protocol

from dff.models.schedule import Evidence, Wanted
from dff.models.schedules.cuts import CUT, cut_score


class Need(Protocol):
    """How much a frame needs to be a key frame; 0 is not at all, infinite is a cut."""

    @property
    def usual(self) -> float:
        """Need times frames since the key frame above which a new one is worth its time.

        It is what a schedule takes where nobody says anything else.
        """
        ...

    @property
    def wants(self) -> frozenset[Wanted]:
        """What it looks at, as in `Schedule`."""
        ...

    def __call__(self, evidence: Evidence) -> float:
        """The need of a frame that is not the first of its video."""
        ...


@dataclass(frozen=True)
class Change:
    """The difference of the frame and the key frame warped onto it, counted where it is known.

    What comes into view counts as if it differed by `unseen`. A cut needs a key frame at once.

    Args:
        unseen: Difference of a pixel that the key frame does not show.
    """

    unseen: float = 0.25
    usual: float = 0.3
    wants: frozenset[Wanted] = field(default=frozenset({"previous", "difference"}))

    def __call__(self, evidence: Evidence) -> float:
        """See `Need`."""
        if is_cut(evidence):
            return math.inf
        assert evidence.differences is not None
        error, inside = evidence.differences.mean((0, 2, 3)).tolist()
        return float(error + self.unseen * (1 - inside))


def is_cut(evidence: Evidence) -> bool:
    """Whether there is a cut between a frame and the one before it."""
    frame, previous = evidence.frame, evidence.previous
    return frame is not None and previous is not None and cut_score(frame, previous) > CUT
