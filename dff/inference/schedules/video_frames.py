"""Videos from files as frames in memory, without truth."""

from collections.abc import Sequence
from itertools import islice

import torch

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.transforms.unit_range import to_unit_range
from dff.data.video.sources import find_videos
from dff.inference.recognizer import size_of
from dff.inference.schedules.observation import LabelledFrames


def frames_of_videos(
    paths: Sequence[str],
    frames: int,
    resizing: EvaluationTransform,
    device: torch.device | str = "cpu",
) -> list[LabelledFrames]:
    """The beginning of each video.

    Args:
        paths: Files, folders and globs; see `find_videos`.
        frames: How many frames of each at most.
        resizing: Of what the networks see; results have that size too.
        device: Where frames go.

    Raises:
        FileNotFoundError: There is no such video.
        ValueError: It cannot be read, or has fewer than two frames.
    """
    videos = []
    for number, video in enumerate(find_videos(paths)):
        shown = []
        for frame in islice(video.open(), frames):
            window = resizing.window(frame.shape[:2])
            seen = window.image(frame) if window else frame
            shown.append(torch.from_numpy(seen.copy()).permute(2, 0, 1))
        if len(shown) < 2:
            raise ValueError(f"{video.path} has {len(shown)} frame: wanted two or more")
        stacked = to_unit_range(torch.stack(shown)).to(device)
        videos.append(LabelledFrames(video.name, stacked, size_of(stacked), None, number))
    return videos
