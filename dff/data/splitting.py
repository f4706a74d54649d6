"""Which videos are held out, where nobody has said: whole videos, chosen by a seed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dff.data.samples import SampleError, Snippet

LAST_PART = 5
"""Of an only video, one of so many parts is held out: the last."""


def held_out(count: int, share: float, seed: int) -> set[int]:
    """Positions of the videos that are held out; at least one, and never all of several.

    Args:
        count: How many videos there are.
        share: Of them, between 0 and 1.
        seed: Of the choice.
    """
    order = np.random.default_rng(seed).permutation(count)
    most = max(1, count - 1)
    return set(order[: min(max(1, round(share * count)), most)].tolist())


def split_videos(
    snippets: Sequence[Snippet], share: float, seed: int
) -> tuple[dict[str, list[Snippet]], str, list[str]]:
    """Splits labelled videos, never the frames of one, unless there is no other.

    Args:
        snippets: The videos.
        share: Of them that is held out, between 0 and 1.
        seed: Of the choice.

    Returns:
        "train" and "val"; what was done, in one sentence; the names of what is held out.

    Raises:
        SampleError: There is too little to hold anything out.
        ValueError: The share is none.
    """
    if not 0 < share < 1:
        raise ValueError(f"val_share {share}: wanted a share between 0 and 1")
    found = [snippet for snippet in snippets if snippet.labelled]
    if len(found) > 1:
        out = held_out(len(found), share, seed)
        parts = {
            "train": [s for i, s in enumerate(found) if i not in out],
            "val": [s for i, s in enumerate(found) if i in out],
        }
        names = [snippet.name for snippet in parts["val"]]
        shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        words = (
            f"{len(names)} of {len(found)} videos are held out, chosen with seed {seed}: {shown}"
        )
        return parts, words, names
    labelled = sorted(found[0].labelled) if found else []
    if len(labelled) < 2:
        raise SampleError(
            f"{len(labelled)} labelled frames in {len(found)} videos: nothing can be held out; "
            "label more frames, of more than one video if you can"
        )
    cut = labelled[max(1, len(labelled) * (LAST_PART - 1) // LAST_PART)]
    (video,) = found
    parts = {
        "train": [_part(video, [n for n in video.frames if n < cut])],
        "val": [_part(video, [n for n in video.frames if n >= cut])],
    }
    words = (
        f"the last fifth of {video.name}, from frame {cut} on, is held out: it is the only video"
    )
    return parts, words, [f"{video.name} from frame {cut} on"]


def _part(video: Snippet, numbers: Sequence[int]) -> Snippet:
    there = set(numbers)
    return replace(
        video,
        frames={n: video.frames[n] for n in numbers},
        labelled=[n for n in video.labelled if n in there],
        masks={n: mask for n, mask in video.masks.items() if n in there},
    )
