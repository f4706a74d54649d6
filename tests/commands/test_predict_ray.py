"""dff predict by the actors of a Ray cluster on this machine."""

import os
import signal
import subprocess
import sys

import pytest
from small import ROOT
from test_predict_many import contents, place, plain, wait_for, words  # noqa: F401

from dff.commands.predict import main

pytest.importorskip("ray.data", reason="Ray is an extra: pip install 'dff[ray]'")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "dff", "predict", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def stopped_in_a_video(out):
    """Process number of an actor that stands still in the midst of a video; 0 if none does."""
    for claim in out.glob(".claims/*.1.claim"):
        try:
            pid = int(claim.read_text().split("\n")[1])
            os.kill(pid, signal.SIGSTOP)
        except (OSError, ValueError, IndexError):
            continue
        if claim.exists() and list(claim.with_suffix(".part").glob("*")):
            return pid
        os.kill(pid, signal.SIGCONT)  # it was done a moment ago
    return 0


def test_two_actors_share_a_list_and_one_is_killed(place, plain, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    ray = words(place, out, "--ray", "local", "--ray_actors", "2")
    process = start(*ray)
    os.kill(wait_for(lambda: stopped_in_a_video(out), process), signal.SIGKILL)
    told, errors = process.communicate(timeout=240)
    assert process.returncode == 3, errors
    assert told.splitlines()[-1] == f"6 of 8 videos are predicted in {out}"
    assert "broken.mp4" in errors and f"no video at {place / 'missing.mp4'}" in errors
    assert contents(out) == plain
    left = {path.name for path in (out / ".claims").iterdir() if path.suffix != ".names"}
    assert left == {"broken.failed", "missing.failed"}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = start(*ray)
    told, _ = again.communicate(timeout=240)
    assert again.returncode == 3 and told.splitlines()[-1].startswith("6 of 8 videos")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_an_interrupted_run_does_the_rest(place, plain, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    ray = words(place, out, "--ray", "local", "--ray_actors", "1")
    process = start(*ray)
    wait_for(lambda: list(out.glob("*.json")), process)
    process.terminate()
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 143, errors
    assert not list(out.glob(".claims/*.claim")) and not list(out.glob(".claims/*.part"))
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert start(*ray).wait(timeout=240) == 3
    assert contents(out) == plain
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_actors_share_a_video_in_segments(place, plain, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    process = start(*words(place, out, "--ray", "local", "--segment_frames", "4"))
    told, errors = process.communicate(timeout=240)
    assert process.returncode == 3, errors
    assert told.splitlines()[-1] == f"6 of 8 videos are predicted in {out}"
    found = contents(out)
    counts = [report.pop("segments", 1) for name, report in found.items() if ".json" in name]
    assert sorted(counts) == [2] * 5 + [3]
    overlays = {name for name in plain if name.endswith(".mp4")}  # encoded anew in each segment
    assert found.keys() == plain.keys()
    assert all(found[name] == plain[name] for name in plain.keys() - overlays)
    assert not list(out.glob(".claims/segments-*"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense://x"])
def test_an_address_without_a_cluster_is_said(address, place, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=f"no Ray cluster answers at {address} .*: check the addr"):
        main(words(place, tmp_path / "out", "--ray", address))
