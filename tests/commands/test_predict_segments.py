"""dff predict of a long video in segments, by many processes."""

import json
import os

import av
import numpy as np
import pytest
import torch
from clips import write_clip, write_moving_picture
from test_predict_many import contents, survivors

from dff.commands.predict import main
from dff.data.video.file import VideoFile
from dff.data.video.sources import VideoInput
from dff.inference.cluster.splitting import split_long
from dff.inference.results.folders import DiskFolder
from dff.inference.results.segments import SegmentedFolder, whole_of

FRAMES = 36


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model of both tasks, a long video, a short one, and the long one cut short."""
    from dff.lit.module import LitDFF

    folder = tmp_path_factory.mktemp("segments")
    torch.manual_seed(0)
    heads = {"segmentation": 1.0, "detection": 1.0}
    module = LitDFF("resnet18", "flownet_half", feature_channels=16, heads=heads)
    torch.nn.init.normal_(module.model.heads["segmentation"].scores.weight, std=5.0)
    saved = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(saved)
    torch.save(saved, folder / "model.ckpt")
    write_moving_picture(folder / "long.mp4", FRAMES)
    write_moving_picture(folder / "short.mp4", 9)
    whole = (folder / "long.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: int(len(whole) * 0.6)])
    return folder


def words(place, out, *names):
    inputs = [str(place / f"{name}.mp4") for name in names]
    return [str(place / "model.ckpt"), *inputs, "--key_duration", "4", "--output", str(out)]


def without_overlay(folder):
    """What `contents` says; the encoder begins anew in each segment."""
    found = contents(folder)
    for report in found.values():
        if isinstance(report, dict):
            report.pop("segments", None)
    return {name: content for name, content in found.items() if not name.endswith(".mp4")}


@pytest.fixture(scope="module")
def plain(place):
    out = place / "plain"
    assert main(words(place, out, "long", "short")) == 0
    return without_overlay(out)


def overlay_of(folder):
    with av.open(str(folder / "long.mp4")) as container:
        stream = container.streams.video[0]
        shown = [(packet.pts * stream.time_base) for packet in container.demux() if packet.size]
    return np.array(shown, float), VideoFile(folder / "long.mp4").read(range(FRAMES))


def test_segments_give_what_the_whole_video_gives(place, plain, tmp_path, capsys):
    out = tmp_path / "out"
    claim = [*words(place, out, "long", "short"), "--claim", "--segment_frames", "7"]
    assert main(claim) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"2 of 2 videos are predicted in {out}"
    assert without_overlay(out) == plain
    report = json.loads((out / "long.json").read_text())
    assert report["segments"] == 4 and report["frames"] == FRAMES
    assert [path.suffix for path in (out / ".claims").iterdir()] == [".names"]
    times, pictures = overlay_of(out)
    wanted_times, wanted = overlay_of(place / "plain")
    np.testing.assert_allclose(times, wanted_times, atol=1e-4)
    assert np.abs(pictures.astype(int) - wanted).mean() < 3
    # Neither a plain run nor one with segments finds anything left to do.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(claim) == 0
    assert main(words(place, out, "long", "short")) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_segments_are_joined_to_results_at_an_address(place, plain, tmp_path):
    words_ = words(place, f"file://{tmp_path}/out", "long")
    claims = ["--claims", str(tmp_path / "claims")]
    assert main([*words_, "--claim", *claims, "--segment_frames", "12"]) == 0
    found = without_overlay(tmp_path / "out")
    assert found == {name: content for name, content in plain.items() if "long" in name}
    assert not list((tmp_path / "claims").glob("segments-*"))


def test_one_of_three_processes_is_killed(place, plain, tmp_path):
    out = tmp_path / "out"
    claim = [*words(place, out, "long", "short"), "--claim", "--segment_frames", "8"]
    begun, done = ".claims/*@*.1.part/*", ".claims/segments-*/*.json"
    for process in survivors(out, claim, begun, done):
        told, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert told.splitlines()[-1] == f"2 of 2 videos are predicted in {out}"
    assert without_overlay(out) == plain
    assert [path.suffix for path in (out / ".claims").iterdir()] == [".names"]


def test_of_a_damaged_video_the_good_frames_are_kept(place, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for number, frame in enumerate(VideoFile(place / "long.mp4")):
        (images / f"{number:02d}.png").write_bytes(b"no image" if number == 21 else png(frame))
    model = [str(place / "model.ckpt"), str(images), "--key_duration", "4"]
    assert main([*model, "--output", str(tmp_path / "plain")]) == 1
    plain_words = capsys.readouterr().err.splitlines()[-1]
    claim = [*model, "--output", str(tmp_path / "out"), "--claim", "--segment_frames", "8"]
    assert main(claim) == 3
    assert capsys.readouterr().err.splitlines()[-1] == plain_words
    assert "21 frames are kept" in plain_words
    assert without_overlay(tmp_path / "out") == without_overlay(tmp_path / "plain")
    assert main(claim) == 3  # on record for all


def png(frame):
    import cv2

    return cv2.imencode(".png", frame[..., ::-1])[1].tobytes()


def test_a_join_that_was_killed_is_done_again(place, plain, tmp_path, monkeypatch):
    out = tmp_path / "out"
    claim = [*words(place, out, "long", "short"), "--claim", "--segment_frames", "8"]

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("dff.inference.results.segments._report", killed)
        with pytest.raises(RuntimeError):
            main(claim)
    assert not (out / "long.json").exists()
    assert len(list(out.glob(".claims/segments-*/*.boxes.txt"))) == 4
    monkeypatch.setattr(
        "dff.inference.engine.Engine.step",
        lambda self, clip: pytest.fail("a frame was recognised again"),
    )
    assert main([*words(place, out, "long"), "--claim", "--segment_frames", "8"]) == 0
    found = without_overlay(out)
    assert {name: found[name] for name in plain if "long" in name} == {
        name: content for name, content in plain.items() if "long" in name
    }


def test_a_full_disk_at_the_join_is_told_and_the_segments_stay(
    place, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    claim = [*words(place, out, "long"), "--claim", "--segment_frames", "8"]

    def full(*_):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("dff.inference.results.segments._join_lists", full)
        assert main(claim) == 1
    assert "make room there" in capsys.readouterr().err
    assert len(list(out.glob(".claims/segments-*/*.boxes.txt"))) == 4
    assert main(claim) == 0 and (out / "long.json").exists()


def test_only_long_videos_that_can_be_sought_are_split(place, tmp_path):
    write_clip(tmp_path / "transport.ts", count=36)
    (tmp_path / "broken.mp4").write_text("no video")
    names = {"long": place, "short": place, "cut": place, "broken": tmp_path, "gone": tmp_path}
    videos = [VideoInput(str(folder / f"{name}.mp4"), name) for name, folder in names.items()]
    videos.append(VideoInput(str(tmp_path / "transport.ts"), "transport"))
    found = split_long(videos, 7, 4)
    assert {name: [s.segment for s in parts] for name, parts in found.items()} == {
        "long": [(0, 8), (8, 16), (16, 24), (24, None)],
        "cut": [(0, 8), (8, None)],
    }
    assert whole_of(found["long"][1]) == videos[0]
    assert split_long(videos[:1], 24, 4)["long"][1].segment == (24, None)
    assert split_long(videos[:1], 25, 4) == {}  # 28, and less than half a segment more


def test_what_a_killed_join_has_left_goes_with_the_next_run(place, tmp_path, capsys):
    out = tmp_path / "out"
    claim = [*words(place, out, "long"), "--claim", "--segment_frames", "8"]
    assert main(claim) == 0
    digest = SegmentedFolder(DiskFolder(out), out / ".claims", ()).segments.work
    digest.mkdir()
    (digest / "long@0000000-0000008.json").write_text("{}")
    (digest / "other@0000000-0000008.json").write_text("{}")  # of another list
    assert main(claim) == 0
    assert [path.name for path in digest.iterdir()] == ["other@0000000-0000008.json"]


@pytest.mark.parametrize("more", [[], ["--segment_frames", "8"]])
def test_a_fault_of_the_code_that_writes_ends_the_run(more, place, tmp_path, monkeypatch):
    def fault(*_):
        raise RuntimeError("a fault of the code")

    monkeypatch.setattr("dff.inference.results.label_pictures.LabelPictures.write", fault)
    with pytest.raises(RuntimeError, match="a fault of the code"):
        main([*words(place, tmp_path / "out", "long"), "--claim", *more])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--segment_frames", "9"], "--segment_frames goes with --claim or --ray"),
        (["--claim", "--segment_frames", "0"], "--segment_frames 0: wanted at least 1"),
        (
            ["--claim", "--segment_frames", "9", "--schedule", "change"],
            "--segment_frames with --schedule: that looks at the whole video",
        ),
        (["--claim", "--segment_frames", "9", "--seq_nms"], "--segment_frames with --seq_nms"),
    ],
)
def test_what_does_not_go_together_is_told(more, said, capsys):
    with pytest.raises(SystemExit):
        main(["model.ckpt", "a.mp4", *more])
    assert said in capsys.readouterr().err
