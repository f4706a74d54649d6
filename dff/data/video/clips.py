"""Videos as clips: a few consecutive frames, the unit of prediction."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from dff.data.files.remote import local_copy
from dff.data.samples import TimedFrame
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.motion import at_size
from dff.data.video.sources import Video, VideoError, VideoFile, VideoInput
from dff.data.video.table_cache import table_of

LONGEST_CLIP = 32
"""Frames in a clip at most, and bytes: what is read ahead and waits to be written stays small."""
LARGEST_CLIP = 128 * 2**20

Begins = Callable[[int, np.ndarray], bool]
"""(number of a frame, the frame as the networks see it, (h, w, 3) uint8) -> a clip begins there."""


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one video, or why there are no more.

    Attributes:
        video: The video; its name is unique and safe as a file name.
        frames: (n, 3, H, W) uint8 RGB, channels last in memory; n = 0 only where `error` is set.
        seen: The same frames in the size that the networks see.
        start: Number of the first frame, from 0; with an `error`, of the one that is missing.
        last: No clip of this video follows.
        times: When each frame is shown, in seconds after the video's first one; they increase.
        end: When the last of them gives way if no clip follows.
        fps: Average rate of the video.
        frame_count: About how many frames the video has, None if unknown.
        pixel_aspect: Width of a pixel by its height.
        frame_names: Names of the images without suffix, where the video is a folder; else None.
        motion: Where the cells of each frame as `seen` came from in the frame before, (2, h, w) in
            its pixels, or None where the file does not say; None where it was not asked.
        decode_seconds: Time spent reading the frames.
        error: Why reading stopped, else None.
        out_of_reach: Whether the error lies in the way to the video and not in the video.
    """

    video: VideoInput
    frames: Tensor
    seen: Tensor
    start: int = 0
    last: bool = False
    times: Sequence[float] = ()
    end: float = 0.0
    fps: float = 0.0
    frame_count: int | None = None
    pixel_aspect: Fraction = Fraction(1)
    frame_names: Sequence[str] | None = None
    motion: Sequence[Tensor | None] | None = None
    decode_seconds: float = 0.0
    error: str | None = None
    out_of_reach: bool = False

    @property
    def first(self) -> bool:
        """Whether no clip of this video comes before it."""
        return self.start == self.video.segment[0]

    def pinned(self) -> "Clip":
        """The same with `seen` in memory that a GPU can fetch from by itself."""
        return replace(self, seen=self.seen.pin_memory()) if len(self.seen) else self


