"""Schedules over whole held-out videos: VideoPredictor's `schedule`, for both tasks."""

from dataclasses import replace

import pytest
import torch

from dff.inference.accuracy.totals import total
from dff.inference.model import Model
from dff.inference.recognizer import stream
from dff.inference.schedules.measuring import Run, run_live
from dff.inference.schedules.whole_videos import fixed_as_often, row_of_runs
from dff.inference.tasks.segmentation import Segmentation
from dff.lit.evaluation.predictor import VideoPredictor
from dff.lit.evaluation.whole_videos import _videos, over_whole_videos
from dff.models.analysis.complexity import Complexity, complexity, run_speedup, speedup
from dff.models.schedule import FixedSchedule
from dff.models.schedules.learned import AgreementHead, saved_head
from dff.models.schedules.named import AskedSchedule

CPU = torch.device("cpu")
COST = Complexity(feature_network=90, flow_network=8, warp=1, heads=10, update=1)


def test_eq_7_with_key_frames_wherever_they_lie():
    assert run_speedup(COST, 20, 4) == pytest.approx(speedup(5, COST.r))
    assert run_speedup(COST, 20, 20) == 1
    # 4 key frames of 100, 16 others of 20, and 3 times the 10 of the flow that was of no use
    assert run_speedup(COST, 20, 4, 3) == pytest.approx(2000 / (400 + 320 + 30))


@pytest.mark.parametrize(
    ("frames", "keys", "duration"),
    [([12], 2, 6), ([12], 1, 12), ([12], 12, 1), ([30, 10], 8, 5), ([30, 10], 100, 1)],
)
def test_the_fixed_schedule_with_about_as_many_key_frames(frames, keys, duration):
    runs = [Run(i, count, []) for i, count in enumerate(frames)]
    runs[0].key_frames = list(range(keys))
    assert fixed_as_often(runs).key_duration == duration


def test_a_run_is_that_of_prediction_and_counts_what_is_labelled(small_module, small_streets):
    module, data = small_module().eval(), small_streets(val_every=1)
    model = Model(module.model, module.tasks)
    asked, cost = AskedSchedule("change", threshold=0.05), complexity(module.model, (64, 128))
    (fixed, change) = over_whole_videos(model, data, asked, cost)["miou"]
    assert (fixed.schedule, change.schedule) == ("fixed", "change")
    assert fixed.frames == change.frames == 12 and change.key_frames[0][0] == 0
    assert 1 < change.keys < 12 and abs(fixed.keys - change.keys) <= 2
    # all but the first were found out after their flow
    assert change.after_flow == change.keys - 1 and fixed.after_flow == 0
    assert fixed.speedup_eq7 == pytest.approx(run_speedup(cost, 12, fixed.keys))
    assert change.speedup_eq7 < run_speedup(cost, 12, change.keys)
    assert min(fixed.fps, change.fps) > 0 and change.worst <= change.mean

    _, frames = next(_videos(data, CPU, 0, 1))
    frames = list(frames)
    counter = Segmentation(19).accuracy([0])
    counted = {name: zeros.clone() for name, zeros in counter.sums.items()}
    schedule = FixedSchedule(fixed.asked)
    with torch.inference_mode():
        for i, found in enumerate(stream(module.model, [f.frame for f in frames], schedule)):
            batch = {**frames[i].truth, "gap": torch.tensor([0])}
            for name, value in counter.count(found["segmentation"], batch).items():
                counted[name] += value
    run = run_live(model, frames, schedule)
    assert run.key_frames == fixed.key_frames[0]
    own = total(counter, run.counted["segmentation"].values())
    assert counted.keys() == own.keys() and all(v.sum() > 0 for v in counted.values())
    assert all(torch.equal(own[name], value) for name, value in counted.items())
    assert fixed.accuracy == pytest.approx(float(counter.result(counted)["by_gap"][0]))


