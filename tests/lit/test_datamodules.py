import itertools

import pytest
import torch
from torch.utils.data import Subset

from dff.data.samples import SampleError
from dff.lit.datamodules import Cityscapes, to_unit_range


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


def test_gaps_that_no_frame_has_are_refused(small_streets):
    with pytest.raises((SampleError, ValueError), match=r"val_gaps|gap"):
        small_streets().evaluation_pairs([50])


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
