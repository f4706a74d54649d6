"""Videos as intervals: a key frame with the frames that it serves, the unit of prediction."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from time import perf_counter

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dff.data.samples import Interval, TimedFrame
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.sources import Video, VideoError, VideoInput


class Intervals(IterableDataset):
    """The intervals of some videos, in order, for `DataLoader(..., batch_size=None)`.

    Use one worker, to decode while the model computes, or none. Several would mix the intervals
    of different videos; use more processes (`world_size`) instead, each of which takes its share
    of the videos. Memory holds a few intervals, however long a video is.

    A video that cannot be opened gives one interval without frames that says why. One that is
    damaged gives every frame before the damage, the last interval possibly shorter, and then one
    without frames that says why, its `start` being the number of frames given. The other videos
    follow: one bad file does not stop a long run.

    Args:
        videos: What to read.
        key_duration: Frames in an interval (l), at least 1.
        rank: This process, from 0; it takes videos rank, rank + world_size, ...
        world_size: Number of processes.
        max_frames: Frames read from each video at most; all if None.
        resizing: Of what the networks see; the frames themselves keep their size.

    Raises:
        ValueError: A number is out of its range, or the loader has several workers.
    """

    def __init__(
        self,
        videos: Sequence[VideoInput],
        key_duration: int,
        rank: int = 0,
        world_size: int = 1,
        max_frames: int | None = None,
        resizing: EvaluationTransform | None = None,
    ) -> None:
        if key_duration < 1:
            raise ValueError(
                f"key duration {key_duration}: wanted at least 1 (1 = every frame is a key frame)"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}: wanted 0 to world size - 1")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames {max_frames}: wanted at least 1, or None for all")
        self.videos = list(videos)[rank::world_size]
        self.key_duration = key_duration
        self.max_frames = max_frames
        self.resizing = resizing or EvaluationTransform()

    def __iter__(self) -> Iterator[Interval]:
        """Yields the intervals of one video after the other; `last` ends each video.

        `frames` lie in memory with the channels last, as convolutions like them. `frame_names`
        are those of these frames, None for video files.
        """
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise ValueError(
                f"{worker.num_workers} workers would mix the intervals of different videos: "
                "set num_workers to 0 or 1, and use more processes for more speed"
            )
        for video in self.videos:
            yield from self._intervals(video)

    def _intervals(self, source: VideoInput) -> Iterator[Interval]:
        began = perf_counter()
        try:
            video = source.open()
        except (VideoError, OSError) as error:
            yield self._interval(source, None, [], 0, began, str(error))
            return
        # One interval is held back: whether it is the last shows only when the next one comes.
        held: Interval | None = None
        frames: list[TimedFrame] = []
        start, error, stream = 0, None, video.timed()
        while error is None:
            began = perf_counter()
            wanted = self.key_duration
            if self.max_frames is not None:
                wanted = min(wanted, self.max_frames - start)
            frames, error = self._take(stream, wanted)
            if not frames:
                break
            taken = self._interval(source, video, frames, start, began, None)
            start += len(frames)
            if held is not None:
                yield held
            held = taken
        if error is not None:
            if held is not None:
                yield held
            held = self._interval(source, video, [], start, perf_counter(), error)
        if held is not None:
            yield {**held, "last": True}

    def _take(
        self, stream: Iterator[TimedFrame], count: int
    ) -> tuple[list[TimedFrame], str | None]:
        """Returns up to `count` frames, and why there are no more if that is an error."""
        frames: list[TimedFrame] = []
        try:
            while len(frames) < count and (frame := next(stream, None)) is not None:
                frames.append(frame)
        except (VideoError, OSError) as error:
            return frames, str(error)
        return frames, None

    def _interval(
        self,
        source: VideoInput,
        video: Video | None,
        frames: list[TimedFrame],
        start: int,
        began: float,
        error: str | None,
    ) -> Interval:
        """Makes an interval; one with an error is the last."""
        names = video.frame_names if video else None
        pictures = [frame.picture for frame in frames]
        stacked = np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), np.uint8)
        interval = Interval(
            frames=torch.from_numpy(stacked).permute(0, 3, 1, 2),
            path=source.path,
            name=source.name,
            start=start,
            last=error is not None,
            times=[frame.time for frame in frames],
            end=frames[-1].end if frames else 0.0,
            fps=video.fps if video else 0.0,
            frame_count=video.frame_count if video else None,
            pixel_aspect=video.pixel_aspect if video else Fraction(1),
            frame_names=None if names is None else names[start : start + len(frames)],
            decode_seconds=perf_counter() - began,
            error=error,
        )
        if pictures and (window := self.resizing.window(pictures[0].shape[:2])):
            resized = np.stack([window.image(picture) for picture in pictures])
            interval["resized"] = torch.from_numpy(resized).permute(0, 3, 1, 2)
        return interval
