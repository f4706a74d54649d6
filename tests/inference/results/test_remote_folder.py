"""Results at an address: whole or not there, and the rest of an interrupted upload."""

import json
import uuid

import fsspec
import pytest

from dff.data.video.sources import VideoInput
from dff.inference.results.folders import DiskFolder
from dff.inference.results.remote_folder import RemoteFolder, result_folder
from dff.inference.results.result_files import RESULTS, own_names

VIDEO = VideoInput("s3://videos/a.mp4", "a", address="s3://videos/a.mp4")
REPORT = json.dumps({"source": {"path": VIDEO.path, "first_frame": None}, "frames": 2})


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    name = f"/out-{uuid.uuid4().hex}"
    place = f"file://{tmp_path}/out" if request.param == "file" else f"memory:/{name}"
    yield RemoteFolder(place)
    if request.param == "memory" and fsspec.filesystem("memory").exists(name):
        fsspec.filesystem("memory").rm(name, recursive=True)


@pytest.fixture
def begun(tmp_path):
    part = tmp_path / "part"
    (part / "a").mkdir(parents=True)
    for name in ("a.mp4", "a.boxes.json", "a/000000.png", "a/000001.png"):
        (part / name).write_bytes(name.encode())
    return part


def names(folder):
    return sorted(
        path.removeprefix(folder._path + "/") for path in folder._files.find(folder._path)
    )


ALL = ["a.boxes.json", "a.json", "a.mp4", "a/000000.png", "a/000001.png"]


def test_what_is_published_is_found_again(folder, begun):
    folder.prepare()
    assert dict(folder.reports()) == {} and folder.stamps() == {} and folder.report("a") is None
    folder.publish(begun, "a", RESULTS, REPORT)
    assert names(folder) == ALL
    assert folder.report("a") == json.loads(REPORT) == dict(folder.reports())["a"]
    assert list(folder.stamps()) == ["a"] and folder.holds("a", RESULTS)
    assert not folder.holds("b", RESULTS)
    # Another video of that name, and the same one.
    (other,) = own_names(folder, [VideoInput("s3://more/a.mp4", "a", address="s3://more/a.mp4")])
    assert other.name == "a_2" and own_names(folder, [VIDEO]) == [VIDEO]


def test_results_of_other_settings_go(folder, begun):
    folder.prepare()
    folder.publish(begun, "a", RESULTS, REPORT)
    (begun / "a" / "000001.png").unlink()
    (begun / "a.mp4").unlink()
    folder.publish(begun, "a", RESULTS, REPORT)
    assert names(folder) == ["a.boxes.json", "a.json", "a/000000.png"]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_an_upload_that_was_cut_short_is_not_finished(step, folder, begun, monkeypatch):
    folder.prepare()
    left = [step]

    def cut(call):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise Killed
            return call(*args, **kwargs)

        return counted

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(folder._files, "pipe_file", cut(folder._files.pipe_file))
        patch.setattr(folder._files, "put", cut(folder._files.put))
        patch.setattr(folder._files, "rm_file", lambda path: None)
        patch.setattr(folder, "_remove", cut(folder._remove))
        folder.publish(begun, "a", RESULTS, REPORT)
    assert folder.report("a") is None and folder.stamps() == {}
    assert own_names(folder, [VIDEO]) == [VIDEO]  # what is there is known to be its own
    folder.publish(begun, "a", RESULTS, REPORT)
    assert names(folder) == ALL


def test_an_upload_that_fails_leaves_nothing(folder, begun, monkeypatch):
    folder.prepare()

    def fail(*args, **kwargs):
        raise RuntimeError("503")

    monkeypatch.setattr(folder._files, "put", fail)
    with pytest.raises(OSError, match=r"cannot be used now \(503\)"):
        folder.publish(begun, "a", RESULTS, REPORT)
    assert names(folder) == []


def test_the_first_one_decides_for_all(folder):
    folder.prepare()
    assert folder.once("x.names", lambda: b"first") == b"first"
    assert RemoteFolder(folder.address).once("x.names", lambda: b"second") == b"first"


def test_addresses_and_paths_are_told_apart(tmp_path):
    assert isinstance(result_folder(tmp_path), DiskFolder)
    assert str(result_folder("memory://user:secret@out/x")) == "memory://user:***@out/x"
