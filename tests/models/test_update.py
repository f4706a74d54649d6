"""The update branch: what no flow can bring."""

import copy

import pytest
import torch

from dff.inference.deploy.deployment import deploy
from dff.inference.recognizer import recognize_interval, stream
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.analysis.complexity import complexity
from dff.models.dff import DeepFeatureFlow
from dff.models.schedule import FixedSchedule


def made(update="resnet18", flow_from="key"):
    torch.manual_seed(0)
    model = build.deep_feature_flow(
        build.feature_network("resnet18", 32),
        "flownet_half",
        [Segmentation(5)],
        flow_from=flow_from,
        update=build.update_network(update),
    )
    return model.eval()


def taught(model):
    """A branch that changes something."""
    torch.nn.init.normal_(model.update.share.weight, std=0.05)
    return model


@pytest.fixture(scope="module")
def video():
    return torch.rand(5, 3, 97, 130, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("update", ["resnet18", "half"])
def test_untrained_it_changes_nothing_and_trained_it_does(update, video):
    model, plain = made(update), made(None)
    plain.load_state_dict(
        {k: v for k, v in model.state_dict().items() if not k.startswith("update.")}
    )
    key, current = video[:1], video[1:2]
    with torch.no_grad():
        features = model.encode(key)
        carried = plain.propagate(features, key, current)
        torch.testing.assert_close(model.propagate(features, key, current), carried)
        taught(model)
        assert (model.propagate(features, key, current) - carried).abs().max() > 1e-3
        torch.testing.assert_close(
            model.propagate(features, key, current, "no_scale"),
            plain.propagate(features, key, current, "no_scale"),
        )


@pytest.mark.parametrize("flow_from", ["key", "chain", "warm"])
def test_live_equals_intervals(flow_from, video):
    model = taught(made(flow_from=flow_from))
    with torch.no_grad():
        live = [found["segmentation"] for found in stream(model, video.split(1), FixedSchedule(5))]
        together = recognize_interval(model, video)["segmentation"]
    assert (torch.cat(live) == together).float().mean() > 0.999


@pytest.mark.parametrize("update", ["resnet18", "half"])
def test_deployed_it_gives_the_same(update, video):
    model = taught(made(update))
    key, current = video[:1], video[1:2]
    with torch.no_grad():
        found, expected = (
            m.propagate(m.encode(key), key, current) for m in (deploy(copy.deepcopy(model)), model)
        )
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.max()), rtol=1e-3)


def test_its_cost_is_counted():
    size = (128, 256)
    without, light, half = (complexity(made(u), size) for u in (None, "resnet18", "half"))
    assert without.update == 0 and light.update > 0
    assert light.current_frame == pytest.approx(without.current_frame + light.update)
    assert half.update == pytest.approx(0.25 * half.feature_network, rel=0.3)


def test_all_of_it_learns_jointly(video):
    model = made().train()
    features = model(video[:2], video[2:4], torch.tensor([2, 0]))
    loss = model.losses(features, {"mask": torch.zeros(2, 97, 130, dtype=torch.long)})
    sum(loss["segmentation"].values()).backward()
    missing = [n for n, p in model.update.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_several_levels_are_refused():
    class Levels(torch.nn.Module):
        channels, strides = (4, 8), (8, 16)

    model = DeepFeatureFlow(Levels(), build.flow_network("zero"), {})
    with pytest.raises(ValueError, match="an update branch for features of 2 levels"):
        model.use_update(None)
