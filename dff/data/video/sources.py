"""Frames of a video file or of a folder of images, behind one small interface."""

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from dff.data.files.images import natural_order, read_image
from dff.data.samples import SampleError, TimedFrame
from dff.data.video.file import VideoError, VideoFile
from dff.data.video.frame_times import checked_fps
from dff.data.video.motion import say_none
from dff.data.video.typed_paths import answers, typed_paths

__all__ = ["FrameFolder", "Video", "VideoError", "VideoFile", "VideoInput"]
__all__ += ["distinct", "find_videos", "open_video", "videos_at"]

Backend = Literal["auto", "pyav", "decord"]

FOLDER_FPS = 17.0
"""Frames per second of a folder of images for which no other rate is given: that of Cityscapes."""

_IMAGES = {".png", ".jpg", ".jpeg"}
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts"}
VIDEO_SUFFIXES |= {".mts", ".m2ts", ".flv", ".wmv", ".ogv", ".3gp"}
_CITYSCAPES = re.compile(r"(?P<sequence>.+_\d{6})_(?P<number>\d{6})_leftImg8bit\.\w+")


class Video(Protocol):
    """Frames in order. Nothing stays open between calls; can be pickled and survives a fork.

    Attributes:
        path, name: Where it is, and its name without suffix.
        fps: Frames per second, on average.
        size: (height, width) of every frame, in pixels, upright.
        pixel_aspect: Width of a pixel by its height, upright.
        frame_count: A hint, often wrong in files; None if unknown.
        frame_names: Names of the images, without suffix unless that alone tells them apart; None
            for files.
    """

    path: str
    name: str
    size: tuple[int, int]
    pixel_aspect: Fraction
    frame_names: list[str] | None

    @property
    def fps(self) -> float:
        """See above."""
        ...

    @property
    def frame_count(self) -> int | None:
        """See above."""
        ...

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields each frame once, (H, W, 3) uint8 RGB; raises VideoError where it is damaged."""
        ...

    def timed(self, motion: bool = False, start: int = 0) -> Iterator[TimedFrame]:
        """Yields the same frames with their times, from number `start` on; see `VideoFile`."""
        ...

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Returns frames by number, (n, H, W, 3); IndexError where there is no such frame."""
        ...


class FrameFolder:
    """A folder of PNG or JPEG images as a video; see `Video`.

    Args:
        path: The folder.
        frames: File names in order; all its images in natural order (2 before 10) if None.
        fps: Frames per second.

    Raises:
        FileNotFoundError: There is no such folder.
        PermissionError: It may not be read.
        ValueError: The rate is not a positive number.
        VideoError: It holds no image, or the first one is damaged.
    """

    pixel_aspect = Fraction(1)

    def __init__(
        self,
        path: str | os.PathLike,
        frames: Sequence[str] | None = None,
        fps: float = FOLDER_FPS,
    ) -> None:
        self.path = os.fspath(path)
        self.name = Path(self.path).resolve().name
        self.fps = checked_fps(fps)
        names = _entries(self.path)[0] if frames is None else frames
        if not names:
            raise VideoError(
                f"no frames in {self.path}: give a folder that holds PNG or JPEG images, "
                "all of one size"
            )
        self._files = [os.path.join(self.path, name) for name in names]
        self.frame_names: list[str] | None = _frame_names(names)
        self.frame_count: int | None = len(names)
        self.size: tuple[int, int] = self._image(0, None).shape[:2]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields each frame, (H, W, 3) uint8 RGB.

        Raises:
            VideoError: An image is damaged, or not of the first one's size.
        """
        return (frame.picture for frame in self.timed())

    def timed(self, motion: bool = False, start: int = 0) -> Iterator[TimedFrame]:
        """Yields each frame with its time: they follow each other evenly; images know no motion."""
        if motion:
            say_none(self.path, "it is a folder of images")
        for index in range(start, len(self._files)):
            picture = self._image(index, self.size)
            yield TimedFrame(picture, index / self.fps, (index + 1) / self.fps)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Returns frames by number from 0, (n, H, W, 3) uint8 RGB, in any order.

        Raises:
            IndexError: There is no such frame.
            VideoError: An image is damaged, or not of the first one's size.
        """
        result = np.zeros((len(indices), *self.size, 3), np.uint8)
        for place, index in enumerate(indices):
            if not 0 <= index < len(self._files):
                raise IndexError(f"frame {index} of {self.path}: it has {len(self._files)} frames")
            result[place] = self._image(index, self.size)
        return result

    def _image(self, index: int, size: tuple[int, int] | None) -> np.ndarray:
        file = self._files[index]
        try:
            image = read_image(file)
        except (SampleError, OSError) as error:
            raise VideoError(f"frame {index} of {self.path}: {error}") from error
        if size is not None and image.shape[:2] != size:
            raise VideoError(
                f"{file} is {_size(image.shape)}, the frames before it {_size(size)}: "
                "keep frames of one size in a folder"
            )
        return image


