from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dff.data.samples import Interval
from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.intervals import Intervals
from dff.data.video.sources import VideoFile, VideoInput, find_videos, open_video
from dff.data.video.writer import VideoWriter

STEP = 8  # grey levels between one frame and the next: coding moves a level by less than half


def write_video(path: Path, count: int, size=(16, 24)) -> Path:
    with VideoWriter(path, 25, size) as writer:
        for number in range(count):
            writer.write(np.full((*size, 3), 20 + STEP * number, np.uint8))
    return path


def numbers_in(interval: Interval) -> list[int]:
    levels = interval["frames"].float().mean((1, 2, 3))
    return ((levels - 20) / STEP).round().int().tolist()


@pytest.fixture
def videos(tmp_path) -> list[VideoInput]:
    """Videos a, b, c, d of 7, 4, 1 and 9 frames."""
    for name, count in {"a": 7, "b": 4, "c": 1, "d": 9}.items():
        write_video(tmp_path / f"{name}.mp4", count)
    return find_videos([tmp_path])


def test_intervals_cover_each_video_once_in_order(videos):
    found = list(Intervals(videos, 3))
    assert [(item["name"], numbers_in(item), item["last"]) for item in found] == [
        ("a", [0, 1, 2], False),
        ("a", [3, 4, 5], False),
        ("a", [6], True),
        ("b", [0, 1, 2], False),
        ("b", [3], True),
        ("c", [0], True),
        ("d", [0, 1, 2], False),
        ("d", [3, 4, 5], False),
        ("d", [6, 7, 8], True),
    ]
    assert all(item["start"] == numbers_in(item)[0] for item in found)
    first = found[0]
    assert first["frames"].shape == (3, 3, 16, 24) and first["frames"].dtype == torch.uint8
    assert (first["path"], first["fps"], first["error"]) == (videos[0].path, 25.0, None)
    assert (first["frame_count"], first["frame_names"]) == (7, None)
    assert 0 < first["decode_seconds"] < 10


def test_frames_are_resized_as_in_evaluation(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        frame = rng.integers(0, 256, (90, 200, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    (plain,) = Intervals(find_videos([tmp_path]), 3)
    assert "resized" not in plain
    for resizing in (EvaluationTransform(80, 150), EvaluationTransform(64)):
        (item,) = Intervals(find_videos([tmp_path]), 3, resizing=resizing)
        assert (item["frames"] == plain["frames"]).all()
        for frame, resized in zip(item["frames"], item["resized"], strict=True):
            frame = frame.permute(1, 2, 0).numpy()
            shown = resizing({"key": frame, "current": frame})["current"]
            assert (resized.permute(1, 2, 0).numpy() == shown).all()


@pytest.mark.parametrize("key_duration", [1, 7, 100])
def test_any_key_duration_gives_the_same_frames(key_duration, videos):
    found = list(Intervals(videos[:1], key_duration))
    assert [number for item in found for number in numbers_in(item)] == list(range(7))
    assert [item["last"] for item in found] == [False] * (len(found) - 1) + [True]
    expected = torch.from_numpy(np.stack(list(open_video(videos[0].path))))
    assert torch.equal(torch.cat([item["frames"] for item in found]).permute(0, 2, 3, 1), expected)


def test_processes_share_the_videos(videos):
    shares = [
        {item["name"] for item in Intervals(videos, 3, rank, world_size=3)} for rank in range(3)
    ]
    assert shares == [{"a", "d"}, {"b"}, {"c"}]
    assert list(Intervals(videos[:1], 3, rank=1, world_size=2)) == []


@pytest.mark.parametrize(("limit", "starts"), [(1, [0]), (3, [0]), (4, [0, 3]), (99, [0, 3, 6])])
def test_max_frames_ends_a_video_early(limit, starts, videos):
    found = list(Intervals(videos[:1], 3, max_frames=limit))
    assert [item["start"] for item in found] == starts
    assert sum(len(item["frames"]) for item in found) == min(limit, 7)
    assert [item["last"] for item in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_the_same(workers, videos):
    loader = DataLoader(Intervals(videos, 3), batch_size=None, num_workers=workers)
    found = [(item["name"], numbers_in(item), item["last"]) for item in loader]
    assert found == [
        (item["name"], numbers_in(item), item["last"]) for item in Intervals(videos, 3)
    ]


def test_several_workers_are_refused(videos):
    loader = DataLoader(Intervals(videos, 3), batch_size=None, num_workers=2)
    with pytest.raises(ValueError, match=r"2 workers would mix .*: set num_workers to 0 or 1"):
        list(loader)


def test_a_video_that_does_not_open_is_told_and_the_next_one_comes(videos, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    gone = VideoInput(str(tmp_path / "gone.mp4"), "gone")
    bad = VideoInput(str(tmp_path / "bad.mp4"), "bad")
    found = list(Intervals([bad, gone, videos[2]], 3))
    assert [(item["name"], len(item["frames"]), item["last"]) for item in found] == [
        ("bad", 0, True),
        ("gone", 0, True),
        ("c", 1, True),
    ]
    assert "bad.mp4 is not a video file" in found[0]["error"]
    assert "gone.mp4: check the path" in found[1]["error"]
    assert (found[0]["frame_count"], found[0]["start"], found[2]["error"]) == (None, 0, None)


@pytest.mark.parametrize(("good", "sizes"), [(5, [3, 2, 0]), (6, [3, 3, 0]), (1, [1, 0])])
def test_a_damaged_video_gives_what_is_good_and_then_the_error(good, sizes, tmp_path):
    for number in range(8):
        picture = np.full((8, 8, 3), 20 + STEP * number, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / f"{good}.png").write_bytes(b"no image")
    found = list(Intervals(find_videos([tmp_path]), 3))
    assert [len(item["frames"]) for item in found] == sizes
    assert [number for item in found[:-1] for number in numbers_in(item)] == list(range(good))
    assert [item["last"] for item in found] == [False] * (len(found) - 1) + [True]
    assert [item["error"] is None for item in found] == [True] * (len(found) - 1) + [False]
    names = [name for item in found for name in item["frame_names"]]
    assert names == [str(number) for number in range(good)]
    assert f"{good}.png" in found[-1]["error"] and found[-1]["start"] == good


def test_reading_stays_one_interval_ahead(tmp_path, monkeypatch):
    video = find_videos([write_video(tmp_path / "a.mp4", 20)])
    read = []
    opened = VideoFile.timed
    monkeypatch.setattr(
        VideoFile, "timed", lambda self: (read.append(1) or frame for frame in opened(self))
    )
    for taken, _ in enumerate(Intervals(video, 2), 1):
        assert len(read) <= 2 * (taken + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_duration": 0}, "key duration 0: wanted at least 1"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2: wanted 0 to world size - 1"),
        ({"rank": -1}, "rank -1 of 1"),
        ({"max_frames": 0}, "max_frames 0: wanted at least 1, or None"),
    ],
)
def test_numbers_out_of_range_are_told(change, message):
    with pytest.raises(ValueError, match=message):
        Intervals([], **({"key_duration": 2} | change))
