import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Subset
from vid_layout import box_of, write_vid

from dff.data.datasets.cityscapes import read_train_ids
from dff.data.files.images import write_png
from dff.data.samples import IGNORED, SampleError
from dff.data.transforms.unit_range import to_unit_range
from dff.lit.datamodules.datasets import (
    Cityscapes,
    Folder,
    ImageNetVID,
    PairData,
    Videos,
)
from dff.models.schedule import FixedSchedule


def test_frames_leave_as_rgb_in_0_to_1(small_streets):
    data = small_streets()
    batch = next(iter(data.val_dataloader()))
    assert batch["key"].dtype == torch.uint8
    bytes_ = batch["key"].clone()
    moved = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(moved["key"], bytes_.float() / 255)
    assert moved["key"].is_contiguous(memory_format=torch.channels_last)
    assert to_unit_range(torch.tensor([[[[255]]]], dtype=torch.uint8)).item() == 1.0


def test_each_evaluation_pair_is_in_one_share(small_streets):
    data = small_streets()
    whole = [int(i) for batch in data.evaluation_pairs([0, 4]) for i in batch["index"]]
    shares = [
        [
            int(i)
            for batch in data.evaluation_pairs([0, 4], rank=r, world_size=3)
            for i in batch["index"]
        ]
        for r in range(3)
    ]
    assert sorted(itertools.chain(*shares)) == whole == list(range(len(whole)))
    assert isinstance(data.evaluation_pairs([0], rank=0, world_size=2).dataset, Subset)


def test_val_every_thins_the_labelled_frames_and_keeps_their_keys(small_streets):
    pairs = small_streets(val_every=4).evaluation_pairs([0, 2]).dataset
    # frames 3, 7, 11 of the one video of 12
    assert len(pairs) == 3 * 2
    assert pairs[1]["gap"] == 2 and not torch.equal(pairs[1]["key"], pairs[1]["current"])


def test_val_every_that_leaves_nothing_is_named(small_streets):
    with pytest.raises(ValueError, match=r"val_every 13 leaves no labelled frame.* more than 12"):
        small_streets(val_every=13).evaluation_pairs([0])


def test_gaps_that_no_frame_has_are_refused(small_streets):
    with pytest.raises((SampleError, ValueError), match=r"val_gaps|gap"):
        small_streets().evaluation_pairs([50])


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"val_batch_size": 0}, {"val_gaps": [-1, 0]}])
def test_numbers_that_cannot_be_are_refused(small_streets, wrong):
    with pytest.raises(ValueError, match=r"wanted batches of at least 1 pair, and gaps from 0"):
        small_streets(**wrong)


def test_evaluation_tells_the_size_of_the_frame_beside_that_of_the_picture(small_streets):
    batch = next(iter(small_streets(val_short_side=80).evaluation_pairs([0])))
    assert batch["size"].tolist() == [[80, 160]] and batch["frame_size"].tolist() == [[64, 128]]


def test_true_flow_comes_only_where_asked(small_streets):
    data = small_streets()
    assert "flow" not in next(iter(data.evaluation_pairs([4])))
    assert next(iter(data.evaluation_pairs([4], with_flow=True)))["flow"].shape == (1, 2, 64, 128)


def test_held_out_frames_are_consecutive_and_as_evaluation_sees_them(small_streets):
    frames, seconds = small_streets(val_short_side=80).held_out_frames(5)
    assert len(frames) == 5 and seconds > 0
    assert frames[0].shape == (1, 3, 80, 160)
    assert 0 <= frames[0].min() and frames[0].max() <= 1


def test_a_batch_larger_than_the_data_is_refused(small_module, small_streets, trainer):
    with pytest.raises(SampleError, match=r"24 labelled frames.*at least one batch of 99"):
        trainer(max_steps=1).fit(small_module(), small_streets(batch_size=99))


def test_a_missing_root_is_said_at_once(small_module, trainer, tmp_path):
    data = Cityscapes(root=str(tmp_path / "nowhere"), num_workers=0)
    with pytest.raises(FileNotFoundError, match=r"nowhere.*--data\.root"):
        trainer(max_steps=1).fit(small_module(), data)