def open_video(path: str | os.PathLike, backend: Backend = "auto") -> Video:
    """Opens a video file, or a folder of images as one video.

    Args:
        path: File or folder.
        backend: What reads single frames of a file; see `VideoFile`.

    Raises:
        FileNotFoundError: There is neither.
        PermissionError: It may not be read.
        VideoError: It gives no frame.
    """
    return FrameFolder(path) if os.path.isdir(path) else VideoFile(path, backend)


@dataclass(frozen=True)
class VideoInput:
    """One video that somebody asked for, not opened yet.

    Args:
        path: File or folder.
        name: Unique among the inputs, and safe as a file name.
        frames: File names of the images in order, where `path` is a folder.
        fps: Frames per second of the images; a file has its own.
        address: Of a file elsewhere, which is to be copied here first; `path` is how it is shown.
        segment: Its frames from the first number up to the second, or to the end.
    """

    path: str
    name: str
    frames: tuple[str, ...] | None = None
    fps: float = FOLDER_FPS
    address: str = field(default="", repr=False)
    segment: tuple[int, int | None] = (0, None)

    @property
    def place(self) -> str:
        """What no other file has."""
        return self.path if self.address else os.path.realpath(self.path)

    @property
    def frame_names(self) -> list[str] | None:
        """Names of the images without suffix, for output files; None for a video file."""
        return None if self.frames is None else _frame_names(self.frames)

    def open(self, backend: Backend = "auto") -> Video:
        """Opens it; raises what `open_video` raises."""
        if self.frames is not None:
            return FrameFolder(self.path, self.frames, self.fps)
        return open_video(self.path, backend)


