"""When each frame of a file is shown, whatever its timestamps are like; how many there are."""

import math
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

DEFAULT_FPS = 25.0
_LIKELY_FPS = 240
"""A header that claims more has the rate of its timestamps in place of that of its frames."""
_TICK = 0.001
"""Seconds between two frames that a file shows at one and the same time."""
_JITTER, _LONGEST_PAUSE = 0.5, 6 * 3600.0
"""Seconds back and forth from one timestamp to the next. Beyond them the clock was set anew, as
where two recordings were joined."""


def checked_fps(fps: float, of: str = "") -> float:
    """Returns a rate of frames if it is one.

    Args:
        fps: Frames per second.
        of: Of what, for the message.

    Raises:
        ValueError: It is not a positive number.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"{fps} frames per second{of}: wanted a positive number, such as 29.97")
    return float(fps)


class FrameClock:
    """Turns the timestamps of frames, in the order shown, into seconds that increase.

    The first frame is at 0. A frame without a timestamp follows the one before it after that one's
    duration. One that is shown at the same time as the frame before it, or a little earlier, comes
    right after it. Where the clock was set anew the video goes on.

    Args:
        unit: Seconds of one unit of the timestamps.
        fps: Rate at which frames follow each other where no duration is known.
    """

    def __init__(self, unit: Fraction, fps: float) -> None:
        self._unit, self._step = unit, 1 / fps
        self._anchor: tuple[int, float] | None = None  # a timestamp, and its time
        self._stamp = 0  # the last one
        self._time = -_TICK
        self._due = 0.0

    def time(self, stamp: int | None, duration: int | None) -> float:
        """Returns when the next frame is shown.

        Args:
            stamp: Its timestamp, where it has one.
            duration: How long it is shown; None or 0 where the file does not say.
        """
        time = self._due
        if stamp is not None:
            passed = float((stamp - self._stamp) * self._unit)
            if self._anchor is None or not -_JITTER <= passed <= _LONGEST_PAUSE:
                self._anchor = (stamp, self._due)
            self._stamp = stamp
            time = self._anchor[1] + float((stamp - self._anchor[0]) * self._unit)
        self._time = max(time, self._time + _TICK)
        self._due = self._time + (float(duration * self._unit) if duration else self._step)
        return self._time

    def end(self, last: float) -> float:
        """Returns when that frame gives way: after its duration, or with the video if earlier.

        Args:
            last: Where the video ends, as its header says, in seconds of its timestamps. Of a
                frame's own duration too little is known: B-frames exchange theirs.
        """
        if self._anchor is None:
            return self._due
        last += self._anchor[1] - float(self._anchor[0] * self._unit)
        return last if self._time + _TICK < last < self._due else self._due


def header_end(container: InputContainer, stream: VideoStream) -> float:
    """Returns where a video ends as its header says, in seconds of its timestamps, or infinity."""
    ends = []
    if stream.duration and stream.time_base:
        ends.append(float(((stream.start_time or 0) + stream.duration) * stream.time_base))
    if container.duration:
        ends.append(((container.start_time or 0) + container.duration) / av.time_base)
    return min(ends, default=float("inf"))


def shown_frames(stream: VideoStream) -> int:
    """Returns how many frames a header counts, less those that an edit list hides."""
    return stream.frames - sum(sample.is_discard for sample in stream.index_entries)


def promised_frames(container: InputContainer, stream: VideoStream, fps: float) -> int:
    """Returns about how many frames a header promises; 0 where it does not say."""
    if stream.frames:
        return shown_frames(stream)
    duration, start = container.duration or 0, container.start_time or 0
    if "matroska" in container.format.name and duration > start:
        duration -= start  # counted from zero, whenever the first frame is shown
    return round(duration / av.time_base * fps)


def count_frames(container: InputContainer, stream: VideoStream) -> tuple[float, int | None]:
    """Returns the average rate of a stream and how many frames it has, None if that is unknown.

    From the header of MP4 and AVI with an even rate, which counts frames. Others have at best a
    rate that was meant, or that of the timestamps (1000 in WebM from a browser's recorder): all
    packets are read, and none is decoded.
    """
    rate = stream.average_rate
    counted = stream.frames and {"mp4", "avi"} & set(container.format.name.split(","))
    if counted and rate == stream.base_rate and rate and rate <= _LIKELY_FPS:
        return float(rate), shown_frames(stream)
    count, first, last, after = 0, None, None, 0
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                count += 1
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None:
                    first = stamp if first is None else min(first, stamp)
                    if last is None or stamp > last:
                        last, after = stamp, packet.duration or 0
    except (av.FFmpegError, EOFError):
        pass  # told by whoever decodes the file
    if first is not None and last is not None and last > first and stream.time_base:
        shown = count if after else count - 1
        return shown / float((last + after - first) * stream.time_base), count
    return float(rate if rate and rate <= _LIKELY_FPS else DEFAULT_FPS), count or None
