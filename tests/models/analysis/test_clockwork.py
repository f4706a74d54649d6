"""Clockwork: facts that hold whatever the weights."""

import pytest
import torch

from dff.inference.recognizer import encode_key_frame, recognize
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.analysis.clockwork import Clockwork, clockwork_complexity
from dff.models.analysis.complexity import complexity

FULL = (64, 96)


def model(name="resnet18", task_layers=1):
    torch.manual_seed(0)
    features = build.feature_network(name, 16, batch_norm="frozen")
    return build.deep_feature_flow(features, "zero", [Segmentation(5)], task_layers).eval()


def frames():
    torch.manual_seed(1)
    return torch.rand(2, 3, *FULL), torch.rand(2, 3, *FULL)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("refreshed", [0, 2, 3, 4])
@torch.inference_mode()
def test_on_its_own_key_frame_it_is_the_per_frame_network(name, refreshed):
    network = model(name)
    key, _ = frames()
    found = Clockwork(network, refreshed)(key, key, torch.zeros(2))
    torch.testing.assert_close(found, network.encode(key))


@torch.inference_mode()
def test_all_stages_refreshed_is_the_per_frame_network_and_none_is_a_copy():
    network = model()
    key, current = frames()
    gap = torch.full((2,), 3)
    assert torch.equal(Clockwork(network, 4)(key, current, gap), network.encode(current))
    assert torch.equal(Clockwork(network, 0)(key, current, gap), network.encode(key))


@torch.inference_mode()
def test_a_held_stage_adds_what_it_added_on_the_key_frame():
    """By hand: the last stage of ResNet-18 has two blocks."""
    network = model()
    key, current = frames()
    features = network.feature_network

    def until_layer4(x):
        for name, layer in features.named_children():
            if name == "layer4":
                return x
            x = layer(x)

    of_key, of_current = until_layer4(key), until_layer4(current)
    first, second = features.layer4
    added = first.branch(of_key), second.branch(first(of_key))
    x = torch.relu(first.downsample(of_current) + added[0])
    x = torch.relu(x + added[1])
    wanted = torch.relu(features.reduce(x))
    found = Clockwork(network, 3)(key, current, torch.ones(2))
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, network.encode(current), atol=1e-3)
    assert not torch.allclose(found, network.encode(key), atol=1e-3)


@torch.inference_mode()
def test_it_runs_wherever_a_model_runs():
    network = model()
    key, current = frames()
    clockwork = Clockwork(network, 2)
    kept, first = encode_key_frame(clockwork, key[:1])
    assert kept.features.shape == (1, 2 * 256 + 2 * 512 + 16, 4, 6)
    found = recognize(clockwork, kept, current)["segmentation"]
    assert torch.equal(first["segmentation"], encode_key_frame(network, key[:1])[1]["segmentation"])
    assert found.shape == (2, *FULL)


def test_the_more_is_held_the_less_a_frame_costs():
    network = model()
    whole = complexity(network, FULL)
    cost = {n: clockwork_complexity(Clockwork(network, n), FULL) for n in (0, 2, 3, 4)}
    assert cost[0].flow_network == 0 and cost[4].flow_network == whole.feature_network
    assert 0 < cost[2].flow_network < cost[3].flow_network < whole.feature_network
    assert cost[3].key_frame == whole.key_frame and cost[3].warp == 0
    # Saved by holding layer4: its two blocks' 3x3 convolutions at 4 x 6, without the shortcut.
    convolutions = (256 + 3 * 512) * 512 * 9 * 4 * 6
    assert whole.feature_network - cost[3].flow_network == 2 * convolutions


def test_what_cannot_be_held_is_refused():
    with pytest.raises(ValueError, match="1 stages refreshed: wanted one of 0, 2, 3, 4"):
        Clockwork(model(), 1)
    with pytest.raises(ValueError, match="task_layers 1"):
        Clockwork(model(task_layers=5), 3)
