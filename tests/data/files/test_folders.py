"""Where results cannot be written is said before the work."""

import pytest

from dff.commands.data import check
from dff.data.files import folders
from dff.data.files.folders import check_folder
from dff.inference.results.folders import DiskFolder


def test_a_folder_need_not_be_there(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("place", ["text.mp4", "text.mp4/inside"])
def test_a_file_is_no_folder(place, tmp_path):
    (tmp_path / "text.mp4").write_text("a film")
    words = r"text\.mp4 is a file, and --output wants a folder: give another one"
    with pytest.raises(NotADirectoryError, match=words):
        DiskFolder(tmp_path / place).prepare()
    with pytest.raises(NotADirectoryError, match=words):  # before it looks for data
        check.main([str(tmp_path / "gone"), "--output", str(tmp_path / place)])


def test_a_folder_without_the_right_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"cannot write to .*: choose another"):
        check_folder(tmp_path)
