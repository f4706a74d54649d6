import pytest
import torch

from dff.models.heads.detection.boxes import overlaps, shifted_anchors
from dff.models.heads.detection.rpn import (
    AnchorLabels,
    RegionProposals,
    label_anchors,
    real_cells,
    sample,
)

SIZES = torch.tensor([[96, 160], [70, 100]])
CELLS = [(6, 10), (5, 7)]
"""Rows and columns of their features; the last ones of the second image are parts of cells."""


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = RegionProposals(8, scales=(1, 2, 4), proposals=40, pre_nms=300)
    for layer in (network.scores, network.deltas):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return network


def features(padding=100.0):
    """Two images in a batch (2, 8, 9, 12), and each alone."""
    torch.manual_seed(1)
    alone = [torch.randn(1, 8, *cells) for cells in CELLS]
    batch = torch.full((2, 8, 9, 12), padding)
    for row, image in zip(batch, alone, strict=True):
        row[:, : image.shape[2], : image.shape[3]] = image[0]
    return batch, alone


def truth():
    boxes = torch.tensor(
        [[[10.0, 20, 50, 80], [90, 30, 150, 60]], [[5.0, 5, 60, 40], [0, 0, 0, 0]]]
    )
    return boxes, torch.tensor([[True, True], [True, False]])


def test_regions_lie_in_their_image_the_best_first(network):
    regions = network.propose(*network(features()[0]), SIZES)
    for row in range(2):
        height, width = SIZES[row]
        boxes, scores = regions.boxes[row], regions.scores[row, : regions.number[row]]
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width - 1 and boxes[:, 3].max() <= height - 1
        assert torch.equal(scores, scores.sort(descending=True).values)
        shared = overlaps(boxes, boxes)[: regions.number[row], : regions.number[row]]
        assert shared.triu(1).max() <= 0.7


@pytest.mark.parametrize(("pre_nms", "proposals"), [(300, 40), (2000, 900)])
def test_padding_proposes_nothing(network, pre_nms, proposals):
    """Not even where an image has fewer regions than are wanted."""
    network.pre_nms, network.proposals = pre_nms, proposals
    batch, alone = features()
    together = network.propose(*network(batch), SIZES)
    for row in range(2):
        single = network.propose(*network(alone[row]), SIZES[row : row + 1])
        assert together.number[row] == single.number
        torch.testing.assert_close(together.boxes[row], single.boxes[0])
        torch.testing.assert_close(together.scores[row], single.scores[0])


def test_parts_of_cells_rank_last(network):
    network.proposals = network.pre_nms = 1000
    scores, deltas = network(features()[1][1])
    # Where a whole cell scored so high, its regions would be the first.
    scores[:, 9:, 4] += 50
    scores[:, 9:, :, 6] += 50
    regions = network.propose(scores, deltas * 0, SIZES[1:])
    count = regions.number.item()
    last = regions.scores[0, :count] == -1
    assert last.any() and torch.equal(last, last.sort().values)


def test_few_regions_are_repeated_in_turn(network):
    network.proposals = 700
    regions = network.propose(*network(features()[0]), SIZES)
    for boxes, count in zip(regions.boxes, regions.number, strict=True):
        assert 2 * count < 700 and torch.equal(boxes[:count], boxes[count : 2 * count])


def test_equal_scores_keep_the_order_of_the_anchors(network):
    maps = torch.zeros(1, 18, 6, 10), torch.zeros(1, 36, 6, 10)
    network.nms_threshold, network.proposals = 1.0, 20
    regions = network.propose(*maps, SIZES[:1])
    anchors = shifted_anchors(network.anchors, 6, 10)
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] < 160) & (anchors[:, 3] < 96)
    whole = torch.where(inside[:20, None], anchors[:20], regions.boxes[0])
    assert inside[:20].any() and torch.equal(regions.boxes[0], whole)


def test_labels_follow_the_overlap(network):
    boxes, present = truth()
    anchors = shifted_anchors(network.anchors, 6, 10)
    labels, _ = label_anchors(anchors, boxes[:1], present[:1], SIZES[:1])
    shared, labels = overlaps(anchors, boxes[0]), labels[0]
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] < 160) & (anchors[:, 3] < 96)
    best = shared.amax(1)
    nearest = (shared == shared[inside].amax(0)).any(1)
    assert (labels[~inside] == -1).all()
    assert torch.equal(labels == 1, inside & ((best >= 0.7) | nearest))
    assert torch.equal(labels == 0, inside & (best < 0.3) & ~nearest)


def test_each_box_has_an_anchor_however_little_they_overlap(network):
    boxes = torch.tensor([[[40.0, 40, 43, 43], [100.0, 10, 155, 15]]])
    anchors = shifted_anchors(network.anchors, 6, 10)
    labels, _ = label_anchors(anchors, boxes, torch.ones(1, 2, dtype=torch.bool), SIZES[:1])
    shared = overlaps(anchors, boxes[0])
    assert shared.max() < 0.5
    assert (shared[labels[0] == 1] > 0).any(0).all()


def test_a_box_that_no_anchor_touches_has_none(network):
    boxes = torch.tensor([[[400.0, 400, 450, 450]]])
    anchors = shifted_anchors(network.anchors, 6, 10)
    labels, _ = label_anchors(anchors, boxes, torch.ones(1, 1, dtype=torch.bool), SIZES[:1])
    assert (labels < 1).all() and (labels == 0).any()


