import pytest
import torch

from dff.inference.accuracy.confusion import SegmentationAccuracy, class_iou, mean_iou
from dff.lit.metrics.accuracy import Gathered


class Confusion(SegmentationAccuracy):
    """Whose result is what was counted."""

    def result(self, counted):
        return counted["confusion"]


def counter(gaps, num_classes):
    return Gathered(Confusion(gaps, num_classes))


def batch(mask, gap):
    return {"mask": mask, "gap": gap}


def test_iou_by_hand():
    # label 0: 3 right, 1 taken for 1; label 1: 2 right; label 2: 4 taken for 0; class 3 nowhere
    confusion = torch.tensor([[3, 1, 0, 0], [0, 2, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0]])
    iou = class_iou(confusion)
    assert iou[:3].tolist() == pytest.approx([3 / 8, 2 / 3, 0])
    assert iou[3].isnan()
    assert mean_iou(confusion).item() == pytest.approx((3 / 8 + 2 / 3 + 0) / 3)


def test_ignored_pixels_leave_no_trace_in_rows_or_columns():
    metric = counter([0], 3)
    truth = batch(torch.tensor([[[0, 255, 255]]]), torch.tensor([0]))
    metric.update(torch.tensor([[[0, 1, 2]]]), truth)
    assert metric.compute().sum() == 1 and metric.compute()[0, 0, 0] == 1


def test_gaps_are_kept_apart_and_sums_are_exact_over_any_split():
    torch.manual_seed(0)
    prediction, mask = torch.randint(0, 5, (6, 8, 9)), torch.randint(0, 5, (6, 8, 9))
    mask[:, 0] = 255
    gap = torch.tensor([0, 4, 4, 9, 0, 4])
    whole, parts = counter([0, 4, 9], 5), [counter([0, 4, 9], 5) for _ in range(2)]
    whole.update(prediction, batch(mask, gap))
    for i in range(6):
        parts[i % 2].update(prediction[i : i + 1], batch(mask[i : i + 1], gap[i : i + 1]))
    assert torch.equal(whole.compute(), sum(part.compute() for part in parts))
    alone = counter([4], 5)
    alone.update(prediction[gap == 4], batch(mask[gap == 4], gap[gap == 4]))
    assert torch.equal(whole.compute()[1], alone.compute()[0])


def test_classes_out_of_range_are_refused_not_counted_elsewhere():
    metric, gap = counter([0], 3), torch.tensor([0])
    with pytest.raises(ValueError, match="class 3 predicted"):
        metric.update(torch.tensor([[[3]]]), batch(torch.tensor([[[0]]]), gap))
    with pytest.raises(ValueError, match=r"label 7: wanted 0\.\.2 or 255"):
        metric.update(torch.tensor([[[0]]]), batch(torch.tensor([[[7]]]), gap))
