import numpy as np
import pytest
import torch
from test_classical_flow import moved, texture

from dff.models.flow.sift_flow.descriptors import dense_sift
from dff.models.flow.sift_flow.sift_flow import (
    SIFTFlow,
    SIFTFlowSettings,
    halve,
    matching_costs,
    sift_flow,
)
from dff.models.warp import flow_at_level


def pictures(*frames):
    return [(frame[0].permute(1, 2, 0) * 255).byte().numpy() for frame in frames]


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (8, 8)])
def test_still_frames_have_exactly_no_flow(size):
    (picture,) = pictures(texture(*size))
    assert not sift_flow(picture, picture).any()


def test_a_constant_picture_has_no_flow():
    assert not sift_flow(*2 * [np.full((16, 16, 3), 9, np.uint8)]).any()


@pytest.mark.parametrize(("x", "y"), [(5, -3), (-12, 7)])
def test_a_translation_is_found_exactly(x, y):
    flow = sift_flow(*pictures(*moved(x, y, 64, 80)))
    assert flow.shape == (64, 80, 2) and flow.dtype == np.float32
    inside = flow[16:-16, 16:-16]
    assert (inside == (x, y)).all()


def test_a_motion_border_stands():
    """The left half moves by 6, the right half stays: there is no slope in between."""
    current, key = moved(6, 0, 48, 96)
    key = key.clone()
    key[..., 54:] = current[..., 54:]
    flow = sift_flow(*pictures(current, key))[8:-8, :, 0]
    assert (flow[:, 10:38] == 6).mean() > 0.95
    assert (flow[:, 64:] == 0).mean() > 0.95
    assert np.isin(flow, (0, 6)).mean() > 0.9


@pytest.mark.parametrize("preset", ["fast", "slow"])
def test_flow_in_image_pixels_at_its_own_stride(preset):
    current, key = moved(8, -4, 80, 96)
    network = SIFTFlow(preset)
    flow = network(current, key)
    assert flow.field.shape == (1, 2, 80 // network.stride, 96 // network.stride)
    assert flow.context is None
    cells = flow_at_level(flow.field, network.stride, 16, (5, 6))
    expected = torch.tensor([0.5, -0.25]).view(2, 1, 1).expand(2, 1, 2)
    torch.testing.assert_close(cells[0, :, 2:3, 2:4], expected)


def test_rows_do_not_depend_on_their_batch():
    pairs = [moved(8, -4, 64, 64), moved(-6, 2, 64, 64)]
    current, key = (torch.cat(frames) for frames in zip(*pairs, strict=True))
    together = SIFTFlow()(current, key).field
    assert torch.equal(together, torch.cat([SIFTFlow()(*pair).field for pair in pairs]))


def test_matching_costs_by_hand():
    current, key = (dense_sift(p) for p in pictures(*moved(1, 0, 12, 14)))
    offset = np.zeros((2, 12, 14), int)
    offset[0], offset[1] = -1, 2
    costs = matching_costs(current, key, offset, 3, 800)
    for u, v, y, x in [(0, 0, 3, 4), (2, 1, 5, 6), (1, 2, 0, 13), (0, 2, 7, 1)]:
        distance = np.abs(current[y, x].astype(int) - key[y + v + 2, x + u - 1]).sum()
        assert costs[u, v, y, x] == min(distance, 800)
    assert costs[0, 0, 3, 0] == 800 == costs[0, 0, 11, 5]  # what lies outside
    still = matching_costs(current, current, 0 * offset, 1, 800)
    assert not still.any()


def test_halving_takes_means_and_doubles_the_last_of_an_odd_number():
    values = np.zeros((3, 4, 128), np.uint8)
    values[:2, :2, 7] = [[10, 20], [30, 44]]
    values[2, :2, 7] = [200, 100]
    assert halve(values).shape == (2, 2, 128)
    assert halve(values)[0, 0, 7] == 26 and halve(values)[1, 0, 7] == 150


def test_the_defaults_are_the_published_ones():
    s = SIFTFlowSettings()
    assert (s.alpha, s.d, s.gamma) == (2 * 255, 40 * 255, 0.005 * 255)
    assert (s.levels, s.window, s.top_window) == (4, 2, 10)
    assert (s.iterations, s.top_iterations) == (30, 60)
    assert SIFTFlow("fast").settings == s and SIFTFlow("fast").reduction == 2
    assert SIFTFlow("slow").reduction == 1


def test_wrong_settings_name_the_choices():
    with pytest.raises(ValueError, match="SIFT-Flow preset 'medium': wanted one of fast, slow"):
        SIFTFlow("medium")
    with pytest.raises(ValueError, match="SIFT-Flow reduction 5: wanted one of 1, 2, 4"):
        SIFTFlow("fast", 5)