class Clips:
    """The clips of some videos, in order.

    Memory holds a few of them, however long a video is.

    A video that cannot be opened gives one clip without frames that says why. One that is damaged
    gives every frame before the damage, and then a clip without frames that says why. The other
    videos follow: one bad file does not stop a long run. One at an address is copied here when it
    is due, and the copy goes when it has been read.

    Args:
        videos: What to read; each is asked for when the one before it has been read.
        begins: Makes, for each video, what says where clips begin; see `Begins`.
        rank: This process, from 0; it takes videos rank, rank + world_size, ...
        world_size: Number of processes.
        longest: Frames in a clip at most; fewer where they would be large.
        max_frames: Frames read from each video at most; all if None.
        resizing: Of what the networks see; the frames themselves keep their size.
        motion: Whether clips bring the motion vectors of their file.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        videos: Iterable[VideoInput],
        begins: Callable[[], Begins],
        *,
        rank: int = 0,
        world_size: int = 1,
        longest: int = LONGEST_CLIP,
        max_frames: int | None = None,
        resizing: EvaluationTransform | None = None,
        motion: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}: wanted 0 to world size - 1")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames {max_frames}: wanted at least 1, or None for all")
        self.videos = videos
        self.rank, self.world_size = rank, world_size
        self.begins, self.longest, self.max_frames = begins, longest, max_frames
        self.resizing, self.motion = resizing or EvaluationTransform(), motion

    def __iter__(self) -> Iterator[Clip]:
        """Yields the clips of one video after the other; `last` ends each video."""
        for video in islice(self.videos, self.rank, None, self.world_size):
            yield from self._clips(video)

    def _clips(self, source: VideoInput) -> Iterator[Clip]:
        if not source.address:
            yield from self._clips_at(source.path, source)
            return
        with ExitStack() as stack:
            try:
                path = stack.enter_context(local_copy(source.address))
            except (OSError, ValueError) as error:
                lost = not isinstance(error, FileNotFoundError)
                yield replace(_without_frames(source, str(error)), out_of_reach=lost)
                return
            yield from self._clips_at(path, source)

    def _clips_at(self, path: str, source: VideoInput) -> Iterator[Clip]:
        try:
            video = replace(source, path=path).open()
        except (VideoError, OSError) as error:
            yield _without_frames(source, str(error).replace(path, source.path))
            return
        # One clip is held back: whether it is the last shows only when the next one comes.
        held: Clip | None = None
        start, error_words = source.segment[0], None
        try:
            for clip in self._read(source, video):
                start += len(clip.frames)
                if held is not None:
                    yield held
                held = clip
        except (VideoError, OSError) as error:
            error_words = str(error).replace(path, source.path)
        if held is None and error_words is None:
            error_words = f"{source.path}: it ends before frame {start}: copy it again"
        if error_words is not None:
            if held is not None:
                yield held
            held = _without_frames(source, error_words, start)
        if held is not None:
            yield replace(held, last=True)

    def _read(self, source: VideoInput, video: Video) -> Iterator[Clip]:
        """The clips of an opened video; the frames before an error come before it."""
        begins, frames, seen = self.begins(), list[TimedFrame](), list[np.ndarray]()
        began, longest = perf_counter(), self.longest
        number, end = source.segment
        if self.max_frames is not None:
            end = min(number + self.max_frames, end or sys.maxsize)
        if number and isinstance(video, VideoFile):
            table_of(video)  # its packets are looked through once, whichever segment is read
        stream = video.timed(self.motion, number)
        error: Exception | None = None
        while end is None or number < end:
            try:
                frame = next(stream, None)
            except (VideoError, OSError) as fault:
                error, frame = fault, None
            if frame is None:
                break
            window = self.resizing.window(frame.picture.shape[:2])
            shown = window.image(frame.picture) if window else frame.picture
            if begins(number, shown) or len(frames) >= longest:
                if frames:
                    yield _joined(source, video, frames, seen, number, began)
                frames, seen, began = [], [], perf_counter()
            longest = max(1, min(self.longest, LARGEST_CLIP // frame.picture.nbytes))
            frames.append(frame)
            seen.append(shown)
            number += 1
        if frames:
            yield _joined(source, video, frames, seen, number, began)
        if error is not None:
            raise error


def _joined(
    source: VideoInput,
    video: Video,
    frames: Sequence[TimedFrame],
    seen: Sequence[np.ndarray],
    end: int,
    began: float,
) -> Clip:
    pictures = _stacked([frame.picture for frame in frames])
    resized = seen[0] is not frames[0].picture
    start, names = end - len(frames), video.frame_names
    first, behind = source.segment
    count = video.frame_count if behind is None else behind
    return Clip(
        source,
        pictures,
        _stacked(seen) if resized else pictures,
        start,
        times=[frame.time for frame in frames],
        end=frames[-1].end,
        fps=video.fps,
        frame_count=None if count is None else max(0, count - first),
        pixel_aspect=video.pixel_aspect,
        frame_names=None if names is None else names[start:end],
        motion=_motion(frames, seen[0].shape[:2]),
        decode_seconds=perf_counter() - began,
    )


def _motion(frames: Sequence[TimedFrame], seen: tuple[int, ...]) -> list[Tensor | None] | None:
    if all(frame.motion is None for frame in frames):
        return None
    fields = (
        None
        if frame.motion is None
        else at_size(frame.motion, frame.picture.shape[:2], (seen[0], seen[1]))
        for frame in frames
    )
    return [None if f is None else torch.from_numpy(f).permute(2, 0, 1) for f in fields]


def _stacked(pictures: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _without_frames(source: VideoInput, error: str, start: int | None = None) -> Clip:
    empty = torch.zeros((0, 3, 0, 0), dtype=torch.uint8)
    start = source.segment[0] if start is None else start
    return Clip(source, empty, empty, start, last=True, error=error)


def every(count: int) -> Callable[[], Begins]:
    """Clips of so many frames each.

    Raises:
        ValueError: It is below 1.
    """
    if count < 1:
        raise ValueError(f"clips of {count} frames: wanted at least 1")
    return lambda: lambda number, _: number % count == 0


def clips_of_frames(
    frames: Iterable[np.ndarray], resizing: EvaluationTransform | None = None, fps: float = 1.0
) -> Iterator[Clip]:
    """Each frame as a clip of its own, as a live stream gives them: nobody knows the end.

    Args:
        frames: Each (H, W, 3) uint8 RGB.
        resizing: Of what the networks see.
        fps: Frames per second.

    Raises:
        ValueError: A frame is of another shape or type.
    """
    resizing, video = resizing or EvaluationTransform(), VideoInput("frames", "frames")
    for number, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(
                f"frame {number} is an array of shape {frame.shape} and type {frame.dtype}: wanted "
                "(H, W, 3) and uint8, in the order red, green, blue"
            )
        window = resizing.window(frame.shape[:2])
        seen = window.image(frame) if window else frame
        yield Clip(
            video,
            torch.from_numpy(np.array(frame)[None]).permute(0, 3, 1, 2),
            torch.from_numpy(np.array(seen)[None]).permute(0, 3, 1, 2),
            number,
            times=[number / fps],
            end=(number + 1) / fps,
            fps=fps,
        )
