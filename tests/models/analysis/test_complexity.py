import pytest
import torch
from networks import SIZE, small_model

from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.analysis.complexity import break_even, complexity, speedup

TABLE_2 = {
    ("resnet50", "flownet"): 9.20,
    ("resnet50", "flownet_half"): 33.56,
    ("resnet50", "flownet_inception"): 68.97,
    ("resnet101", "flownet"): 12.71,
    ("resnet101", "flownet_half"): 46.30,
    ("resnet101", "flownet_inception"): 95.24,
}


@pytest.mark.parametrize(("features", "flow"), TABLE_2)
def test_table_2_of_the_paper(features, flow):
    with torch.device("meta"):
        model = build.deep_feature_flow(build.feature_network(features), flow, [Segmentation()])
    tolerance = 0.03 if flow == "flownet_inception" else 0.02
    assert complexity(model, (600, 1000)).one_over_r == pytest.approx(
        TABLE_2[features, flow], rel=tolerance
    )


def test_counting_leaves_the_model_as_it_was():
    model = small_model().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    cost = complexity(model, SIZE)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    # 16 channels x 4 x 6 cells x (4 taps of a multiply-add, one product)
    assert cost.warp == 9 * 16 * 4 * 6
    assert cost.heads == 2 * 16 * 5 * 4 * 6
    assert 0 < cost.r < 1


def test_the_tail_belongs_to_the_task():
    whole, divided = complexity(small_model(1), SIZE), complexity(small_model(12), SIZE)
    assert divided.key_frame == pytest.approx(whole.key_frame)
    assert divided.r > whole.r


def test_equation_7():
    assert speedup(1, 0.1) == 1
    assert speedup(10, 0) == 10
    assert speedup(10, 0.1) == pytest.approx(10 / 1.9)
    assert speedup(10, 1) == 1


@pytest.mark.parametrize(
    ("per_frame", "key", "current", "expected"),
    [
        (10, 10, 1, 2),
        (10, 12, 1, 2),
        (10, 30, 5, 6),
        (10, 15, 5, 3),
        (10, 10, 10, None),
        (10, 10, 12, None),
    ],
)
def test_break_even_is_the_first_duration_that_pays(per_frame, key, current, expected):
    assert break_even(per_frame, key, current) == expected
    if expected:
        pays = [d for d in range(2, 100) if key + (d - 1) * current < d * per_frame]
        assert pays[0] == expected
