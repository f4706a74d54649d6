"""Weights from before the scale layer belonged to the model, by the names that they have there."""

import pytest
import torch
from networks import frames, small_model

from dff.commands.convert import main as convert_weights
from dff.models import build
from dff.models.flow.flownet import FlowNet
from dff.models.weights.files import current_name, names_within, plain_names
from dff.models.weights.load import load_weights

NEW, OLD = "scale_layers.0.", "flow_network.decoder.scale."
SCALE = ["scale_layers.0.weight", "scale_layers.0.bias"]
HOLDERS = {
    "state dict": lambda state: state,
    "checkpoint": lambda s: {"state_dict": {f"model.{n}": v for n, v in s.items()}},
    "compiled": lambda s: {"state_dict": {f"model._orig_mod.{n}": v for n, v in s.items()}},
    "parts compiled": lambda s: {
        n.replace("flow_network.", "flow_network._orig_mod."): v for n, v in s.items()
    },
    "distributed": lambda s: {f"module.{n}": v for n, v in s.items()},
}


def trained(seed=7):
    """A model of which no part is as it starts."""
    model = small_model()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def old_state(model):
    state = {name.replace(NEW, OLD): value for name, value in model.state_dict().items()}
    assert f"{OLD}weight" in state and not any("scale_layers" in name for name in state)
    return state


def written(tmp_path, state):
    torch.save(state, tmp_path / "old.ckpt")
    return tmp_path / "old.ckpt"


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_whole_model_takes_its_scale_layer(holder, tmp_path):
    source, taken = trained(), small_model().eval()
    report = load_weights(taken, written(tmp_path, HOLDERS[holder](old_state(source))))
    assert report.missing == () and report.left_over == () and set(SCALE) <= set(report.used)
    state = taken.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())
    with torch.no_grad():
        key, current = frames(1), frames(1, 2)
        found, wanted = (m.propagate(m.encode(key), key, current) for m in (taken, source))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_flow_network_leaves_the_scale_layer_of_a_whole_model_over(holder, tmp_path):
    source, model = trained(), small_model()
    report = load_weights(model.flow_network, written(tmp_path, HOLDERS[holder](old_state(source))))
    assert report.missing == () and not any("scale" in name for name in report.used)
    assert sum("scale_layers.0." in name for name in report.left_over) == 2
    assert torch.equal(model.flow_network.decoder.flow.bias, source.flow_network.decoder.flow.bias)
    scale = model.scale_layers[0]
    assert (scale.weight == 0).all() and (scale.bias == 1).all()


@pytest.mark.parametrize("prefix", ["", "flow_network."])
def test_a_flow_network_that_was_saved_alone_is_taken_without_its_idle_scale_layer(
    prefix, tmp_path
):
    torch.manual_seed(1)
    source, taken = FlowNet(width=0.125), FlowNet(width=0.125)
    state = source.state_dict()
    state["decoder.scale.weight"] = torch.zeros(1, source.context_channels, 1, 1)
    state["decoder.scale.bias"] = torch.ones(1)
    path = written(tmp_path, {"state_dict": {prefix + n: v for n, v in state.items()}})
    report = load_weights(taken, path)
    assert report.missing == () and sorted(report.left_over) == sorted(SCALE)
    assert all(torch.equal(taken.state_dict()[n], v) for n, v in source.state_dict().items())


def test_features_of_another_width_take_no_scale_layer_of_a_file(tmp_path):
    """It belongs to the features; only the flow network of such a file serves."""
    wide = build.feature_network("resnet18", 24)
    other = build.deep_feature_flow(wide, "flownet_half", [])
    path = written(tmp_path, old_state(trained()))
    load_weights(other.flow_network, path)
    with pytest.raises(ValueError, match=r"is \(16, .*\) there and \(24, .*\) here"):
        load_weights(other, path)
    assert (other.scale_layers[0].bias == 1).all() and len(other.scale_layers[0].bias) == 24


def test_a_file_without_a_scale_layer_leaves_that_of_the_model(tmp_path):
    source, taken = trained(), small_model()
    state = {n: v for n, v in source.state_dict().items() if "scale" not in n}
    report = load_weights(taken, written(tmp_path, state))
    assert sorted(report.missing) == sorted(SCALE)
    assert (taken.scale_layers[0].weight == 0).all() and (taken.scale_layers[0].bias == 1).all()


def test_old_names_alone_are_renamed():
    names = {
        "flow_network.decoder.scale.weight": "scale_layers.0.weight",
        "model.flow_network.decoder.scale.bias": "model.scale_layers.0.bias",
        "decoder.scale.bias": "scale_layers.0.bias",
    }
    assert {name: current_name(name) for name in names} == names
    for name in (
        "scale_layers.0.weight",
        "scale_layers.1.weight",
        "flow_network.decoder.flow.weight",
        "flow_network.decoder.scales.weight",
        "feature_network.decoder_scale.weight",
    ):
        assert current_name(name) == name
    state = {f"model._orig_mod.{OLD}bias": 1, "model.module.heads.a.weight": 2}
    assert plain_names(state) == {"model.scale_layers.0.bias": 1, "model.heads.a.weight": 2}
    assert names_within({f"module.{OLD}bias": 1}) == {"module.scale_layers.0.bias": 1}


def test_a_file_with_old_names_is_converted_to_new_ones(tmp_path, capsys):
    source = trained()
    path = written(tmp_path, HOLDERS["checkpoint"](old_state(source)))
    assert convert_weights([str(path), str(tmp_path / "new.pth")]) == 0
    assert "left over" not in capsys.readouterr().out.replace("0 left over", "")
    found = torch.load(tmp_path / "new.pth", weights_only=True)
    assert found.keys() == source.state_dict().keys()
    assert all(torch.equal(found[n], v) for n, v in source.state_dict().items())
