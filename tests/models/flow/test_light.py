"""The flow network with cost volumes."""

import pytest
import torch
import torch.nn.functional as F

from dff.models.backbones.resnet import ResNet
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.light import UPDATES, LightFlow, cost_volume
from dff.models.warp import warp


@pytest.fixture(scope="module")
def frames():
    return torch.rand(2, 2, 3, 101, 163, generator=torch.Generator().manual_seed(1)).unbind()


@pytest.mark.parametrize("size", [(5, 7), (3, 32), (4, 70)])  # below, at and above a block
@pytest.mark.parametrize("radius", [1, 3])
def test_cost_volume_is_each_inner_product_with_the_neighbours(size, radius):
    torch.manual_seed(0)
    current, key = torch.randn(2, 2, 9, *size, dtype=torch.float64, requires_grad=True)
    height, width = size
    around = F.pad(key, (radius,) * 4)
    places = range(2 * radius + 1)
    expected = torch.stack(
        [
            (current * around[:, :, y : y + height, x : x + width]).sum(1)
            for y in places
            for x in places
        ],
        dim=1,
    )
    found = cost_volume(current, key, radius)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(found)
    gradients = [torch.autograd.grad(v, (current, key), upstream) for v in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (100, 130)])
def test_flow_context_and_pyramid_have_their_strides(size):
    with torch.device("meta"):
        image, network = torch.empty(2, 3, *size), LightFlow()
        found, pyramid = network(image, image), network.pyramid(image, image)
        model = DeepFeatureFlow(ResNet(18, channels=40), network, {})
        assert model.propagate(model.encode(image), image, image).shape[1] == 40
    sizes = [(2, 2, -(-size[0] // s), -(-size[1] // s)) for s in UPDATES]
    assert [tuple(level.shape) for level in pyramid] == sizes
    assert found.field.shape == pyramid[-1].shape and network.stride == UPDATES[-1]
    assert found.context.shape[1] == network.context_channels


def test_the_last_of_the_pyramid_is_the_flow_and_all_of_it_learns(frames):
    network = LightFlow()
    flow, pyramid = network(*frames).field, network.pyramid(*frames)
    torch.testing.assert_close(pyramid[-1] * 40, flow)
    sum(level.norm() for level in pyramid).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_it_learns_a_shift_within_seconds():
    """Not to look at the frames would leave the error of zero flow, 5 pixels."""
    torch.manual_seed(0)
    network = LightFlow()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    noise = F.interpolate(torch.rand(8, 3, 24, 24), size=(96, 96), mode="bicubic")
    errors = []
    for _ in range(90):
        shift = F.normalize(torch.randn(8, 2), dim=1) * 5
        flow = shift[..., None, None].expand(-1, -1, 96, 96)
        current = warp(noise, flow)
        truth = shift[..., None, None] / 40
        levels = network.pyramid(current, noise)
        loss = torch.stack([(level - truth).norm(dim=1).mean() for level in levels])
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        errors.append(40 * float(loss[-1].detach()))
    assert sum(errors[-5:]) / 5 < 3.5 < errors[0]


def test_frames_it_cannot_take_are_refused(frames):
    network = LightFlow()
    with pytest.raises(ValueError, match="give one key frame of the same size"):
        network(frames[0], frames[1][:1])
    with pytest.raises(ValueError, match=r"60 x 163 pixels.*needs at least 64"):
        network(frames[0][:, :, :60], frames[1][:, :, :60])
