import pytest
import torch

from dff.models.heads.detection.boxes import (
    base_anchors,
    best_detections,
    clip,
    decode,
    encode,
    nms_mask,
    overlaps,
    shifted_anchors,
    suppress,
)


def drawn_boxes(*shape, seed=0, extent=100.0, side=60.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * extent
    size = torch.rand(*shape, 2, generator=generator) * side
    return torch.cat((corner, corner + size), -1)


def slow_suppression(boxes, threshold, candidates):
    shared = overlaps(boxes, boxes)
    kept = []
    for index in range(len(boxes)):
        if candidates[index] and all(shared[index, better] <= threshold for better in kept):
            kept.append(index)
    return kept


def test_a_box_is_as_wide_as_the_pixels_in_it():
    boxes = torch.tensor([[0.0, 0, 9, 9], [5.0, 0, 14, 9], [9.0, 9, 9, 9], [10.0, 0, 19, 9]])
    first = overlaps(boxes[:1], boxes)[0]
    assert first.tolist() == pytest.approx([1, 50 / 150, 1 / 100, 0])


def test_a_box_without_area_overlaps_nothing():
    nowhere = torch.tensor([[0.0, 0, -1, -1]])
    assert overlaps(nowhere, nowhere).item() == 0
    assert overlaps(nowhere, torch.tensor([[0.0, 0, 5, 5]])).item() == 0


def test_decoding_undoes_coding():
    boxes, wanted = drawn_boxes(50).double(), drawn_boxes(50, seed=1).double()
    torch.testing.assert_close(decode(boxes, encode(boxes, wanted)), wanted)
    assert torch.equal(decode(boxes, torch.zeros_like(boxes)), boxes)
    assert encode(boxes, boxes).abs().max() == 0


def test_one_delta_is_one_width():
    moved = decode(torch.tensor([0.0, 0, 9, 19]), torch.tensor([1.0, 0.5, 0, 0]))
    assert moved.tolist() == [10, 10, 19, 29]


def test_anchors_have_their_sides_and_ratios():
    anchors = base_anchors(scales=(2, 4), ratios=(0.5, 1, 2))
    sizes = (anchors[:, 2:] - anchors[:, :2] + 1).tolist()
    # 16 x 16 pixels at ratio 0.5 are 23 x 12, and 11 x 22 at ratio 2.
    assert sizes == [[46, 24], [92, 48], [32, 32], [64, 64], [22, 44], [44, 88]]
    assert torch.equal(anchors[:, :2] + anchors[:, 2:], torch.full((6, 2), 15.0))


def test_anchors_of_a_map_are_ordered_by_row_column_anchor():
    anchors = base_anchors()
    grid = shifted_anchors(anchors, 3, 5).view(3, 5, 9, 4)
    assert torch.equal(grid[2, 4], anchors + torch.tensor([64, 32, 64, 32]))


def test_clipping_knows_each_image():
    boxes = torch.tensor([[-5.0, -5, 500, 500]]).expand(2, 1, 4)
    clipped = clip(boxes, torch.tensor([[10, 20], [30, 40]]))
    assert clipped[:, 0].tolist() == [[0, 0, 19, 9], [0, 0, 39, 29]]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_suppression_is_that_of_a_plain_loop(threshold):
    # More than two blocks, with boxes that stand there twice and boxes that take no part.
    boxes = drawn_boxes(2, 700)
    boxes[:, 300:400] = boxes[:, 500:600]
    candidates = torch.rand(2, 700, generator=torch.Generator().manual_seed(2)) > 0.1
    kept, count = suppress(boxes, threshold, candidates=candidates)
    for row in range(2):
        wanted = slow_suppression(boxes[row], threshold, candidates[row])
        assert kept[row, : count[row]].tolist() == wanted
        assert (kept[row, count[row] :] == 0).all()


@pytest.mark.parametrize("limit", [1, 20, 300, 5000])
def test_a_limit_gives_the_first_of_all(limit):
    boxes = drawn_boxes(1, 900, extent=400)
    everything, number = suppress(boxes, 0.5)
    kept, count = suppress(boxes, 0.5, limit=limit)
    assert count.item() == min(limit, number.item()) and kept.shape == (1, min(limit, 900))
    assert torch.equal(kept[0, : count[0]], everything[0, : count[0]])


def test_an_overlap_at_the_threshold_stays():
    boxes = torch.tensor([[[0.0, 0, 9, 9], [0.0, 0, 9, 4]]])
    assert suppress(boxes, 0.5)[1].item() == 2
    assert suppress(boxes, 0.499)[1].item() == 1


def test_who_is_removed_removes_no_one():
    boxes = torch.tensor([[[0.0, 0, 9, 9], [4.0, 0, 13, 9], [8.0, 0, 17, 9]]])
    assert suppress(boxes, 0.3)[0].tolist() == [[0, 2, 0]]


def test_a_long_chain_is_settled_link_by_link():
    suppresses = torch.zeros(30, 30, dtype=torch.bool)
    suppresses[torch.arange(29), torch.arange(1, 30)] = True
    keep = nms_mask(suppresses, torch.ones(30, dtype=torch.bool))
    assert keep.tolist() == [True, False] * 15


def test_detections_of_one_class_do_not_suppress_those_of_another():
    boxes = torch.tensor([[[0.0, 0, 9, 9], [0.0, 0, 9, 8]]])
    probabilities = torch.tensor([[[0.5, 0.2], [0.4, 0.3]]])
    rows = best_detections(probabilities, boxes, nms=0.3, score_threshold=0.1, most=4)
    wanted = [[0, 0, 9, 9, 0.5, 0], [0, 0, 9, 8, 0.3, 1], *[[0, 0, 0, 0, 0, -1]] * 2]
    torch.testing.assert_close(rows, torch.tensor([wanted]))


def test_the_best_detections_of_all_classes_stay():
    probabilities = torch.rand(3, 40, 5, generator=torch.Generator().manual_seed(0))
    boxes = drawn_boxes(3, 40)
    settings = {"nms": 0.3, "score_threshold": 0.2}
    rows = best_detections(probabilities, boxes, most=10, **settings)
    everything = best_detections(probabilities, boxes, most=300, **settings)
    assert torch.equal(rows, everything[:, :10])
    for image, found in zip(range(3), everything, strict=True):
        wanted = []
        for label in range(5):
            scores, order = probabilities[image, :, label].sort(descending=True)
            kept = slow_suppression(boxes[image, order], 0.3, scores > 0.2)
            wanted += [(score.item(), label) for score in scores[kept]]
        count = len(wanted)
        assert [tuple(row) for row in found[:count, 4:].tolist()] == sorted(wanted, reverse=True)
        assert (found[count:, 5] == -1).all() and (found[count:, :5] == 0).all()
