"""Decoding of a stream that tells what is damaged, and what is missing at the end."""

from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from typing import cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dff.data.video.file_end import ends_early

# These say how long each frame is: one that is cut is flagged, or not given at all.
_SIZED = {"mov", "mp4", "matroska", "webm", "avi", "flv"}
# More packets than the threads of a decoder and reordering hold back.
_TAIL = 64


class DamageError(Exception):
    """A frame cannot be decoded as it was encoded; the message is the reason in a few words."""


class CutShortError(Exception):
    """A file ends before its container says that it does; what is there has been given."""


def decode_frames(
    path: str, container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame]:
    """Yields the frames of a stream that was just opened, or set to a key frame.

    Decoders conceal damage, and those with frame threads drop the errors of the last frames
    without a word: both are told here. What is shown before the first key frame lacks its
    references in whole files as well, so its damage is none.

    Raises:
        DamageError: A frame is damaged.
        CutShortError: After the last frame. Frames of which it cannot be known whether one before
            them is missing are not given.
    """
    key_time = last_dts = None
    fed = shown = 0
    times: deque[int | None] = deque(maxlen=_TAIL)
    packets = whole_packets(path, container, stream)
    try:
        for packet, cut in packets:
            if key_time is None and packet.is_keyframe:
                key_time = packet.pts
            if packet.size:
                fed += not packet.is_discard
                last_dts = packet.dts
                times.append(packet.pts)
            for frame in packet.decode():
                if frame.is_corrupt and not _before(frame.pts, key_time):
                    # Where frames have no sizes, the cut may lie in this one.
                    if cut or any(end for _, end in islice(packets, _TAIL)):
                        raise CutShortError
                    raise DamageError("a part of a picture is lost")
                if cut and _before(last_dts, frame.pts):
                    break
                shown += 1
                yield frame
            if cut:
                raise CutShortError
        if shown < fed and stream.codec_context.thread_count != 1:
            _decode_again(container, stream, times)
    except (av.FFmpegError, EOFError) as error:
        raise DamageError(reason(error)) from error


def seek_to(container: InputContainer, stream: VideoStream, time: int) -> None:
    """Sets a stream to the key frame at a time, in its units; raises DamageError."""
    try:
        container.seek(time, stream=stream)
    except av.FFmpegError as error:
        raise DamageError(reason(error)) from error


def decode_wanted(
    container: InputContainer, stream: VideoStream, wanted: Collection[int | None]
) -> Iterator[VideoFrame]:
    """Yields frames of a stream that was set to a key frame, the wanted ones among them.

    What nothing refers to is not decoded unless it is wanted, and nothing is fed to the decoder
    behind the last that is: half the work of decoding all of them, for the same pixels.

    Args:
        container: As `open_stream` gives it, with one thread.
        stream: Likewise.
        wanted: Times (pts) of frames behind the key frame.

    Raises:
        DamageError: A frame is damaged, or the file is.
    """
    decoder, left = stream.codec_context, set(wanted)
    key_time = None
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise DamageError("a packet is damaged")
            if key_time is None and packet.is_keyframe:
                key_time = packet.pts
            decoder.skip_frame = "NONREF" if packet.size and packet.pts not in left else "DEFAULT"
            frames = packet.decode()
            left.discard(packet.pts)
            if not left and packet.size:
                frames += decoder.decode(None)
            for frame in frames:
                if frame.is_corrupt and not _before(frame.pts, key_time):
                    raise DamageError("a part of a picture is lost")
                yield frame
            if not left:
                return
    except (av.FFmpegError, EOFError) as error:
        raise DamageError(reason(error)) from error
    finally:
        decoder.skip_frame = "DEFAULT"


def whole_packets(
    path: str, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[Packet, bool]]:
    """Yields the packets of a stream, but for one in which the file ends.

    The last one is empty and makes a decoder give the rest. With each comes whether the file is
    cut short after it, which is known only with the last.

    Raises:
        av.FFmpegError: The container is damaged.
    """
    formats = set(container.format.name.split(","))
    sized = bool(formats & _SIZED)
    cut, held = False, None
    for packet in container.demux(stream):
        if packet.size:
            # Transport streams flag jumps of their counters instead, as where two were joined.
            short = packet.is_corrupt and "mpegts" not in formats
            cut = cut or short
            if sized and short:
                continue
            if held is not None:
                yield held, False
            held = packet
        else:
            cut = cut or ends_early(path, container, stream)
            if held is not None and (sized or not cut):
                yield held, False
            yield packet, cut


def reason(error: Exception) -> str:
    """What FFmpeg says of an error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _before(time: int | None, other: int | None) -> bool:
    return time is not None and other is not None and time < other


def _decode_again(container: InputContainer, stream: VideoStream, times: deque[int | None]) -> None:
    """Decodes the last frames in one thread: raises what those have dropped."""
    start = stream.start_time or 0
    if set(container.format.name.split(",")) & _SIZED:
        start = min((time for time in times if time is not None), default=start)
    try:
        container.seek(start, stream=stream)
    except av.FFmpegError:  # not every container has a way back
        return
    context = CodecContext.create(stream.codec_context.codec, "r")
    decoder = cast(VideoCodecContext, context)
    decoder.extradata = stream.codec_context.extradata
    decoder.thread_count = 1
    started = False
    for packet in container.demux(stream):
        started = started or packet.is_keyframe
        if started and packet.size:
            decoder.decode(packet)
    decoder.decode(None)
