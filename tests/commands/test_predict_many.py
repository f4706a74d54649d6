"""dff predict by many processes that share a list."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from clips import write_moving_picture
from small import ROOT

from dff.commands.predict import main, parse

TIMINGS = ("frames_per_second", "network_frames_per_second", "seconds")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model; a list of six good videos, two of one name, of a broken one, and one missing."""
    from dff.lit.module import LitDFF

    folder = tmp_path_factory.mktemp("many")
    torch.manual_seed(0)
    module = LitDFF("resnet18", "flownet_half", feature_channels=16)
    torch.nn.init.normal_(module.model.heads["segmentation"].scores.weight, std=5.0)
    saved = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(saved)
    torch.save(saved, folder / "model.ckpt")
    (folder / "more").mkdir()
    listed = ["0.mp4", "1.mp4", "more/1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    for count, name in enumerate(listed):
        write_moving_picture(folder / name, 8 + count)
    (folder / "broken.mp4").write_text("no video")
    listed[2:2] = ["broken.mp4", "missing.mp4"]
    (folder / "list.txt").write_text("".join(f"{folder / name}\n" for name in listed))
    return folder


@pytest.fixture(scope="module")
def plain(place):
    """Results of a plain `dff predict` of what is good."""
    good = [str(place / f"{name}.mp4") for name in ("0", "1", "more/1", "2", "3", "4")]
    out = place / "plain"
    assert main([str(place / "model.ckpt"), *good, "--output", str(out)]) == 0
    return contents(out)


def contents(folder):
    """File -> its bytes; of reports what is no time on a clock."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith(".claims"):
            continue
        if path.parent == folder and path.suffix == ".json" and ".boxes" not in path.name:
            report = json.loads(path.read_text())
            found[name] = {key: value for key, value in report.items() if key not in TIMINGS}
        else:
            found[name] = path.read_bytes()
    return found


def words(place, out, *more):
    listed = ["--list", str(place / "list.txt"), "--output", str(out)]
    return [str(place / "model.ckpt"), *listed, *more]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "dff", "predict", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    return found


def survivors(out, command, begun, done):
    """Two of three processes; the first is killed in the midst of what it has begun."""
    victim = start(*command)
    wait_for(lambda: list(out.glob(begun)), victim)
    victim.send_signal(signal.SIGSTOP)  # until the others are there
    others = [start(*command), start(*command)]
    wait_for(lambda: list(out.glob(done)), others[0])
    victim.kill()
    victim.communicate()
    return others


def test_three_processes_share_a_list_and_one_is_killed(place, plain, tmp_path):
    out = tmp_path / "out"
    claim = words(place, out, "--claim")
    for process in survivors(out, claim, begun=".claims/*.1.part/*", done="*.json"):
        told, errors = process.communicate(timeout=240)
        assert process.returncode == 3, errors
        assert told.splitlines()[-1] == f"6 of 8 videos are predicted in {out}"
        assert "broken.mp4" in errors and f"no video at {place / 'missing.mp4'}" in errors
    assert contents(out) == plain
    left = {path.name for path in (out / ".claims").iterdir() if path.suffix != ".names"}
    assert left == {"broken.failed", "missing.failed"}
    # Another process finds nothing to do, and says the same.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(claim) == 3
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_an_interrupted_process_leaves_its_claims_and_only_the_rest_is_done(
    place, plain, tmp_path, capsys
):
    out = tmp_path / "out"
    claim = words(place, out, "--claim")
    process = start(*claim)
    wait_for(lambda: list(out.glob("*.json")), process)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert not list(out.glob(".claims/*.claim")) and not list(out.glob(".claims/*.part"))
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert 0 < len(done)
    assert main(claim) == 3
    assert contents(out) == plain
    assert {path: path.stat().st_mtime_ns for path in done} == done
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert not any(line.startswith(f"{path.stem}:") for path in done for line in lines)  # no bar


def test_shards_are_the_whole(place, plain, tmp_path):
    out = tmp_path / "out"
    codes = [main(words(place, out, "--shard", f"{i}/3")) for i in (2, 0, 1)]
    assert contents(out) == plain
    assert codes == [3, 0, 3] or sorted(codes) == [0, 3, 3]


def test_a_shard_of_nothing_ends_well(place, tmp_path, capsys):
    assert main(words(place, tmp_path / "out", "--shard", "8/9")) == 0
    assert "no video of the list is this shard's (8/9)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "3/3"], "'3/3': wanted i/n with i from 0 to n - 1, as in 0/8"),
        (["--shard", "one"], "'one': wanted i/n"),
        (["--shard", "0/2", "--claim"], "the whole list is shared, leave --shard out"),
        (["--claim", "--devices", "2"], "start one process for each device"),
        (["--claim", "--claim_expiry", "0"], "wanted more than 0 seconds"),
        (["--retry_failed"], "--retry_failed goes with --claim or --ray"),
        (["--claim_expiry", "9"], "--claim_expiry goes with --claim"),
        (["--ray_actors", "2"], "--ray_actors goes with --ray"),
        (["--ray", "local", "--ray_actors", "3:2"], "'3:2': wanted a number, or MIN:MAX"),
        (["--ray", "local", "--claim"], "Ray shares the videos, leave --claim out"),
        (["--ray", "local", "--devices", "2"], "--ray_actors says how many there are"),
        (["video.mp4"], "unrecognized arguments: video.mp4"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["a.ckpt", "--list", "list.txt", *words])
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_a_list_that_is_not_there_is_said(place, tmp_path):
    listed = ["--list", str(tmp_path / "no.txt"), "--output", str(tmp_path / "out")]
    with pytest.raises(FileNotFoundError):
        main([str(place / "model.ckpt"), *listed, "--claim"])
    assert os.listdir(tmp_path) == []
