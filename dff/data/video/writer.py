"""Writes frames as an MP4 file that is whole or not there."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from dff.data.video.colours import usual_matrix
from dff.data.video.file import VideoError, VideoFile
from dff.data.video.frame_times import checked_fps

_TICKS = 30_000
"""Units of time in a second, or a few more: a frame is shown within 17 microseconds of its time."""
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS, errno.ENAMETOOLONG)
_TAGS = {Colorspace.ITU709: 1, Colorspace.ITU601: 6}
"""What files call a matrix; the primaries and the transfer that go with it have its number."""


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

    Frames go to a hidden `.part.mp4` beside the target, which takes its name after the last frame:
    an interrupted file never looks finished, and an older one stays until the new one is
    whole. When the `with` block ends in an exception, the partial file is removed.

    H.264 in the form that every player shows (yuv420p) has even sides only. A frame with an odd
    side is widened by repeating its last row or column: the file is then one pixel larger and no
    pixel is lost. HD is written in the colours of BT.709, anything smaller in those of BT.601, and
    the file says which.

    Args:
        path: Target, ending in .mp4; missing folders are made.
        fps: Frames per second, of frames that come without times of their own; 29.97 and the like
            become the nearest fraction, and rates below 0.001 or above 1000 these.
        size: (height, width) of the frames, as in `Video.size`.
        codec: Name of an encoder of FFmpeg.
        crf: Quality of libx264 and its like, 0 (lossless) to 51, smaller is better and larger
            files; None leaves it to the encoder, as those without this option need. With it goes
            the preset "superfast": as true as the usual one, 3.5 times as fast, files half larger.
        pixel_aspect: Width of a pixel by its height, to which players stretch the picture.

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
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"{self.path}: videos are written as MP4, name it *.mp4")
        rate = Fraction(min(max(checked_fps(fps, f" for {self.path}"), 1e-3), 1e3))
        if min(size) < 1:
            raise ValueError(f"size {size} for {self.path}: wanted (height, width) in pixels")
        self.size = (int(size[0]), int(size[1]))
        self._make_folder()
        # of its own: two processes may be told the same name, and the last to end has it
        own = f"{os.getpid()}.{secrets.token_hex(4)}"
        self._part = self.path.with_name(f".{self.path.stem}.{own}.part.mp4")
        self._written = 0
        rate = rate.limit_denominator(1001)
        # A frame at the even rate lasts a whole number of units.
        self._frame_ticks = rate.denominator * -(-_TICKS // rate.numerator)
        self._unit = 1 / (rate * self._frame_ticks)
        self._due = 0  # in units, when the next frame is shown if nobody says otherwise
        self._waiting: av.VideoFrame | None = None  # the last one, until its duration is known
        self._durations: dict[int, int] = {}  # of the frames in the encoder, by their time
        self._matrix = _TAGS[usual_matrix(*self.size)]
        options = {} if crf is None else {"crf": str(crf), "preset": "superfast"}
        # The index goes to the front, so that a browser shows the file while it loads.
        self._container = av.open(str(self._part), "w", options={"movflags": "faststart"})
        # Dropped with the container, for the encoder's threads end with it and not before.
        self._stream = None
        try:
            self._stream = self._container.add_stream(codec, rate=rate, options=options)
            self._stream.height, self._stream.width = (side + side % 2 for side in self.size)
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = self._unit
            # With uneven times, B-frames make a file that seems to end before its last pause.
            context.max_b_frames = 0
            context.sample_aspect_ratio = pixel_aspect
            context.colorspace = context.color_primaries = context.color_trc = self._matrix
            context.color_range = ColorRange.MPEG
            # Otherwise the file is made, and the encoder asked, some frames later.
            with same_scheduling():
                self._container.start_encoding()
        except (av.codec.codec.UnknownCodecError, av.FFmpegError, ValueError, OSError) as error:
            self.abort()
            if isinstance(error, OSError) and error.errno in _NO_PLACE:
                raise PermissionError(
                    f"{self.path} cannot be written ({os.strerror(error.errno)}): give another "
                    "place with --output"
                ) from error
            raise VideoError(
                f"cannot write {self.path} with the encoder {codec!r} ({error}): take another "
                'one, such as codec="mpeg4" with crf=None, or install av from PyPI'
            ) from error

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Adds a frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            time: When it is shown, in seconds from 0, later than the frame before it; after an even
                time if None.

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
        picture.colorspace = self._matrix  # into which the encoder's own conversion brings it
        picture.pts, picture.time_base = self._pass_on(time), self._unit
        self._waiting = picture
        self._due = picture.pts + self._frame_ticks
        self._written += 1

    def close(self, end: float | None = None) -> None:
        """Finishes the file and gives it its name; a second call does nothing.

        Args:
            end: When the last frame gives way, in seconds; after an even time if None.

        Raises:
            VideoError: No frame was written, or the last ones could not be.
        """
        if self._container is None:
            return
        if not self._written:
            self.abort()
            raise VideoError(f"no frame was written to {self.path}: write one before close()")
        self._pass_on(end)
        try:
            self._encode(None)
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
            self._waiting = None
            # The trailer of a file that is thrown away.
            with contextlib.suppress(av.FFmpegError, OSError):
                container.close()
        # A disk that is suddenly read-only keeps it; what went wrong is told already.
        with contextlib.suppress(OSError):
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

    def _pass_on(self, time: float | None) -> int:
        """Encodes the frame that waits, now that it is known when it gives way; returns that."""
        due = self._due if time is None else max(0, round(time / self._unit))
        if self._waiting is None:
            return due
        frame, self._waiting = self._waiting, None
        due = max(due, frame.pts + 1)
        self._durations[frame.pts] = due - frame.pts
        try:
            self._encode(frame)
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise self._failed(error) from error
        return due

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            # Without, the last frame of uneven ones would be shown as long as an even one.
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

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
            f"{self.path} could not be written after {self._written} frames "
            f"({getattr(error, 'strerror', None) or error}): "
            "is there room on the disk, and does the encoder take this size?"
        )


def join_videos(path: Path, parts: Sequence[Path], times: Sequence[float], end: float) -> None:
    """Joins files of `VideoWriter` to one, without decoding them.

    Parts whose encoders differ, as those of machines with other versions of it, are encoded anew.

    Args:
        path: Target, ending in .mp4.
        parts: In order, each of the same size.
        times: When each frame of all of them is shown, in seconds from 0, increasing.
        end: When the last one gives way, in seconds.

    Raises:
        VideoError: A part is damaged, or the disk is full.
    """
    target = path.with_name(f".{path.stem}.part.mp4")
    heads = set()
    try:
        with av.open(str(target), "w", options={"movflags": "faststart"}) as joined:
            number, out, before = 0, None, -1
            for part in parts:
                with av.open(str(part)) as container:
                    stream = container.streams.video[0]
                    heads.add(stream.codec_context.extradata)
                    if len(heads) > 1:
                        break
                    out = out or joined.add_stream_from_template(stream)
                    unit = stream.time_base
                    for packet in container.demux(stream):
                        if not packet.size:
                            continue
                        follows = times[number + 1] if number + 1 < len(times) else end
                        packet.pts = packet.dts = max(before + 1, round(times[number] / unit))
                        packet.duration = max(1, round(follows / unit) - packet.pts)
                        packet.stream, before = out, packet.pts
                        joined.mux(packet)
                        number += 1
        if len(heads) == 1:
            if number != len(times):
                raise VideoError(f"{path}: its segments have {number} frames: wanted {len(times)}")
            os.replace(target, path)
            return
    except (av.FFmpegError, OSError, IndexError) as error:
        raise VideoError(f"{path} could not be joined from its segments ({error})") from error
    finally:
        target.unlink(missing_ok=True)
    _encode_again(path, parts, times, end)


def _encode_again(path: Path, parts: Sequence[Path], times: Sequence[float], end: float) -> None:
    videos = [VideoFile(part) for part in parts]
    first, frames = videos[0], chain.from_iterable(videos)
    with VideoWriter(path, first.fps, first.size, pixel_aspect=first.pixel_aspect) as writer:
        for frame, shown in zip(frames, times, strict=True):
            writer.write(frame, shown)
        writer.close(end)
