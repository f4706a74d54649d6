"""A disk that is full, or fails, is one video's failure: nothing is left half-written."""

import errno
import json
import os
import resource

import numpy as np
import pytest
import torch

from dff.data.video.clips import Clip
from dff.data.video.sources import VideoError, VideoInput
from dff.data.video.writer import VideoWriter
from dff.inference.engine import Result
from dff.inference.results.detection_files import DetectionFiles
from dff.inference.results.writer import ResultWriter
from dff.inference.tasks.choice import tasks_of

TASKS = tasks_of({"heads": {"segmentation": 1.0, "detection": 1.0}})
TASKS["segmentation"].palette = [[0, 0, 0], [200, 0, 0]]
SIZE = (64, 96)
INPUT = "/videos/a.mp4"


def result(start: int, count: int, last: bool) -> Result:
    noise = np.random.default_rng(start).integers(0, 256, (count, 3, *SIZE), np.uint8)
    frames = torch.from_numpy(noise)
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (count, *SIZE), np.uint8))
    boxes = torch.tensor([1.0, 2, 30, 40, 0.9, 0]).repeat(count, 5, 1)
    clip = Clip(
        VideoInput(INPUT, "a"),
        frames,
        frames,
        start,
        last,
        times=[index / 10 for index in range(start, start + count)],
        end=(start + count) / 10,
        fps=10.0,
    )
    found = {"segmentation": labels, "detection": boxes}
    return Result(clip, found, [True] + [False] * (count - 1), seconds=0.1)


def result_writer(folder, settings=None, **kwargs) -> ResultWriter:
    return ResultWriter(folder, TASKS, settings or {}, **kwargs)


def write(writer: ResultWriter, clips: int = 3, count: int = 8) -> None:
    """What a prediction does in its writing thread, for one video."""
    for number in range(clips):
        writer._write(result(number * count, count, number == clips - 1), 0.0)
    assert writer._open is None


def files_in(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def largest_file():
    """Lets no file grow beyond a size: what writes it fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


PLACES = {
    "overlay": ({"labels": "none"}, 20_000),
    "label pictures": ({"draw_overlay": False}, 700),
    "boxes": ({"draw_overlay": False, "labels": "none"}, 5_000),
}


def test_no_room_for_the_end_of_the_overlay(tmp_path, largest_file):
    """The index goes to the front last of all, and moves everything."""
    settings = {"labels": "none"}
    for name in ("whole", "out"):
        (tmp_path / name).mkdir()
    write(result_writer(tmp_path / "whole", **settings))
    size = (tmp_path / "whole" / "a.mp4").stat().st_size
    writer = result_writer(tmp_path / "out", {}, **settings)
    largest_file(size - 100)
    write(writer)
    assert "File too large" in writer.failed["a"] and files_in(tmp_path / "out") == {}


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_no_room_for_a_file(place, earlier, tmp_path, largest_file):
    settings, size = PLACES[place]
    if earlier:  # of other settings: they stay until there is something better
        write(result_writer(tmp_path, {"other": 1}))
    before = files_in(tmp_path)
    writer = result_writer(tmp_path, {}, **settings)
    largest_file(size)
    write(writer)
    largest_file(resource.RLIM_INFINITY)
    assert files_in(tmp_path) == before
    assert writer.failed == {
        "a": f"not predicted: {INPUT}: its results could not be written to {tmp_path} "
        "(File too large): make room there, or give another folder with --output"
    }
    write(again := result_writer(tmp_path, {}, **settings))
    assert not again.failed and json.loads((tmp_path / "a.json").read_text())["frames"] == 24


def test_without_faults_all_is_there(tmp_path):
    writer = result_writer(tmp_path, {})
    write(writer)
    assert not writer.failed
    names = ["a", "a.boxes.json", "a.boxes.txt", "a.json", "a.mp4"]
    assert sorted(os.listdir(tmp_path)) == names and len(os.listdir(tmp_path / "a")) == 24
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["times"] == [index / 10 for index in range(24)] and report["duration"] == 2.4


FAULTS = [
    ("pathlib.Path.mkdir", errno.ENOSPC),
    ("pathlib.Path.open", errno.EROFS),
    ("os.replace", errno.EIO),
    ("os.replace", errno.EROFS),
    ("dff.inference.results.video_results.VideoWriter", errno.ENOSPC),
    ("dff.inference.results.folders.write_whole", errno.ENOSPC),
    ("dff.inference.results.folders.remove_results", errno.EIO),
]


@pytest.mark.parametrize(("call", "code"), FAULTS)
def test_a_disk_that_fails_at_any_step(call, code, tmp_path, monkeypatch):
    """However it fails, it is told in words, and the video does not look finished."""

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    writer = result_writer(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        write(writer)
    assert os.strerror(code) in writer.failed["a"] and INPUT in writer.failed["a"]
    assert files_in(tmp_path) == {}


def test_boxes_that_cannot_be_finished_leave_no_file(tmp_path, largest_file):
    files = DetectionFiles(tmp_path, "a")
    rows = torch.tensor([[[1.0, 2, 3, 4, 0.9, 0]]]).repeat(1, 9, 1)
    files.write(result(0, 1, True).clip, rows)
    largest_file(100)  # less than is held back in memory
    with pytest.raises(OSError, match="File too large"):
        files.close()
    files.abort()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("size", [0, 3_000, 60_000])
def test_a_video_that_cannot_be_finished_leaves_no_file(codec, size, tmp_path, largest_file):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    crf = 18 if codec == "libx264" else None
    largest_file(size)
    with (
        pytest.raises(VideoError, match=r"a\.mp4.*File too large"),
        VideoWriter(tmp_path / "a.mp4", 25, SIZE, codec, crf) as file,
    ):
        for number in range(40):
            file.write(np.roll(noise, 7 * number, 1))
    assert os.listdir(tmp_path) == []
