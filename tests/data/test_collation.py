import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from dff.data.collation import collate


def pair(height=64, width=80, boxes=2, seed=0):
    draw = np.random.default_rng(seed)

    def planes(*shape, dtype=np.uint8):
        return torch.from_numpy(draw.integers(1, 19, shape).astype(dtype))

    return {
        "key": planes(3, height, width),
        "current": planes(3, height, width),
        "size": torch.tensor([height, width]),
        "mask": planes(height, width),
        "flow": planes(2, height, width, dtype=np.float32),
        "flow_known": torch.ones(height, width, dtype=torch.bool),
        "occluded": torch.ones(height, width, dtype=torch.bool),
        "boxes": planes(boxes, 4, dtype=np.float32),
        "box_labels": planes(boxes, dtype=np.int64),
        "tracks": planes(boxes, dtype=np.int64),
        "frame_boxes": planes(boxes, 4, dtype=np.float32),
        "gap": torch.tensor(3),
    }


def test_pairs_of_one_size_are_joined_as_ever():
    pairs = [pair(seed=0), pair(seed=1)]
    batch, plain = collate(pairs), default_collate(pairs)
    assert batch.keys() == plain.keys()
    assert all(torch.equal(batch[name], plain[name]) for name in plain)
    for name in ("key", "current"):
        assert batch[name].is_contiguous(memory_format=torch.channels_last)


def test_what_is_valid_is_untouched_and_the_rest_is_nothing():
    pairs = [pair(64, 96, 2, seed=0), pair(80, 72, 0, seed=1), pair(70, 70, 5, seed=2)]
    batch = collate(pairs)
    assert batch["size"].tolist() == [[64, 96], [80, 72], [70, 70]]
    padding = {"mask": 255, "flow": 0, "flow_known": False, "occluded": False}
    for row, (one, (height, width)) in enumerate(zip(pairs, batch["size"].tolist(), strict=True)):
        outside = torch.ones(80, 96, dtype=torch.bool)
        outside[:height, :width] = False
        for name in ("key", "current", *padding):
            assert batch[name].shape[-2:] == (80, 96) and batch[name].dtype == one[name].dtype
            assert torch.equal(batch[name][row, ..., :height, :width], one[name])
            if name in padding:
                assert (batch[name][row][..., outside] == padding[name]).all()
            else:
                colours = batch[name][row][:, outside]
                assert (colours == torch.tensor([124, 116, 104])[:, None]).all()
        count = len(one["boxes"])
        for name, value in (("boxes", 0), ("box_labels", -1), ("tracks", -1)):
            assert batch[name].shape[:2] == (3, 5) and batch[name].dtype == one[name].dtype
            assert torch.equal(batch[name][row, :count], one[name])
            assert (batch[name][row, count:] == value).all()


def test_masks_of_evaluation_have_a_size_of_their_own():
    small, large = pair(64, 80), pair(64, 80)
    small["mask"] = small["mask"][:50, :60]
    batch = collate([small, large])
    assert batch["mask"].shape == (2, 64, 80) and batch["key"].shape[-2:] == (64, 80)
    assert (batch["mask"][0, 50:] == 255).all() and (batch["mask"][0, :, 60:] == 255).all()


def test_a_batch_in_which_nothing_is_boxed_has_no_rows():
    batch = collate([pair(boxes=0), pair(boxes=0, seed=1)])
    assert batch["boxes"].shape == (2, 0, 4) and batch["box_labels"].shape == (2, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_takes_it_whatever_the_workers(workers):
    pairs = [pair(64, 80, 1, seed=0), pair(70, 70, 3, seed=1)]
    (batch,) = DataLoader(pairs, batch_size=2, num_workers=workers, collate_fn=collate)
    whole = collate(pairs)
    assert all(torch.equal(batch[name], whole[name]) for name in whole)
