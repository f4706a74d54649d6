"""When each frame of a video file is shown, and from where it can be decoded."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from av.container import InputContainer
from av.video.stream import VideoStream

from dff.data.video.decoding import whole_packets

# In these, a key frame can be found by its time, and what follows it decodes to the same pixels.
# Elsewhere (AVI with B-frames, MPEG-PS and -TS, GIF) a seek lands somewhere near: read in order.
_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
_CODECS = {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mjpeg"}
_DECORD_CODECS = {"h264", "vp8", "vp9", "mjpeg"}


@dataclass(frozen=True)
class FrameTable:
    """The frames of a file in the order shown, without decoding them.

    Args:
        pts: Time of each frame, in units of the stream's time base.
        seeks: Index of each frame before which decoding can start -> time to seek to. The times
            differ where an edit list hides the key frame itself.
        closed: No frame needs one before the key frame that precedes it, and none is hidden by
            an edit list: what decord takes for granted.
        time_base: Seconds of one unit of `pts`.
    """

    pts: tuple[int, ...]
    seeks: dict[int, int]
    closed: bool
    time_base: float = 1.0
    _keys: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keys", tuple(sorted(self.seeks)))

    def key_of(self, index: int) -> int:
        """Returns the index of the last frame, up to `index`, from which decoding can start."""
        return self._keys[bisect_right(self._keys, index) - 1]


def scan_frames(path: str, container: InputContainer, stream: VideoStream) -> FrameTable | None:
    """Makes the table from the packets of a stream that was just opened.

    Returns:
        None where seeking cannot be trusted: codecs and containers not known to be safe, packets
        without a time or with one that is used twice, a stream that starts without a key frame.

    Raises:
        av.FFmpegError: The file is damaged.
    """
    codec = stream.codec_context.codec.canonical_name
    containers = set(container.format.name.split(","))
    if codec not in _CODECS or not containers & _CONTAINERS:
        return None
    times: list[int] = []
    key_times: list[int] = []
    closed = codec in _DECORD_CODECS
    last_dts = None
    for packet, cut in whole_packets(path, container, stream):
        if not packet.size:
            if cut and last_dts is not None:  # as `decode_frames` leaves out what is uncertain
                times = [time for time in times if time <= last_dts]
            continue
        last_dts = packet.dts
        if packet.pts is None or not (packet.is_keyframe or key_times):
            return None
        if packet.is_keyframe:
            key_times.append(packet.pts)
            if codec == "h264" and closed:
                # An IDR picture lets no frame after it be shown before it, or need one before it.
                closed = is_idr(bytes(packet), stream.codec_context.extradata or b"")
        closed = closed and not packet.is_discard
        hidden = codec == "vp8" and not bytes(packet)[0] & 0x10  # a frame that others refer to
        if not packet.is_discard and not hidden:
            times.append(packet.pts)
    times.sort()
    if not times or len(set(times)) < len(times):
        return None
    seeks = {bisect_left(times, time): time for time in sorted(key_times) if time <= times[-1]}
    # Frames before the first key frame are shown by no decoder, or only by some.
    base = float(stream.time_base or 1)
    return FrameTable(tuple(times), seeks, closed, base) if 0 in seeks else None


def is_idr(packet: bytes, extradata: bytes) -> bool:
    """Tells whether an H.264 key packet holds an IDR picture.

    A key frame of an open GOP, or the start of an intra refresh, is flagged as key as well; decord
    gives wrong frames there, and only the type of the NAL units tells.

    Args:
        packet: NAL units, each after its length, as in MP4 and Matroska.
        extradata: The avcC record, which says how many bytes a length has.
    """
    if len(extradata) < 5 or extradata[0] != 1:
        return False
    length_bytes, place = (extradata[4] & 3) + 1, 0
    while place + length_bytes < len(packet):
        if packet[place + length_bytes] & 31 == 5:
            return True
        place += length_bytes + int.from_bytes(packet[place : place + length_bytes], "big")
    return False
