import itertools
import json

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from dff.inference.recognizer import recognize
from dff.inference.speed import (
    measure_decision,
    measure_intervals,
    measure_parts,
    measure_peak,
    measure_speed,
)
from dff.inference.tasks.segmentation import Segmentation
from dff.lit.evaluation.predictor import VideoPredictor, table
from dff.models.schedules.adaptive import AdaptiveSchedule
from dff.models.schedules.needs import Change


@pytest.fixture(scope="module")
def report_and_folder(streets_root, tmp_path_factory):
    """One run with all ablations, shared by the tests that read it."""
    import lightning as L
    from small import SMALL

    from dff.lit.datamodules.datasets import Streets
    from dff.lit.module import LitDFF

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("predictor")
    module = LitDFF("resnet18", "flownet_half", 16, batch_norm="trained")
    data = Streets(root=str(streets_root), **SMALL, num_workers=0, val_gaps=[0], val_every=4)
    callback = VideoPredictor([1, 2, 5], ablations=True, rounds=1)
    run = L.Trainer(
        accelerator="cpu",
        logger=CSVLogger(folder, name="run"),
        callbacks=[callback],
        enable_progress_bar=False,
    )
    run.validate(module, data, verbose=False)
    return callback.report, folder / "run" / "version_0"


def test_the_report_has_what_was_promised(report_and_folder):
    report, folder = report_and_folder
    assert [row["key_duration"] for row in report["rows"]] == [1, 2, 5]
    for row in report["rows"]:
        assert row["miou_worst"] <= row["miou_mean"]
        assert row["ratio"] == pytest.approx(row["speedup"] / row["speedup_eq7"])
        for mode in ("copy", "no_scale", "no_flow"):
            assert 0 <= row[f"{mode}_miou_mean"] <= 1
    assert report["rows"][0]["speedup"] == 1 and report["rows"][0]["ms_current"] is None
    assert report["frame_miou"] == report["rows"][0]["miou_mean"]
    assert json.loads((folder / "video_predictor.json").read_text())["rows"] == report["rows"]
    assert (folder / "accuracy_speed.png").stat().st_size > 5000
    assert "video/fps_l5" in (folder / "metrics.csv").read_text()


def test_the_mean_is_over_the_offsets_and_key_frames_are_alike_for_all_ways(report_and_folder):
    report, _ = report_and_folder
    by_gap = report["miou_by_gap"]
    assert report["rows"][2]["miou_mean"] == pytest.approx(sum(by_gap["full"][:5]) / 5)
    assert report["rows"][1]["copy_miou_mean"] == pytest.approx(sum(by_gap["copy"][:2]) / 2)
    assert len({by_gap[mode][0] for mode in by_gap}) == 1


def test_an_untrained_scale_field_is_1_and_changes_nothing(report_and_folder):
    by_gap = report_and_folder[0]["miou_by_gap"]
    assert by_gap["no_scale"] == by_gap["full"]
    assert by_gap["no_flow"] == by_gap["copy"]


def test_the_error_of_zero_flow_grows_with_the_gap(report_and_folder):
    zero = report_and_folder[0]["epe_zero_by_gap"]
    assert zero[0] == 0 and all(a < b for a, b in itertools.pairwise(zero))


def test_the_table_says_when_propagation_pays(report_and_folder):
    report = report_and_folder[0]
    text = table(report, [Segmentation.measure])
    assert "worst" in text and "flow = 0" in text and "1/r" in text
    assert "does not pay" in table({**report, "break_even": None})
    assert "pays from key duration 3 on" in table({**report, "break_even": 3})


@pytest.mark.parametrize("duration", [0, -1])
def test_a_key_duration_below_1_is_refused(duration):
    with pytest.raises(ValueError, match=f"key duration {duration}"):
        VideoPredictor([duration])


def test_it_runs_when_training_ends_and_leaves_the_mode_as_it_was(
    small_module, small_streets, trainer
):
    callback, module = VideoPredictor([1, 2], rounds=1), small_module()
    trainer(max_steps=1, limit_val_batches=0, callbacks=[callback]).fit(module, small_streets())
    assert callback.report is not None and "copy_miou_mean" not in callback.report["rows"][0]
    silent = VideoPredictor([1, 2], on_fit_end=False)
    trainer(max_steps=1, limit_val_batches=0, callbacks=[silent]).fit(module, small_streets())
    assert silent.report is None


def test_speed_runs_the_flow_network_on_current_frames_alone(small_module, monkeypatch):
    model = small_module().model.eval()
    frames = [torch.rand(1, 3, 64, 96) for _ in range(6)]
    current = []

    def count(model, key, frame, *args):
        current.append(frame)
        return recognize(model, key, frame, *args)

    monkeypatch.setattr("dff.inference.speed.recognize", count)
    speeds = measure_speed(model, frames, [1, 3, 6], rounds=2)
    # warm-up, then in each of 2 rounds: 6 key frames; 2 intervals of 2; 1 interval of 5
    assert len(current) == 1 + 2 * (0 + 2 * 2 + 5)
    assert [s.key_duration for s in speeds] == [1, 3, 6]
    assert speeds[0].ms_current is None and speeds[1].ms_current > 0
    with pytest.raises(ValueError, match="6 frames to measure key duration 9"):
        measure_speed(model, frames, [9])


def test_intervals_are_timed_as_prediction_runs_them(small_module):
    model = small_module().model.eval()
    frames = [torch.rand(1, 3, 64, 96) for _ in range(6)]
    seen = {"feature_network": [], "flow_network": []}
    for name, batches in seen.items():
        network = getattr(model, name)
        network.register_forward_hook(lambda _, inputs, out, b=batches: b.append(len(inputs[0])))
    fps = measure_intervals(model, frames, [1, 3], rounds=1)
    assert len(fps) == 2 and min(fps) > 0
    # twice, the first to warm up: each of 3 frames, in batches of 2, and one interval of 3
    assert seen["feature_network"] == 2 * [*(1, 1, 1), *(2, 1), 1]
    assert seen["flow_network"] == 2 * [2]


def test_a_key_frame_of_a_schedule_is_timed_with_its_flow(small_module):
    model, needs = small_module().model.eval(), []

    class Looked(Change):
        def __call__(self, evidence):
            needs.append(super().__call__(evidence))
            return needs[-1]

    runs = {"feature_network": 0, "flow_network": 0}
    for name in runs:

        def count(*_, name=name):
            runs[name] += 1

        getattr(model, name).register_forward_hook(count)
    frame = torch.rand(1, 3, 64, 96)
    found = measure_decision(model, frame, AdaptiveSchedule(Looked()), rounds=1)
    # before: a key frame and another; then twice, the first to warm up: with the schedule a key
    # frame, which has flow too, and another; and one of each without
    assert runs == {"feature_network": 1 + 2 * 2, "flow_network": 1 + 2 * (2 + 1)}
    assert len(needs) == 2 * 2 and max(needs) < float("inf")  # a cut would have ended the look
    assert min(found.ms_key, found.ms_current, found.ms_key_fixed, found.ms_current_fixed) > 0


def test_the_parts_of_a_frame_are_measured(small_module):
    model = small_module().model.eval()
    parts = measure_parts(model, [torch.rand(1, 3, 64, 96) for _ in range(2)], rounds=1)
    assert list(parts) == [
        *("feature network", "flow network", "warp and scale", "tail", "head, segmentation")
    ]
    assert all(ms >= 0 for ms in parts.values())
    assert measure_peak(torch.device("cpu"), torch.float32, side=64) > 0
