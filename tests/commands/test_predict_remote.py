"""dff predict from addresses and to them, as from a disk and to it."""

import os
import tempfile
import uuid
from importlib.util import find_spec

import fsspec
import pytest
from test_predict_many import contents, place, plain  # noqa: F401

from dff.commands.predict import main, parse
from dff.inference.cluster.claim_files import ClaimFiles

PATHS = ("0.mp4", "1.mp4", "more/1.mp4", "2.mp4", "3.mp4", "4.mp4")


@pytest.fixture
def remote(place):  # noqa: F811
    """The address of a folder with a list's videos, a broken one among them."""
    name = f"/many-{uuid.uuid4().hex}"
    files = fsspec.filesystem("memory")
    for path in (*PATHS, "broken.mp4"):
        files.put_file(str(place / path), f"{name}/{path}")
    yield f"memory:/{name}"
    files.rm(name, recursive=True)


@pytest.fixture
def listed(remote, tmp_path):
    file = tmp_path / "list.txt"
    lines = [*PATHS[:2], "broken.mp4", "missing.mp4", *PATHS[2:]]
    file.write_text("".join(f"{remote}/{line}\n" for line in lines))
    return file


def same(found, wanted):
    """Compares all files, and all of the reports but where the video was."""
    drop = ("input", "source")
    assert found.keys() == wanted.keys()
    for name, content in found.items():
        other = wanted[name]
        if isinstance(content, dict):
            content, other = (
                {key: value for key, value in report.items() if key not in drop}
                for report in (content, other)
            )
        assert content == other, name


def fetched(address, folder):
    fsspec.filesystem("memory").get(address.removeprefix("memory:/") + "/", f"{folder}/", True)
    return contents(folder)


def test_from_memory_to_memory(place, plain, remote, listed, tmp_path, capsys):  # noqa: F811
    words = [str(place / "model.ckpt"), "--list", str(listed), "--output", f"{remote}/out"]
    before = set(os.listdir(tempfile.gettempdir()))
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"6 videos predicted to {remote}/out"
    assert f"{remote}/broken.mp4 is not a video file" in err
    assert f"nothing at {remote}/missing.mp4" in err
    same(fetched(f"{remote}/out", tmp_path / "got"), plain)
    left = {n for n in set(os.listdir(tempfile.gettempdir())) - before if n.startswith("dff-")}
    assert not any(os.path.isfile(f"{tempfile.gettempdir()}/{n}/video.mp4") for n in left)
    assert main(words) == 1  # the rest is tried, and nothing that is done
    assert "6 of 8 videos are finished already" in capsys.readouterr().out


def test_claims_in_a_folder_and_results_at_an_address(
    place,  # noqa: F811
    plain,  # noqa: F811
    listed,
    tmp_path,
    monkeypatch,
):
    words = [str(place / "model.ckpt"), "--list", str(listed), "--claim"]
    words += ["--output", f"file://{tmp_path}/out", "--claims", str(tmp_path / "claims")]
    taken, take = [], ClaimFiles.take
    monkeypatch.setattr(ClaimFiles, "take", lambda self, n: taken.append(n) or take(self, n))
    assert main(words) == 3
    same(contents(tmp_path / "out"), plain)
    assert {path.name for path in (tmp_path / "claims").iterdir()} == {
        "broken.failed",
        "missing.failed",
    }
    assert len(taken) == 8
    assert main(words) == 3 and len(taken) == 8


def test_a_video_out_of_reach_is_not_on_record(place, remote, tmp_path, monkeypatch):  # noqa: F811
    from fsspec.implementations.memory import MemoryFileSystem

    words = [str(place / "model.ckpt"), f"{remote}/0.mp4", "--claim", "--claims", str(tmp_path)]
    words += ["--output", f"{remote}/out"]

    def fail(*args, **kwargs):
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "get_file", fail)
        assert main(words) == 1
    assert not list(tmp_path.glob("*.failed"))
    assert main(words) == 0


def test_shards_agree_on_names_at_an_address(place, plain, remote, listed, tmp_path):  # noqa: F811
    words = [str(place / "model.ckpt"), "--list", str(listed), "--output", f"{remote}/out"]
    for i in (1, 0):
        main([*words, "--shard", f"{i}/2"])
    same(fetched(f"{remote}/out", tmp_path / "got"), plain)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--claim", "--output", "s3://b/out"],
            "no claims can be made there; give --claims FOLDER",
        ),
        (["--ray", "local", "--output", "s3://b/out"], "no claims can be made there"),
        (["--claims", "x", "--claim"], "--claims goes with --claim or --ray and --output s3://"),
        (["--claims", "x", "--output", "s3://b/out"], "--claims goes with --claim or --ray"),
    ],
)
def test_claims_want_a_folder(words, said, capsys):
    with pytest.raises(SystemExit):
        parse(["a.ckpt", "--list", "list.txt", *words])
    assert said in capsys.readouterr().err


@pytest.mark.skipif(
    not (find_spec("moto") and find_spec("s3fs")), reason="pip install 'moto[server]' s3fs"
)
def test_a_server_of_s3(place, plain, tmp_path, monkeypatch):  # noqa: F811
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.mkdir("bucket")
        for path in PATHS:
            files.put_file(str(place / path), f"bucket/in/{path}")
        (tmp_path / "list.txt").write_text("".join(f"s3://bucket/in/{path}\n" for path in PATHS))
        words = [str(place / "model.ckpt"), "--list", str(tmp_path / "list.txt")]
        assert main([*words, "--output", "s3://bucket/out"]) == 0
        files.get("bucket/out/", f"{tmp_path}/got/", recursive=True)
        same(contents(tmp_path / "got"), plain)
    finally:
        server.stop()
