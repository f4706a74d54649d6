"""A trained model without Lightning: the public face of the package."""

import subprocess
import sys

import lightning as L
import numpy as np
import pytest
import torch
from small import ROOT

import dff
from dff.data.video.sources import open_video
from dff.data.video.writer import VideoWriter
from dff.inference.recognizer import stream
from dff.inference.tasks.detection import Detections
from dff.lit.checkpoints import load_model
from dff.models.schedule import FixedSchedule


@pytest.fixture
def checkpoint(small_module, tmp_path):
    module = small_module(heads={"segmentation": 1.0, "detection": 1.0}, num_box_classes=3)
    module.tasks["detection"].classes = ["car", "bus", "dog"]
    module.model.heads["detection"].score_threshold = 0.0
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


@pytest.fixture
def video(tmp_path):
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "a.mp4", 10, (64, 96)) as writer:
        for _ in range(5):
            writer.write(rng.integers(0, 255, (4, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1))
    return tmp_path / "a.mp4"


def test_a_video_comes_out_frame_by_frame_in_arrays(checkpoint, video):
    model = dff.load(checkpoint, device="cpu")
    results = list(model.stream(video, key_duration=2))
    assert [(r.index, round(r.time, 3), r.is_key) for r in results] == [
        *((0, 0.0, True), (1, 0.1, False), (2, 0.2, True), (3, 0.3, False), (4, 0.4, True)),
    ]
    pictures = list(open_video(video))
    assert all((r.frame == p).all() for r, p in zip(results, pictures, strict=True))
    labels = results[3]["segmentation"].labels
    assert labels.shape == (64, 96) and labels.dtype == np.uint8
    found = results[3]["detection"]
    assert isinstance(found, Detections) and len(found.boxes) == len(found.names) > 0
    assert found.boxes.shape[1] == 4 and set(found.names) <= {"car", "bus", "dog"}
    assert (np.diff(found.scores) <= 0).all()
    assert results[3].drawn(threshold=0.0).shape == (64, 96, 3)
    assert (results[3].drawn(threshold=0.0) != pictures[3]).any()


def test_it_gives_what_the_trained_model_gives(checkpoint, video):
    module = load_model(checkpoint)
    pictures = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None] / 255 for p in open_video(video)]
    with torch.inference_mode():
        expected = [p["segmentation"][0] for p in stream(module.model, pictures, FixedSchedule(3))]
    results = dff.load(checkpoint, device="cpu").stream(video, key_duration=3)
    found = np.stack([result["segmentation"].labels for result in results])
    assert (found == torch.stack(expected).numpy()).mean() > 0.999


def test_frames_of_a_program_are_seen_as_they_come(checkpoint, video):
    model, given = dff.load(checkpoint, device="cpu"), []

    def camera():
        for picture in open_video(video):
            given.append(picture)
            yield picture

    for number, result in enumerate(model.stream(camera(), key_duration=2), 1):
        assert len(given) == number and result.index == number - 1


def test_another_size_another_schedule_and_another_flow(checkpoint, video):
    model = dff.load(checkpoint, device="cpu", flow_network="dis_fast")
    assert type(model.networks.flow_network).__name__ == "DISFlow"
    results = list(model.stream(str(video), schedule=FixedSchedule(4), short_side=80))
    assert [r.index for r in results if r.is_key] == [0, 4]
    assert results[0]["segmentation"].labels.shape == (64, 96)


def test_what_is_wrong_is_told(checkpoint, video, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        dff.load(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match="flow network 'raft' in place of the trained one"):
        dff.load(checkpoint, flow_network="raft")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "key.onnx").write_text("a graph")
    for name, what in (("out", "an export"), ("out/key.onnx", "a file of an export")):
        words = rf"{name} is {what}: wanted a checkpoint, or .*out and --runtime onnx"
        with pytest.raises(ValueError, match=words):
            dff.load(tmp_path / name)
    torch.save({"a": 1}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt is no checkpoint of this project"):
        dff.load(tmp_path / "other.ckpt")
    model = dff.load(checkpoint, device="cpu")
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"bad\.mp4"):
        list(model.stream(tmp_path / "bad.mp4"))
    with pytest.raises(FileNotFoundError):
        list(model.stream(tmp_path / "gone.mp4"))


@pytest.mark.parametrize(
    ("source", "settings", "words"),
    [
        (
            "a.mp4",
            {"schedule": "change"},
            r"schedule 'change': wanted an object .*named_schedule\(",
        ),
        ("a.mp4", {"key_duration": 2.5}, r"key duration 2\.5: wanted a whole number of at least 1"),
        ("a.mp4", {"key_duration": "3"}, "key duration '3': wanted a whole number of at least 1"),
        (["a.mp4"], {}, r"frame 0 of the source is 'a\.mp4': .* the path of one video"),
        (5, {}, r"a source of type int: wanted frames as arrays"),
    ],
)
def test_arguments_of_another_kind_are_told(source, settings, words, checkpoint):
    with pytest.raises(ValueError, match=words):
        next(dff.load(checkpoint, device="cpu").stream(source, **settings))


def test_no_lightning_is_imported(checkpoint, video):
    code = (
        "import sys, dff\n"
        f"for result in dff.load({str(checkpoint)!r}, device='cpu').stream({str(video)!r}): pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'lightning', 'torchmetrics',"
        " 'wandb', 'albumentations'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
