from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dff.data.transforms.pairs import EvaluationTransform
from dff.data.video.clips import LONGEST_CLIP, Clip, Clips, clips_of_frames, every
from dff.data.video.sources import VideoFile, VideoInput, find_videos, open_video
from dff.data.video.writer import VideoWriter

STEP = 8  # grey levels between one frame and the next: coding moves a level by less than half


def write_video(path: Path, count: int, size=(16, 24), step=STEP) -> Path:
    with VideoWriter(path, 25, size) as writer:
        for number in range(count):
            writer.write(np.full((*size, 3), 20 + step * number, np.uint8))
    return path


def numbers_in(clip: Clip) -> list[int]:
    levels = clip.frames.float().mean((1, 2, 3))
    return ((levels - 20) / STEP).round().int().tolist()


@pytest.fixture
def videos(tmp_path) -> list[VideoInput]:
    """Videos a, b, c, d of 7, 4, 1 and 9 frames."""
    for name, count in {"a": 7, "b": 4, "c": 1, "d": 9}.items():
        write_video(tmp_path / f"{name}.mp4", count)
    return find_videos([tmp_path])


def test_clips_cover_each_video_once_in_order(videos):
    found = list(Clips(videos, every(3)))
    assert [(item.video.name, numbers_in(item), item.last) for item in found] == [
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
    assert all(item.start == numbers_in(item)[0] for item in found)
    first = found[0]
    assert first.frames.shape == (3, 3, 16, 24) and first.frames.dtype == torch.uint8
    assert (first.video.path, first.fps, first.error) == (videos[0].path, 25.0, None)
    assert (first.frame_count, first.frame_names) == (7, None)
    assert 0 < first.decode_seconds < 10


def test_frames_are_resized_as_in_evaluation(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        frame = rng.integers(0, 256, (90, 200, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    (plain,) = Clips(find_videos([tmp_path]), every(3))
    assert plain.seen is plain.frames
    for resizing in (EvaluationTransform(80, 150), EvaluationTransform(64)):
        (item,) = Clips(find_videos([tmp_path]), every(3), resizing=resizing)
        assert (item.frames == plain.frames).all()
        for frame, resized in zip(item.frames, item.seen, strict=True):
            frame = frame.permute(1, 2, 0).numpy()
            shown = resizing({"key": frame, "current": frame})["current"]
            assert (resized.permute(1, 2, 0).numpy() == shown).all()


@pytest.mark.parametrize("length", [1, 7, 100])
def test_any_length_gives_the_same_frames(length, videos):
    found = list(Clips(videos[:1], every(length)))
    assert [number for item in found for number in numbers_in(item)] == list(range(7))
    assert [item.last for item in found] == [False] * (len(found) - 1) + [True]
    expected = torch.from_numpy(np.stack(list(open_video(videos[0].path))))
    assert torch.equal(torch.cat([item.frames for item in found]).permute(0, 2, 3, 1), expected)


def test_processes_share_the_videos(videos):
    clips = [Clips(videos, every(3), rank=rank, world_size=3) for rank in range(3)]
    shares = [{item.video.name for item in share} for share in clips]
    assert shares == [{"a", "d"}, {"b"}, {"c"}]
    assert list(Clips(videos[:1], every(3), rank=1, world_size=2)) == []


@pytest.mark.parametrize(("limit", "starts"), [(1, [0]), (3, [0]), (4, [0, 3]), (99, [0, 3, 6])])
def test_max_frames_ends_a_video_early(limit, starts, videos):
    found = list(Clips(videos[:1], every(3), max_frames=limit))
    assert [item.start for item in found] == starts
    assert sum(len(item.frames) for item in found) == min(limit, 7)
    assert [item.last for item in found] == [False] * (len(found) - 1) + [True]


def test_a_video_that_does_not_open_is_told_and_the_next_one_comes(videos, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    gone = VideoInput(str(tmp_path / "gone.mp4"), "gone")
    bad = VideoInput(str(tmp_path / "bad.mp4"), "bad")
    found = list(Clips([bad, gone, videos[2]], every(3)))
    assert [(item.video.name, len(item.frames), item.last) for item in found] == [
        ("bad", 0, True),
        ("gone", 0, True),
        ("c", 1, True),
    ]
    assert "bad.mp4 is not a video file" in found[0].error
    assert "gone.mp4: check the path" in found[1].error
    assert (found[0].frame_count, found[0].start, found[2].error) == (None, 0, None)


@pytest.mark.parametrize(("good", "sizes"), [(5, [3, 2, 0]), (6, [3, 3, 0]), (1, [1, 0])])
def test_a_damaged_video_gives_what_is_good_and_then_the_error(good, sizes, tmp_path):
    for number in range(8):
        picture = np.full((8, 8, 3), 20 + STEP * number, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / f"{good}.png").write_bytes(b"no image")
    found = list(Clips(find_videos([tmp_path]), every(3)))
    assert [len(item.frames) for item in found] == sizes
    assert [number for item in found[:-1] for number in numbers_in(item)] == list(range(good))
    assert [item.last for item in found] == [False] * (len(found) - 1) + [True]
    assert [item.error is None for item in found] == [True] * (len(found) - 1) + [False]
    names = [name for item in found[:-1] for name in item.frame_names]
    assert names == [str(number) for number in range(good)]
    assert f"{good}.png" in found[-1].error and found[-1].start == good


def test_reading_stays_one_clip_ahead(tmp_path, monkeypatch):
    video = find_videos([write_video(tmp_path / "a.mp4", 20)])
    read = []
    opened = VideoFile.timed
    monkeypatch.setattr(
        VideoFile, "timed", lambda *asked: (read.append(1) or frame for frame in opened(*asked))
    )
    for taken, _ in enumerate(Clips(video, every(2)), 1):
        assert len(read) <= 2 * (taken + 1) + 1  # the frame that begins the next


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 2, "world_size": 2}, "rank 2 of 2: wanted 0 to world size - 1"),
        ({"rank": -1}, "rank -1 of 1"),
        ({"max_frames": 0}, "max_frames 0: wanted at least 1, or None"),
    ],
)
def test_numbers_out_of_range_are_told(change, message):
    with pytest.raises(ValueError, match=message):
        Clips([], every(2), **change)


def test_a_clip_of_no_frames_is_refused():
    with pytest.raises(ValueError, match="clips of 0 frames: wanted at least 1"):
        every(0)


def test_a_clip_never_outgrows_its_limits(tmp_path, monkeypatch):
    video = write_video(tmp_path / "a.mp4", LONGEST_CLIP + 3, step=1)
    video = find_videos([video])
    sizes = [len(clip.frames) for clip in Clips(video, every(100))]
    assert sizes == [LONGEST_CLIP, 3]
    monkeypatch.setattr("dff.data.video.clips.LARGEST_CLIP", 5 * 16 * 24 * 3)
    assert {len(clip.frames) for clip in Clips(video, every(100))} == {5}


def test_the_reader_is_asked_where_clips_begin(videos):
    """Each video has a reader of its own, which sees the frames as the networks do."""

    def begins():
        asked = []

        def here(number, picture):
            asked.append(number)
            assert asked == list(range(number + 1)) and picture.shape == (64, 96, 3)
            return number in (0, 1, 5)

        return here

    found = Clips(videos[:2], begins, resizing=EvaluationTransform(64))
    assert [(clip.video.name, clip.start, len(clip.frames)) for clip in found] == [
        *(("a", 0, 1), ("a", 1, 4), ("a", 5, 2)),
        *(("b", 0, 1), ("b", 1, 3)),
    ]


def test_frames_of_a_program_are_clips_of_one():
    pictures = [np.full((8, 12, 3), level, np.uint8) for level in (10, 20)]
    found = list(clips_of_frames(iter(pictures), EvaluationTransform(64), fps=2))
    assert [(c.start, c.times, c.end, c.last) for c in found] == [
        *((0, [0.0], 0.5, False), (1, [0.5], 1.0, False)),
    ]
    assert found[1].frames.shape == (1, 3, 8, 12) and found[1].seen.shape == (1, 3, 64, 96)
    assert (found[1].frames == 20).all()
    for wrong in (np.zeros((8, 12), np.uint8), np.zeros((8, 12, 3), np.float32)):
        with pytest.raises(ValueError, match=r"frame 0 is an array of .*wanted \(H, W, 3\) and ui"):
            list(clips_of_frames([wrong]))
