import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import FRAMES, HEIGHT, WIDTH, number_of, write_clip
from torch.utils.data import DataLoader, Dataset

from dff.data.video.sources import VideoError, VideoFile, open_video

X264, X265 = "x264-params", "x265-params"
OPEN_GOP = {X264: "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0:b-adapt=0"}
REFRESH = {X264: "intra-refresh=1:keyint=20:bframes=0"}
FAST_VP = {"g": "20", "deadline": "realtime"}
HEVC = {X265: "keyint=20:min-keyint=20:log-level=none"}
CLIPS = {
    "h264 with B-frames": ("clip.mp4", "libx264", {"g": "20", "bf": "3"}),
    "h264 open GOP": ("clip.mp4", "libx264", OPEN_GOP),
    "h264 open GOP in Matroska": ("clip.mkv", "libx264", OPEN_GOP),
    "h264 intra refresh": ("clip.mp4", "libx264", REFRESH),
    "h264 in a transport stream": ("clip.ts", "libx264", {"g": "20"}),
    "h264 in QuickTime": ("clip.mov", "libx264", {"g": "20"}),
    "hevc open GOP": ("clip.mp4", "libx265", HEVC),
    "mpeg4 with B-frames in AVI": ("clip.avi", "mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4 with B-frames": ("clip.mp4", "mpeg4", {"g": "12", "bf": "2"}),
    "mpeg2 program stream": ("clip.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
    "vp8": ("clip.webm", "libvpx", FAST_VP),
    "vp9": ("clip.webm", "libvpx-vp9", FAST_VP),
    "av1": ("clip.mkv", "libsvtav1", {"preset": "12", "g": "20"}),
    "mjpeg": ("clip.avi", "mjpeg", {}),
    "gif": ("clip.gif", "gif", {}),
}


def trim(source: Path, target: Path, milliseconds: int) -> Path:
    """Cuts the start off without encoding again: MP4 hides the rest of the GOP by an edit list."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        shift = int(Fraction(milliseconds, 1000) / stream.time_base)
        for packet in old.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                new.mux(packet)
    return target


def assert_exact(path: Path, numbers: list[int]) -> None:
    """Iteration gives these numbers, and a read by either backend the very same frames."""
    frames = list(VideoFile(path))
    assert [number_of(frame) for frame in frames] == numbers
    draws = np.random.default_rng(0)
    # Around each key frame is where readers go wrong.
    near_keys = [index for index in (0, 11, 12, 19, 20, 21, 39, 41) if index < len(frames)]
    for backend in ("auto", "decord"):
        video = open_video(path, backend)
        wanted = [*near_keys, *draws.integers(0, len(frames), 6).tolist(), len(frames) - 1, 0]
        assert (video.read(wanted) == np.stack([frames[index] for index in wanted])).all()
        for index in (41, 20, 19, len(frames) - 1):
            assert (video.read([index])[0] == frames[index]).all()


@pytest.mark.parametrize("kind", CLIPS)
def test_each_frame_comes_once_and_a_read_gives_the_same(kind, tmp_path):
    name, codec, options = CLIPS[kind]
    path = write_clip(tmp_path / name, codec, options)
    assert_exact(path, list(range(FRAMES)))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_uneven_times_between_frames_lose_none(name, tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(5, 120, FRAMES)).tolist()
    path = write_clip(tmp_path / name, options={"g": "20"}, times=times)
    assert_exact(path, list(range(FRAMES)))


def test_frames_before_an_edit_list_do_not_come_though_the_header_counts_them(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", options={"g": "20", "bf": "2"}, count=80)
    path = trim(whole, tmp_path / "trimmed.mp4", 320)
    assert VideoFile(path).frame_count == 72
    # decord hangs on some of these files: it must not get one.
    assert not VideoFile(path).frame_table().closed
    assert_exact(path, list(range(8, 80)))


def test_most_reads_need_no_decoding_from_the_start(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", options=OPEN_GOP)
    monkeypatch.setattr(VideoFile, "_read_in_order", None)  # calling it would fail
    assert [number_of(frame) for frame in VideoFile(path).read([41, 3, 41])] == [41, 3, 41]


@pytest.mark.parametrize("rotation", [90, 180, 270, -90])
def test_rotation_is_applied_once(rotation, tmp_path):
    path = write_clip(tmp_path / "turned.mp4", rotation=rotation)
    turns = rotation // 90 % 4
    for backend in ("pyav", "decord"):
        video = open_video(path, backend)
        assert video.size == ((WIDTH, HEIGHT) if turns % 2 else (HEIGHT, WIDTH))
        frames = list(video)
        assert number_of(np.rot90(frames[5], -turns)) == 5
        # decord turns the picture by itself: the same direction, and only once.
        assert (video.read([5, 0]) == np.stack([frames[5], frames[0]])).all()


def test_reading_nothing_or_beyond_the_end(tmp_path):
    for name in ("clip.mp4", "clip.ts"):
        video = VideoFile(write_clip(tmp_path / name, count=12))
        assert video.read([]).shape == (0, HEIGHT, WIDTH, 3)
        with pytest.raises(IndexError, match=r"frame 12 of .*: it has 12 frames"):
            video.read([3, 12])
        with pytest.raises(IndexError, match="counted from 0"):
            video.read([-1])


def test_a_frame_size_that_changes_is_scaled_to_the_first(tmp_path):
    path = tmp_path / "change.ts"
    with path.open("wb") as file:
        for part, size in enumerate([(64, 96), (128, 192)]):
            with av.open(str(tmp_path / f"{part}.ts"), "w") as container:
                stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
                stream.height, stream.width = size
                for _ in range(5):
                    picture = np.full((*size, 3), 80 + part * 80, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
                container.mux(stream.encode(None))
            file.write((tmp_path / f"{part}.ts").read_bytes())
    frames = list(VideoFile(path))
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 10
    assert abs(frames[-1].mean() - 160) < 4


def test_damage_is_told_after_the_good_frames(tmp_path):
    path = write_clip(tmp_path / "damaged.mp4", options={"g": "20", "bf": "0"})
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    data = bytearray(path.read_bytes())
    data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    video, numbers = VideoFile(path), []
    with pytest.raises(VideoError, match=r"damaged\.mp4: damaged after 30 good frames.*re-encode"):
        for frame in video:
            numbers.append(number_of(frame))
    assert numbers == list(range(30))
    assert number_of(video.read([29])[0]) == 29
    with pytest.raises(VideoError, match="damaged after 30 good frames"):
        video.read([35])


def without_pictures(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def without_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.start_encoding()


def without_index(path: Path) -> None:
    write_clip(path)
    path.write_bytes(path.read_bytes()[:1000])


def within_index(path: Path) -> None:
    write_clip(path)
    path.write_bytes(path.read_bytes()[:-1200])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty: copy or download it again"),
        (lambda path: path.write_text("no video " * 40), "is not a video file .*: give a file"),
        (without_index, r"index \(moov\) is missing.*cut short: copy it again"),
        (within_index, "codec of its pictures is unknown.*cut short.*copy it again"),
        (without_pictures, "has no pictures, only sound or data: give a file with video"),
        (without_frames, "(no frame|no pictures|nothing in it can be read)"),
    ],
)
def test_an_unusable_file_says_what_is_wrong_and_what_to_do(make, message, tmp_path):
    path = tmp_path / "bad.mp4"
    make(path)
    with pytest.raises(VideoError, match=rf"bad\.mp4.*{message}"):
        open_video(path)


def test_a_missing_file_a_forbidden_one_and_a_wrong_backend(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no video at .*gone\.mp4: check the path"):
        open_video(tmp_path / "gone.mp4")
    path = write_clip(tmp_path / "clip.mp4", count=3)
    with pytest.raises(ValueError, match="backend 'cv2': wanted auto, pyav or decord"):
        open_video(path, "cv2")

    def refuse(*_):
        raise PermissionError

    # Not by chmod: the superuser, as whom containers test, may read everything.
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match=r"clip\.mp4 may not be read: allow it"):
        VideoFile(path)


def test_without_decord_the_frames_are_the_same(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", options={"g": "20"})
    expected = open_video(path, "decord").read([41, 7])
    monkeypatch.setitem(__import__("sys").modules, "decord", None)
    assert (open_video(path, "decord").read([41, 7]) == expected).all()


class Clips(Dataset):
    def __init__(self, video):
        self.video = video

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.from_numpy(self.video.read([7 * index, 7 * index + 3]))


@pytest.mark.parametrize("backend", ["auto", "decord"])
@pytest.mark.timeout(60)
def test_a_video_that_was_read_survives_a_fork_and_a_pickle(backend, tmp_path):
    video = open_video(write_clip(tmp_path / "clip.mp4", options={"g": "20"}), backend)
    video.read([20])
    loader = DataLoader(
        Clips(video), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=20
    )
    numbers = [[number_of(frame) for frame in pair.numpy()] for pair in loader]
    assert numbers == [[7 * index, 7 * index + 3] for index in range(8)]
    assert (pickle.loads(pickle.dumps(video)).read([33]) == video.read([33])).all()
