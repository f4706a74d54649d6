"""A third task, in one file outside the package: from training to files."""

import csv
import json

import numpy as np
import pytest
import torch
from borders import Borders, LitBorders

from dff.data.files.images import read_labels
from dff.data.video.sources import find_videos, open_video
from dff.data.video.writer import VideoWriter
from dff.inference.results.folders import DiskFolder
from dff.inference.results.result_files import own_names, results_of
from dff.inference.results.writer import ResultWriter
from dff.lit.checkpoints import load_model
from dff.lit.datamodules.datasets import Videos
from dff.lit.evaluation.predictor import VideoPredictor
from dff.lit.visualization.panels import Panels
from dff.lit.writer import PredictionWriter
from dff.models.schedule import FixedSchedule

SETTINGS = {
    "feature_network": "resnet18",
    "flow_network": "flownet_half",
    "feature_channels": 16,
    "batch_norm": "trained",
    "optimizer": "adamw",
}


@pytest.fixture(scope="module")
def trained(streets_root, tmp_path_factory):
    """A run of two steps and a validation, its checkpoint, and what it logged."""
    import lightning as L
    from lightning.pytorch.loggers import CSVLogger
    from small import SMALL

    from dff.lit.datamodules.datasets import Streets

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("borders")
    module = LitBorders(heads={"segmentation": 1.0, "borders": 0.5}, **SETTINGS)
    before = module.model.heads["borders"].score.weight.clone()
    data = Streets(root=str(streets_root), **SMALL, num_workers=0, val_gaps=[0, 4], val_every=6)
    run = L.Trainer(
        accelerator="cpu",
        max_steps=2,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        logger=CSVLogger(folder, name="run"),
        callbacks=[VideoPredictor([1, 2], rounds=1, overlay_frames=4), Panels(pairs=1)],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    run.fit(module, data)
    run.save_checkpoint(folder / "model.ckpt")
    assert not torch.equal(module.model.heads["borders"].score.weight, before)
    return folder, run


def test_it_is_trained_and_validated_by_gap(trained):
    _, run = trained
    logged = run.callback_metrics.keys()
    assert {"train/loss_segmentation", "train/loss_borders"} <= logged
    assert {f"val/border_accuracy{gap}" for gap in ("", "_gap_0", "_gap_4")} <= logged
    assert "val/miou" in logged
    assert 0 < run.callback_metrics["val/border_accuracy"] <= 1


def test_it_is_evaluated_and_drawn(trained):
    folder = trained[0] / "run" / "version_0"
    report = json.loads((folder / "video_predictor.json").read_text())
    assert report["rows"][0]["border_accuracy_mean"] == report["frame_border_accuracy"]
    assert len(list(open_video(folder / "overlay.mp4"))) == 4
    assert len(list((folder / "panels").glob("*.png"))) == 1
    assert (folder / "accuracy_speed.png").stat().st_size > 5000
    rows = csv.DictReader((folder / "metrics.csv").open())
    assert any(row.get("video/border_accuracy_mean_l2") for row in rows)


def test_its_column_stands_in_the_table(trained):
    from dff.lit.evaluation.predictor import table

    (predictor,) = (c for c in trained[1].callbacks if isinstance(c, VideoPredictor))
    measures = [task.measure for task in trained[1].lightning_module.tasks.values()]
    titles = table(predictor.report, measures).splitlines()[0].split()
    assert titles.index("mIoU") < titles.index("borders") < titles.index("fps")


def test_it_is_predicted_to_files_of_its_own(trained, trainer, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, (64, 96)) as video:
        for shade in range(0, 240, 60):
            video.write(np.full((64, 96, 3), shade, np.uint8))
    module = load_model(trained[0] / "model.ckpt", kind=LitBorders)
    torch.nn.init.constant_(module.model.heads["borders"].score.bias, 100.0)  # borders everywhere
    out = tmp_path / "out"
    (out / "a.borders").mkdir(parents=True)  # somebody's own: a video's results get another name
    found = own_names(
        DiskFolder(out), find_videos([str(tmp_path / "a.mp4")]), results_of(module.tasks)
    )
    writer = ResultWriter(out, module.tasks, {}, labels="none")
    data = Videos(found, FixedSchedule(2))
    trainer(callbacks=[PredictionWriter(writer)]).predict(module, data, return_predictions=False)
    assert not writer.failed
    assert sorted(path.name for path in out.iterdir()) == [
        *("a.borders", "a_2.borders", "a_2.json", "a_2.mp4")
    ]
    files = sorted((out / "a_2.borders").iterdir())
    assert len(files) == 4 and all((read_labels(file) == 1).all() for file in files)
    assert np.mean(next(iter(open_video(out / "a_2.mp4")))) > 250  # white borders over black


def test_a_checkpoint_with_it_does_not_load_without_it(trained):
    with pytest.raises(ValueError, match=r"heads .*borders.*wanted one or more of segmentation"):
        load_model(trained[0] / "model.ckpt")


def test_data_without_its_target_is_refused():
    module = LitBorders(heads={"borders": 1.0}, **SETTINGS)
    assert isinstance(module.tasks["borders"], Borders)
    with pytest.raises(ValueError, match="the data has no mask, of which the task borders learns"):
        module.training_step({"boxes": torch.zeros(1, 1, 4)}, 0)
