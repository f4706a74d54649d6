"""Deep Feature Flow as a whole: what propagation must and must not change."""

import pytest
import torch
from networks import SIZE, frames, small_model
from torch import nn

from dff.inference.tasks.choice import tasks_of
from dff.models import build
from dff.models.contracts import Flow
from dff.models.dff import DeepFeatureFlow, warp_and_scale
from dff.models.heads.segmentation import SegmentationHead
from dff.models.warp import warp


class ShiftByOne(nn.Module):
    """A classical flow: everything stands one feature pixel to the right in the key frame."""

    stride, context_channels = 16, 0

    def forward(self, current, key):
        b, _, h, w = current.shape
        flow = torch.zeros(b, 2, h // 16, w // 16)
        flow[:, 0] = 16  # image pixels
        return Flow(flow)


def test_a_row_of_gap_0_takes_the_key_frames_own_features():
    model = small_model().eval()
    key, current = frames(3, 1), frames(3, 2)
    with torch.no_grad():
        mixed = model(key, current, torch.tensor([0, 3, 0]))
        own = model.encode(key)
        carried = model.propagate(own, key, current)
    torch.testing.assert_close(mixed[[0, 2]], own[[0, 2]])
    torch.testing.assert_close(mixed[1], carried[1])
    assert (mixed[1] - own[1]).abs().max() > 1e-3


def test_rows_do_not_depend_on_their_batch():
    model = small_model().eval()
    key, current, gap = frames(3, 1), frames(3, 2), torch.tensor([4, 0, 2])
    with torch.no_grad():
        together = model(key, current, gap)
        alone = torch.cat(
            [model(key[i : i + 1], current[i : i + 1], gap[i : i + 1]) for i in range(3)]
        )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_gap_0_gives_the_flow_network_exactly_zero_gradient_and_others_do_not():
    model = small_model()
    key, mask = frames(2), torch.randint(0, 5, (2, *SIZE))
    for gap, reaches in ((0, False), (3, True)):
        model.zero_grad()
        features = model(key, frames(2, 2), torch.full((2,), gap))
        model.losses(features, {"mask": mask})["segmentation"]["segmentation"].backward()
        gradients = [p.grad for p in model.parameters()]
        assert all(g is not None for g in gradients), "DDP would miss a gradient"
        flow = torch.cat([p.grad.flatten() for p in model.flow_network.parameters()])
        assert bool(flow.abs().max() > 0) is reaches


def test_a_classical_flow_serves():
    model = DeepFeatureFlow(
        build.feature_network("resnet18", 16),
        ShiftByOne(),
        {"segmentation": SegmentationHead(16, 5)},
    ).eval()
    with torch.no_grad():
        features = model.encode(frames(1))
        carried = model.propagate(features, frames(1), frames(1, 2))
    torch.testing.assert_close(carried[..., :-1], features[..., 1:])


def test_each_way_leaves_out_its_part():
    features, scale = torch.rand(1, 4, 5, 6), torch.rand(1, 4, 5, 6)
    flow = torch.randn(1, 2, 5, 6)
    torch.testing.assert_close(
        warp_and_scale(features, flow, scale, "full"), warp(features, flow) * scale
    )
    torch.testing.assert_close(
        warp_and_scale(features, flow, scale, "no_scale"), warp(features, flow)
    )
    torch.testing.assert_close(warp_and_scale(features, flow, scale, "no_flow"), features * scale)
    torch.testing.assert_close(warp_and_scale(features, flow, scale, "copy"), features)
    with pytest.raises(ValueError, match=r"'half'.*full, no_scale, no_flow, copy"):
        warp_and_scale(features, flow, scale, "half")


def test_copy_does_not_run_the_flow_network():
    model = small_model().eval()
    model.flow_network = None
    features = torch.rand(1, 16, 4, 6)
    assert model.propagate(features, frames(1), frames(1), "copy") is features


@pytest.mark.parametrize("task_layers", [21, 12, 5, 1, 0])
def test_the_feature_network_tells_the_channels_of_what_is_propagated(task_layers):
    model = small_model(task_layers).eval()
    features = model.encode(torch.rand(1, 3, 64, 64))
    assert features.shape[1] == model.feature_network.channels[0]


@pytest.mark.parametrize("task_layers", [21, 12, 5, 1])
def test_the_split_point_does_not_change_the_per_frame_network(task_layers):
    whole, divided = small_model(1).eval(), small_model(task_layers).eval()
    image = frames(1)
    with torch.no_grad():
        expected = whole.tail(whole.encode(image))
        torch.testing.assert_close(divided.tail(divided.encode(image)), expected)
        assert (
            divided.propagate(divided.encode(image), image, image).shape
            == divided.encode(image).shape
        )


def test_split_point_0_propagates_scores():
    model = small_model(0).eval()
    with torch.no_grad():
        scores = model.encode(frames(1))
        assert scores.shape == (1, 5, 4, 6)
        assert model.predict(scores, SIZE)["segmentation"].shape == (1, *SIZE)
    assert not list(model.heads.parameters())


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match=r"heads \['depth'\]: wanted one or more of segmentation"):
        tasks_of({"heads": {"depth": 1.0}})


