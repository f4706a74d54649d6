import pytest
import torch
from torch.utils.data import DistributedSampler

from dff.inference.tasks.segmentation import Segmentation
from dff.lit.metrics.accuracy import GapAccuracy, truth_size
from dff.lit.metrics.gaps import (
    GapEndPointError,
    SpeedEndPointError,
    dense_flow,
    flow_of_cells,
    owned_by_rank,
)


def test_one_class_at_one_gap():
    """torchmetrics makes a number of a result of one value."""
    accuracy = GapAccuracy({"segmentation": Segmentation(1)}, [0])
    batch = {"gap": torch.tensor([0]), "mask": torch.zeros(1, 2, 3, dtype=torch.uint8)}
    batch["size"] = torch.tensor([[2, 3]])
    found = {"segmentation": torch.zeros(1, 2, 3, dtype=torch.uint8)}
    accuracy.update(found, batch, torch.tensor([True]))
    assert accuracy.compute()["segmentation"]["by_gap"].tolist() == [1.0]


def test_frames_that_only_became_of_one_size_share_no_batch():
    batch = {"size": torch.tensor([[64, 128]] * 2), "mask": torch.zeros(2, 256, 512)}
    batch["frame_size"] = torch.tensor([[128, 256], [256, 512]])
    with pytest.raises(ValueError, match=r"128x256 and 256x512 in one batch.*val_batch_size 1"):
        truth_size(batch)


class Count:
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", [1, 2, 7, 8, 17])
def test_all_processes_together_count_each_sample_once(samples, world_size):
    counted = []
    for rank in range(world_size):
        seen = torch.tensor(
            list(DistributedSampler(Count(samples), world_size, rank, shuffle=False))
        )
        counted += seen[owned_by_rank(seen, rank, world_size)].unique().tolist()
        assert len(seen[owned_by_rank(seen, rank, world_size)].unique()) == int(
            owned_by_rank(seen, rank, world_size).sum()
        ), "a process saw its own sample twice"
    assert sorted(counted) == list(range(samples))


def test_end_point_error_by_hand():
    metric = GapEndPointError([0, 3])
    truth = torch.zeros(2, 2, 1, 2)
    truth[1, 0] = 3.0
    truth[1, 1, 0, 0] = 4.0
    known = torch.tensor([[[True, True]], [[True, True]]])
    metric.update(torch.zeros(2, 2, 1, 2), truth, known, torch.tensor([0, 3]))
    metric.update(truth[1:], truth[1:], known[1:], torch.tensor([3]))
    error, zero = metric.compute()
    assert error.tolist() == [0, pytest.approx((5 + 3) / 4)]
    assert zero.tolist() == [0, pytest.approx(4)]


def test_one_gap_alone_is_still_a_row():
    metric = GapEndPointError([4])
    known = torch.ones(1, 1, 2, dtype=torch.bool)
    metric.update(torch.ones(1, 2, 1, 2), torch.zeros(1, 2, 1, 2), known, torch.tensor([4]))
    assert metric.compute().shape == (2, 1)


def test_unknown_flow_is_not_counted():
    metric = GapEndPointError([1])
    truth = torch.full((1, 2, 1, 2), 1e10)
    truth[..., 0] = 0
    known = torch.tensor([[[True, False]]])
    metric.update(torch.ones(1, 2, 1, 2), truth, known, torch.tensor([1]))
    assert metric.compute()[0].item() == pytest.approx(2**0.5)


def test_flow_of_cells_is_their_mean_and_stays_in_image_pixels():
    field = torch.zeros(1, 2, 32, 48)  # stride 2
    field[:, :, :, ::2] = 16.0
    cells = flow_of_cells(field, 2, (64, 96))
    assert cells.shape == (1, 2, 4, 6) and (cells == 8).all()
    flow = dense_flow(cells, (64, 96))
    assert flow.shape == (1, 2, 64, 96)
    torch.testing.assert_close(flow, torch.full_like(flow, 8.0))


def test_flow_of_resized_frames_is_in_pixels_of_the_image():
    flow = dense_flow(torch.full((1, 2, 4, 6), 8.0), (64, 96), (128, 288))
    assert flow.shape == (1, 2, 128, 288)
    assert flow[0, 0].unique().item() == 24  # 8 pixels of the frames, three times as wide
    assert flow[0, 1].unique().item() == 16


def test_error_by_speed_by_hand_and_over_any_split():
    truth = torch.zeros(1, 2, 1, 6)
    truth[0, 0, 0] = torch.tensor([0.0, 9.9, 10.0, 24.0, 40.0, float("inf")])
    truth[0, 1, 0, 3] = 32.0  # 24, 32: a length of 40
    known = torch.tensor([[[True, True, True, True, True, False]]])
    whole, parts = SpeedEndPointError(), [SpeedEndPointError() for _ in range(2)]
    whole.update(torch.zeros_like(truth), truth, known)
    assert whole.compute().tolist() == pytest.approx([9.9 / 2, 10, 40])
    parts[0].update(torch.zeros_like(truth), truth, known)
    parts[1].update(truth + 1, truth, known)
    whole.update(truth + 1, truth, known)
    for name in ("error", "pixels"):
        assert torch.equal(getattr(whole, name), sum(getattr(part, name) for part in parts))
    assert whole.compute()[1].item() == pytest.approx((10 + 2**0.5) / 2)


def test_a_speed_that_nothing_has_is_nan():
    metric = SpeedEndPointError()
    truth = torch.full((1, 2, 2, 2), 1.0)
    metric.update(truth, truth, torch.ones(1, 2, 2, dtype=torch.bool))
    assert metric.compute()[0] == 0 and metric.compute()[1:].isnan().all()
