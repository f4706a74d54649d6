"""Training on your own data from nothing but its folder: heads, split, sizes, and what is said."""

import json

import cv2
import lightning as L
import numpy as np
import pytest
from label_writers import Labelled, write_coco, write_yolo

from dff.data.samples import SampleError
from dff.inference.own_data.settings import settings_of
from dff.lit.cli import FitCLI
from dff.lit.datamodules.own_data import Auto, existing_gaps
from dff.lit.module import LitDFF

SIZE = (72, 96)


def video(root, name, count=4, size=SIZE, place="{}"):
    frames = []
    for i in range(count):
        file = root / place.format(name) / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        cv2.imwrite(str(file), cv2.resize(pixels, size[::-1]))
        frames.append(file.relative_to(root))
    boxes = [[(0, 5 + i, 5, 40, 40, 1), (1, 50, 30, 80, 60, 2)] for i in range(count)]
    return Labelled(name, frames, boxes, size)


@pytest.fixture
def root(tmp_path):
    write_coco(tmp_path, [video(tmp_path, f"v{i}") for i in range(5)], ["car", "dog"])
    return tmp_path


def test_whole_videos_are_held_out_by_a_seed(root):
    data = Auto(str(root), num_workers=0)
    names = {split: [s.name for s in data.find_snippets(split)] for split in ("train", "val")}
    assert len(names["val"]) == 1 and sorted(names["train"] + names["val"]) == [
        f"v{i}" for i in range(5)
    ]
    again = Auto(str(root), num_workers=0, split_seed=0)
    assert [s.name for s in again.find_snippets("val")] == names["val"]
    others = {Auto(str(root), split_seed=seed).held_out[0] for seed in range(8)}
    assert len(others) > 1
    assert data.val_gaps == [0, 1] and data.with_boxes and data.mask_reader() is None


def test_the_last_fifth_of_an_only_video_is_held_out(tmp_path):
    write_coco(tmp_path, [video(tmp_path, "v", 10)], ["car", "dog"])
    data = Auto(str(tmp_path))
    assert [list(s.frames) for s in data.find_snippets("train")] == [list(range(8))]
    assert [list(s.frames) for s in data.find_snippets("val")] == [[8, 9]]
    write_coco(tmp_path, [video(tmp_path, "v", 1)], ["car", "dog"])
    with pytest.raises(SampleError, match="1 labelled frames in 1 videos: nothing can be held out"):
        Auto(str(tmp_path))


def test_gaps_are_those_that_exist(root):
    write_coco(root, [video(root, "long", 12)], ["car", "dog"])
    snippets = [*Auto(str(root)).find_snippets("train")]
    assert existing_gaps(snippets) == [0, 1, 4]
    assert existing_gaps([]) == [0]


def test_frames_of_several_sizes_are_evaluated_in_batches_as_one_by_one(root):
    videos = [video(root, f"v{i}", size=(72 + 8 * (i < 2), 96)) for i in range(4)]
    write_coco(root, videos, ["car", "dog"])
    module = LitDFF(
        "resnet18",
        "flownet_half",
        feature_channels=16,
        heads={"detection": 1.0},
        num_box_classes=2,
        detection={"anchor_scales": [1, 2]},
    )
    figures = []
    for size in (1, 3):
        data = Auto(str(root), val_share=0.5, val_batch_size=size, num_workers=0)
        assert len({s.boxes.boxes(0).frame_size for s in data.find_snippets("val")}) == 2
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            default_root_dir=root,
        )
        (found,) = trainer.validate(module, data, verbose=False)
        figures.append(found)
        batches = [len(batch["index"]) for batch in data.val_dataloader()]
        assert max(batches) == size and sum(batches) == 14
    assert figures[0] == pytest.approx(figures[1], abs=1e-6, nan_ok=True)


def test_settings_follow_what_is_labelled(root, tmp_path_factory):
    chosen, told = settings_of({"root": str(root)}, 4)
    assert chosen["model.init_args.heads"] == {"detection": 1.0}
    assert chosen["model.init_args.num_box_classes"] == 2
    assert chosen["trainer.max_steps"] == 300 and chosen["checkpoint.monitor"] == "val/map"
    scales = chosen["model.init_args.detection"]["anchor_scales"]
    assert 16 * scales[0] == pytest.approx(31, abs=1)
    assert told[0] == "learns detection, because that is labelled"
    other = tmp_path_factory.mktemp("yolo")
    write_yolo(other, [video(other, "v", place="images/train/{}")], ["car", "dog"])
    for text in (other / "labels").rglob("*.txt"):
        text.write_text("1 0.1 0.1 0.6 0.1 0.6 0.9 0.1 0.9\n")
    chosen, _ = settings_of({"root": str(other), "with_masks": True}, 4)
    assert chosen["model.init_args.heads"] == {"segmentation": 1.0, "detection": 1.0}
    assert chosen["model.init_args.num_classes"] == 3
    assert chosen["checkpoint.monitor"] == "val/miou"


def test_a_run_needs_nothing_but_the_folder(root, tmp_path):
    out = tmp_path / "out"
    FitCLI(
        "streets",
        [
            *("--data", "Auto", "--data.root", str(root), "--output", str(out)),
            *("--trainer.max_steps=1", "--trainer.val_check_interval=1"),
            "--trainer.accelerator=cpu",
            *("--data.num_workers=0", "--data.batch_size=2", "--model.feature_channels=16"),
            *("--trainer.precision=32-true", "--trainer.limit_val_batches=2"),
            *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
            *("--trainer.num_sanity_val_steps=0", "--panels.pairs=1"),
            # a run of W&B would outlive this test
            *("--trainer.logger.class_path", "dff.lit.loggers.metrics_file.MetricsFile"),
            *("--trainer.logger.save_dir", str(out), "--trainer.logger.name", "auto"),
        ],
    )  # fmt: skip
    (run,) = out.glob("auto/version_0")
    split = json.loads((run / "split.json").read_text())
    assert split["seed"] == 0 and len(split["held_out"]) == 1
    # the flow network of this config has another stride than the features
    assert [*run.glob("panels/*.png")]
    assert (run / "checkpoints" / "last.ckpt").is_file()
