"""Each frame of a file has its own time, whatever container and codec it comes in."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dff.data.video.clips import Clips, every
from dff.data.video.frame_times import FrameClock, checked_fps
from dff.data.video.sources import FrameFolder, VideoFile, find_videos
from dff.data.video.writer import same_scheduling

COUNT = 20
UNEVEN = [0, 5, 40, 300, 301, 1000, 1033, 1500, 121_500, 121_533]  # ms; a pause of two minutes
EVEN = {
    "mpeg4 with B-frames in AVI": ("a.avi", "mpeg4", {"bf": "2"}, {}),
    "h264 with B-frames in AVI": ("a.avi", "libx264", {"bf": "2"}, {}),
    "mjpeg in AVI": ("a.avi", "mjpeg", {}, {}),
    "h264 without a container": ("a.h264", "libx264", {"bf": "2"}, {}),
    "mpeg4 without a container": ("a.m4v", "mpeg4", {"bf": "2"}, {"format": "m4v"}),
    "a stream that begins late": ("a.ts", "libx264", {"bf": "2"}, {"output_ts_offset": "500"}),
    "a clock that wraps": ("a.ts", "libx264", {"bf": "2"}, {"output_ts_offset": "95443.3177"}),
    "mpeg2 program stream": ("a.mpg", "mpeg2video", {"bf": "2"}, {}),
    "flash": ("a.flv", "libx264", {"bf": "2"}, {}),
    "windows media": ("a.wmv", "wmv2", {}, {}),
    "gif": ("a.gif", "gif", {}, {}),
    "MP4 in fragments": ("a.mp4", "libx264", {"bf": "2"}, {"movflags": "frag_keyframe+empty_moov"}),
    "MP4": ("a.mp4", "libx264", {"bf": "2"}, {}),
    "Matroska": ("a.mkv", "libx264", {"bf": "2"}, {}),
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}


def write_clip(path, codec="libx264", options=None, muxing=None, times=None, nominal=True):
    """Writes frames, 25 a second or at `times` in ms; without `nominal` the file names no rate."""
    muxing = dict(muxing or {})
    with av.open(str(path), "w", format=muxing.pop("format", None), options=muxing) as container:
        try:
            context = av.CodecContext.create(codec, "w")
        except Exception as error:
            pytest.skip(f"this PyAV has no encoder {codec}: {error}")
        stream = container.add_stream(codec, rate=25, options=options or {}) if nominal else None
        if stream is None:
            stream = container.add_mux_stream(codec, width=96, height=64)
        else:
            context = stream.codec_context
        context.width, context.height = 96, 64
        context.pix_fmt = PIXELS.get(codec, "yuv420p")
        if times is not None or not nominal:
            context.time_base = Fraction(1, 1000)
        with same_scheduling():
            for number in range(COUNT if times is None else len(times)):
                picture = np.full((64, 96, 3), 10 * number % 256, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[number], Fraction(1, 1000)
                for packet in context.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
            for packet in context.encode(None):
                packet.stream = stream
                container.mux(packet)
    return path


def times_of(path) -> tuple[list[float], float]:
    frames = list(VideoFile(path).timed())
    return [frame.time for frame in frames], frames[-1].end


@pytest.mark.parametrize("kind", EVEN)
def test_even_frames_are_evenly_spread(kind, tmp_path):
    name, codec, options, muxing = EVEN[kind]
    video = VideoFile(write_clip(tmp_path / name, codec, options, muxing))
    times, end = times_of(video.path)
    assert times == pytest.approx([0.04 * index for index in range(COUNT)])
    assert end == pytest.approx(0.04 * COUNT)
    assert (video.fps, video.frame_count) == (pytest.approx(25), COUNT)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {"bf": "2"}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime"}),
        ("a.webm", "libvpx", {"deadline": "realtime"}),
        ("a.mp4", "libx264", {"bf": "2"}),
        ("a.mov", "mpeg4", {}),
        ("a.ts", "libx264", {"bf": "2"}),
    ],
)
def test_uneven_frames_keep_their_times_and_a_pause_stays(name, codec, options, tmp_path):
    path = write_clip(tmp_path / name, codec, options, times=UNEVEN)
    times, end = times_of(path)
    assert times == pytest.approx([time / 1000 for time in UNEVEN], abs=1e-4)
    if not name.endswith(".ts"):  # which says nowhere how long a frame is shown
        assert 0.001 <= end - times[-1] <= 0.1
        assert VideoFile(path).fps == pytest.approx(len(UNEVEN) / end, rel=0.02)


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_a_recorders_file_without_a_rate_has_that_of_its_frames(codec, tmp_path):
    times = np.cumsum([0, *np.random.default_rng(0).integers(17, 67, 39)]).tolist()
    options = {"deadline": "realtime"}
    path = write_clip(tmp_path / "a.webm", codec, options, times=times, nominal=False)
    with av.open(str(path)) as container:
        assert container.streams.video[0].guessed_rate == 1000  # that of the timestamps
    found, end = times_of(path)
    assert found == pytest.approx([time / 1000 for time in times])
    assert VideoFile(path).fps == pytest.approx(len(times) / end, rel=0.05)
    assert 0.001 <= end - found[-1] <= 0.05


def test_recordings_that_were_joined_go_on(tmp_path):
    part = write_clip(tmp_path / "part.ts", options={"bf": "0"})
    (tmp_path / "joined.ts").write_bytes(3 * part.read_bytes())
    times, _ = times_of(tmp_path / "joined.ts")
    assert len(times) == 3 * COUNT
    steps = np.diff(times)
    assert steps.min() > 0 and times[-1] == pytest.approx(0.04 * (3 * COUNT - 1), abs=0.1)


def test_a_gif_shows_each_frame_as_long_as_it_says(tmp_path):
    times = [0, 100, 120, 500, 520]
    path = write_clip(tmp_path / "a.gif", "gif", times=times)
    assert times_of(path)[0] == pytest.approx([time / 1000 for time in times])


A_TENTH = Fraction(1, 10)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([7, 8, 10], [0, 0.1, 0.3]),
        ([None, None, None], [0, 0.2, 0.4]),  # each is shown for two tenths
        ([0, None, 4], [0, 0.2, 0.4]),
        ([None, 5, 6], [0, 0.2, 0.3]),
        ([0, 4, 4, 8], [0, 0.4, 0.401, 0.8]),
        ([0, 4, 3, 8], [0, 0.4, 0.401, 0.8]),
        ([0, 3000, 3001], [0, 300, 300.1]),
        ([100, 101, 0, 1], [0, 0.1, 0.3, 0.4]),  # set back
        ([0, 1, 2**40, 2**40 + 1], [0, 0.1, 0.3, 0.4]),  # and set forward, not a pause
        ([-5, -4, -3], [0, 0.1, 0.2]),
    ],
)
def test_times_increase_from_0_whatever_the_timestamps(stamps, times):
    clock = FrameClock(A_TENTH, 25)
    assert [clock.time(stamp, 2) for stamp in stamps] == pytest.approx(times)
    assert clock.end(float("inf")) == pytest.approx(times[-1] + 0.2)


def test_without_a_duration_the_rate_says_how_long_a_frame_is_shown():
    clock = FrameClock(A_TENTH, 4)
    assert [clock.time(None, duration) for duration in (None, 0, 1)] == [0, 0.25, 0.5]
    clock.time(None, None)
    assert clock.end(0.1) == pytest.approx(0.85)


def test_a_last_frame_ends_with_its_video():
    clock = FrameClock(A_TENTH, 25)
    clock.time(10, 2)
    assert clock.end(1.15) == pytest.approx(0.15)  # the first frame is at 1.0 in the file
    assert clock.end(1.0) == clock.end(9.0) == pytest.approx(0.2)  # a header that cannot be


def test_clips_carry_the_times_of_their_frames(tmp_path):
    path = write_clip(tmp_path / "a.mkv", times=UNEVEN)
    found = list(Clips(find_videos([path]), every(4)))
    assert [len(item.times) for item in found] == [4, 4, 2]
    times = [time for item in found for time in item.times]
    assert times == pytest.approx([time / 1000 for time in UNEVEN])
    assert found[-1].end == times_of(path)[1]


def test_a_folder_has_the_rate_that_it_is_given(tmp_path):
    for number in range(3):
        av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    frames = list(FrameFolder(tmp_path, fps=5).timed())
    assert [(frame.time, frame.end) for frame in frames] == [(0, 0.2), (0.2, 0.4), (0.4, 0.6)]
    (clip,) = Clips(find_videos([tmp_path], fps=50), every(3))
    assert (clip.times, clip.end, clip.fps) == ([0, 0.02, 0.04], 0.06, 50)
    assert find_videos([tmp_path])[0].open().fps == 17


@pytest.mark.parametrize("fps", [0, -3, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_told(fps, tmp_path):
    with pytest.raises(ValueError, match=rf"{fps} frames per second: wanted a positive number"):
        find_videos([tmp_path], fps)
    with pytest.raises(ValueError, match="of x: wanted a positive number"):
        checked_fps(fps, " of x")
