"""Frames of a video as those of a snippet: read where they are drawn, exactly, in any process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dff.data.samples import SampleError
from dff.data.video.file import VideoError, VideoFile
from dff.data.video.sources import Video, VideoInput
from dff.data.video.table_cache import frame_times

OPEN_VIDEOS = 64
"""Videos of which a process keeps the frame table; the file itself is closed after each read."""


@lru_cache(OPEN_VIDEOS)
def opened(video: VideoInput) -> Video:
    """A video with what is known of its frames, kept for the next time."""
    return video.open()


def times_of(video: VideoInput) -> np.ndarray:
    """Seconds at which each frame is shown, (n,) float64; a file is looked through once.

    Raises:
        VideoError: It cannot be opened.
    """
    found = opened(video)
    if isinstance(found, VideoFile):
        return frame_times(found)
    return np.arange(found.frame_count or 0) / found.fps


@dataclass(frozen=True)
class SampledVideo:
    """The frames of a snippet in its video; only the path travels to other processes.

    Args:
        video: The video.
        indices: Number in the snippet -> number in the video.
    """

    video: VideoInput
    indices: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every frame."""
        return opened(self.video).size

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Returns frames by their numbers in the snippet, (n, H, W, 3) uint8 RGB.

        Raises:
            SampleError: The video is damaged there.
        """
        wanted = self.indices[list(numbers)].tolist()
        try:
            found = opened(self.video)
            if isinstance(found, VideoFile) and not found.has_table:
                frame_times(found)  # takes the table from the cache, once in each process
            return found.read(wanted)
        except (VideoError, IndexError, OSError) as error:
            raise SampleError(f"{error}") from error


@dataclass(frozen=True)
class FrameNames(Mapping[int, str]):
    """Number in a snippet -> what messages call the frame; no string waits for each frame."""

    path: str
    indices: np.ndarray

    def __getitem__(self, number: int) -> str:
        """See above."""
        if number not in self:
            raise KeyError(number)
        return f"frame {self.indices[number]} of {self.path}"

    def __contains__(self, number: object) -> bool:
        """Whether there is such a frame."""
        return isinstance(number, int | np.integer) and 0 <= int(number) < len(self.indices)

    def __iter__(self) -> Iterator[int]:
        """The numbers in order."""
        return iter(range(len(self.indices)))

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.indices)
