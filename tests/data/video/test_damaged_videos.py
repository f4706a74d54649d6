"""Files that are cut short or damaged say so; whole files do not, however odd."""

import re
from pathlib import Path

import av
import pytest
from clips import FRAMES, number_of, write_clip

from dff.data.video.sources import VideoError, VideoFile

H264, HEVC = {"g": "20", "bf": "3"}, {"x265-params": "keyint=20:log-level=none"}
VP9 = {"g": "20", "deadline": "realtime", "cpu-used": "8"}
AV1, MPEG2 = {"preset": "12", "g": "20"}, {"g": "12", "bf": "2"}
MPEG4 = {**MPEG2, "b": "2000k"}
FRONT, PARTS = {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0:b-adapt=0"}
CODECS = {
    "h264": ("libx264", H264),
    "hevc": ("libx265", HEVC),
    "vp9": ("libvpx-vp9", VP9),
    "mpeg4": ("mpeg4", MPEG4),
    "av1": ("libsvtav1", AV1),
    "mpeg2": ("mpeg2video", MPEG2),
    "mjpeg": ("mjpeg", {}),
}
CLIPS = [(codec, "mp4", FRONT) for codec in ("h264", "hevc", "vp9", "mpeg4", "av1")]
CLIPS += [(codec, "mp4", PARTS) for codec in ("h264", "hevc", "vp9", "mpeg4", "av1")]
CLIPS += [(codec, "mkv", {}) for codec in ("h264", "hevc", "vp9", "mpeg4", "av1", "mjpeg")]
CLIPS += [(codec, "webm", {}) for codec in ("vp9", "av1")]
CLIPS += [("h264", "mkv", {"live": "1"}), ("vp9", "webm", {"live": "1"})]
CLIPS += [("h264", "mov", FRONT), ("mpeg4", "avi", {}), ("h264", "flv", {}), ("mpeg4", "wmv", {})]
CLIPS += [("h264", "ts", {}), ("mpeg2", "ts", {}), ("mpeg2", "mpg", {})]


def write(folder: Path, codec: str, suffix: str, muxing: dict) -> Path:
    encoder, options = CODECS[codec]
    return write_clip(folder / f"clip.{suffix}", encoder, options, muxing=muxing, noise=60)


def stream_of(path: Path) -> tuple[list[int], str]:
    """Numbers of the frames that come, and what is said at the end."""
    numbers = []
    try:
        for frame in VideoFile(path):
            numbers.append(number_of(frame))
    except VideoError as error:
        return numbers, str(error)
    return numbers, ""


def remux(source: Path, target: Path, first=0, last=FRAMES, **muxing: str) -> Path:
    """Copies packets without encoding, from number `first` of the packets up to `last`."""
    with av.open(str(source)) as old, av.open(str(target), "w", container_options=muxing) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        for packet in packets[first:last]:
            packet.stream = copy
            new.mux(packet)
    return target


@pytest.mark.parametrize(("codec", "suffix", "muxing"), CLIPS)
def test_a_file_that_is_cut_short_says_so_after_its_good_frames(codec, suffix, muxing, tmp_path):
    whole = write(tmp_path, codec, suffix, muxing)
    assert stream_of(whole) == (list(range(FRAMES)), "")
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    for share in (0.5, 0.6, 0.75, 0.9, 0.654321):
        length = int(len(data) * share)
        if length % 188 == 0 or length % 2048 == 0:  # whole parts of a stream promise nothing
            length -= 1
        cut.write_bytes(data[:length])
        numbers, told = stream_of(cut)
        count = len(numbers)
        assert numbers == list(range(count)) and 0 < count < FRAMES
        assert re.search(
            rf"cut\.{suffix}: cut short after {count}( of .*\d)? frames: copy or", told
        )
        if "about" not in told and " of " in told:
            assert f"of {FRAMES} frames" in told
    video = VideoFile(cut)
    assert number_of(video.read([count - 1])[0]) == count - 1
    with pytest.raises(VideoError, match=f"cut short after {count}"):
        video.read([count])


def test_a_fragment_that_is_missing_whole_is_known_from_the_index_of_segments(tmp_path):
    muxing = {"movflags": "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx"}
    data = write_clip(tmp_path / "clip.mp4", options=H264, muxing=muxing, noise=60).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: data.rindex(b"moof") - 4])
    numbers, told = stream_of(path)
    assert numbers == list(range(len(numbers))) and 20 <= len(numbers) < FRAMES
    assert f"cut short after {len(numbers)} of" in told


def test_a_file_without_a_whole_frame_says_so(tmp_path):
    data = write_clip(tmp_path / "clip.mp4", options=H264, muxing=FRONT).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"mdat") + 40])
    with pytest.raises(VideoError, match=r"cut\.mp4: cut short before the end of its first frame"):
        VideoFile(tmp_path / "cut.mp4")


