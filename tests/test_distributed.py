"""Two processes on the CPU: the figures and the files of one."""

import csv
import json

import pytest
from small import SMALL
from test_scripts import run, street_flags

MODEL = ["--model.feature_channels=16", "--model.lr_factors.flow_network=0.2"]


@pytest.fixture(scope="module")
def fitted(streets_root, tmp_path_factory):
    """A run of two processes: two steps of two pairs each, then validation."""
    folder = tmp_path_factory.mktemp("ddp")
    run(
        *("fit.py", *street_flags(streets_root), *MODEL, "--output", folder, "--name", "two"),
        *("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.max_steps=2"),
        *("--trainer.val_check_interval=2", "--data.batch_size=2", "--data.val_every=5"),
        *("--data.val_batch_size=1", "--data.val_gaps=[0,3,7]", "--panels.pairs=1"),
        *("--video_predictor.key_durations=[1,3]", "--video_predictor.rounds=1"),
        check=0,
    )
    return folder / "two" / "version_0"


def validate(checkpoint, root, folder, devices):
    run(
        *("evaluate.py", checkpoint, "--data=Streets", *street_flags(root), "--data.val_every=5"),
        *("--data.val_gaps=[0,3,7]", "--key_durations=[1,3]", "--output", folder),
        *("--accelerator=cpu", f"--devices={devices}", "--schedule=change", "--threshold=0.1"),
        check=0,
    )
    (file,) = folder.glob("**/metrics.csv")
    (report,) = folder.glob("**/video_predictor.json")
    rows = list(csv.DictReader(file.open()))
    figures = {k: v for row in rows for k, v in row.items() if k.startswith("val/") and v}
    found = json.loads(report.read_text())
    whole = [{**row, "fps": None} for row in found["whole_videos"]["miou"]]
    return figures, found["miou_by_gap"], whole


def test_figures_of_two_processes_are_those_of_one(fitted, streets_root, tmp_path):
    checkpoint = fitted / "checkpoints" / "last.ckpt"
    one = validate(checkpoint, streets_root, tmp_path / "one", 1)
    two = validate(checkpoint, streets_root, tmp_path / "two", 2)
    assert one == two
    assert len(one[0]) > 4
    # and those that validation gave within the training of two processes
    rows = list(csv.DictReader((fitted / "metrics.csv").open()))
    (within,) = [row["val/miou"] for row in rows if row.get("val/miou")]
    assert float(within) == pytest.approx(float(one[0]["val/miou"]), abs=1e-6)


def test_two_processes_predict_the_files_of_one(fitted, streets_root, tmp_path):
    checkpoint = fitted / "checkpoints" / "last.ckpt"
    frames = streets_root / "leftImg8bit_sequence" / "train" / "streets"
    for devices, how in ((1, "predict.py"), (2, "predict")):
        run(
            *(how, checkpoint, frames, "--output", tmp_path / str(devices)),
            *("--accelerator=cpu", "--devices", devices, "--key_duration=4"),
            check=0,
        )
    one, two = (
        {
            path.relative_to(tmp_path / devices): path.read_bytes()
            for path in (tmp_path / devices).rglob("*")
            if path.is_file() and path.suffix != ".json"
        }
        for devices in ("1", "2")
    )
    assert one == two
    assert len(one) == SMALL["train_videos"] * (SMALL["frames"] + 1)
