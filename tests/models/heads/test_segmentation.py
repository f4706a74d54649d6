import math

import pytest
import torch
import torch.nn.functional as F

from dff.models.heads.segmentation import SegmentationHead


def test_ignored_pixels_count_for_nothing():
    torch.manual_seed(0)
    head, features = SegmentationHead(8, 3), torch.rand(1, 8, 4, 4)
    mask = torch.randint(0, 3, (1, 64, 64))
    mask[:, 32:] = 255
    scores = F.interpolate(head(features), size=(64, 64), mode="bilinear")
    expected = F.cross_entropy(scores[:, :, :32], mask[:, :32])
    torch.testing.assert_close(head.loss(features, {"mask": mask})["segmentation"], expected)


def test_a_mask_with_nothing_to_learn_gives_zero_and_no_nan():
    head, features = SegmentationHead(8, 3), torch.rand(1, 8, 4, 4, requires_grad=True)
    loss = head.loss(features, {"mask": torch.full((1, 64, 64), 255)})["segmentation"]
    loss.backward()
    assert loss.item() == 0 and features.grad.abs().max() == 0


def test_an_untrained_head_knows_nothing():
    head = SegmentationHead(8, 19)
    loss = head.loss(torch.rand(1, 8, 4, 4), {"mask": torch.zeros(1, 64, 64)})["segmentation"]
    assert abs(loss.item() - math.log(19)) < 0.05


@pytest.mark.parametrize("classes", [1, 2, 19, 150])
@pytest.mark.parametrize("size", [(101, 163), (7, 11), (5, 4), (64, 1)])
def test_predict_is_the_argmax_of_the_upsampled_scores_at_any_size(classes, size):
    torch.manual_seed(0)
    head, features = SegmentationHead(8, classes), torch.randn(2, 8, 7, 11)
    labels = head.predict(features, size)
    scores = F.interpolate(head(features), size=size, mode="bilinear")
    assert labels.dtype == torch.uint8 and labels.shape == (2, *size)
    taken = scores.gather(1, labels[:, None].long())[:, 0]
    best = scores.amax(1)
    # as far as scores become integers
    assert (best - taken).max() <= scores.abs().max() * 2.0**-20
    assert (labels != scores.argmax(1)).float().mean() < 1e-3


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e-6, 1e6, 1e30])
def test_labels_do_not_depend_on_how_large_the_scores_are(factor):
    torch.manual_seed(0)
    head, features = SegmentationHead(8, 19, learned=False), torch.randn(1, 19, 7, 11)
    labels = head.predict(features * factor, (101, 163))
    expected = head.predict(features, (101, 163)) if factor else torch.zeros(1, 101, 163)
    assert (labels != expected).float().mean() < 1e-3


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 3e38])
def test_broken_scores_give_classes_that_there_are(broken):
    features = torch.randn(1, 19, 7, 11)
    features[0, 3, 2, 5] = broken
    head = SegmentationHead(8, 19, learned=False)
    assert head.predict(features, (101, 163)).max() < 19


def test_of_equal_scores_the_first_class_wins():
    head = SegmentationHead(8, 5)
    torch.nn.init.zeros_(head.scores.weight)
    torch.nn.init.constant_(head.scores.bias, 0.25)
    assert head.predict(torch.rand(1, 8, 4, 4), (64, 64)).max() == 0


def test_labels_are_found_in_float32_under_autocast():
    torch.manual_seed(0)
    head, features = SegmentationHead(8, 19, learned=False), torch.randn(1, 19, 7, 11)
    expected = head.predict(features, (101, 163))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head.predict(features, (101, 163)), expected)


def test_confidence_is_the_mean_probability_of_the_classes_that_win():
    head = SegmentationHead(4, 4, learned=False)
    scores = torch.zeros(3, 4, 2, 2)
    scores[1, 2] = 50  # one class is sure everywhere
    scores[2, 1, 0] = 50  # in the upper row
    torch.testing.assert_close(head.confidence(scores), torch.tensor([0.25, 1.0, 0.625]))
    torch.manual_seed(0)
    learned, features = SegmentationHead(8, 5), torch.randn(2, 8, 7, 11)
    best = learned(features).softmax(1).max(1).values
    found = learned.confidence(features)
    torch.testing.assert_close(found, torch.stack([row.mean() for row in best]))
    torch.testing.assert_close(found[1:], learned.confidence(features[1:]))


def test_confidence_is_float32_in_half_precision():
    head, scores = SegmentationHead(4, 4, learned=False), torch.randn(1, 4, 6, 9)
    found = head.confidence(scores.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, head.confidence(scores), rtol=0, atol=5e-3)
