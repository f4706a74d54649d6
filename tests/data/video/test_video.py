import os
import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dff.data.video.sources import FrameFolder, VideoError, VideoInput, find_videos, open_video


def draw(value: int, size=(8, 12)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def write_images(folder: Path, names: list[str], size=(8, 12)) -> Path:
    """Writes one grey image a name; the first is 10, each next one 10 brighter."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names, 1):
        assert cv2.imwrite(str(folder / name), draw(10 * place, size))
    return folder


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def names_of(videos: list[VideoInput]) -> list[str]:
    return [video.name for video in videos]


def test_a_folder_of_images_is_a_video_in_natural_order(tmp_path):
    folder = write_images(tmp_path / "walk", ["f1.png", "f2.png", "f10.png"])
    (folder / "notes.txt").write_text("no frame")
    (folder / "._f1.png").write_bytes(b"what a Mac leaves on other disks")
    video = open_video(folder)
    assert [int(frame[0, 0, 0]) for frame in video] == [10, 20, 30]
    assert video.read([2, 0, 2])[:, 0, 0, 0].tolist() == [30, 10, 30]
    assert video.read([]).shape == (0, 8, 12, 3)
    assert video.frame_names == ["f1", "f2", "f10"]
    assert (video.name, video.fps, video.size, video.frame_count) == ("walk", 17.0, (8, 12), 3)
    assert FrameFolder(folder, fps=30.0).fps == 30.0
    assert len(list(pickle.loads(pickle.dumps(video)))) == 3


def test_frames_that_differ_in_their_suffix_alone_keep_it(tmp_path):
    folder = write_images(tmp_path / "walk", ["0.jpg", "0.png", "1.png"])
    assert FrameFolder(folder).frame_names == ["0.jpg", "0.png", "1.png"]
    assert find_videos([folder])[0].frame_names == ["0.jpg", "0.png", "1.png"]


def test_frames_are_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((4, 4, 3), (0, 0, 200), np.uint8))
    assert open_video(tmp_path).read([0])[0, 0, 0].tolist() == [200, 0, 0]


def test_images_of_different_sizes_are_an_error_that_names_the_file(tmp_path):
    write_images(tmp_path, ["0.png", "1.png"])
    write_images(tmp_path, ["2.png"], (9, 12))
    video, count = open_video(tmp_path), 0
    with pytest.raises(VideoError, match=r"2\.png is 12x9, the frames before it 12x8: keep"):
        for _ in video:
            count += 1
    assert count == 2
    with pytest.raises(VideoError, match=r"2\.png is 12x9"):
        video.read([0, 2])


def test_a_damaged_image_is_an_error_that_names_it(tmp_path):
    write_images(tmp_path, ["0.png", "1.png"])
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    video = open_video(tmp_path)
    with pytest.raises(VideoError, match=r"frame 1 of .*1\.png"):
        list(video)


def test_a_folder_without_images_and_a_frame_that_is_not_there(tmp_path):
    with pytest.raises(VideoError, match=r"no frames in .*: give a folder that holds PNG or JPEG"):
        open_video(tmp_path)
    write_images(tmp_path, ["0.png"])
    for index in (1, -1):
        with pytest.raises(IndexError, match=rf"frame {index} of .*: it has 1 frames"):
            open_video(tmp_path).read([index])


def test_a_forbidden_folder_says_so(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError

    # Not by chmod: the superuser, as whom containers test, may read everything.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="may not be read: allow it"):
        open_video(tmp_path)


def test_inputs_are_files_folders_and_globs_in_order(tmp_path, monkeypatch):
    touch(tmp_path / "b" / "v10.mp4", tmp_path / "b" / "v2.mkv", tmp_path / "c.mp4")
    touch(tmp_path / "b" / "readme.txt", tmp_path / "b" / ".hidden.mp4")
    write_images(tmp_path / "d" / "x", ["0.png"])
    write_images(tmp_path / "d" / "y", ["0.png", "1.jpg"])
    monkeypatch.chdir(tmp_path)
    assert names_of(find_videos(["c.mp4", "b", "d"])) == ["c", "v2", "v10", "x", "y"]
    assert names_of(find_videos(["*/*.mp4", "**/*.mkv"])) == ["v10", "v2"]
    assert names_of(find_videos(["d/*"])) == ["x", "y"]
    assert names_of(find_videos("c.mp4")) == ["c"]
    assert find_videos(["d"])[1].frame_names == ["0", "1"]
    assert find_videos(["c.mp4"])[0].frame_names is None


def test_a_name_with_brackets_is_no_glob_and_a_home_is_found(tmp_path, monkeypatch):
    touch(tmp_path / "clip[1].mp4")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names_of(find_videos([str(tmp_path / "clip[1].mp4")])) == ["clip_1_"]
    assert names_of(find_videos(["~/clip[1].mp4"])) == ["clip_1_"]


def test_a_video_that_is_named_twice_is_given_once(tmp_path):
    touch(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    given = [tmp_path / "a.mp4", str(tmp_path / "*.mp4"), tmp_path / "link.mp4"]
    assert names_of(find_videos(given)) == ["a"]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path / "elsewhere/a.mp4")
    (tmp_path / "videos/up").mkdir(parents=True)
    (tmp_path / "videos/city").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/up/back").symlink_to(tmp_path / "videos")
    assert names_of(find_videos([tmp_path / "videos"])) == ["a"]


@pytest.mark.filterwarnings("ignore:.*are not searched .deep.")
def test_links_in_circles_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(Path("videos/a.mp4"), Path("videos/deep/b.mp4"))
    links = {"loop": "loop", "loop.mp4": "loop.mp4", "gone.mp4": "nowhere", "one": ".", "two": "."}
    links |= {"ping": "pong", "pong": "ping", "deep/up": "../.."}
    for name, target in links.items():
        Path("videos", name).symlink_to(target)
    assert names_of(find_videos(["videos"])) == ["a"]
    assert names_of(find_videos(["videos/*.mp4"])) == ["a"]
    # glob would go along `one` and `two` in every order
    for pattern in ("videos/**/*.mp4", "**/*.mp4", "videos/**/deep/../**/*.mp4"):
        assert sorted(names_of(find_videos([pattern]))) == ["a", "b"]
    write_images(Path("frames"), ["0.png", "1.png"])
    Path("frames/2.png").symlink_to("2.png")
    assert find_videos(["frames"])[0].frame_names == ["0", "1"]
    with pytest.raises(FileNotFoundError, match=r"'videos/loop\.mp4' is a link that leads nowhere"):
        find_videos(["videos/loop.mp4"])


def test_names_are_unique(tmp_path):
    for file in ("1/a.mp4", "2/a.mp4", "3/A.mp4", "4/a_2.mp4", "5/a.avi"):
        touch(tmp_path / file)
    found = names_of(find_videos([tmp_path / str(number) for number in range(1, 6)]))
    assert found == ["a", "a_2", "A_3", "a_2_2", "a_4"]
    assert len({name.casefold() for name in found}) == 5


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("...mp4", "video"),
        ("a b:c?.mp4", "a_b_c_"),
        ("..up.mp4", "up"),
        ("straße 日本.mp4", "straße_日本"),
        ("back\\slash.mp4", "back_slash"),
        ("-" * 150 + ".mp4", "-" * 100),
        ("new\nline.mp4", "new_line"),
    ],
)
def test_names_are_safe_as_file_names(file, name, tmp_path):
    touch(tmp_path / file)
    assert names_of(find_videos([tmp_path / file])) == [name]


def test_the_folder_one_stands_in_has_its_own_name(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "v1.0", ["0.png"])
    (folder / "below").mkdir()
    monkeypatch.chdir(folder)
    assert names_of(find_videos(["."])) == ["v1.0"]
    monkeypatch.chdir(folder / "below")
    assert names_of(find_videos([".."])) == ["v1.0"]
    assert open_video("..").name == "v1.0"


def test_cityscapes_folders_are_cut_into_runs(tmp_path):
    names = ["bonn_000000_000003", "bonn_000000_000004", "bonn_000000_000009"]
    names += ["bonn_000001_000010", "bonn_000001_000011"]
    folder = tmp_path / "leftImg8bit_sequence" / "val" / "bonn"
    write_images(folder, [f"{name}_leftImg8bit.png" for name in names])
    videos = find_videos([tmp_path])
    assert names_of(videos) == ["bonn_000000_000003", "bonn_000000_000009", "bonn_000001_000010"]
    assert videos[2].frame_names == [f"{name}_leftImg8bit" for name in names[3:]]
    assert [int(frame[0, 0, 0]) for frame in videos[2].open()] == [40, 50]
    assert videos[1].open().frame_count == 1


def test_a_folder_gives_its_frames_and_the_video_beside_them(tmp_path):
    folder = write_images(tmp_path / "walk", ["0.png"])
    touch(folder / "preview.mp4", folder / "below" / "not_reached.mp4")
    assert names_of(find_videos([folder])) == ["walk", "preview"]


def test_one_image_does_not_hide_the_folders_beside_it(tmp_path):
    for name in ("cam0", "cam1"):
        write_images(tmp_path / "run" / name, ["0.png", "1.png"])
    touch(tmp_path / "run" / "more" / "a.mp4")
    write_images(tmp_path / "run", ["preview.png"])
    assert names_of(find_videos([tmp_path])) == ["run", "cam0", "cam1", "a"]


@pytest.mark.parametrize("beside", ["images", "video"])
def test_frames_or_a_video_beside_folders_of_videos_hide_them_with_a_word(beside, tmp_path):
    write_images(tmp_path / "run" / "cam0", ["0.png", "1.png"])
    touch(tmp_path / "run" / "more" / "a.mp4", tmp_path / "run" / "notes" / "b.txt")
    if beside == "images":
        write_images(tmp_path / "run", ["0.png", "1.png"])
    else:
        touch(tmp_path / "run" / "v.mp4")
    with pytest.warns(UserWarning, match=r"in it are not searched \(cam0, more\): give them by"):
        found = names_of(find_videos([tmp_path]))
    assert found == (["run"] if beside == "images" else ["v"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("https://x.org/a.mp4?b=*", VideoError, r"is an address, .* read from files: download"),
        ("rtsp://camera/1", VideoError, "is an address, .* download or record it first"),
        ("s3://bucket/a.mp4", VideoError, "is an address"),
        ("file:///a.mp4", VideoError, "is an address, .* give its path"),
        ("-", VideoError, "not from standard input"),
        ("gone.mp4", FileNotFoundError, r"no video and no folder at '.*gone\.mp4': check the path"),
        ("", FileNotFoundError, "no video and no folder at ''"),
        ("*.webm", FileNotFoundError, r"nothing matches '.*\*\.webm': check the folder and"),
        ("empty", FileNotFoundError, "no video and no frames in .*empty: give a folder that holds"),
        ("frames/0.png", VideoError, r"0\.png is one image: give its folder"),
    ],
)
def test_wrong_inputs_say_what_to_do(given, error, message, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "frames", ["0.png"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        find_videos([given])


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_memory_does_not_grow_along_a_long_video(tmp_path):
    path = tmp_path / "long.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width = 240, 320
        for number in range(1500):
            picture = np.roll(noise, number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    count, start, peak = 0, 0.0, 0.0
    for count, _ in enumerate(open_video(path), 1):
        if count == 100:
            start = resident_mib()
        if count % 50 == 0:
            peak = max(peak, resident_mib())
    print(f"{start:.0f} MiB after 100 frames, at most {peak:.0f} MiB")
    assert count == 1500
    # All frames together are 330 MiB.
    assert peak - start < 40