def test_streets_give_boxes_with_masks_where_asked(small_streets):
    data = small_streets(with_boxes=True)
    assert data.box_classes[:3] == ("person", "rider", "car") and len(data.box_classes) == 8
    pairs = data.evaluation_pairs([0, 1], with_flow=True).dataset
    seen = 0
    for index in range(len(pairs)):
        pair = pairs[index]
        assert pair["boxes"].shape == (len(pair["tracks"]), 4)
        for (x1, y1, x2, y2), label in zip(
            pair["boxes"].int().tolist(), pair["box_labels"].tolist(), strict=True
        ):
            here = pair["mask"][y1 : y2 + 1, x1 : x2 + 1] == 11 + label
            assert here[0].any() and here[-1].any() and here[:, 0].any() and here[:, -1].any()
            seen += 1
    assert seen > 10
    batch = next(iter(small_streets(with_boxes=True, val_batch_size=3).evaluation_pairs([0])))
    assert batch["boxes"].shape[::2] == (3, 4)
    assert (batch["box_labels"] >= 0).sum() == (batch["tracks"] >= 0).sum()
    assert "boxes" not in next(iter(small_streets().evaluation_pairs([0])))


def test_a_data_set_without_boxes_says_so(tmp_path):
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    with pytest.raises(ValueError, match=r"Folder knows no boxes: set --data\.with_boxes"):
        Folder(str(tmp_path), with_boxes=True)


@pytest.fixture
def vid(tmp_path, monkeypatch):
    monkeypatch.setenv("DFF_CACHE", str(tmp_path / "cache"))
    root = write_vid(tmp_path / "ILSVRC2015")

    def make(**kwargs):
        settings = {"short_side": 80, "max_side": 100, "num_workers": 0, "val_every": 5}
        return ImageNetVID(str(root), **{**settings, **kwargs})

    return make


def started(data, **kwargs):
    """The data as a trainer at the beginning of a fit would have it."""
    progress = SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=0)))
    data.trainer = SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=progress),
        state=SimpleNamespace(fn="fit"),
        **{"world_size": 1, "global_rank": 0, **kwargs},
    )
    data.prepare_data()
    return data


def test_imagenet_vid_mixes_videos_and_images_two_to_one(vid):
    data = started(vid(batch_size=3))
    assert data.quotas() == [(range(22), 6), (range(22, 25), 3)]
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    index = torch.cat([batch["index"] for batch in batches])
    assert len(set(index.tolist())) == 9 and (index >= 22).sum() == 3
    assert all((batch["gap"][batch["index"] >= 22] == 0).all() for batch in batches)
    assert len(list(started(vid(batch_size=5, vid_to_det=None)).train_dataloader())) == 5
    assert started(vid(train_sets=["VID_train"])).quotas() is None


def test_frames_of_several_sizes_share_a_batch(vid):
    (batch,) = started(vid(batch_size=9)).train_dataloader()
    height, width = batch["size"].amax(0).tolist()
    assert batch["current"].shape == (9, 3, height, width) and width == 100
    assert len(set(map(tuple, batch["size"].tolist()))) > 2
    assert "mask" not in batch and "frame_boxes" not in batch
    for row, (height, width) in enumerate(batch["size"].tolist()):
        boxes = batch["boxes"][row][batch["box_labels"][row] >= 0]
        assert (boxes[:, 2] <= width - 1).all() and (boxes[:, 3] <= height - 1).all()
        assert not batch["boxes"][row][batch["box_labels"][row] < 0].any()


def test_imagenet_vid_is_evaluated_in_pixels_of_the_frames(vid):
    batches = list(vid(val_gaps=[0, 4]).val_dataloader())
    # frames 4 and 9 of the one video of 12
    assert [int(batch["gap"]) for batch in batches] == [0, 4, 0, 4]
    assert batches[0]["frame_boxes"][0].tolist() == [list(box_of(4, 0)), list(box_of(4, 1))]
    assert batches[0]["size"].tolist() == [[71, 100]]
    assert batches[0]["frame_size"].tolist() == [[80, 112]]
    torch.testing.assert_close(batches[0]["boxes"], batches[0]["frame_boxes"] * (100 / 112))


