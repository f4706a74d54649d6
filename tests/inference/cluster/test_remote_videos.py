"""Videos at addresses: files, folders and patterns."""

import uuid

import fsspec
import pytest

from dff.data.video.sources import distinct
from dff.inference.cluster.remote_videos import videos_at_address
from dff.inference.cluster.video_list import find_listed


@pytest.fixture
def bucket():
    name = f"bucket-{uuid.uuid4().hex}"
    files = fsspec.filesystem("memory")
    for file in ("10.mp4", "2.mkv", "notes.txt", ".hidden.mp4", "deeper/no.mp4", "far/off/c.mp4"):
        files.pipe_file(f"/{name}/{'top/' if file != 'far/off/c.mp4' else ''}{file}", b"a video")
    yield f"memory://{name}"
    files.rm(f"/{name}", recursive=True)


def addresses(videos):
    return [video.address for video in videos]


def test_a_folder_gives_its_videos_in_natural_order(bucket):
    videos = videos_at_address(f"{bucket}/top/")
    assert addresses(videos) == [f"{bucket}/top/2.mkv", f"{bucket}/top/10.mp4"]
    assert [video.name for video in videos] == ["2", "10"]


def test_a_folder_without_videos_is_searched_further_down(bucket):
    assert addresses(videos_at_address(f"{bucket}/far")) == [f"{bucket}/far/off/c.mp4"]


def test_patterns_are_for_what_a_person_types(bucket):
    assert addresses(videos_at_address(f"{bucket}/top/*.mp4", patterns=True)) == [
        f"{bucket}/top/10.mp4"
    ]
    assert addresses(videos_at_address(f"{bucket}/top/*.mp4")) == [f"{bucket}/top/*.mp4"]


def test_nothing_there_is_said(bucket):
    with pytest.raises(FileNotFoundError, match=r"no video at memory://.*/none: give a file, or"):
        videos_at_address(f"{bucket}/none")
    (video,) = find_listed([f"{bucket}/none"])  # in a list it holds up no other
    assert video.address == f"{bucket}/none"


def test_a_local_folder_by_its_address(tmp_path):
    (tmp_path / "a.mp4").touch()
    assert addresses(videos_at_address(f"file://{tmp_path}")) == [f"file://{tmp_path}/a.mp4"]


def test_names_never_lead_out_of_the_output_and_files_stay_apart():
    listed = ["memory://k:secret@b/..mp4", "memory://b/x/a..\\..\\etc.mp4", "https://h/a.mp4?id=1"]
    found = find_listed([*listed, "https://h/a.mp4?id=2", "https://h/a.mp4?id=2"])
    assert len(found) == 4 and found == distinct(found)
    for video in found:
        assert "/" not in video.name and "\\" not in video.name and video.name.strip(".")
        assert "secret" not in repr(video)
