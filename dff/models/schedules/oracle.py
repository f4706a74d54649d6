"""The best choice of key frames that there is, for those who know how accurate each would be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dff.models.schedule import Evidence, Wanted


@dataclass(frozen=True)
class GivenSchedule:
    """The key frames of one video by their numbers."""

    key_frames: frozenset[int]
    wants: frozenset[Wanted] = frozenset()

    def is_key(self, evidence: Evidence) -> bool:
        """Whether the frame is one of them."""
        return evidence.index in self.key_frames


def best_key_frames(accuracy: np.ndarray, count: int) -> list[int]:
    """The key frames whose mean accuracy over all frames is the highest.

    Args:
        accuracy: (n, g): of each frame, when its key frame lies 0, 1, .., g - 1 frames before it.
            NaN where it is not known, which no choice takes.
        count: Of key frames, 1 to n; frame 0 is one of them.

    Returns:
        Their numbers, in order.

    Raises:
        ValueError: So few key frames cannot serve so many frames.
    """
    frames, gaps = accuracy.shape
    # gain[i, j]: the sum over frames i .. j - 1 that key frame i serves
    gain = np.full((frames, frames + 1), -np.inf)
    for i in range(frames):
        served = min(gaps, frames - i)
        own = accuracy[np.arange(i, i + served), np.arange(served)]
        gain[i, i + 1 : i + served + 1] = np.where(np.isnan(own), -np.inf, own).cumsum()
    best = gain[0].copy()  # of frames before j with the key frames so far
    best[0] = -np.inf
    before: list[Sequence[int]] = []
    for _ in range(1, count):
        sums = best[:frames, None] + gain
        chosen = sums.argmax(0)
        before.append(chosen.tolist())
        best = sums.max(0)
    if not 1 <= count <= frames or not np.isfinite(best[frames]):
        raise ValueError(f"{count} key frames for {frames} frames, each serving at most {gaps}")
    keys, end = [], frames
    for chosen in reversed(before):
        end = chosen[end]
        keys.append(end)
    return [0, *reversed(keys)]
