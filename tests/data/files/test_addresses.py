"""Addresses: what counts as one, and what of it is shown."""

import pytest

from dff.data.files.addresses import is_address, masked, scheme_of, shown, without_secrets
from dff.data.files.remote import local_copy, open_address, version_of


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("s3://bucket/a@b?#1.mp4", "s3://bucket/a@b?#1.mp4"),
        ("s3://key:se/cr+et@bucket/a.mp4", "s3://key:***@bucket/a.mp4"),
        ("sftp://host:22/a@b.mp4", "sftp://host:22/a@b.mp4"),
        ("sftp://user:pass@host:22/a.mp4", "sftp://user:***@host:22/a.mp4"),
        ("sftp://user:p@ss@host/a@2x.mp4", "sftp://user:***@host/a@2x.mp4"),
        ("https://token@host/a.mp4", "https://***@host/a.mp4"),
    ],
)
def test_no_secret_is_shown(address, wanted):
    assert shown(address) == wanted


def test_queries_of_web_addresses_are_hidden_and_still_tell_files_apart():
    one, two = (shown(f"https://host/get?id={i}&signature=secret") for i in (1, 2))
    assert one != two and one.startswith("https://host/get?***") and "secret" not in one


def test_words_of_others_lose_the_secrets():
    told = without_secrets("bad bucket key:secret, secret", "s3://key:secret@bucket/a")
    assert told == "bad bucket ***, ***"
    assert masked("rtsp://me:secret@cam/a") == "rtsp://me:***@cam/a"


def test_a_file_of_such_a_name_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "a.mp4").touch()
    assert not is_address("s3://a.mp4") and is_address("s3://b.mp4")
    assert not is_address("a.mp4") and scheme_of("C:/a.mp4") is None


def test_a_copy_goes_when_it_is_no_longer_needed(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"content")
    with local_copy(f"file://{tmp_path}/a.mkv") as copy:
        assert copy.endswith(".mkv") and open(copy, "rb").read() == b"content"
    with pytest.raises(FileNotFoundError):
        open(copy)
    before = version_of(f"file://{tmp_path}/a.mkv")
    (tmp_path / "a.mkv").write_bytes(b"another")
    assert before[0] == 7 and version_of(f"file://{tmp_path}/a.mkv") != before


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("nobody://k:secret@x/a", ValueError, r"nobody://k:\*\*\*@x/a: no protocol nobody://"),
        ("oss://bucket/a.mp4", ValueError, "oss:// wants ossfs, .*: pip install ossfs"),
        ("memory://nothing/a.mp4", FileNotFoundError, "nothing at memory://nothing/a.mp4"),
    ],
)
def test_what_cannot_be_opened_is_said(address, error, said):
    with pytest.raises(error, match=said):
        open_address(address)[0].info(address) if error is ValueError else version_of(address)


def test_what_a_library_raises_is_told_in_words(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*args, **kwargs):
        raise RuntimeError("403 for key:secret at once\nand more")

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    with pytest.raises(OSError) as caught:
        version_of("memory://key:secret@x/a.mp4")
    assert str(caught.value) == (
        "memory://key:***@x/a.mp4 cannot be used now (403 for *** at once): check the network, "
        "the credentials and what they allow"
    )