def joined(path: Path) -> list[int]:
    data = write_clip(path.with_name("part.ts"), options=H264).read_bytes()
    path.with_suffix(".ts").write_bytes(data + data)
    return [*range(FRAMES), *range(FRAMES)]


def header_counts_too_many(path: Path) -> list[int]:
    data = bytearray(write_clip(path.with_suffix(".avi"), "mpeg4", MPEG4).read_bytes())
    for place in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        assert data[place : place + 4] == FRAMES.to_bytes(4, "little")
        data[place : place + 4] = (2 * FRAMES).to_bytes(4, "little")
    path.with_suffix(".avi").write_bytes(data)
    return list(range(FRAMES))


def something_after_the_end(path: Path) -> list[int]:
    write_clip(path.with_suffix(".mp4"), options=H264)
    with path.with_suffix(".mp4").open("ab") as file:
        file.write(b"\0\0\xff\xffskip" + bytes(50))
    return list(range(FRAMES))


def no_index_at_the_end(path: Path) -> list[int]:
    data = write_clip(path.with_suffix(".mkv"), options=H264).read_bytes()
    path.with_suffix(".mkv").write_bytes(data[: data.rindex(bytes.fromhex("1c53bb6b")) + 6])
    return list(range(FRAMES))


def no_index_of_an_avi(path: Path) -> list[int]:
    data = write_clip(path.with_suffix(".avi"), "mpeg4", MPEG4).read_bytes()
    path.with_suffix(".avi").write_bytes(data[: data.rindex(b"idx1") + 10])
    return list(range(FRAMES))


def end_left_off(path: Path) -> list[int]:
    whole = write_clip(path.with_name("whole.mp4"), options={"g": "20", "bf": "0"})
    remux(whole, path.with_suffix(".mp4"), last=33)
    return list(range(33))


def start_left_off(path: Path) -> list[int]:
    whole = write_clip(path.with_name("whole.mkv"), options=H264)
    remux(whole, path.with_suffix(".mkv"), first=20)
    return list(range(20, FRAMES))


@pytest.mark.parametrize(
    "make",
    [
        *(joined, header_counts_too_many, something_after_the_end, no_index_at_the_end),
        *(no_index_of_an_avi, end_left_off, start_left_off),
    ],
)
def test_a_whole_file_is_no_damage_however_odd(make, tmp_path):
    numbers = make(tmp_path / "odd")
    (path,) = tmp_path.glob("odd.*")
    assert stream_of(path) == (numbers, "")


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_frames_before_the_first_key_frame_are_not_asked_for(suffix, tmp_path):
    """An open GOP that begins a file: its first frames lack what they refer to."""
    # Transport streams repeat in each key frame what a decoder needs to begin.
    whole = write_clip(tmp_path / f"whole.{'ts' if suffix == 'ts' else 'mkv'}", options=OPEN_GOP)
    with av.open(str(whole)) as container:
        keys = [
            place
            for place, packet in enumerate(container.demux(video=0))
            if packet.size and packet.is_keyframe
        ]
    path = remux(whole, tmp_path / f"cut.{suffix}", first=keys[1])
    numbers, told = stream_of(path)
    assert told == "" and numbers[-30:] == list(range(FRAMES - 30, FRAMES))


def damage(path: Path, number: int, fill: bytes, share: float = 0.3) -> None:
    """Overwrites the rest of packet `number`, from `share` of it on."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
    data = bytearray(path.read_bytes())
    start = packet.pos + int(packet.size * share)
    length = packet.pos + packet.size - start
    data[start : start + length] = (fill * length)[:length]
    path.write_bytes(data)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\xa5\x5a"])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", "mp4"), ("h264", "mov"), ("mpeg4", "mp4"), ("mpeg4", "avi")]
)
def test_damage_that_a_decoder_conceals_is_told(codec, suffix, fill, tmp_path):
    encoder, options = CODECS[codec]
    path = write_clip(tmp_path / f"clip.{suffix}", encoder, {**options, "bf": "0"}, noise=60)
    damage(path, 24, fill)
    numbers, told = stream_of(path)
    assert re.search(r"damaged after \d+ good frames", told)
    assert 20 <= len(numbers) <= 25 and numbers == list(range(len(numbers)))
    with pytest.raises(VideoError, match="damaged after"):
        VideoFile(path).read([len(numbers)])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv"])
def test_damage_of_the_last_frames_is_told_whatever_the_threads(suffix, tmp_path, monkeypatch):
    path = write_clip(tmp_path / "whole.mp4", options={"g": "20", "bf": "0"})
    damage(path, FRAMES - 1, b"\xff", 0)
    path = remux(path, tmp_path / f"clip.{suffix}")
    numbers, told = stream_of(path)
    assert numbers == list(range(FRAMES - 1)) and "damaged after 59 good frames" in told
    # Frame threads alone say nothing.
    monkeypatch.setattr("dff.data.video.decoding._decode_again", lambda *_: None)
    assert stream_of(path) == (numbers, "")
