"""The scale field belongs to the model: one layer for each level, on the context of the flow."""

import pytest
import torch
from levels import CHANNELS, ConstantFlow, Pyramid, places
from networks import frames, small_model

from dff.models.backbones.resnet import ResNet
from dff.models.contracts import Flow
from dff.models.dff import DeepFeatureFlow, warp_and_scale
from dff.models.flow.classical import DISFlow, NoFlow
from dff.models.flow.flownet import FlowNet
from dff.models.flow.sift_flow.sift_flow import SIFTFlow


def fill(layer, weight, bias):
    with torch.no_grad():
        layer.weight.fill_(weight)
        layer.bias.fill_(bias)


def test_there_is_a_layer_for_each_level():
    network = FlowNet(width=0.125)
    model, one = DeepFeatureFlow(Pyramid(), network, {}), small_model()
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items() if "scale" in n}
    context = network.context_channels
    assert shapes == {
        "scale_layers.0.weight": (4, context, 1, 1),
        "scale_layers.0.bias": (4,),
        "scale_layers.1.weight": (6, context, 1, 1),
        "scale_layers.1.bias": (6,),
    }
    names = [name for name in one.state_dict() if "scale" in name]
    assert names == ["scale_layers.0.weight", "scale_layers.0.bias"]


@torch.inference_mode()
def test_untrained_it_changes_no_level():
    model = DeepFeatureFlow(Pyramid(), FlowNet(width=0.125), {}).eval()
    key, current = frames(1), frames(1, 2)
    features, flow = model.encode(key), model.find_flow(key, current)
    for level, (channels, size) in enumerate(zip(CHANNELS, ((8, 12), (4, 6)), strict=True)):
        scale = model.scale_field(flow, size, level)
        assert torch.equal(scale, torch.ones(1, channels, *size))
    full, no_scale = (model.carry(features, flow, mode) for mode in ("full", "no_scale"))
    assert all(map(torch.equal, full, no_scale))


@torch.inference_mode()
def test_each_level_has_its_own():
    model = DeepFeatureFlow(Pyramid(), FlowNet(width=0.125), {}).eval()
    key, current = frames(1), frames(1, 2)
    features, flow = model.encode(key), model.find_flow(key, current)
    before = model.carry(features, flow, "full")
    fill(model.scale_layers[0], 0, 2.0)
    fill(model.scale_layers[1], 0, 3.0)
    after, without = (model.carry(features, flow, mode) for mode in ("full", "no_scale"))
    for level, factor in enumerate((2, 3)):
        torch.testing.assert_close(after[level], factor * before[level])
        assert torch.equal(without[level], before[level])
    still = model.carry(features, flow, "no_flow")
    torch.testing.assert_close(still, (2 * features[0], 3 * features[1]))
    assert model.carry(features, flow, "copy")[0] is features[0]


@pytest.mark.parametrize("stride", [16, 4, 8])
@torch.inference_mode()
def test_it_is_read_at_the_place_of_each_feature(stride):
    """The context tells the column; so does the scale field, at the stride of each level."""
    model = DeepFeatureFlow(Pyramid(), ConstantFlow(stride=stride), {})
    for layer in model.scale_layers:
        fill(layer, 0, 0)
        layer.weight[:, 0] = 1
    image = torch.zeros(1, 3, 600, 1000)
    flow = model.find_flow(image, image)
    for level, (size, step) in enumerate((((75, 125), 8), ((38, 63), 16))):
        found = model.scale_field(flow, size, level)
        assert found.shape == (1, CHANNELS[level], *size)
        expected = places(size[1], step).expand(size)
        inside = slice(stride // step, -max(1, stride // step))  # beyond lies no context
        torch.testing.assert_close(found[0, 0][:, inside], expected[:, inside])


@pytest.mark.parametrize("flow", [DISFlow, SIFTFlow, NoFlow])
@torch.inference_mode()
def test_with_a_classical_flow_it_is_1(flow):
    model = DeepFeatureFlow(ResNet(18, channels=16), flow(), {}).eval()
    key, current = frames(1), frames(1, 2)
    features, found = model.encode(key), model.find_flow(key, current)
    assert found.context is None and model.scale_field(found, (4, 6)) is None
    assert not list(model.scale_layers.parameters())
    full, no_scale = (model.carry(features, found, mode) for mode in ("full", "no_scale"))
    assert torch.equal(full, no_scale)


@torch.inference_mode()
def test_another_flow_has_a_scale_field_of_1_until_it_is_trained():
    model = small_model().eval()
    fill(model.scale_layers[0], 0.1, 3.0)
    key, current = frames(1), frames(1, 2)
    features = model.encode(key)
    model.use_flow(DISFlow("ultrafast"))
    assert model.flow_stride == 2 and not len(model.scale_layers)
    full, no_scale = (model.propagate(features, key, current, m) for m in ("full", "no_scale"))
    assert torch.equal(full, no_scale)
    model.use_flow(FlowNet(width=0.125))
    assert model.flow_stride == 16
    scale = model.scale_field(model.find_flow(key, current), (4, 6))
    assert scale.shape == (1, 16, 4, 6) and (scale == 1).all()


@torch.inference_mode()
def test_the_flow_of_another_network_without_context_is_carried_with_a_scale_field_of_1():
    model = small_model().eval()
    fill(model.scale_layers[0], 0, 3.0)
    features, flow = model.encode(frames(1)), model.find_flow(frames(1), frames(1, 2))
    expected = model.carry(features, flow, "no_scale")
    assert torch.equal(model.carry(features, Flow(flow.field)), expected)


def test_features_keep_their_type():
    features, scale = torch.rand(1, 4, 5, 6).bfloat16(), torch.rand(1, 4, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    for method in ("grid_sample", "gather"):
        with torch.no_grad():
            moved = warp_and_scale(features, flow, scale, "full", method)
        assert moved.dtype == torch.bfloat16
        torch.testing.assert_close(moved, features * scale.bfloat16())
    assert torch.equal(warp_and_scale(features, flow, None, "no_flow"), features)
