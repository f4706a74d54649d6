"""A path as an opened stream of pictures, or a word on why it is none."""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dff.data.video.decoding import reason
from dff.data.video.file_end import mp4_boxes

RE_ENCODE = "re-encode it (ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p NEW.mp4)"

_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NOT_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails


KEPT_STREAMS = 4
"""Files that a thread keeps open for random access; a decoder of 1080p holds up to 50 MB."""


class VideoError(ValueError):
    """A video cannot be read or written; the message names the file, the fault and the cure."""


def check_kind(path: str) -> None:
    """Raises what a path deserves that is no file; nothing is opened, so no pipe blocks.

    Raises:
        FileNotFoundError: There is nothing.
        VideoError: It is a pipe, a socket, a device or a folder.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no video at {path}: check the path")
    kind = _SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode))
    if os.path.isdir(path):
        raise VideoError(
            f"{path} is a folder, not a video file: give a file in it; dff predict takes folders "
            "of frames"
        )
    if kind is not None:
        raise VideoError(
            f"{path} is {kind}, not a file: a video is read more than once and not only forwards, "
            "so save what it gives as a file first"
        )


def check_file(path: str) -> None:
    """Raises what an unusable path deserves, before a decoder sees it.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
        VideoError: It is empty, or no file.
    """
    check_kind(path)
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except PermissionError as error:
        raise PermissionError(
            f"{path} may not be read: allow it (chmod +r), or copy the file"
        ) from error
    if empty:
        raise VideoError(f"{path} is empty: copy or download it again")


@contextmanager
def open_stream(path: str, threads: int = 0) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and the stream of pictures that players show.

    Args:
        path: The file, checked before.
        threads: How many decode it; 0 for as many as there are processors. One gives a frame
            sooner, and tells the same damage.

    Raises:
        VideoError: There is no such stream.
    """
    with _open(path) as container:
        stream = _shown_stream(container)
        if stream is None:
            why = f"{path} has no pictures, only sound or data: give a file with video"
            if not len(container.streams):
                why = f"{path} has no pictures, as nothing in it can be read: copy it again"
            raise VideoError(_missing_index(path) or why)
        if stream.codec_context is None:
            raise VideoError(
                f"{path}: the codec of its pictures is unknown, as in a file that was "
                f"cut short: copy it again from its source, or {RE_ENCODE}"
            )
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        yield container, stream


class _KeptStreams(threading.local):
    """Files that a thread reads again and again, open; the last few of them.

    A process that was forked opens its own: it neither uses nor closes those of the other.
    """

    def __init__(self) -> None:
        self._process, self._kept = os.getpid(), OrderedDict[_Key, _Kept]()
        self._foreign: list[object] = []

    def take(self, path: str) -> "_Kept":
        """A file that is as it was when it was opened, with one thread of its decoder."""
        if self._process != os.getpid():
            self._foreign.append(self._kept)
            self._process, self._kept = os.getpid(), OrderedDict()
        status = os.stat(path)
        key = path, status.st_mtime_ns, status.st_size
        if key not in self._kept:
            stack = ExitStack()
            container, stream = stack.enter_context(open_stream(path, threads=1))
            self._kept[key] = _Kept(stack, container, stream, VideoReformatter())
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_STREAMS:
            self._kept.popitem(last=False)[1].stack.close()
        return self._kept[key]

    def forget(self, path: str) -> None:
        """Closes a file."""
        for key in [key for key in self._kept if key[0] == path]:
            self._kept.pop(key).stack.close()


_Key = tuple[str, int, int]


class _Kept(NamedTuple):
    stack: ExitStack
    container: InputContainer
    stream: VideoStream
    reformatter: VideoReformatter


_KEPT = _KeptStreams()


@contextmanager
def kept_stream(path: str) -> Iterator[tuple[InputContainer, VideoStream, VideoReformatter]]:
    """Like `open_stream` with one thread, for random access: opening takes 2 ms, each time.

    The file stays open, and what turns its frames into pictures ready; in this thread alone.
    Reading begins wherever the last one ended, so seek first.

    Args:
        path: The file, checked before.

    Raises:
        VideoError: There is no such stream.
    """
    try:
        kept = _KEPT.take(path)
        yield kept.container, kept.stream, kept.reformatter
    except BaseException:
        _KEPT.forget(path)
        raise


def _open(path: str) -> InputContainer:
    # With its protocol before it, no part of a name is read as one, nor as an option.
    url = f"file:{os.path.abspath(path)}"
    try:
        return _open_url(url)
    except (av.FFmpegError, EOFError) as error:
        end, fault = _cut_fragment(path), error
    if end is not None:
        with suppress(av.FFmpegError, EOFError):
            return _open_url(f"subfile,,start,0,end,{end},,:{url}", "file,subfile")
    raise VideoError(
        _missing_index(path)
        or f"{path} is not a video file ({reason(fault)}), or a damaged one: give a file that "
        "ffmpeg can open, or a folder of frames; copy it again from its source if it is damaged"
    ) from fault


def _open_url(url: str, protocols: str = "file") -> InputContainer:
    # A play list may name addresses, and nothing else is read here than files.
    # Titles and the like may be in any encoding, or damaged; nobody reads them.
    return av.open(url, options={"protocol_whitelist": protocols}, metadata_errors="replace")


def _shown_stream(container: InputContainer) -> VideoStream | None:
    """The stream that FFmpeg and players take, but no cover picture of a song."""
    shown = [stream for stream in container.streams.video if not stream.disposition & _NOT_SHOWN]
    best = container.streams.best("video")
    if not shown:
        return None
    if isinstance(best, VideoStream) and best in shown:
        return best
    return max(
        shown,
        key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            stream.codec_context is not None and stream.width * stream.height,
        ),
    )


def _cut_fragment(path: str) -> int | None:
    """Where the index of an MP4 file's last fragment begins, if the file ends within it.

    It stops FFmpeg, though the fragments before it are whole.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        *before, last = [*mp4_boxes(file, size)] or [(b"", 0, 0)]
    kind, start, end = last
    whole = any(kind == b"moov" for kind, *_ in before)
    return start - 8 if whole and kind == b"moof" and end > size else None


def _missing_index(path: str) -> str | None:
    """What to say of an MP4 file whose index is not there whole; None for all others."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        whole = {kind: end <= size for kind, _, end in mp4_boxes(file, size)}
    if whole.get(b"moov") or not whole.keys() & {b"ftyp", b"moov", b"mdat"}:
        return None
    return (
        f"{path}: an MP4 file whose index (moov) is missing, so the recording or "
        "copy was cut short: copy it again, or restore it with a tool such as untrunc"
    )
