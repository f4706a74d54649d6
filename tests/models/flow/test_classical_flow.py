"""What a classical flow must be to stand where a flow network stands."""

from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from networks import SIZE, small_model

from dff.inference.recognizer import recognize_interval
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.analysis.complexity import complexity
from dff.models.flow.classical import DISFlow, classical_flow
from dff.models.flow.flownet import FlowNet
from dff.models.warp import flow_at_level
from dff.models.weights.load import load_weights


def texture(height, width, seed=0):
    """A picture (1, 3, H, W) with detail of several sizes."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((height // size + 2, width // size + 2, 3)), (width, height))
        for size in (3, 8, 20)
    ]
    return torch.from_numpy(np.mean(layers, axis=0)).permute(2, 0, 1)[None].float()


def moved(x, y, height=128, width=160):
    """Current and key frame: what is at p in the current one is at p + (x, y) in the key."""
    canvas = texture(height + 64, width + 64)
    current = canvas[..., 32 : 32 + height, 32 : 32 + width]
    key = canvas[..., 32 - y : 32 - y + height, 32 - x : 32 - x + width]
    return current, key


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
@pytest.mark.parametrize("reduction", [1, 2])
def test_dis_finds_a_translation_in_feature_pixels(preset, reduction):
    field = DISFlow(preset, reduction)(*moved(8, -4)).field
    assert field.shape == (1, 2, 128 // reduction, 160 // reduction)
    flow = flow_at_level(field, reduction, 16, (8, 10))
    assert flow.dtype == torch.float32
    inside = 16 * flow[0, :, 2:-2, 2:-2]  # image pixels
    assert (inside[0] - 8).abs().max() < 0.5 and (inside[1] + 4).abs().max() < 0.5


def test_still_frames_have_no_flow():
    frame = texture(64, 96)
    flow = DISFlow("medium")(frame, frame).field
    assert flow_at_level(flow, 2, 16, (4, 6)).abs().max() * 16 < 0.1


def test_a_feature_pixel_is_the_mean_of_its_cell():
    """Flow = column and row of the picture; the cells at the right and below are cut."""

    def find(current, key):
        assert current.shape == key.shape and current.dtype == np.uint8
        height, width = current.shape[:2]
        return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)

    frame = torch.rand(1, 3, 68, 82)
    full = flow_at_level(classical_flow(find, frame, frame, 1).field, 1, 16, (5, 6))
    columns = torch.tensor([7.5, 23.5, 39.5, 55.5, 71.5, 80.5])
    rows = torch.tensor([7.5, 23.5, 39.5, 55.5, 65.5])
    torch.testing.assert_close(16 * full[0, 0, 1], columns)
    torch.testing.assert_close(16 * full[0, 1, :, 2], rows)
    field = classical_flow(find, frame, frame, 2).field  # 34 x 41, each worth 2 of the frame
    assert field.shape == (1, 2, 34, 41)
    half = flow_at_level(field, 2, 16, (5, 6))
    columns = torch.tensor([3.5, 11.5, 19.5, 27.5, 35.5, 40.0])
    torch.testing.assert_close(16 * half[0, 0, 0], 2 * columns)


@pytest.mark.parametrize("size", [(64, 64), (65, 96), (97, 113), (80, 159)])
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_the_grid_is_that_of_the_flow_networks(size, reduction):
    frame = torch.rand(1, 3, *size)
    network = DISFlow("ultrafast", reduction)
    flow = network(frame, frame).field
    with torch.device("meta"):
        expected = FlowNet()(frame.to("meta"), frame.to("meta")).field
    cells = flow_at_level(flow, network.stride, FlowNet.stride, expected.shape[-2:])
    assert cells.shape == expected.shape
    assert network(frame.to("meta"), frame.to("meta")).field.shape == flow.shape


def test_rows_do_not_depend_on_their_batch():
    pairs = [moved(8, -4), moved(-6, 2)]
    current, key = (torch.cat(frames) for frames in zip(*pairs, strict=True))
    together = DISFlow()(current, key).field
    alone = torch.cat([DISFlow()(*pair).field for pair in pairs])
    assert torch.equal(together, alone)


def test_any_type_of_frames_and_any_autocast():
    current, key = moved(8, -4)
    expected = DISFlow()(current, key).field
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        under = DISFlow()(current, key)
    assert under.field.dtype == torch.float32 and torch.equal(under.field, expected)
    assert under.context is None and DISFlow.context_channels == 0
    half = DISFlow()(current.bfloat16(), key.bfloat16()).field
    cells = flow_at_level(half - expected, 2, 16, (8, 10))
    assert 16 * cells[..., 2:-2, 2:-2].abs().max() < 0.5


def test_frames_of_two_sizes_are_refused_as_by_the_networks():
    for network in (DISFlow(), FlowNet()):
        with pytest.raises(ValueError, match=r"\(1, 3, 64, 96\), key frame .*\(1, 3, 64, 64\): gi"):
            network(torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, 64, 64))
        with pytest.raises(ValueError, match=r"frames of 63 x 64 pixels: .* at least 64 on each"):
            network(torch.zeros(1, 3, 63, 64), torch.zeros(1, 3, 63, 64))


def test_wrong_settings_name_the_choices():
    with pytest.raises(ValueError, match="DIS preset 'best': wanted one of ultrafast, fast, mediu"):
        DISFlow("best")
    with pytest.raises(ValueError, match="DIS reduction 3: wanted one of 1, 2, 4"):
        DISFlow("fast", 3)
    with pytest.raises(ValueError, match=r"'dis': wanted one of flownet, .*dis_fast.*sift_flow_"):
        build.flow_network("dis")


def shallow(name="dis_fast"):
    """Shallow feature flow."""
    torch.manual_seed(0)
    features = build.feature_network("resnet18", 16, batch_norm="trained")
    return build.deep_feature_flow(features, name, [Segmentation(5)])


@pytest.mark.parametrize("name", get_args(build.ClassicalFlowName))
def test_names_make_flows_without_parameters(name):
    network = build.flow_network(name)
    assert not list(network.parameters()) and not network.state_dict()
    assert getattr(network, "preset", name) == name.rpartition("_")[2]


def test_training_reaches_all_that_learns():
    model = shallow()
    current, key = moved(8, -4, *SIZE)
    features = model(key, current, torch.tensor([3]))
    loss = model.losses(features, {"mask": torch.randint(0, 5, (1, *SIZE))})["segmentation"]
    sum(loss.values()).backward()
    assert all(p.grad is not None for p in model.parameters()), "DDP would miss a gradient"


def test_an_interval_runs_and_its_features_move():
    model = shallow().eval()
    current, key = moved(16, 0)
    with torch.inference_mode():
        found = recognize_interval(model, torch.cat([key, current, current]))
        features = model.encode(key)
        carried = model.propagate(features, key, current)
    assert found["segmentation"].shape == (3, 128, 160)
    inside = carried[:, :, 2:-2, 2:-3]
    still = (inside - features[:, :, 2:-2, 2:-3]).abs().mean()
    shifted = (inside - features[:, :, 2:-2, 3:-2]).abs().mean()
    assert shifted < 0.2 * still


@pytest.mark.parametrize("name", ["dis_fast", "sift_flow_fast"])
def test_complexity_counts_all_but_the_flow(name):
    cost, learned = complexity(shallow(name), SIZE), complexity(small_model(), SIZE)
    assert cost.flow_network == 0 and cost.one_over_r is None
    assert cost.warp == learned.warp and cost.key_frame == learned.key_frame
    assert cost.current_frame == cost.warp + cost.heads


def test_there_are_no_weights_to_load(tmp_path):
    with pytest.raises(ValueError, match=r"flow\.pth for DISFlow, which has none.*leave out"):
        load_weights(DISFlow(), tmp_path / "flow.pth")
