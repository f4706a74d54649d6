import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from small import DATA
from test_datamodules import started

from dff.data.files.flow import write_flow
from dff.data.samples import SampleError
from dff.lit.cli import FitCLI
from dff.lit.datamodules.flow_data import DrawnPairs, FlyingChairs
from dff.lit.flow import LitFlow

SMALL = {"height": 64, "width": 96, "train_pairs": 8, "val_pairs": 3, "num_workers": 0}


@pytest.fixture
def chairs(tmp_path):
    """Eight pairs of noise that does not move; makes a data module over them."""
    root = tmp_path / "chairs" / "data"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 9):
        image = rng.integers(0, 256, (64, 96, 3), np.uint8)
        for name in ("img1", "img2"):
            cv2.imwrite(str(root / f"{number:05d}_{name}.ppm"), image)
        write_flow(root / f"{number:05d}_flow.flo", np.zeros((64, 96, 2)))

    def make(**kwargs):
        return FlyingChairs(str(root.parent), **{"num_workers": 0, "batch_size": 2, **kwargs})

    return make


def drawn(**kwargs):
    return DrawnPairs(**{**SMALL, "batch_size": 4, **kwargs})


def fit(trainer, data, **kwargs):
    module = LitFlow("flownet_half", lr=1e-4)
    run = trainer(**{"max_steps": 2, **kwargs})
    run.fit(module, data)
    return run


def test_batches_are_what_the_flow_module_takes(chairs):
    for data in (chairs(flip=0.5, rotate=5), drawn(rotate=5)):
        for loader in (started(data).train_dataloader(), data.val_dataloader()):
            batch = data.on_after_batch_transfer(next(iter(loader)), 0)
            count = loader.batch_size
            for name in ("current", "key"):
                assert batch[name].shape == (count, 3, 64, 96)
                assert batch[name].dtype == torch.float32 and 0.5 < batch[name].max() <= 1
                assert batch[name].is_contiguous(memory_format=torch.channels_last)
            assert batch["flow"].shape == (count, 2, 64, 96)
            assert batch["flow_known"].dtype == torch.bool
            assert batch["gap"].tolist() == [1] * count


@pytest.mark.parametrize("which", ["chairs", "drawn"])
def test_a_flow_network_trains_and_is_validated_on_either(which, chairs, trainer):
    data = chairs(val_batch_size=2) if which == "chairs" else drawn(max_motion=5, val_batch_size=3)
    run = fit(trainer, data, val_check_interval=2, check_val_every_n_epoch=None)
    measured = run.callback_metrics
    assert torch.isfinite(measured["train/loss"]) and torch.isfinite(measured["val/epe"])
    if which == "chairs":
        assert measured["val/epe_zero"] == 0
    else:
        assert 0 < measured["val/epe_zero"] < 5


def test_splits_share_no_pair(chairs):
    data = chairs()
    train, val = (set(data.files(split)) for split in ("train", "val"))
    assert len(train) == 6 and len(val) == 2 and not train & val
    everything = chairs(all_pairs=True)
    assert everything.files("train") == everything.files("val") and len(data.files("val")) == 2
    assert len(everything.files("val")) == 8
    pairs = drawn()
    assert len(pairs.pairs("train")) == 8 and len(pairs.pairs("val")) == 3
    assert not torch.equal(pairs.pairs("train")[0]["current"], pairs.pairs("val")[0]["current"])


def test_a_split_file_is_used(chairs, tmp_path):
    (tmp_path / "split.txt").write_text("2\n" + "1\n" * 7)
    (pair,) = chairs(split_file=str(tmp_path / "split.txt")).files("val")
    assert pair.current.endswith("00001_img1.ppm")


def order(data, **kwargs):
    batches = list(started(data, **kwargs).train_dataloader())
    assert all(len(batch["index"]) == data.batch_size for batch in batches)
    return [int(i) for batch in batches for i in batch["index"]], batches


def test_draws_repeat_and_differ_by_seed_rank_and_epoch(chairs):
    settings = {"size": (64, 64), "all_pairs": True}
    one, batches = order(chairs(**settings))
    again, same = order(chairs(**settings))
    assert one == again and sorted(one) == list(range(8))
    assert all(torch.equal(a["current"], b["current"]) for a, b in zip(batches, same, strict=True))
    assert order(chairs(**settings, seed=1))[0] != one
    shares = [order(chairs(**settings), world_size=2, global_rank=r)[0] for r in range(2)]
    assert sorted(itertools.chain(*shares)) == list(range(8))
    loader = started(chairs(**settings)).train_dataloader()
    loader.sampler.set_epoch(1)
    later = {
        int(i): frame for b in loader for i, frame in zip(b["index"], b["current"], strict=True)
    }
    first = {
        int(i): frame for b in batches for i, frame in zip(b["index"], b["current"], strict=True)
    }
    assert sum(torch.equal(first[i], later[i]) for i in range(8)) < 4


