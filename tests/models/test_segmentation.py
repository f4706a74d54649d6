import math

import torch
import torch.nn.functional as F

from dff.models.segmentation import SegmentationHead


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


def test_predict_is_the_argmax_of_the_upsampled_scores_at_any_size():
    head, features = SegmentationHead(8, 19), torch.randn(2, 8, 7, 11)
    labels = head.predict(features, (101, 163))
    scores = F.interpolate(head(features), size=(101, 163), mode="bilinear")
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), scores.argmax(1))