def test_without_boxes_all_anchors_in_the_image_are_background(network):
    boxes, present = truth()
    anchors = shifted_anchors(network.anchors, 6, 10)
    labels, _ = label_anchors(anchors, boxes[:1], torch.zeros_like(present[:1]), SIZES[:1])
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] < 160) & (anchors[:, 3] < 96)
    assert torch.equal(labels[0], torch.where(inside, 0, -1))


def test_sampling_draws_only_where_there_are_too_many():
    few = torch.tensor([[1] * 5 + [0] * 7 + [-1] * 30])
    assert torch.equal(sample(few, 16, 8), few)
    ones = torch.tensor([[1] * 20 + [0] * 3 + [-1] * 9, [1] * 2 + [0] * 30])
    drawn = sample(ones, 16, 8, torch.Generator().manual_seed(0))
    assert (drawn == 1).sum(1).tolist() == [8, 2]
    assert (drawn == 0).sum(1).tolist() == [3, 14]
    assert ((drawn == ones) | (drawn == -1)).all()
    assert torch.equal(drawn, sample(ones, 16, 8, torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn, sample(ones, 16, 8, torch.Generator().manual_seed(1)))


def test_sampling_takes_each_alike():
    ones = torch.ones(2000, 8, dtype=torch.int64)
    kept = (sample(ones, 4, 4, torch.Generator().manual_seed(0)) == 1).float().mean(0)
    assert (kept - 0.5).abs().max() < 0.05


def test_padding_is_no_part_of_the_losses(network):
    network.batch = 10_000
    batch, alone = features()
    boxes, present = truth()
    maps = [m.detach().requires_grad_() for m in network(batch)]
    losses = network.losses(*maps, network.label(9, 12, boxes, present, SIZES))
    sum(losses).backward()
    for m in maps:
        assert (m.grad[0, :, 6:] == 0).all() and (m.grad[0, :, :, 10:] == 0).all()
        assert (m.grad[1, :, 5:] == 0).all() and (m.grad[1, :, :, 7:] == 0).all()
    singles = [
        network.losses(
            *network(alone[i]),
            network.label(*CELLS[i], boxes[i : i + 1], present[i : i + 1], SIZES[i : i + 1]),
        )
        for i in range(2)
    ]
    for part in range(2):
        mean = (singles[0][part] + singles[1][part]) / 2
        torch.testing.assert_close(losses[part], mean)


def test_losses_by_hand(network):
    """Two anchors count: an object at even odds, a quarter off in x and 2 in y; a background."""
    scores, deltas = torch.zeros(1, 18, 1, 1), torch.zeros(1, 36, 1, 1)
    labels = torch.full((1, 9), -1)
    labels[0, 3], labels[0, 4] = 1, 0
    wanted = torch.full((1, 9, 4), torch.nan)
    wanted[0, 3] = torch.tensor([0.25, -2, 0, 0])
    by_class, by_box = network.losses(scores, deltas, AnchorLabels(labels, wanted))
    assert by_class.item() == pytest.approx(0.693147, abs=1e-5)
    assert by_box.item() == pytest.approx((0.5 * 0.25**2 + 1.5) / 256)


@pytest.mark.parametrize("stride", [8, 32])
def test_at_another_stride_anchors_have_its_size_and_stand_on_its_cells(stride):
    network = RegionProposals(8, scales=(2,), ratios=(1,), proposals=4, stride=stride)
    # twice the cell, around its centre
    side, corner = 2 * stride, -stride // 2
    anchor = torch.tensor([corner, corner, corner + side - 1, corner + side - 1])
    assert torch.equal(network.anchors, anchor[None].float())
    sizes = torch.tensor([[6 * stride, 10 * stride - 3]])
    assert real_cells(sizes, stride).tolist() == [[6, 10]]
    here = anchor + stride * torch.tensor([4, 3, 4, 3])  # row 3, column 4
    scores = torch.zeros(1, 2, 6, 10)
    scores[:, 1, 3, 4] = 5
    found = network.propose(scores, torch.zeros(1, 4, 6, 10), sizes)
    assert torch.equal(found.boxes[0, 0], here.float())
    box, present = here.float().view(1, 1, 4), torch.tensor([[True]])
    labels = network.label(6, 10, box, present, sizes)
    assert (labels.labels == 1).nonzero()[:, 1].tolist() == [3 * 10 + 4]
    assert labels.deltas[0, 3 * 10 + 4].abs().max() == 0


def test_half_of_a_last_cell_is_a_part_of_one_at_another_stride():
    """It proposes after all others, see `test_parts_of_cells_rank_last`."""
    network = RegionProposals(8, scales=(2,), ratios=(1,), proposals=60, stride=8)
    scores = torch.zeros(1, 2, 6, 10)
    scores[:, 1, 2, 9], scores[:, 1, 2, 1] = 9, 1
    sizes = torch.tensor([[48, 76]])
    found = network.propose(scores, torch.zeros(1, 4, 6, 10), sizes)
    assert found.boxes[0, 0, :2].tolist() == [4, 12]
    whole = network.propose(scores, torch.zeros(1, 4, 6, 10), torch.tensor([[48, 80]]))
    assert whole.boxes[0, 0, :2].tolist() == [68, 12]