def test_workers_change_nothing():
    settings = {"rotate": 10.0, "flip": 0.5, "colour": 0.2}
    alone, workers = (order(drawn(**settings, num_workers=n))[1] for n in (0, 2))
    for one, other in zip(alone, workers, strict=True):
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_each_held_out_pair_is_in_one_share():
    data = drawn()
    shares = [
        [int(i) for b in data.evaluation_pairs([1], rank=r, world_size=2) for i in b["index"]]
        for r in range(2)
    ]
    assert shares == [[0, 2], [1]]
    with pytest.raises(ValueError, match=r"DrawnPairs has pairs of two frames, at gap 1 alone"):
        data.evaluation_pairs([4, 9])


def test_frames_of_several_sizes_are_cut_to_one_or_padded(chairs):
    data = chairs(all_pairs=True, batch_size=8, val_batch_size=8, size=(64, 80))
    for path in map(Path, data.files("val")[0]):
        if path.suffix == ".flo":
            write_flow(path, np.ones((70, 90, 2)))
        else:
            cv2.imwrite(str(path), np.zeros((70, 90, 3), np.uint8))
    (batch,) = started(data).train_dataloader()
    assert batch["current"].shape == (8, 3, 64, 80)
    (batch,) = data.val_dataloader()
    assert batch["current"].shape == (8, 3, 70, 96)
    assert batch["size"][0].tolist() == [70, 90] and not batch["flow_known"][0, :, 90:].any()


def test_too_few_pairs_for_a_batch_are_said(chairs, trainer):
    with pytest.raises(SampleError, match=r"6 pairs in the training split: .*one batch of 7"):
        fit(trainer, chairs(batch_size=7))


def test_a_missing_root_is_said(trainer, tmp_path):
    data = FlyingChairs(str(tmp_path / "nowhere"), num_workers=0)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere.*--data\.root"):
        fit(trainer, data)


def test_a_model_that_wants_labels_is_refused(small_module, trainer):
    with pytest.raises(ValueError, match=r"DrawnPairs has flow and no labels: .*--model LitFlow"):
        trainer(max_steps=1).fit(small_module(), drawn())


def test_data_are_set_up_without_a_trainer_too():
    data = drawn()
    data.setup("fit")
    assert len(data.pairs("train")) > 0


def test_settings_of_the_drawing_are_checked():
    with pytest.raises(ValueError, match=r"train_pairs 8, val_pairs 0: want at least one"):
        drawn(val_pairs=0)
    with pytest.raises(ValueError, match=r"power 0"):
        drawn(power=0)


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        (["--data=FlyingChairs", "--data.root=/x", "--data.all_pairs=true"], "FlyingChairs", 0.5),
        (["--data=DrawnPairs", "--data.motion=2", "--data.shapes=[2,3]"], "DrawnPairs", 0.0),
    ],
)
def test_the_command_line_knows_both_by_name(arguments, path, expected, capsys):
    more = ["--data.scale=[0.9,2.0]", "--data.rotate=17", "--data.batch_size=3", "--print_config"]
    with pytest.raises(SystemExit) as stop:
        FitCLI("streets", ["--model=LitFlow", *arguments, *more])
    assert stop.value.code == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    assert data["class_path"] == f"dff.lit.datamodules.flow_data.{path}"
    settings = data["init_args"]
    assert settings["flip"] == expected and settings["scale"] == [0.9, 2.0]
    assert settings["batch_size"] == 3 and settings["seed"] == 0


@pytest.mark.skipif(
    not (DATA / "flow_gt").is_dir(), reason=f"no real Flying Chairs in {DATA}: DFF_SHARED"
)
def test_the_twelve_real_pairs_are_one_data_set():
    data = FlyingChairs(str(DATA / "flow_gt"), all_pairs=True, batch_size=12, num_workers=0)
    assert len(data.files("train")) == 12
    (batch,) = started(data).train_dataloader()
    assert batch["flow"].shape == (12, 2, 384, 512)
    assert torch.hypot(*batch["flow"].unbind(1)).mean().item() == pytest.approx(8.82, abs=0.01)
