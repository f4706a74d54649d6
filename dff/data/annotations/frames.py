"""Where the frames of an annotated video are: a folder of images, or a video file."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dff.data.annotations.grouping import IMAGES
from dff.data.files.images import natural_order
from dff.data.sampled_video import FrameNames, SampledVideo, opened, times_of
from dff.data.samples import FramesByNumber, SampleError
from dff.data.video.sources import VIDEO_SUFFIXES, VideoError, VideoInput


class OpenedFrames(NamedTuple):
    """The frames of one video.

    `frames`: number from 0 -> image file, or what messages call the frame. `video`: what gives
    them where they are in a video file. `times`: seconds of each, of a video file. `size`: height
    and width of the frames of a video file.
    """

    frames: Mapping[int, str]
    video: FramesByNumber | None = None
    times: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def number_at(self, seconds: float) -> int:
        """The frame that is shown at a time of a video file."""
        if self.times is None:
            raise SampleError("times are known of video files alone: give numbers of frames")
        return int(np.searchsorted(self.times, seconds + 1e-6, side="right")) - 1


def is_video(path: str | os.PathLike) -> bool:
    """Whether a path has the suffix of a video file."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def open_frames(path: str | os.PathLike) -> OpenedFrames:
    """The frames of a video file, which is looked through once, or of a folder in natural order.

    Raises:
        FileNotFoundError: There is neither.
        SampleError: The video file cannot be used, or the folder holds no image.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        names = sorted(
            (n for n in os.listdir(path) if n.lower().endswith(IMAGES) and not n.startswith(".")),
            key=natural_order,
        )
        if not names:
            raise SampleError(f"no images in {path}: put the frames of the video there")
        return OpenedFrames({i: os.path.join(path, name) for i, name in enumerate(names)})
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no video and no folder of frames at {path}: check the path")
    video = VideoInput(path, Path(path).stem)
    try:
        times = times_of(video)
        size = opened(video).size
    except (VideoError, OSError) as error:
        raise SampleError(str(error)) from error
    indices = np.arange(len(times), dtype=np.int32)
    return OpenedFrames(FrameNames(path, indices), SampledVideo(video, indices), times, size)


class MediaFolder:
    """The video files and the folders of images below a root, found by what files call them.

    Args:
        root: Folder of the data set.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = os.fspath(root)

    @cached_property
    def videos(self) -> list[str]:
        """Paths of the video files, and of the folders that hold images, in natural order."""
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [os.path.join(folder, name) for name in files if is_video(name)]
            if any(name.lower().endswith(IMAGES) for name in files):
                found.append(folder)
        return sorted(found, key=natural_order)

    def find(self, name: str) -> str | None:
        """A file or folder by what an annotation file calls it.

        The name is taken as a path below the root, then by its last part, then by that without its
        suffix. No name leads out of the root.

        Args:
            name: Path, file name or stem, of any system.

        Returns:
            Its path; None where nothing has that name, or several videos have.
        """
        parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".", "..")]
        if not parts:
            return None
        below = os.path.join(self.root, *parts)
        if os.path.exists(below):
            return below
        stem = Path(parts[-1]).stem if is_video(parts[-1]) else parts[-1]
        by_name = [path for path in self.videos if os.path.basename(path) == parts[-1]]
        by_stem = [
            path
            for path in self.videos
            if (Path(path).stem if is_video(path) else os.path.basename(path)) == stem
        ]
        found = by_name or by_stem
        return found[0] if len(found) == 1 else None
