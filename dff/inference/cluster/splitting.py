"""Long videos as segments, which several processes predict at the same time."""

from collections.abc import Iterable
from contextlib import suppress

from dff.data.video.file import VideoError, VideoFile
from dff.data.video.sources import VideoInput
from dff.data.video.table_cache import table_of
from dff.inference.results.segments import segment_of


def split_long(
    videos: Iterable[VideoInput], frames: int, key_duration: int
) -> dict[str, list[VideoInput]]:
    """The segments of those videos that are long.

    A segment begins with a key frame of the fixed schedule, so what is found on its frames is what
    would be found on those of the whole video. The last one may be half longer, or shorter.

    A file in which a frame cannot be found without decoding all those before it (AVI, MPEG-TS, GIF)
    is left in one piece, as is one that cannot be opened or lies at an address.

    Args:
        videos: With their names of `shared_names`.
        frames: Of a segment, at least 1; rounded up to whole key durations.
        key_duration: Of the schedule.

    Returns:
        Name of a long video -> its segments, two at least.
    """
    length = -(-frames // key_duration) * key_duration
    found = {}
    for video in videos:
        count = _count(video, 1.5 * length)
        firsts = [length * i for i in range(round(count / length))]
        if len(firsts) > 1:
            ends = [*firsts[1:], None]
            found[video.name] = [
                segment_of(video, first, end) for first, end in zip(firsts, ends, strict=True)
            ]
    return found


def _count(video: VideoInput, least: float) -> int:
    """Frames of a video that can be split, where there are `least` or more; else 0."""
    if video.address:
        return 0
    with suppress(OSError, VideoError):  # told by who predicts it
        opened = video.open()
        if (opened.frame_count or 0) < least:
            return 0
        if not isinstance(opened, VideoFile):
            return opened.frame_count or 0
        table = table_of(opened)
        return 0 if table is None else len(table.pts)
    return 0
