"""The detection head through training, validation, VideoPredictor and predict; with the other."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vid_layout import write_vid

from dff.data.video.sources import find_videos
from dff.data.video.writer import VideoWriter
from dff.inference.results.detection_files import DetectionFiles
from dff.inference.results.drawing import draw_boxes
from dff.inference.results.writer import ResultWriter
from dff.inference.tasks.detection import Detection
from dff.lit.datamodules.datasets import ImageNetVID, Videos
from dff.lit.evaluation.predictor import VideoPredictor, table
from dff.lit.metrics.accuracy import GapAccuracy
from dff.lit.writer import PredictionWriter
from dff.models.schedule import FixedSchedule

SMALL_HEAD = {"anchor_scales": [1, 2, 4], "pre_nms": 200, "proposals": 20, "max_detections": 10}


@pytest.fixture
def joint_module(small_module):
    def make(*heads):
        return small_module(
            heads=dict.fromkeys(heads or ("segmentation", "detection"), 1.0),
            num_box_classes=8,
            detection=SMALL_HEAD,
        )

    return make


def test_both_heads_learn_in_one_step(joint_module, small_streets, trainer):
    module, logged = joint_module(), {}
    module.log = lambda name, value, **_: logged.setdefault(name, []).append(float(value))
    module.log_dict = lambda values, **_: [module.log(k, v.detach()) for k, v in values.items()]
    trainer(max_steps=2, limit_val_batches=0).fit(module, small_streets(with_boxes=True))
    parts = {"segmentation", "rpn_class", "rpn_box", "class", "box"}
    assert {f"train/loss_{part}" for part in parts} <= logged.keys()
    total = sum(logged[f"train/loss_{part}"][0] for part in parts)
    assert logged["train/loss"][0] == pytest.approx(total, rel=1e-5)
    assert all(p.grad is not None for p in module.model.heads.parameters())


@pytest.mark.parametrize("heads", [("detection",), ("segmentation", "detection")])
def test_the_report_has_both_tasks(joint_module, small_streets, trainer, tmp_path, heads):
    module = joint_module(*heads)
    predictor = VideoPredictor([1, 2], ablations=True, rounds=1)
    run = trainer(callbacks=[predictor])
    metrics = run.validate(module, small_streets(with_boxes=True), verbose=False)[0]
    assert {"val/map", "val/map_gap_0", "val/map_gap_4"} <= metrics.keys()
    row = predictor.report["rows"][-1]
    assert {"map_mean", "map_worst", "map_run", "copy_map_mean", "no_flow_map_mean"} <= row.keys()
    assert ("miou_mean" in row) == ("segmentation" in heads)
    assert "mAP" in table(predictor.report, [Detection.measure])
    assert predictor.report["frame_map"] == predictor.report["rows"][0]["map_mean"]


def test_predict_writes_boxes_in_both_formats(joint_module, trainer, tmp_path):
    with VideoWriter(tmp_path / "video.mp4", 10, (64, 96)) as video:
        for shade in range(0, 210, 30):
            video.write(np.full((64, 96, 3), shade, np.uint8))
    module = joint_module()
    module.model.heads["detection"].score_threshold = 0.0  # an untrained head is sure of nothing
    writer = ResultWriter(tmp_path, module.tasks, {}, threshold=0.0)
    found = find_videos([str(tmp_path / "video.mp4")])
    found = [replace(found[0], name="a")]
    data = Videos(found, FixedSchedule(5))
    trainer(callbacks=[PredictionWriter(writer)]).predict(module, data, return_predictions=False)
    assert not writer.failed
    boxes = json.loads((tmp_path / "a.boxes.json").read_text())
    lines = (tmp_path / "a.boxes.txt").read_text().splitlines()
    assert len(boxes) == len(lines) > 0
    assert {box["image_id"] for box in boxes} <= set(range(7))
    assert all(1 <= box["category_id"] <= 8 for box in boxes)
    frame, label, _, x1, _, x2, _ = map(float, lines[0].split())
    assert boxes[0]["image_id"] == frame and boxes[0]["category_id"] == label
    assert boxes[0]["bbox"][0] == x1
    assert all(box["time"] == box["image_id"] / 10 for box in boxes)
    assert boxes[0]["bbox"][2] == pytest.approx(x2 - x1 + 1, abs=0.011)


def test_an_aborted_video_leaves_no_boxes(tmp_path):
    files = DetectionFiles(tmp_path, "a")
    clip = SimpleNamespace(start=0, times=[0.0], frame_names=None)
    files.write(clip, torch.tensor([[[1.0, 2, 3, 4, 0.9, 0], [0, 0, 0, 0, 0, -1]]]))
    files.abort()
    assert not list(tmp_path.iterdir())
    files = DetectionFiles(tmp_path, "b")
    files.close()
    assert json.loads((tmp_path / "b.boxes.json").read_text()) == []


def test_boxes_are_drawn_from_the_threshold_on():
    picture = torch.zeros(32, 248, 3, dtype=torch.uint8)
    found = [[4.0, 4, 20, 20, 0.6, 1], [230, 4, 240, 20, 0.4, 0], [0, 0, 0, 0, 0, -1]]
    drawn = draw_boxes(picture, torch.tensor(found), ["car", "person"])
    assert drawn[4:21, 4].any() and not drawn[:, 200:].any()
    assert not picture.any()


@pytest.mark.parametrize("box", [[20.5, 4, 20, 20], [4, 20, 20, 19.2], [300, 50, 290, 40]])
def test_a_box_whose_corners_crossed_is_drawn_too(box):
    picture = torch.zeros(32, 248, 3, dtype=torch.uint8)
    assert draw_boxes(picture, torch.tensor([[*box, 0.9, 0]]), ["car"]).any()


def test_scores_cannot_be_propagated_for_boxes(small_module):
    with pytest.raises(ValueError, match="task_layers 0 propagates the scores"):
        small_module(heads={"detection": 1.0}, task_layers=0)


def test_motion_groups_are_reported_where_motion_is_known():
    accuracy = GapAccuracy({"detection": Detection(2)}, [0, 1])
    box = torch.tensor([[[4.0, 4, 20, 20], [30, 4, 40, 20]]]).repeat(2, 1, 1)
    labels = torch.tensor([[0, 1]]).repeat(2, 1)
    found = torch.cat([box, torch.ones(2, 2, 1), labels[..., None]], -1)
    batch = {
        "boxes": box,
        "frame_boxes": box,
        "box_labels": labels,
        "gap": torch.tensor([0, 1]),
        "index": torch.tensor([0, 1]),
        "motion": torch.tensor([[0.95, 0.5], [0.95, 0.5]]).double(),
    }
    accuracy.update({"detection": found}, batch, torch.tensor([True, True]))
    result = accuracy.compute()["detection"]
    assert result["by_gap"].tolist() == result["slow"].tolist() == [1.0, 1.0]
    assert result["fast"].tolist() == [1.0, 1.0] and result["medium"].isnan().all()


def test_imagenet_vid_is_trained_and_evaluated_with_motion_groups(
    small_module, trainer, tmp_path, monkeypatch
):
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))
    root = write_vid(tmp_path / "ILSVRC2015")
    data = ImageNetVID(
        str(root), short_side=64, max_side=112, batch_size=3, num_workers=0, val_gaps=[0, 2],
        val_every=2,
    )  # fmt: skip
    module = small_module(heads={"detection": 1.0}, detection=SMALL_HEAD)
    run = trainer(max_steps=2, callbacks=[VideoPredictor([1, 2], rounds=1)])
    run.fit(module, data)
    metrics = run.validate(module, data, verbose=False)[0]
    assert {"val/map", "val/map_gap_2", "val/map_slow"} <= metrics.keys()
    assert module.tasks["detection"].classes[0] == "airplane"
    assert "slow_map_mean" in run.callbacks[0].report["rows"][0]
