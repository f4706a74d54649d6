import pickle

import numpy as np
import pytest
from clips import FRAMES, number_of, write_clip

from dff.data import sampled_video
from dff.data.datasets.video_frames import find_snippets, split_in_words
from dff.data.files.images import write_png
from dff.data.pairs import EvaluationPairs, TrainingPairs
from dff.data.samples import SampleError
from dff.data.video.file import VideoFile
from dff.data.video.table_cache import FOLDER, frame_times

B_FRAMES = {"g": "20", "bf": "3"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))
    sampled_video.opened.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def as_it_is(arrays, seed):
    return arrays


def test_a_pair_holds_the_two_frames_that_it_says(root):
    """Each clip shows its frames' numbers; B-frames, and another rate, do not move them."""
    for folder in ("clips", "c"):
        (root / folder).mkdir()
    write_clip(root / "clips" / "a.mp4", options=B_FRAMES)
    irregular = np.cumsum([0, *([40, 20, 60] * FRAMES)])[:FRAMES].tolist()
    write_clip(root / "clips" / "b.mkv", options=B_FRAMES, times=irregular)
    for number in range(12):
        write_png(root / "c" / f"{number}.png", np.full((64, 96, 3), number, np.uint8))
    snippets = find_snippets(root, "train") + find_snippets(root, "val")
    assert sorted(snippet.name for snippet in snippets) == ["a", "b", "c"]
    pairs = EvaluationPairs(snippets, None, as_it_is, gaps=(1, 9))
    assert len(pairs) == 2 * (59 + 51) + 11 + 3
    for index in range(0, len(pairs), 7):
        pair = pickle.loads(pickle.dumps(pairs))[index]
        key, current = (pair[name].permute(1, 2, 0).numpy() for name in ("key", "current"))
        number, place, gap = pairs.entries[index].tolist()
        if snippets[number].name == "c":
            assert (key == place - gap).all() and (current == place).all()
        else:
            assert (number_of(key), number_of(current)) == (place - gap, place)


def test_at_a_rate_a_gap_is_the_same_time_in_every_video(root):
    times = [20 * n for n in range(FRAMES)]  # 50 frames a second
    write_clip(root / "fast.mp4", times=times)
    write_clip(root / "slow.mp4")  # 25
    found = find_snippets(root, "train", fps=5) + find_snippets(root, "val", fps=5)
    numbers = {s.name: [number_of(frame) for frame in s.video.read(list(s.frames))] for s in found}
    assert numbers == {"fast": list(range(0, 60, 10)), "slow": list(range(0, 60, 5))}


def test_training_takes_so_many_frames_of_a_video_and_the_last_among_them(root):
    write_clip(root / "a.mp4")
    write_clip(root / "b.mp4")
    (snippet,) = find_snippets(root, "train", frames_per_video=10)
    assert 5 < len(snippet.labelled) <= 10 and snippet.labelled[-1] == FRAMES - 1
    pairs = TrainingPairs([snippet], None, as_it_is, gaps=(1, 9))
    pair = pairs[len(pairs) - 1, 0]
    assert number_of(pair["current"].permute(1, 2, 0).numpy()) == FRAMES - 1


def test_videos_are_held_out_whole_and_the_same_each_time(root):
    for name in "abcdefghijkl":
        write_clip(root / f"{name}.mp4", count=5)
    splits = {
        seed: [
            [s.name for s in find_snippets(root, split, seed=seed)] for split in ("train", "val")
        ]
        for seed in (0, 1)
    }
    for train, val in splits.values():
        assert len(val) == 1 and sorted(train + val) == list("abcdefghijkl")
    assert splits[0] == [[s.name for s in find_snippets(root, p)] for p in ("train", "val")]
    assert splits[0] != splits[1]
    assert split_in_words(root).endswith(splits[0][1][0])
    half = find_snippets(root, "val", val_share=0.5)
    assert len(half) == 6


def test_of_a_single_video_the_last_fifth_is_held_out(root):
    write_clip(root / "only.mp4")
    train, val = (find_snippets(root, split)[0] for split in ("train", "val"))
    assert (len(train.frames), len(val.frames)) == (48, 12)
    assert number_of(val.video.read([0])[0]) == 48
    assert "last fifth" in split_in_words(root)


def test_folders_train_and_val_are_a_split(root):
    for split in ("train", "val"):
        (root / split).mkdir()
        write_clip(root / split / f"{split}_clip.mp4")
    for split in ("train", "val"):
        assert [s.name for s in find_snippets(root, split)] == [f"{split}_clip"]


def test_a_video_that_cannot_be_read_is_named_and_passed_over(root):
    write_clip(root / "good.mp4")
    (root / "train").mkdir()
    (root / "val").mkdir()
    (root / "good.mp4").rename(root / "train" / "good.mp4")
    (root / "train" / "bad.mp4").write_bytes(b"no video")
    with pytest.warns(UserWarning, match=r"1 of 2 videos are passed over; the first: .*bad\.mp4"):
        assert [s.name for s in find_snippets(root, "train")] == ["good"]
    with pytest.raises(SampleError, match=r"bad\.mp4.*skip_damaged"):
        find_snippets(root, "train", skip_damaged=False)
    (root / "train" / "good.mp4").unlink()
    with pytest.raises(SampleError, match=r"no video in .* can be used; the first: .*bad\.mp4"):
        find_snippets(root, "train")
    write_clip(root / "val" / "still.mp4", count=1)
    with pytest.raises(SampleError, match=r"still\.mp4 has 1 frames to take: wanted two or more"):
        find_snippets(root, "val")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fps": 0}, "fps 0: wanted frames per second above 0"),
        ({"val_share": 1.0}, "a share between 0 and 1"),
        ({"frames_per_video": 0}, "at least 1 frame"),
    ],
)
def test_settings_out_of_range_are_refused(root, settings, words):
    with pytest.raises(ValueError, match=words):
        find_snippets(root, "train", **settings)


def test_a_root_without_videos_is_refused(tmp_path, root):
    with pytest.raises(FileNotFoundError, match=r"no folder .*: set --data\.root"):
        find_snippets(tmp_path / "nowhere", "train")
    with pytest.raises(FileNotFoundError, match="no video and no frames in"):
        find_snippets(root, "train")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_a_file_is_looked_through_once(tmp_path, cache, monkeypatch, name):
    """In AVI a seek cannot be trusted, and its frames are counted by decoding them."""
    path = write_clip(tmp_path / name, "mpeg4" if name.endswith("avi") else "libx264")
    times = frame_times(VideoFile(path))
    assert np.allclose(times, np.arange(FRAMES) / 25)
    (kept,) = (cache / FOLDER).iterdir()
    monkeypatch.setattr(VideoFile, "timed", None)
    monkeypatch.setattr("dff.data.video.file.scan_frames", None)
    video = VideoFile(path)
    assert np.array_equal(frame_times(video), times)
    if name.endswith("mp4"):
        assert [number_of(frame) for frame in video.read([41, 7])] == [41, 7]
    monkeypatch.undo()
    monkeypatch.setenv("DFF_CACHE", str(cache))
    kept.write_bytes(b"damaged")
    assert np.array_equal(frame_times(VideoFile(path)), times)
    write_clip(path, "mpeg4" if name.endswith("avi") else "libx264", count=30)
    assert len(frame_times(VideoFile(path))) == 30


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "file"))
    assert len(frame_times(VideoFile(write_clip(tmp_path / "clip.mp4")))) == FRAMES
