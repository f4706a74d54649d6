"""RAFT under the contract of a flow network."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.optical_flow import raft_large, raft_small

from dff.inference.deploy.deployment import deploy_flow
from dff.models import build
from dff.models.backbones.resnet import ResNet
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.raft import RAFTFlow
from dff.models.weights.load import load_weights


@pytest.fixture(scope="module")
def frames():
    return torch.rand(2, 1, 3, 128, 136, generator=torch.Generator().manual_seed(1)).unbind()


@pytest.mark.parametrize(("size", "made"), [("small", raft_small), ("large", raft_large)])
def test_weights_of_torchvision_give_its_flow(size, made, frames, tmp_path):
    torch.manual_seed(0)
    theirs, ours = made(weights=None).eval(), RAFTFlow(size, updates=2).eval()
    torch.save(theirs.state_dict(), tmp_path / "raft.pth")
    report = load_weights(ours, tmp_path / "raft.pth")
    assert not report.missing and not report.left_over
    with torch.no_grad():
        expected = theirs(*(2 * frame - 1 for frame in frames), num_flow_updates=2)[-1]
        found = ours(*frames)
    torch.testing.assert_close(found.field, F.avg_pool2d(expected, 8), atol=1e-4, rtol=1e-4)
    assert found.context is None and found.field.shape == (1, 2, 16, 17)


def test_any_size_from_64_on_and_each_pixel_keeps_its_place(frames):
    network = RAFTFlow("small", updates=1).eval()
    with torch.no_grad():
        assert network(*(f[..., :65, :97] for f in frames)).field.shape == (1, 2, 9, 13)
        with pytest.raises(ValueError, match="RAFT wants at least 64 on each side"):
            network(*(f[..., :40, :97] for f in frames))


def test_it_learns_and_is_deployed_and_counted(frames):
    network = build.flow_network("raft_small", 2)
    assert network.updates == 2 and build.flow_network("raft_small").updates == 12
    pyramid = network.pyramid(*frames)
    torch.testing.assert_close(pyramid[-1] * 40, network(*frames).field)
    pyramid[-1].norm().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    model = DeepFeatureFlow(ResNet(18, channels=8), network, {}).eval()
    with torch.inference_mode():
        expected = model.find_flow(*frames).field
        deploy_flow(model)
        torch.testing.assert_close(model.find_flow(*frames).field, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "updates", "said"),
    [
        ("raft_small", 0, "0 updates of RAFT's flow: wanted 1 or more"),
        ("light", 3, "flow_updates 3 with light: raft_small and raft_large alone have them"),
    ],
)
def test_updates_that_cannot_be(name, updates, said):
    with pytest.raises(ValueError, match=said):
        build.flow_network(name, updates)
