"""Frames of one video file: a stream in order, and exact random access."""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from dff.data.samples import TimedFrame
from dff.data.video.colours import matrix_of, picture_of
from dff.data.video.decoding import (
    CutShortError,
    DamageError,
    decode_frames,
    decode_wanted,
    seek_to,
)
from dff.data.video.display_matrix import orientation_of
from dff.data.video.frame_table import FrameTable, scan_frames
from dff.data.video.frame_times import FrameClock, count_frames, header_end, promised_frames
from dff.data.video.motion import MotionReader, ask_for_motion, say_none
from dff.data.video.stream import RE_ENCODE, VideoError, check_file, kept_stream, open_stream

__all__ = ["VideoError", "VideoFile"]


class VideoFile:
    """A video file that PyAV can decode.

    Streaming is always PyAV: decord goes on decoding into memory while the consumer computes
    (1.2 GB within 6 s at 720p, dmlc/decord#157). Random access is PyAV as well under "auto".
    Measured with decord 0.6.0 on clips whose frame number is burnt in, decord gives wrong frames
    without a word for H.264 with open GOPs or intra refresh, HEVC, MPEG-4 and MPEG-2 with
    B-frames, MPEG-TS and files with an edit list, cannot open AV1 and GIF, and hangs on some edit
    lists (dmlc/decord#373). Where it is right it is no faster: two frames of a 768x432 H.264 file
    take it 22 to 32 ms, PyAV with a table of the key frames 23 ms.

    With "decord", it reads those files of which the table proves that it is right, and PyAV the
    others. Its reader lives for one `read` only: one that is kept hangs a forked worker, cannot
    be pickled and fills the memory.

    An instance holds nothing open: it can be pickled and survives a fork.

    Args:
        path: The file.
        backend: What `read` uses.

    Attributes:
        size: (height, width) in pixels, rotated and mirrored as the file asks for.
        pixel_aspect: Width of a pixel by its height, upright; frames are not stretched to it.
        fps: Average rate; 25 where the file has none.
        frame_count: As the header says, or as many as there are packets. A hint only.
        frame_names: None; folders of frames have them.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
        VideoError: It holds no frame that can be decoded.
    """

    frame_names: list[str] | None = None

    def __init__(
        self, path: str | os.PathLike, backend: Literal["auto", "pyav", "decord"] = "auto"
    ) -> None:
        if backend not in ("auto", "pyav", "decord"):
            raise ValueError(f"video backend {backend!r}: wanted auto, pyav or decord")
        self.path = os.fspath(path)
        self.name = Path(self.path).stem
        self.backend = backend
        self._table: FrameTable | None = None
        self._table_made = False
        check_file(self.path)
        with open_stream(self.path, threads=1) as (container, stream):
            aspect = stream.sample_aspect_ratio or Fraction(1)
            try:
                first = next(decode_frames(self.path, container, stream), None)
            except CutShortError as error:
                raise VideoError(
                    f"{self.path}: cut short before the end of its first frame: "
                    "copy or download it again"
                ) from error
            except DamageError as error:
                raise VideoError(
                    f"{self.path}: its first frame cannot be decoded ({error}): "
                    f"copy the file again from its source, or {RE_ENCODE}"
                ) from error
            alone = len(container.streams.video) == 1
        if first is None:
            raise VideoError(
                f"{self.path}: a video stream with no frame in it: "
                "record or export it again, or leave it out"
            )
        orientation = orientation_of(first)
        sides = first.height, first.width
        self.size = (sides[1], sides[0]) if orientation.transposed else sides
        self.pixel_aspect = 1 / aspect if orientation.transposed else aspect
        # decord takes the first of several streams, rotates but does not mirror, and takes BT.601
        # where the file names no matrix.
        colours = matrix_of(first) in (None, Colorspace.ITU601)
        self._for_decord = alone and colours and not orientation.mirrors

    @property
    def fps(self) -> float:
        """Average rate, frames by duration."""
        return self._counted[0]

    @property
    def frame_count(self) -> int | None:
        """How many frames there seem to be."""
        return self._counted[1]

    @cached_property
    def _counted(self) -> tuple[float, int | None]:
        with open_stream(self.path, threads=1) as (container, stream):
            return count_frames(container, stream)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields each frame once, in order, (H, W, 3) uint8 RGB; see `timed`."""
        return (frame.picture for frame in self.timed())

    def timed(self, motion: bool = False, start: int = 0) -> Iterator[TimedFrame]:
        """Yields each frame once, in order, with its time; memory does not grow.

        The frames that are there are given, whatever their number in the header. A frame of
        another size than the first is scaled to it: a recording may change size half way.

        Args:
            motion: Also read the motion vectors of the file, where its format has any and frames
                are shown as they are stored.
            start: Number of the first frame that is given. Decoding begins at the key frame before
                it, or at the first frame of the file where seeking cannot be trusted.

        Raises:
            VideoError: The file is damaged, or ends before its container says so; the message
                says how many frames came before.
        """
        table = self.frame_table() if start else None
        sought = table.pts[start] if table is not None and start < len(table.pts) else None
        count, reformatter = 0, VideoReformatter()
        # with frame threads, vectors of B-frames differ from one time to the next
        with open_stream(self.path, threads=1 if motion else 0) as (container, stream):
            vectors = MotionReader() if motion and ask_for_motion(self.path, stream) else None
            clock, end = FrameClock(stream.time_base, self.fps), header_end(container, stream)
            # AVI says when a frame is decoded: what it has as pts is wrong with B-frames.
            by_decoding = container.format.name == "avi"
            try:
                if table is not None and sought is not None:
                    seek_to(container, stream, table.seeks[table.key_of(start)])
                    for stamp in table.pts[:start]:
                        clock.time(stamp, None)
                    count = start
                for frame in decode_frames(self.path, container, stream):
                    if sought is not None and frame.pts is not None and frame.pts < sought:
                        if vectors is not None:
                            vectors.field(frame)
                        continue
                    if sought not in (None, frame.pts):  # the table is wrong
                        self.use_table(None)
                        yield from self.timed(motion, start)
                        return
                    sought = None
                    time = clock.time(frame.dts if by_decoding else frame.pts, frame.duration)
                    field = None
                    if vectors is not None:
                        if any(orientation_of(frame)) or self.size != (frame.height, frame.width):
                            say_none(self.path, "it is turned, or changes its size")
                            vectors = None
                        else:
                            field = vectors.field(frame)
                    count += 1
                    if count > start:
                        picture = picture_of(frame, reformatter, self.size)
                        yield TimedFrame(picture, time, clock.end(end), field)
            except DamageError as error:
                raise VideoError(
                    f"{self.path}: damaged after {count} good frames ({error}): "
                    f"copy the file again from its source, or {RE_ENCODE} to keep what is good"
                ) from error
            except CutShortError as error:
                promised = promised_frames(container, stream, self.fps)
                told = f" of {'' if stream.frames else 'about '}{promised}"
                raise VideoError(
                    f"{self.path}: cut short after {count}{told if promised > count else ''} "
                    "frames: copy or download it again from its source"
                ) from error

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Returns frames by number, (n, H, W, 3) uint8 RGB, the same that iteration gives.

        Args:
            indices: Frame numbers from 0, in any order, repeats allowed.

        Raises:
            IndexError: There is no such frame.
            VideoError: The file is damaged before it.
        """
        wanted = [int(index) for index in indices]
        if not wanted:
            return np.zeros((0, *self.size, 3), np.uint8)
        if min(wanted) < 0:
            raise IndexError(f"frame {min(wanted)} of {self.path}: frames are counted from 0")
        ordered = sorted(set(wanted))
        table = self.frame_table()
        found = None
        if table is not None and ordered[-1] < len(table.pts):
            if self.backend == "decord" and self._for_decord and table.closed:
                found = self._read_decord(ordered, len(table.pts))
            if found is None:
                found = self._read_seeking(ordered, table)
        if found is None:
            found = self._read_in_order(ordered)
        return np.stack([found[index] for index in wanted])

    def frame_table(self) -> FrameTable | None:
        """Reads all packets once, without decoding; None where seeking cannot be trusted."""
        if not self._table_made:
            with open_stream(self.path, threads=1) as (container, stream):
                try:
                    self._table = scan_frames(self.path, container, stream)
                except (av.FFmpegError, EOFError):
                    self._table = None
            self._table_made = True
        return self._table

    @property
    def has_table(self) -> bool:
        """Whether its packets have been looked through, so that `read` need not."""
        return self._table_made

    def use_table(self, table: FrameTable | None) -> None:
        """Takes a table that was made of this file before."""
        self._table, self._table_made = table, True

    def _read_in_order(self, ordered: list[int]) -> dict[int, np.ndarray]:
        wanted, found, count = set(ordered), {}, 0
        for frame in islice(self, ordered[-1] + 1):
            if count in wanted:
                found[count] = frame
            count += 1
        if count <= ordered[-1]:
            raise IndexError(f"frame {ordered[-1]} of {self.path}: it has {count} frames")
        return found

    def _read_seeking(self, ordered: list[int], table: FrameTable) -> dict | None:
        """Decodes from the key frame before each; None if a frame is not where it should be."""
        found: dict[int, np.ndarray] = {}
        try:
            with kept_stream(self.path) as (container, stream, reformatter):
                for key, numbers in groupby(ordered, table.key_of):
                    number_at = {table.pts[number]: number for number in numbers}
                    seek_to(container, stream, table.seeks[key])
                    for frame in decode_wanted(container, stream, number_at.keys()):
                        if (number := number_at.pop(frame.pts, None)) is not None:
                            found[number] = picture_of(frame, reformatter, self.size)
                    if number_at:
                        return None
        except (DamageError, av.FFmpegError):
            return None
        return found

    def _read_decord(self, ordered: list[int], count: int) -> dict[int, np.ndarray] | None:
        """Reads with decord; None where it is missing, fails or counts other frames."""
        try:
            import decord
        except (ImportError, OSError):
            return None
        try:
            reader = decord.VideoReader(os.path.abspath(self.path), num_threads=1)  # no protocol
            if len(reader) != count:
                return None
            frames = reader.get_batch(ordered).asnumpy()
        except (decord.DECORDError, RuntimeError, IndexError):
            return None
        if frames.shape[1:3] != self.size:
            return None
        return dict(zip(ordered, frames, strict=True))