def test_imagenet_vid_can_be_named_on_the_command_line(vid, tmp_path):
    from jsonargparse import ArgumentParser  # once imported, it warns wherever a worker starts

    parser = ArgumentParser()
    parser.add_subclass_arguments(PairData, "data")
    root = f"--data.root={tmp_path / 'ILSVRC2015'}"
    args = parser.parse_args(["--data=ImageNetVID", root, "--data.batch_size=2"])
    made = parser.instantiate(args).data
    assert (made.batch_size, made.clamp_gaps, made.with_boxes) == (2, True, True)
    assert (made.training_transform.short_side, made.evaluation_transform.max_side) == (600, 1000)
    assert len(made.box_classes) == 30 and "short_side" in str(args)
    with pytest.raises(SystemExit):
        parser.parse_args(["--data=ImageNetVID", root, "--data.with_boxes=false"])


def test_sides_that_no_video_can_have_are_refused():
    with pytest.raises(ValueError, match="a short side of 32 is too small"):
        Videos([], FixedSchedule(5), 32)
    with pytest.raises(ValueError, match="max_side 500 with short_side None"):
        Videos([], FixedSchedule(5), None, 500)


def write_folder(root, **splits):
    """A folder data set; of each split, the numbers of its one mask."""
    (root / "classes.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("background\nobject\n")
    for split, numbers in splits.items():
        for kind in ("frames", "masks"):
            (root / split / kind / "a").mkdir(parents=True)
        mask = np.repeat(np.array(numbers, np.uint8), 64 * 64 // len(numbers)).reshape(64, 64)
        write_png(root / split / "masks" / "a" / "0.png", mask)
        write_png(root / split / "frames" / "a" / "0.png", np.zeros((64, 64, 3), np.uint8))
    return Folder(str(root), num_workers=0, val_gaps=[0])


@pytest.mark.parametrize(
    "train, val, told",
    [
        (
            [0, 255],
            [0, 1],
            r"Folder train: the 1 masks hold no class but 0 \(background\), and 50 %",
        ),
        ([255], [0, 1], "Folder train: no pixel of the 1 masks is labelled"),
        ([0, 1], [255], "Folder val: no pixel of the 1 masks is labelled"),
    ],
)
def test_labels_that_teach_nothing_end_a_run_before_it_begins(
    small_module, trainer, tmp_path, train, val, told
):
    data = write_folder(tmp_path / "data", train=train, val=val)
    module = small_module(num_classes=2)
    with pytest.raises(SampleError, match=told):
        trainer(max_steps=1).fit(module, data)
    assert not hasattr(module, "accuracy")  # nothing else has begun


def test_a_class_that_is_nowhere_is_said_at_the_start(trainer, tmp_path, caplog):
    data = write_folder(tmp_path / "data", train=[0], val=[0, 255])
    with caplog.at_level("INFO", "lightning.pytorch.utilities.rank_zero"):
        data.trainer = trainer(max_steps=1)
        data.setup("fit")
    said = [line for line in caplog.messages if "none of" in line]
    assert said == [
        "Folder train: none of the 1 masks holds the class 1 (object)",
        "Folder val: none of the 1 masks holds the class 1 (object); 50 % of their pixels are "
        "ignored (255)",
    ]


def test_a_run_without_validation_needs_no_held_out_split(trainer, tmp_path):
    data = write_folder(tmp_path / "data", train=[0, 1])
    data.trainer = trainer(max_steps=1, limit_val_batches=0)
    data.setup("fit")
    with pytest.raises(FileNotFoundError, match="val/frames"):
        data.setup("validate")


def test_cityscapes_looks_at_what_its_files_hold(streets_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(streets_root, root)
    for path in (root / "gtFine" / "train").rglob("*_labelIds.png"):
        ids = read_train_ids(path)
        write_png(path, np.where(ids == IGNORED, 0, ids).astype(np.uint8))
    data = Cityscapes(str(root))
    with pytest.raises(SampleError, match="no id above 18 in files called labelIds"):
        data.snippets("train")
    assert data.snippets("val")
