"""Flow by way of the frame before."""

import pytest
import torch
import torch.nn.functional as F
from networks import frames, small_model
from torch import nn

from dff.inference.recognizer import recognize_frames, stream
from dff.models.contracts import Flow
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.from_previous import Trail, compose
from dff.models.schedule import FixedSchedule

SPEED = 2
"""Pixels from frame to frame, to the left."""


class ShortSighted(nn.Module):
    """Finds a shift of all pixels, of no more than 3 to each side."""

    stride, context_channels = 4, 0

    def forward(self, current, key):
        width = current.shape[-1]
        wide = F.pad(key, (3, 3, 0, 0))
        errors = torch.stack(
            [
                (wide[..., 3 + dx : 3 + dx + width] - current)[..., 12:-12].abs().mean((1, 2, 3))
                for dx in range(-3, 4)
            ]
        )
        shift = errors.argmin(0).float() - 3
        field = torch.zeros(len(current), 2, 16, width // 4)
        field[:, 0] = shift[:, None, None]
        return Flow(field)


class Colours(nn.Module):
    """The image itself as its features."""

    channels, strides = (3,), (1,)

    def forward(self, image):
        return image


@pytest.fixture(scope="module")
def moving():
    """A picture that moves on by `SPEED` from frame to frame: (7, 3, 64, 96)."""
    wide = F.interpolate(torch.rand(1, 3, 16, 40), scale_factor=4, mode="bilinear")
    return torch.cat([wide[..., SPEED * i : SPEED * i + 96] for i in range(7)])


def test_two_flows_are_one_after_the_other():
    one, other = (torch.tensor([[[[x]], [[y]]]]) for x, y in ((8.0, -4.0), (2.0, 6.0)))
    constant = [v.expand(1, 2, 5, 7) for v in (one, other)]
    assert torch.equal(compose(*constant, stride=4), (one + other).expand(1, 2, 5, 7))
    field = torch.rand(2, 2, 5, 7)
    found = compose(torch.tensor([8.0, 0.0]).view(1, 2, 1, 1).expand(2, 2, 5, 7), field, stride=4)
    torch.testing.assert_close(found[:, 0, :, :5], 8 + field[:, 0, :, 2:])
    # beyond the border it goes on as at the border
    torch.testing.assert_close(found[:, 1, :, 5:], field[:, 1, :, 6:].expand(2, 5, 2))
    found = compose(torch.full((1, 2, 5, 7), float("nan")), field[:1], stride=4)
    assert found.shape == (1, 2, 5, 7)


@pytest.mark.parametrize("how", ["chain", "warm"])
def test_motions_longer_than_the_network_sees_are_found(how, moving):
    seen = {}
    for flow_from in ("key", how):
        model = DeepFeatureFlow(Colours(), ShortSighted(), {}, flow_from=flow_from).eval()
        before = None
        for frame in moving[1:].split(1):
            if flow_from == "key":
                before = None
            flow = model.find_flow(moving[:1], frame, before)
            before = Trail(frame, flow.field)
        seen[flow_from] = flow.field[0, 0, 8, 6].item()
        carried = model.carry(moving[:1], flow)
        error = (carried - moving[6:])[..., 12:40].abs().mean()
        assert (error < 0.01) == (flow_from == how)
    assert seen[how] == SPEED * 6 and abs(seen["key"]) <= 3


@pytest.mark.parametrize("how", ["chain", "warm"])
@torch.inference_mode()
def test_live_and_intervals_are_the_same_and_a_key_frame_begins_anew(how):
    model = small_model().eval()
    nn.init.normal_(model.heads["segmentation"].scores.weight, std=5.0)
    model.flow_from, video = how, frames(8, seed=3)
    live = [p["segmentation"] for p in stream(model, video.split(1), FixedSchedule(4))]
    together = recognize_frames(model, video, FixedSchedule(4)).predictions["segmentation"]
    assert (torch.cat(live) == together).float().mean() > 0.9999
    second = [p["segmentation"] for p in stream(model, video[4:].split(1), FixedSchedule(4))]
    assert torch.equal(torch.cat(second), torch.cat(live[4:]))
    model.flow_from = "key"
    plain = recognize_frames(model, video, FixedSchedule(4)).predictions["segmentation"]
    assert torch.equal(plain[:2], together[:2])  # one frame after a key frame there is no other way
    assert not torch.equal(plain[2:4], together[2:4])


def test_training_on_a_key_frame_that_was_moved():
    model = small_model()
    key, previous, current = frames(6).split(2)
    plain = model(key, current, torch.tensor([1, 5]))
    model.flow_from = "warm"
    torch.testing.assert_close(model(key, current, torch.tensor([1, 5])), plain)
    # at gap 1 the frame before is the key frame
    previous[0] = key[0]
    moved = model(key, current, torch.tensor([1, 5]), previous=previous)
    torch.testing.assert_close(moved[0], plain[0])
    assert not torch.allclose(moved[1], plain[1], rtol=1e-3)
    moved.square().sum().backward()
    gradients = [p.grad for p in model.flow_network.parameters()]
    assert all(g is not None for g in gradients) and any(g.abs().sum() > 0 for g in gradients)


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="flow_from 'back': wanted one of key, chain, warm"):
        DeepFeatureFlow(Colours(), ShortSighted(), {}, flow_from="back")