def test_one_labelled_frame_a_video_lies_at_every_distance_from_the_first(small_streets):
    data = small_streets()
    (snippet,) = data.snippets("val")
    numbers = sorted(snippet.frames)
    late = replace(snippet, labelled=[numbers[3]])
    data._found["val"] = [replace(late, name=str(i)) for i in range(6)]
    data.val_every = 1
    places, lengths = [], []
    for _, frames in _videos(data, CPU, 0, 1):
        known = [frame.truth is not None for frame in frames]
        places.append(known.index(True))
        lengths.append(len(known))
        assert sum(known) == 1
    assert places == [3, 2, 1, 0, 3, 2] and lengths == [12, 11, 10, 9, 12, 11]
    shares = [[n for n, f in _videos(data, CPU, rank, 2) for _ in f] for rank in (0, 1)]
    assert set(shares[0]) == {0, 2, 4} and set(shares[1]) == {1, 3, 5}


def test_frames_far_from_each_other_are_no_worst_stretch():
    task = Segmentation(2)
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    one = task.accuracy([0]).count(label, {"mask": label, "gap": torch.tensor([0])})
    far = Run(0, 30, [0, 10], 1, 2.0, {"segmentation": {19: one}})
    row = row_of_runs("change", "segmentation", task, [far], COST)
    assert row.accuracy == row.mean == row.fifth == 1 and row.worst != row.worst
    assert (row.fps, row.after_flow, row.key_duration) == (15, 1, 15)
    near = replace(far, counted={"segmentation": dict.fromkeys(range(30), one)})
    assert row_of_runs("change", "segmentation", task, [near], COST).worst == pytest.approx(1)


def test_the_callback_adds_whole_videos_to_its_report(small_module, small_streets, trainer, capsys):
    callback = VideoPredictor([1, 2], rounds=1, schedule="change", threshold=0.1)
    heads = {"segmentation": 1.0, "detection": 1.0}
    module = small_module(heads=heads, num_box_classes=8)
    run = trainer(callbacks=[callback])
    run.validate(module, small_streets(with_boxes=True), verbose=False)
    report = callback.report["whole_videos"]
    assert report.keys() == {"miou", "map"}
    for rows in report.values():
        assert [row["schedule"] for row in rows] == ["fixed", "change"]
        assert rows[1]["mean_key_duration"] == 12 / len(rows[1]["key_frames"][0])
    assert report["map"][1]["key_frames"] == report["miou"][1]["key_frames"]
    printed = capsys.readouterr().out
    assert "mIoU over whole videos" in printed and "mAP over whole videos" in printed
    assert "after flow" in printed and "Eq. 7" in printed


def test_without_a_schedule_there_are_no_whole_videos(small_module, small_streets, trainer):
    callback = VideoPredictor([1, 2], rounds=1)
    trainer(callbacks=[callback]).validate(small_module(), small_streets(), verbose=False)
    assert callback.report["whole_videos"] == {}


def test_a_head_of_another_flow_network_ends_before_anything_else(
    small_module, small_streets, trainer, tmp_path
):
    torch.save(saved_head(AgreementHead(7).eval(), 1.0), tmp_path / "schedule.pth")
    callback = VideoPredictor([1, 2], schedule=str(tmp_path / "schedule.pth"))
    with pytest.raises(ValueError, match=r"reads 7 numbers .* trained with another flow network"):
        trainer(callbacks=[callback]).validate(small_module(), small_streets(), verbose=False)
    assert callback.report is None


def test_a_rate_that_is_not_reached_is_told(small_module, small_streets, monkeypatch, capsys):
    monkeypatch.setattr("dff.inference.results.rate._FEW", 5)
    module = small_module().eval()
    asked = AskedSchedule("change", frames_per_second=1e6)
    model, cost = Model(module.model, module.tasks), complexity(module.model, (64, 128))
    over_whole_videos(model, small_streets(), asked, cost)
    told = capsys.readouterr().err
    assert "whole videos: " in told and "1e+06 were asked for" in told
    assert "--data.val_short_side" in told


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schedule": "chnge"}, "schedule 'chnge': wanted fixed, change, or a file"),
        ({"schedule": "no.pth"}, "no learned schedule at no.pth"),
        ({"schedule": "fixed", "threshold": 1.0}, "threshold with the fixed schedule"),
        (
            {"schedule": "change", "key_duration": 5, "threshold": 1.0},
            "key_duration and threshold for one schedule: wanted one of them",
        ),
        ({"schedule": "change", "key_duration": 0}, "mean key duration 0: wanted 1 or more"),
        ({"key_duration": 5}, "belong to a schedule: set it to change or to a file"),
    ],
)
def test_what_cannot_be_a_schedule_is_said_at_once(settings, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        VideoPredictor([1, 2], **settings)
