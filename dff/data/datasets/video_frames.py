"""Unlabelled videos: pairs are drawn from video files and folders of frames as they are.

ROOT/**                                video files, and folders of PNG or JPEG frames
ROOT/train/**, ROOT/val/**             likewise, where the videos are split already
"""

import os
import warnings
from pathlib import Path

import numpy as np

from dff.data.sampled_video import FrameNames, SampledVideo, times_of
from dff.data.samples import SampleError, Snippet, Snippets
from dff.data.splitting import held_out
from dff.data.video.sources import VideoError, VideoInput, find_videos


def find_snippets(
    root: str | os.PathLike,
    split: str,
    fps: float | None = None,
    frames_per_video: int = 200,
    val_share: float = 0.1,
    seed: int = 0,
    skip_damaged: bool = True,
) -> Snippets:
    """Lists the videos of one split; each file is looked through once, and its table is kept.

    Without folders `train` and `val` below the root, videos are held out by a seeded choice, and of
    a single video its last fifth.

    Args:
        root: Folder of the videos.
        split: "train" or "val".
        fps: Frames per second to take of each video, so that a gap is the same time in all of
            them; None takes every frame.
        frames_per_video: Most current frames that an epoch takes of one video, evenly spread.
        val_share: Share of the videos that is held out.
        seed: Of that choice.
        skip_damaged: Whether videos that cannot be opened are passed over with a warning.

    Raises:
        FileNotFoundError: There is no such folder, or no video in it.
        SampleError: No video can be used.
        ValueError: An argument is out of its range.
    """
    root = Path(root)
    if fps is not None and not fps > 0:
        raise ValueError(f"fps {fps}: wanted frames per second above 0, or null for every frame")
    if frames_per_video < 1 or not 0 < val_share < 1:
        raise ValueError(
            f"frames_per_video {frames_per_video}, val_share {val_share}: wanted at least 1 frame, "
            "and a share between 0 and 1"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: set --data.root to the folder of your videos")
    chosen, part = _split(root, split, val_share, seed)
    found = Snippets()
    faults = []
    for video in chosen:
        try:
            found.append(_snippet(video, fps, frames_per_video, part))
        except (VideoError, SampleError, OSError) as error:
            if not skip_damaged:
                raise SampleError(f"{error}; or pass over such videos with skip_damaged") from error
            faults.append(str(error))
    if not found:
        raise SampleError(f"no video in {root} can be used; the first: {faults[0]}")
    if faults:
        warnings.warn(
            f"{len(faults)} of {len(chosen)} videos are passed over; the first: {faults[0]}",
            stacklevel=2,
        )
    return found


def split_in_words(root: str | os.PathLike, val_share: float = 0.1, seed: int = 0) -> str:
    """Which videos are held out, and by what choice."""
    root = Path(root)
    if (root / "train").is_dir() and (root / "val").is_dir():
        return f"held out are the videos in {root / 'val'}"
    out, part = _split(root, "val", val_share, seed)
    if part is not None:
        return f"the last fifth of {out[0].path} is held out, being the only video"
    names = ", ".join(video.name for video in out[:3]) + ", ..." * (len(out) > 3)
    return f"{len(out)} videos are held out, chosen with seed {seed}: {names}"


def _split(
    root: Path, split: str, val_share: float, seed: int
) -> tuple[list[VideoInput], str | None]:
    """The videos of a split; "train" or "val" where they are parts of the only video."""
    if (root / "train").is_dir() and (root / "val").is_dir():
        return find_videos([root / split]), None
    videos = find_videos([root])
    if len(videos) == 1:
        return videos, split
    out = held_out(len(videos), val_share, seed)
    return [v for i, v in enumerate(videos) if (i in out) == (split == "val")], None


def _snippet(
    video: VideoInput, fps: float | None, frames_per_video: int, part: str | None
) -> Snippet:
    times = times_of(video)
    indices = np.arange(len(times), dtype=np.int32)
    if fps is not None:
        wanted = np.arange(0, times[-1] + 1e-6, 1 / fps)
        indices = _nearest(times, wanted)
    if part is not None:
        cut = max(1, len(indices) * 4 // 5)
        indices = indices[:cut] if part == "train" else indices[cut:]
    if len(indices) < 2:
        raise SampleError(
            f"{video.path} has {len(indices)} frames to take: wanted two or more to make a pair"
        )
    step = -(-(len(indices) - 1) // frames_per_video)
    labelled = range(1 + (len(indices) - 2) % step, len(indices), step)
    source = SampledVideo(video, indices)
    return Snippet(video.name, FrameNames(video.path, indices), labelled, video=source)


def _nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the frame that is shown at each of some times."""
    shown = np.searchsorted(times, wanted + 1e-6, side="right") - 1
    return shown.clip(0).astype(np.int32)