def test_bfloat16_trains_with_flow_in_float32():
    model = small_model()
    with torch.autocast("cpu", torch.bfloat16):
        features = model(frames(2), frames(2, 2), torch.tensor([0, 5]))
        flow = model.flow_network(frames(2), frames(2, 2)).field
        loss = model.losses(features, {"mask": torch.zeros(2, *SIZE)})["segmentation"]
        loss = loss["segmentation"]
    assert flow.dtype == torch.float32 and loss.dtype == torch.float32
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


class Sure(nn.Module):
    """A head that is as sure as its first channel says."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def confidence(self, features):
        return self.factor * features[:, 0].mean((1, 2))


def test_the_confidence_is_the_least_of_the_heads_that_can_tell():
    heads = {"one": Sure(), "other": Sure(0.5), "silent": nn.Identity()}
    features = torch.rand(3, 16, 4, 6)
    network = build.feature_network("resnet18", 16)
    model = DeepFeatureFlow(network, ShiftByOne(), heads, tail=nn.Softplus())
    expected = 0.5 * nn.functional.softplus(features)[:, 0].mean((1, 2))
    torch.testing.assert_close(model.confidence(features), expected)
    segmentation = small_model().eval()
    torch.testing.assert_close(
        segmentation.confidence(features), segmentation.heads["segmentation"].confidence(features)
    )


def test_a_confidence_that_no_head_can_tell_is_refused():
    heads = {"plain": nn.Identity(), "other": nn.Identity()}
    model = DeepFeatureFlow(build.feature_network("resnet18", 16), ShiftByOne(), heads)
    with pytest.raises(ValueError, match=r"the heads plain, other have no method `confidence`: t"):
        model.confidence(torch.rand(1, 16, 4, 6))


@pytest.mark.parametrize("task_layers", [1, 0])
@torch.no_grad()
def test_both_warp_methods_carry_the_same_features(task_layers):
    model = small_model(task_layers).eval()
    nn.init.normal_(model.flow_network.decoder.flow.weight, std=0.05)
    nn.init.normal_(model.scale_layers[0].weight, std=0.05)
    key, current = frames(1), frames(4, 2)
    features = model.encode(key)
    shared, keys = features.expand(4, -1, -1, -1), key.expand(4, -1, -1, -1)
    carried = {}
    for method in ("grid_sample", "gather"):
        model.warp_method = method
        carried[method] = model.propagate(shared, keys, current)
    assert (carried["gather"] - features).abs().max() > 0.05 * features.abs().max()
    torch.testing.assert_close(carried["gather"], carried["grid_sample"], rtol=0, atol=1e-5)