def find_videos(inputs: Sequence[str | os.PathLike], fps: float = FOLDER_FPS) -> list[VideoInput]:
    """Turns what a person typed into videos, in a fixed order.

    A folder that holds images is one video; one of Cityscapes frames (city_sequence_frame) is a
    video for each run of consecutive frames. A folder gives each video file in it. One without
    videos, and with one image at most, is searched further down; where others hide videos in the
    folders below, a warning says so. A video that is named twice is given once.

    A link that leads nowhere or to itself is passed over in a folder or a glob.

    Args:
        inputs: Files, folders of images, folders of these, and globs (`clips/**/*.mp4`).
        fps: Frames per second of folders of images.

    Raises:
        FileNotFoundError: A path is missing, a glob matches nothing, or a folder holds no video.
        PermissionError: A folder may not be read.
        ValueError: The rate is not a positive number.
        VideoError: An input is a single image, an address, a pipe or a device.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    paths = (p for given in inputs for p in typed_paths(os.path.expanduser(os.fspath(given))))
    return distinct((video for path in paths for video in videos_at(path)), fps)


def distinct(videos: Iterable[VideoInput], fps: float = FOLDER_FPS) -> list[VideoInput]:
    """Each video once, with a rate and a name of its own; raises ValueError for a rate of none."""
    checked_fps(fps)
    found: dict[tuple[str, str], VideoInput] = {}
    for video in videos:
        found.setdefault((video.place, (video.frames or "?")[0]), video)
    taken: set[str] = set()
    return [replace(v, name=_unique(v.name, taken), fps=float(fps)) for v in found.values()]


def videos_at(path: str) -> list[VideoInput]:
    """The videos at one path, as `find_videos` has them; raises what it raises."""
    if not os.path.isdir(path):
        if Path(path).suffix.lower() in _IMAGES:
            raise VideoError(
                f"{path} is one image: give its folder, whose images are then the frames of a video"
            )
        return [VideoInput(path, Path(path).stem)]
    videos = list(_search(path, set()))
    if not videos:
        raise FileNotFoundError(
            f"no video and no frames in {path}: give a folder that holds video files "
            f"({', '.join(sorted(VIDEO_SUFFIXES))}) or PNG or JPEG frames"
        )
    return videos


def _search(folder: str, searched: set[str]) -> Iterator[VideoInput]:
    # Links to folders are followed, and may lead back up: each folder is searched once.
    real = os.path.realpath(folder)
    if real in searched:
        return
    searched.add(real)
    images, files, folders = _entries(folder)
    for run in _runs(images):
        first = _CITYSCAPES.fullmatch(run[0])
        name = f"{first['sequence']}_{first['number']}" if first else Path(folder).resolve().name
        yield VideoInput(folder, name, tuple(run))
    for file in files:
        yield VideoInput(os.path.join(folder, file), Path(file).stem)
    # One image is a preview or a poster more often than a video.
    if not files and len(images) < 2:
        for below in folders:
            yield from _search(os.path.join(folder, below), searched)
        return
    inner = (os.path.join(folder, below) for below in folders)
    hidden = [os.path.basename(path) for path in inner if _holds_other(path, searched)]
    if hidden:
        named = ", ".join(hidden[:3]) + ", ..." * (len(hidden) > 3)
        warnings.warn(
            f"{folder} holds {'videos' if files else 'frames'} itself, so folders of videos or "
            f"frames in it are not searched ({named}): give them by name, if they are wanted",
            stacklevel=2,
        )


def _holds_other(folder: str, searched: set[str]) -> bool:
    """Whether a folder holds videos or frames, as far as it may be read."""
    return os.path.realpath(folder) not in searched and answers(lambda: any(_entries(folder)[:2]))


def _runs(images: Iterable[str]) -> Iterator[list[str]]:
    """Cuts Cityscapes names where the sequence changes or a frame is missing, others nowhere."""
    run: list[str] = []
    due = None
    for image in images:
        match = _CITYSCAPES.fullmatch(image)
        here = (match["sequence"], int(match["number"])) if match else None
        if run and here != due:
            yield run
            run = []
        run.append(image)
        due = (here[0], here[1] + 1) if here else None
    if run:
        yield run


def _entries(folder: str) -> tuple[list[str], list[str], list[str]]:
    """Returns names of images, video files and folders in a folder, each in natural order."""
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except PermissionError as error:
        raise PermissionError(f"{folder} may not be read: allow it (chmod +rx)") from error
    files = sorted((entry.name for entry in entries if answers(entry.is_file)), key=natural_order)
    folders = (entry.name for entry in entries if answers(entry.is_dir))
    return (
        [name for name in files if Path(name).suffix.lower() in _IMAGES],
        [name for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES],
        sorted(folders, key=natural_order),
    )


def _frame_names(files: Sequence[str]) -> list[str]:
    stems = [Path(file).stem for file in files]
    return stems if len(set(stems)) == len(stems) else list(files)  # 0.png beside 0.jpg


def _unique(name: str, taken: set[str]) -> str:
    """Returns a name that is safe as a file name, and takes it."""
    # Capitals do not tell files apart everywhere; 100 characters leave room for a suffix.
    safe = re.sub(r"[^\w.-]+", "_", name).strip(". ")[:100] or "video"
    unique, count = safe, 1
    while unique.casefold() in taken:
        count += 1
        unique = f"{safe}_{count}"
    taken.add(unique.casefold())
    return unique


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"
