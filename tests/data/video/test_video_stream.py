"""Which files are opened, under which names, and which of their streams is read."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from clips import FRAMES, number_of, write_clip

from dff.data.video.frame_times import DEFAULT_FPS
from dff.data.video.sources import VideoError, VideoFile, find_videos

ODD_NAMES = [
    "2024-01-01T12:30:00.mp4",
    "-clip.mp4",
    "-",
    "--output.mp4",
    "concat:a.mp4|b.mp4",
    "file:clip.mp4",
    "http:clip.mp4",
    "data:video,clip.mp4",
    "pipe:0",
    "clip%03d.mp4",
    "100%.mp4",
    "what?.mp4",
    "clip[1]*.mp4",
    "a,,:b.mp4",
    "two\nlines.mp4",
    "#1 straße 日本.mp4",
    "clip",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_whatever_is_on_disk_is_a_file(name, tmp_path, monkeypatch):
    write_clip(tmp_path / "plain.mp4", count=3)
    monkeypatch.chdir(tmp_path)
    os.rename("plain.mp4", name)
    (video,) = find_videos([name])
    assert [number_of(frame) for frame in video.open()] == [0, 1, 2]
    for backend in ("auto", "decord"):
        assert number_of(VideoFile(name, backend).read([1])[0]) == 1


def test_a_name_that_looks_like_an_address_in_folders(tmp_path, monkeypatch):
    (tmp_path / "http:" / "x.org").mkdir(parents=True)
    write_clip(tmp_path / "http:" / "x.org" / "clip.mp4", count=3)
    monkeypatch.chdir(tmp_path)
    (video,) = find_videos(["http://x.org/clip.mp4"])
    assert len(list(video.open())) == 3


@pytest.mark.timeout(30)
def test_what_is_no_file_is_refused_as_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    os.mkfifo("pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
        for name, kind in {
            "pipe.mp4": "pipe",
            "socket.mp4": "socket",
            "/dev/null": "device",
        }.items():
            for read in (VideoFile, lambda name: find_videos([name])):
                with pytest.raises(VideoError, match=rf"{name} is a {kind}, not a file: .* save"):
                    read(name)
    with pytest.raises(VideoError, match=r"folder\.mp4 is a folder, not a video file"):
        VideoFile("folder.mp4")
    # In a folder they are passed over.
    write_clip(tmp_path / "clip.mp4", count=3)
    assert [video.name for video in find_videos(["."])] == ["clip"]


READ = """
from dff.data.video.sources import find_videos
print([len(list(video.open())) for video in find_videos("/dev/stdin")])
"""


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin")
def test_standard_input_is_read_where_it_is_a_file_and_refused_as_a_pipe(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", count=3)
    command = [sys.executable, "-c", READ]
    with path.open("rb") as file:
        run = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=200)
    assert run.stdout == "[3]\n"
    run = subprocess.run(command, input=path.read_bytes(), capture_output=True, timeout=200)
    assert b"/dev/stdin is a pipe, not a file" in run.stderr


def test_the_index_is_blamed_only_where_it_is_missing(tmp_path):
    data = write_clip(tmp_path / "clip.mp4", muxing={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "bad.mp4"
    path.write_bytes(data[: data.index(b"moov") + 100])
    with pytest.raises(VideoError, match=r"index \(moov\) is missing"):
        VideoFile(path)
    # The index is there, and says nothing that can be understood.
    start, end = data.index(b"moov") + 4, data.index(b"mdat") - 4
    path.write_bytes(data[:start] + b"\xff" * (end - start) + data[end:])
    with pytest.raises(VideoError) as told:
        VideoFile(path)
    assert "missing" not in str(told.value) and "copy it again" in str(told.value)


def two_streams(path: Path, first: int, second: int, dispositions: tuple[int, int]) -> Path:
    """A grey stream of each brightness, the second larger."""
    with av.open(str(path), "w") as container:
        streams = []
        for size, disposition in zip(((48, 64), (96, 128)), dispositions, strict=True):
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width = size
            stream.pix_fmt, stream.disposition = "yuv420p", disposition
            streams.append(stream)
        for _ in range(5):
            for stream, level in zip(streams, (first, second), strict=True):
                picture = np.full((stream.height, stream.width, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


DEFAULT, PLAIN = av.stream.Disposition.default, 0


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("dispositions", "wanted"),
    [((PLAIN, DEFAULT), 200), ((DEFAULT, PLAIN), 60), ((DEFAULT, DEFAULT), None)],
)
def test_the_stream_is_the_one_that_players_show(suffix, dispositions, wanted, tmp_path):
    path = two_streams(tmp_path / f"clip.{suffix}", 60, 200, dispositions)
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        size = (best.height, best.width)
    wanted = wanted or (200 if size == (96, 128) else 60)  # as FFmpeg chooses among equals
    for backend in ("auto", "decord"):
        video = VideoFile(path, backend)
        frames = list(video)
        assert len(frames) == 5 and abs(frames[2].mean() - wanted) < 4
        assert video.size == size and (video.read([2])[0] == frames[2]).all()


@pytest.mark.parametrize("start", [0, 3_600_000, 1_000_000_000])
def test_the_count_of_matroska_is_that_of_its_frames_whenever_the_first_is_shown(start, tmp_path):
    times = [start + number * 40 for number in range(FRAMES)]
    video = VideoFile(write_clip(tmp_path / "clip.mkv", times=times))
    assert abs(video.frame_count - FRAMES * video.fps / DEFAULT_FPS) <= 1
