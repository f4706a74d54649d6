"""Writes frames as an MP4 file that is whole or not there."""

import contextlib
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from dff.data.video_file import VideoError


@contextlib.contextmanager
def same_scheduling() -> Iterator[None]:
    """Gives the thread its scheduling back after an encoder was opened in it.

    SVT-AV1 makes the thread that opens it, where that is root's, a real-time one of the highest
    priority. All that the thread then starts inherits it, and takes the cores from everything else
    on the machine for as long as it runs.
    """
    if not hasattr(os, "sched_getscheduler"):  # not Linux
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if (os.sched_getscheduler(0), os.sched_getparam(0)) != (policy, priority):
            os.sched_setscheduler(0, policy, priority)


class VideoWriter:
    """Writes (H, W, 3) uint8 RGB frames to an MP4 file; use it in a `with` statement.

    Frames go to `.NAME.part.mp4` beside the target, which takes the target's name after the last
    frame: an interrupted file never looks finished, and an older one stays until the new one is
    whole. When the `with` block ends in an exception, the partial file is removed.

    H.264 in the form that every player shows (yuv420p) has even sides only. A frame with an odd
    side is widened by repeating its last row or column: the file is then one pixel larger and no
    pixel is lost.

    Args:
        path: Target, ending in .mp4; missing folders are made.
        fps: Frames per second; 29.97 and the like become the nearest fraction.
        size: (height, width) of the frames, as in `Video.size`.
        codec: Name of an encoder of FFmpeg.
        crf: Quality of libx264 and its like, 0 (lossless) to 51, smaller is better and larger
            files; None leaves it to the encoder, as those without this option need. With it goes
            the preset "superfast": as true as the usual one, 3.5 times as fast, files half larger.

    Raises:
        PermissionError: The folder may not be written.
        ValueError: The frame rate, the size or the suffix cannot be.
        VideoError: The encoder is not there, or refuses.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float,
        size: tuple[int, int],
        codec: str = "libx264",
        crf: int | None = 18,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"{self.path}: videos are written as MP4, name it *.mp4")
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"{fps} frames per second for {self.path}: wanted a positive number")
        if min(size) < 1:
            raise ValueError(f"size {size} for {self.path}: wanted (height, width) in pixels")
        self.size = (int(size[0]), int(size[1]))
        self._make_folder()
        self._part = self.path.with_name(f".{self.path.stem}.part.mp4")
        self._written = 0
        rate = Fraction(fps).limit_denominator(1001)
        options = {} if crf is None else {"crf": str(crf), "preset": "superfast"}
        # The index goes to the front, so that a browser shows the file while it loads.
        self._container = av.open(str(self._part), "w", options={"movflags": "faststart"})
        # Dropped with the container, for the encoder's threads end with it and not before.
        self._stream = None
        try:
            self._stream = self._container.add_stream(codec, rate=rate, options=options)
            self._stream.height, self._stream.width = (side + side % 2 for side in self.size)
            self._stream.pix_fmt = "yuv420p"
            # Otherwise the file is made, and the encoder asked, some frames later.
            with same_scheduling():
                self._container.start_encoding()
        except (av.codec.codec.UnknownCodecError, av.FFmpegError, ValueError, OSError) as error:
            self.abort()
            raise VideoError(
                f"cannot write {self.path} with the encoder {codec!r} ({error}): take another "
                'one, such as codec="mpeg4" with crf=None, or install av from PyPI'
            ) from error

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame, (H, W, 3) uint8 RGB.

        Raises:
            ValueError: It has another size or type, or the writer is closed.
            VideoError: The encoder fails, or the disk is full.
        """
        if self._container is None:
            raise ValueError(f"{self.path} is closed: write before close()")
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"frame {self._written} for {self.path} is {frame.shape} {frame.dtype}: "
                f"wanted {(*self.size, 3)} uint8, RGB"
            )
        odd = [(0, side % 2) for side in self.size]
        if any(after for _, after in odd):
            frame = np.pad(frame, [*odd, (0, 0)], mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failed(error) from error
        self._written += 1

    def close(self) -> None:
        """Finishes the file and gives it its name; a second call does nothing.

        Raises:
            VideoError: No frame was written, or the last ones could not be.
        """
        if self._container is None:
            return
        if not self._written:
            self.abort()
            raise VideoError(f"no frame was written to {self.path}: write one before close()")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = self._stream = None
            os.replace(self._part, self.path)
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failed(error) from error

    def abort(self) -> None:
        """Gives up: removes the partial file, and leaves what had the target's name before."""
        if self._container is not None:
            container, self._container, self._stream = self._container, None, None
            try:
                container.close()
            except (av.FFmpegError, OSError):
                # The trailer of a file that is thrown away.
                pass
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _make_folder(self) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except PermissionError:
            allowed = False
        else:
            allowed = os.access(folder, os.W_OK)
        if not allowed:
            raise PermissionError(
                f"{folder} may not be written, so {self.path.name} cannot be: "
                "allow it (chmod u+w), or give another output folder"
            )

    def _failed(self, error: Exception) -> VideoError:
        return VideoError(
            f"{self.path} could not be written after {self._written} frames ({error}): "
            "is there room on the disk, and does the encoder take this size?"
        )
