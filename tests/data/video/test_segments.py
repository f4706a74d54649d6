"""A part of a video, read by itself."""

import av
import numpy as np
import pytest
from clips import FRAMES, draw, number_of, write_clip

from dff.data.files.images import write_png
from dff.data.video.clips import Clips, every
from dff.data.video.file import VideoFile
from dff.data.video.sources import FrameFolder, VideoInput

OPEN = {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3"}
KINDS = {
    "closed.mp4": ("libx264", {"g": "12", "bf": "2"}),
    "open.mkv": ("libx264", OPEN),
    "mpeg4.mp4": ("mpeg4", {"g": "7"}),
    "vp9.webm": ("libvpx-vp9", {"g": "9", "cpu-used": "8", "deadline": "realtime"}),
    "transport.ts": ("libx264", {"g": "12", "bf": "2"}),  # no seeking there
    "b.avi": ("mpeg4", {"g": "12", "bf": "2"}),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("motion", [False, True])
@pytest.mark.filterwarnings("ignore:.*says nothing of its motion")
def test_frames_from_any_number_on_are_those_of_the_whole_file(kind, motion, tmp_path):
    codec, options = KINDS[kind]
    times = [40 * i + 7 * (i % 3) for i in range(FRAMES)] if kind == "open.mkv" else None
    path = write_clip(tmp_path / kind, codec, options, times=times)
    whole = list(VideoFile(path).timed(motion))
    for start in (1, 7, 12, 13, 29, FRAMES - 1):
        part = list(VideoFile(path).timed(motion, start))
        assert len(part) == FRAMES - start
        for found, wanted in zip(part, whole[start:], strict=True):
            np.testing.assert_array_equal(found.picture, wanted.picture)
            assert (found.time, found.end) == (wanted.time, wanted.end)
            assert (found.motion is None) == (wanted.motion is None)
            if found.motion is not None:
                np.testing.assert_array_equal(found.motion, wanted.motion)


def test_a_table_that_is_wrong_costs_time_and_no_frame(tmp_path):
    path = write_clip(tmp_path / "a.mp4", "libx264", {"g": "12"})
    video = VideoFile(path)
    table = video.frame_table()
    object.__setattr__(table, "pts", tuple(time + 1 for time in table.pts))
    assert [number_of(frame.picture) for frame in video.timed(start=30)] == list(range(30, FRAMES))


def test_clips_of_a_segment_have_the_numbers_of_the_video(tmp_path):
    path = str(write_clip(tmp_path / "a.mp4", "libx264", {"g": "12"}))
    whole = {c.start: c for c in Clips([VideoInput(path, "a")], every(4))}
    segment = VideoInput(path, "a@8", segment=(8, 24))
    found = list(Clips([segment], every(4)))
    assert [c.start for c in found] == [8, 12, 16, 20]
    assert [c.first for c in found] == [True, False, False, False]
    assert [c.last for c in found] == [False, False, False, True]
    assert found[0].frame_count == 16
    for clip in found:
        assert (clip.frames == whole[clip.start].frames).all()
        assert list(clip.times) == list(whole[clip.start].times)
    assert [c.start for c in Clips([segment], every(4), max_frames=6)] == [8, 12]


def test_a_segment_of_a_folder_keeps_its_names(tmp_path):
    for number in range(9):
        write_png(tmp_path / f"frame_{number}.png", draw(number))
    frames = tuple(f"frame_{number}.png" for number in range(9))
    (clip,) = Clips([VideoInput(str(tmp_path), "a", frames, segment=(6, None))], every(3))
    assert clip.frame_names == ["frame_6", "frame_7", "frame_8"]
    assert clip.times == [time.time for time in FrameFolder(tmp_path).timed()][6:]
    assert (clip.start, clip.first, clip.frame_count) == (6, True, 3)


def test_a_segment_behind_the_end_is_told(tmp_path):
    path = str(write_clip(tmp_path / "a.mp4"))
    (clip,) = Clips([VideoInput(path, "a@90", segment=(90, 99))], every(3))
    assert clip.error == f"{path}: it ends before frame 90: copy it again"
    assert (clip.first, clip.last, clip.start) == (True, True, 90)


def test_frames_that_are_never_shown_have_no_number(tmp_path):
    """VP8's alternate reference frames, as two-pass encoders make them."""
    plain = write_clip(tmp_path / "plain.webm", "libvpx", {"g": "9", "deadline": "realtime"})
    with av.open(str(plain)) as source, av.open(str(tmp_path / "a.webm"), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.size:
                content = bytearray(bytes(packet))
                if number in (4, 11, 22):
                    content[0] &= ~0x10  # show_frame
                hidden = av.Packet(bytes(content))
                hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                hidden.is_keyframe, hidden.stream = packet.is_keyframe, copied
                target.mux(hidden)
    video = VideoFile(tmp_path / "a.webm")
    whole = [number_of(frame.picture) for frame in video.timed()]
    assert len(whole) == FRAMES - 3 == len(video.frame_table().pts)
    for start in (10, 20, 30):
        assert [number_of(frame.picture) for frame in video.timed(start=start)] == whole[start:]
        assert number_of(video.read([start])[0]) == whole[start]
