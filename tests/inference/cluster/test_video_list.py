"""Lists of videos: names and nothing else, and the same results' names for everybody."""

import os
import sys

import numpy as np
import pytest

from dff.data.files.images import write_png
from dff.data.video.sources import VideoInput
from dff.inference.cluster.video_list import find_listed, read_list, shared_names
from dff.inference.results.folders import DiskFolder


def test_lines_are_names(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbf# a comment\r\na b.mp4\r\n\n  \n$(touch x); `y` *.mp4\n~/c.mp4")
    assert read_list(file) == ["a b.mp4", "$(touch x); `y` *.mp4", "~/c.mp4"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_names_of_any_bytes_are_kept(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"caf\xe9.mp4\n")
    (name,) = read_list(file)
    assert os.fsencode(name) == b"caf\xe9.mp4"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no video: write one file or folder a line"),
        (b"# nothing\n\n", "names no video"),
        (b"\x00\x00\x00\x20ftypisom", "is no list of videos: wanted a text file"),
    ],
)
def test_what_is_no_list_is_refused(content, said, tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_list(file)


def test_a_name_without_a_video_holds_up_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4", "folder/c.mkv", "empty/readme", "poster.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    write_png(tmp_path / "poster.png", np.zeros((8, 8, 3), np.uint8))
    listed = ["folder", "*.mp4", "missing.mp4", "empty", "a.mp4", "poster.png", "./a.mp4", "~"]
    found = find_listed([*listed, "http://host/a.mp4"], fps=5)
    assert [(video.path, video.name) for video in found] == [
        ("folder/c.mkv", "c"),
        ("*.mp4", "_"),
        ("missing.mp4", "missing"),
        ("empty", "empty"),
        ("a.mp4", "a"),  # once
        ("poster.png", "poster"),
        ("~", "__2"),
        ("http://host/a.mp4", "a_2"),
    ]
    for video in found[1:4] + found[5:]:
        with pytest.raises((OSError, ValueError)):
            video.open()


def test_the_first_process_decides_on_names_for_all(tmp_path):
    videos = [VideoInput(f"{folder}/a.mp4", name) for folder, name in (("x", "a"), ("y", "a_2"))]
    first = shared_names(DiskFolder(tmp_path), videos)
    assert [video.name for video in first] == ["a", "a_2"]
    # The first one is at work: an overlay has its name, and a report is yet to come.
    (tmp_path / "a.mp4").write_bytes(b"")
    assert shared_names(DiskFolder(tmp_path), videos) == first
    # Other videos are another list, for which that name is taken.
    (other,) = shared_names(DiskFolder(tmp_path), [VideoInput("z/a.mp4", "a")])
    assert other.name == "a_2"
