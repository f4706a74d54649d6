"""Predictions on disk: right, finished or not there at all."""

import json
import os
import shutil
import signal
import threading

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dff.data.datasets.cityscapes import PALETTE, TRAIN_ID_TO_LABEL_ID
from dff.data.files.images import read_labels, write_png
from dff.data.video.sources import find_videos, open_video
from dff.data.video.writer import VideoWriter
from dff.data.video_source import source_of
from dff.inference.engine import Engine, predict_videos, read_clips
from dff.inference.recognizer import stream
from dff.inference.results.claims import claim, release
from dff.inference.results.drawing import colour_labels, overlay
from dff.inference.results.folders import DiskFolder
from dff.inference.results.result_files import own_names
from dff.inference.results.video_results import SECONDS
from dff.inference.results.writer import ResultWriter
from dff.lit.datamodules.datasets import Videos
from dff.lit.writer import PredictionWriter
from dff.models.schedule import FixedSchedule

FRAMES = 7


@pytest.fixture
def model(small_module):
    module = small_module().eval()
    module.tasks["segmentation"].palette = PALETTE.tolist()
    scores = module.model.heads["segmentation"].scores
    torch.nn.init.normal_(scores.weight, std=5.0)
    return module


@pytest.fixture
def videos(tmp_path):
    """Two good videos, and one that is none."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "c"):
        with VideoWriter(folder / f"{name}.mp4", 10, (64, 96)) as writer:
            for _ in range(FRAMES):
                patches = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
                writer.write(patches.repeat(16, 0).repeat(16, 1))
    (folder / "b.mp4").write_text("no video")
    return folder


def result_writer(model, folder, settings=None, **kwargs):
    return ResultWriter(folder, model.tasks, settings or {}, **kwargs)


def predict(module, writer, inputs, key_duration=3, by="engine"):
    named = own_names(writer.folder, find_videos(inputs))
    todo = [video for video in named if not writer.finished(video)]
    schedule = FixedSchedule(key_duration)
    if by == "engine" and todo:
        clips = read_clips(todo, schedule)
        predict_videos(Engine(module.deploy("32-true"), schedule), clips, writer)
    elif todo:
        trainer = L.Trainer(
            accelerator="cpu",
            callbacks=[PredictionWriter(writer)],
            logger=False,
            enable_progress_bar=False,
        )
        trainer.predict(module, Videos(todo, schedule), return_predictions=False)
    return [video.name for video in todo]


@pytest.mark.parametrize("by", ["engine", "trainer"])
def test_labels_are_those_of_the_live_recognizer(by, model, videos, tmp_path):
    out = tmp_path / "out"
    writer = result_writer(model, out, {"key_duration": 3})
    predict(model, writer, [str(videos / "a.mp4")], by=by)
    frames = [
        torch.from_numpy(f.copy()).permute(2, 0, 1).unsqueeze(0) / 255
        for f in open_video(videos / "a.mp4")
    ]
    with torch.inference_mode():
        live = [p["segmentation"][0] for p in stream(model.model, frames, FixedSchedule(3))]
    assert len(live) == FRAMES
    files = sorted((out / "a").glob("*.png"))
    assert [f.stem for f in files] == [f"{i:06d}" for i in range(FRAMES)]
    for file, labels in zip(files, live, strict=True):
        assert (read_labels(file) == labels.numpy()).mean() > 0.999
    report = json.loads((out / "a.json").read_text())
    assert (report["frames"], report["key_frames"]) == (FRAMES, 3)
    seconds = report["seconds"]
    assert list(seconds) == [*SECONDS, "total"]
    # decoding and writing run beside the networks; what these wait for does not
    waited = seconds["wait_for_frames"] + seconds["wait_for_writing"]
    assert seconds["total"] >= seconds["network"] + waited > seconds["network"] > 0
    assert len(list(open_video(out / "a.mp4"))) == FRAMES


def test_cityscapes_ids_and_frame_names_for_the_official_evaluation(model, streets_root, tmp_path):
    folder = streets_root / "leftImg8bit_sequence" / "val" / "streets"
    out = tmp_path / "out"
    predict(model, result_writer(model, out, {}, labels="cityscapes"), [str(folder)])
    names = {file.stem for file in folder.glob("*.jpg")}
    written = {file.stem: file for file in out.glob("*/*.png")}
    assert written.keys() == names
    ids = set().union(*(np.unique(read_labels(f)).tolist() for f in written.values()))
    assert ids <= set(TRAIN_ID_TO_LABEL_ID[:19].tolist())


@pytest.mark.parametrize("by", ["engine", "trainer"])
def test_one_bad_video_does_not_stop_the_others(by, model, videos, tmp_path):
    writer = result_writer(model, tmp_path / "out", {})
    predict(model, writer, [str(videos)], by=by)
    assert list(writer.failed) == ["b"]
    assert "b.mp4" in writer.failed["b"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a", "a.json", "a.mp4", "c", "c.json", "c.mp4"]


def test_what_comes_before_the_damage_is_kept(model, videos, tmp_path):
    whole, cut, out = videos / "c.mp4", tmp_path / "cut.mp4", tmp_path / "out"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(0.7 * len(data))])
    writer = result_writer(model, out, {})
    predict(model, writer, [str(cut)])
    report = json.loads((out / "cut.json").read_text())
    kept = report["frames"]
    assert 0 < kept < FRAMES and len(report["times"]) == kept
    assert f"cut short after {kept}" in report["error"]
    assert writer.failed["cut"].startswith("predicted in part: ")
    assert writer.failed["cut"].endswith(f"{kept} frames are kept")
    assert len(list((out / "cut").glob("*.png"))) == kept
    assert len(list(open_video(out / "cut.mp4"))) == kept
    # it is not finished: the next run looks whether there is more by then
    assert predict(model, result_writer(model, out, {}), [str(cut)]) == ["cut"]
    cut.write_bytes(data)
    assert predict(model, result_writer(model, out, {}), [str(cut)]) == ["cut"]
    assert json.loads((out / "cut.json").read_text())["frames"] == FRAMES


def test_whole_results_are_not_replaced_by_those_of_a_damaged_copy(model, videos, tmp_path):
    video, out = tmp_path / "a.mp4", tmp_path / "out"
    shutil.copy(videos / "c.mp4", video)
    predict(model, result_writer(model, out, {}), [str(video)])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    video.write_bytes(video.read_bytes()[: int(0.7 * video.stat().st_size)])
    writer = result_writer(model, out, {})
    predict(model, writer, [str(video)])
    assert "cut short" in writer.failed["a"] and "kept" not in writer.failed["a"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_finished_video_is_skipped_unless_the_settings_changed(model, videos, tmp_path):
    out, inputs = tmp_path / "out", [str(videos / "a.mp4"), str(videos / "c.mp4")]

    def todo(key_duration, inputs):
        return predict(model, result_writer(model, out, {"key_duration": key_duration}), inputs)

    assert todo(3, inputs) == ["a", "c"]
    assert todo(3, inputs) == []
    assert todo(5, inputs[::-1]) == ["c", "a"]
    shutil.copy(inputs[1], inputs[0])  # another video in the same file
    assert todo(5, inputs) == ["a"]
    assert todo(5, inputs) == []


def test_another_rate_makes_the_results_of_a_folder_anew_and_of_no_file(videos, tmp_path):
    (tmp_path / "frames").mkdir()
    write_png(tmp_path / "frames" / "0.png", np.zeros((8, 8, 3), np.uint8))
    inputs = [str(tmp_path / "frames"), str(videos / "a.mp4")]
    usual, same, faster = (
        [source_of(video) for video in find_videos(inputs, **rate)]
        for rate in ({}, {"fps": 17.0}, {"fps": 30.0})
    )
    assert usual == same and "fps" not in usual[0]  # as in results of earlier versions
    assert usual[0] != faster[0] and usual[1] == faster[1]


def test_two_videos_of_one_name_keep_a_result_each(model, videos, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    shutil.copy(videos / "c.mp4", other / "a.mp4")
    first, second = str(videos / "a.mp4"), str(other / "a.mp4")
    for inputs, todo in (
        ([first], ["a"]),
        ([second], ["a_2"]),
        ([second, first], []),
        ([first, second], []),
    ):
        assert predict(model, result_writer(model, out, {}), inputs) == todo
    reports = [json.loads((out / name).read_text()) for name in ("a.json", "a_2.json")]
    assert [report["input"] for report in reports] == [first, second]


@pytest.mark.parametrize("settings", [{"draw_overlay": False}, {}])
def test_results_beside_their_video_replace_nothing(model, videos, monkeypatch, settings):
    """Neither the video, nor what a result of it would be called."""
    monkeypatch.chdir(videos)
    (videos / "c").mkdir()
    (videos / "c" / "notes.txt").write_text("mine")
    before = {name: (videos / name).read_bytes() for name in ("a.mp4", "c.mp4", "c/notes.txt")}
    for todo in (["a_2", "c_2"], []):
        writer = result_writer(model, ".", {}, **settings)
        assert predict(model, writer, ["a.mp4", "c.mp4"]) == todo
    assert predict(model, result_writer(model, ".", {"other": 1}), ["a.mp4"]) == ["a_2"]
    assert {name: (videos / name).read_bytes() for name in before} == before
    assert len(list((videos / "a_2").glob("*.png"))) == FRAMES


def test_a_process_killed_while_it_renamed_knows_its_results_again(model, videos, tmp_path):
    out, inputs = tmp_path / "out", [str(videos / "a.mp4")]
    predict(model, result_writer(model, out, {}), inputs)
    (out / "a.json").rename(out / ".a.json.part")
    assert predict(model, result_writer(model, out, {}), inputs) == ["a"]
    assert sorted(path.name for path in out.iterdir()) == ["a", "a.json", "a.mp4"]


def test_no_name_is_that_of_another_videos_result(model, videos, tmp_path):
    shutil.copy(videos / "a.mp4", videos / "a.boxes.mp4")
    shutil.copy(videos / "a.mp4", videos / "a.json.avi")
    found = own_names(DiskFolder(tmp_path / "out"), find_videos([str(videos / "a*")]))
    assert sorted(video.name for video in found) == ["a", "a_boxes", "a_json"]


def test_a_video_too_small_for_the_flow_network_stops_no_other(model, videos, tmp_path):
    with VideoWriter(videos / "b.mp4", 10, (48, 96)) as file:
        for _ in range(5):
            file.write(np.zeros((48, 96, 3), np.uint8))
    writer = result_writer(model, tmp_path / "out", {})
    predict(model, writer, [str(videos)])
    assert list(writer.failed) == ["b"]
    assert "b.mp4: frames of 48 x 96 pixels" in writer.failed["b"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a", "a.json", "a.mp4", "c", "c.json", "c.mp4"]
    writer = result_writer(model, tmp_path / "every_frame", {})  # no flow, no limit
    predict(model, writer, [str(videos / "b.mp4")], key_duration=1)
    assert not writer.failed


@pytest.mark.parametrize("by", ["engine", "trainer"])
def test_an_interrupted_run_never_looks_finished(by, model, videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.json").write_text("{}")  # of an older run with other settings
    writer, calls, step = result_writer(model, out), [], Engine.step

    def stop(self, clip):
        calls.append(clip)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self, clip)

    monkeypatch.setattr(Engine, "step", stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        predict(model, writer, [str(videos / "a.mp4")], by=by)
    assert sorted(path.name for path in out.iterdir()) == ["a.json"]
    assert not writer.finished(find_videos([str(videos / "a.mp4")])[0])


def test_a_prediction_that_is_asked_to_end_ends(model, videos, tmp_path, monkeypatch):
    out, calls, step = tmp_path / "out", [], Engine.step

    def end(self, clip):
        calls.append(clip)
        if len(calls) == 4:  # the first clip of the second video
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, clip)

    monkeypatch.setattr(Engine, "step", end)
    inputs = [str(videos / "a.mp4"), str(videos / "c.mp4")]
    with pytest.raises(SIGTERMException):
        predict(model, result_writer(model, out), inputs, by="trainer")
    assert len(calls) == 4
    assert sorted(path.name for path in out.iterdir()) == ["a", "a.json", "a.mp4"]


def test_what_cannot_be_written_fails_its_video_alone(model, videos, tmp_path, monkeypatch):
    write, threads = VideoWriter.write, set()

    def fail(self, *frame):
        threads.add(threading.current_thread())
        if self.path.name == "a.mp4" and self._written == 4:
            raise OSError("no space left on the disk")
        write(self, *frame)

    monkeypatch.setattr(VideoWriter, "write", fail)
    writer = result_writer(model, tmp_path / "out", {})
    predict(model, writer, [str(videos / "a.mp4"), str(videos / "c.mp4")])
    assert list(writer.failed) == ["a"] and "no space left" in writer.failed["a"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["c", "c.json", "c.mp4"]
    assert len(threads) == 1 and threading.main_thread() not in threads
    assert not threads & set(threading.enumerate())  # and it has ended


def test_a_video_that_another_process_writes_is_left_to_it(model, videos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    theirs = claim(out, "a")
    (out / ".a.part").mkdir()
    (out / ".a.part" / "000000.png").write_text("theirs")
    writer = result_writer(model, out, {})
    inputs = [str(videos / "a.mp4"), str(videos / "c.mp4")]
    predict(model, writer, inputs)
    assert list(writer.failed) == ["a"]
    assert "a.mp4: another process is writing results called a" in writer.failed["a"]
    assert (out / ".a.part" / "000000.png").read_text() == "theirs"
    release(theirs)
    assert predict(model, result_writer(model, out, {}), inputs) == ["a"]
    assert sorted(p.name for p in out.iterdir()) == ["a", "a.json", "a.mp4", "c", "c.json", "c.mp4"]


def test_a_name_is_claimed_once_and_free_again(tmp_path):
    first = claim(tmp_path, "a")
    claim(tmp_path, "b")
    with pytest.raises(ValueError, match=r"called a to .*: wait for that one, or give another"):
        claim(tmp_path, "a")
    release(first)
    release(claim(tmp_path, "a"))
    (tmp_path / ".c.lock").write_text("")  # of a process that was killed
    release(claim(tmp_path, "c"))
    assert [path.name for path in tmp_path.iterdir()] == [".b.lock"]


def test_a_fault_of_the_code_ends_the_run_and_leaves_nothing_half(
    model, videos, tmp_path, monkeypatch
):
    def fail(*args):
        raise RuntimeError("a fault")

    monkeypatch.setattr("dff.inference.results.video_results.draw_predictions", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        predict(model, result_writer(model, tmp_path / "out", {}), [str(videos / "a.mp4")])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_before_the_work(model, videos, tmp_path):
    (tmp_path / "file").write_text("")
    writer = result_writer(model, tmp_path / "file" / "out", {})
    with pytest.raises(NotADirectoryError, match="file is a file, and --output wants a folder"):
        predict(model, writer, [str(videos / "a.mp4")])


def test_overlay_shows_frame_and_colour():
    frames = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    labels = torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8)
    palette = [[200, 0, 0], [0, 200, 0]]
    assert colour_labels(labels, palette)[0, 1, 1].tolist() == [0, 0, 0]
    picture = overlay(frames, labels, palette)
    assert picture.shape == (1, 2, 2, 3)
    assert picture[0, 0, 0].tolist() == [150, 50, 50]
    assert picture[0, 1, 1].tolist() == [50, 50, 50]
