"""FlowNetS of other code: names, shapes, and the numbers that come out."""

import re

import pytest
import torch
import torch.nn.functional as F

from dff.commands.convert import main as convert_weights
from dff.models.backbones.resnet import ResNet
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.flownet import FLOW_UNIT, FlowNet
from dff.models.flow.inception import FlowNetInception
from dff.models.flow.pair_input import MEAN
from dff.models.weights.flow import NAMINGS, convert_flownet
from dff.models.weights.load import load_weights

PYTORCH, _, MEGA = NAMINGS
SCALE = ("scale_layers.0.weight", "scale_layers.0.bias")
ENCODER = "conv1 conv2 conv3 conv3_1 conv4 conv4_1 conv5 conv5_1 conv6 conv6_1".split()
NAMES = {
    "FlowNetPytorch": (
        *[f"{name}.0.{kind}" for name in ENCODER for kind in ("weight", "bias")],
        *[f"deconv{i}.0.weight" for i in (5, 4, 3, 2)],
        *[f"predict_flow{i}.weight" for i in (6, 5, 4, 3, 2)],
        *[f"upsampled_flow{i}_to_{i - 1}.weight" for i in (6, 5, 4, 3)],
    ),
    "mmtracking": (
        *["conv1.0.conv.weight", "conv1.0.conv.bias", "conv2.0.conv.weight", "conv2.0.conv.bias"],
        *[
            f"conv{i}.{j}.conv.{kind}"
            for i in (3, 4, 5, 6)
            for j in (0, 1)
            for kind in ("weight", "bias")
        ],
        *[f"deconv{i}.conv.weight" for i in (5, 4, 3, 2)],
        *[f"predict_flow{i}.conv.weight" for i in ("6", "5", "4", "3", "")],
        *[f"upsample_flow{i}.conv.weight" for i in (5, 4, 3, 2)],
    ),
    "MEGA": (
        *["flow_conv1.weight", "flow_conv1.bias"],
        *[f"{name}.{kind}" for name in ENCODER[1:] for kind in ("weight", "bias")],
        *[f"deconv{i}.{kind}" for i in (5, 4, 3, 2) for kind in ("weight", "bias")],
        *[f"Convolution{i}.{kind}" for i in (1, 2, 3, 4, 5) for kind in ("weight", "bias")],
        *[f"upsample_flow{i}to{i - 1}.{kind}" for i in (6, 5, 4, 3) for kind in ("weight", "bias")],
        "Convolution5_scale.weight",
    ),
}
"""All tensors of each code, written out by hand from its model, in the order of our network."""


def network(seed=0, biases=True):
    """A model with a small FlowNet of random weights, biases too."""
    torch.manual_seed(seed)
    made = DeepFeatureFlow(ResNet(18, channels=8), FlowNet(width=0.125), {}).eval()
    with torch.no_grad():
        for name, parameter in made.flow_network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
                if not biases and name.startswith("decoder"):
                    parameter.zero_()
        made.scale_layers[0].weight.normal_(std=0.01)
    return made


def flow_and_scale(made, current, key):
    """What propagation has of a pair."""
    flow = made.find_flow(key, current)
    return flow.field, made.scale_field(flow, flow.field.shape[-2:])


def theirs(made, naming):
    """What the code of `naming` would have saved, had it trained this network."""
    ours = {**made.flow_network.state_dict()}
    for kind in ("weight", "bias"):
        ours[f"decoder.scale.{kind}"] = made.state_dict()[f"scale_layers.0.{kind}"]
    shift = torch.tensor(MEAN) - torch.tensor(naming.mean)
    weight = ours["encoder.conv1.weight"]
    # fed with x - their mean, it must give what ours gives for x - our mean
    offset = weight.sum((2, 3)) @ shift.repeat(2)
    ours["encoder.conv1.bias"] = ours["encoder.conv1.bias"] - offset
    if naming.channels == "bgr":
        ours["encoder.conv1.weight"] = torch.cat([weight[:, :3].flip(1), weight[:, 3:].flip(1)], 1)
    saved = {}
    for layer, our in naming.layers.items():
        for kind in ("weight", "bias"):
            saved[f"{layer}.{kind}"] = ours[f"{our}.{kind}"]
    return {name: saved[name] for name in NAMES[naming.title]}


def frames():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 2, 3, 80, 112, generator=generator).unbind()


def written(tmp_path, content, name="flownet.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


HOLDERS = {
    "alone": lambda state: state,
    "FlowNetPytorch's file": lambda state: {"epoch": 9, "arch": "flownets", "state_dict": state},
    "a whole detector": lambda state: {
        "model": {f"module.flownet.{k}": v for k, v in state.items()}
        | {"module.backbone.conv1.weight": torch.zeros(64, 3, 7, 7)},
        "iteration": 60000,
    },
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("naming", NAMINGS, ids=lambda n: n.title)
def test_each_naming_gives_the_very_output(naming, holder, tmp_path):
    source = network(biases=naming is MEGA)
    path = written(tmp_path, HOLDERS[holder](theirs(source, naming)))
    taken = network(seed=5)
    report = load_weights(taken.flow_network, path)
    assert report.missing == ()
    scale = SCALE if naming is MEGA else ()
    outside = ("module.backbone.conv1.weight",) if "detector" in holder else ()
    assert {n for n in report.left_over if "epoch" not in n} == {*outside, *scale}
    found = convert_flownet(theirs(source, naming), "x.pth").state
    assert {name for name in found if "flow_network" not in name} == set(scale)
    taken.load_state_dict({name: found[name] for name in scale}, strict=False)
    with torch.no_grad():
        flow, scale = flow_and_scale(taken, *frames())
        wanted, wanted_scale = flow_and_scale(source, *frames())
    torch.testing.assert_close(flow, wanted, atol=1e-5, rtol=1e-4)
    if naming is MEGA:
        torch.testing.assert_close(scale, wanted_scale)


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda n: n.title)
def test_a_flow_network_by_itself_takes_no_scale_layer(naming, tmp_path):
    """It belongs to the features of the file, which may be others than those of the model."""
    model = DeepFeatureFlow(ResNet(18, channels=4), FlowNet(width=0.125), {})
    load_weights(model.flow_network, written(tmp_path, theirs(network(), naming)))
    scale = model.scale_layers[0]
    assert scale.weight.abs().max() == 0 and (scale.bias == 1).all()


def flownets(state, pair):
    """FlowNetS as FlowNetPytorch computes it, from its definition: five flows, coarse to fine."""

    def layer(x, name, stride):
        weight = state[f"{name}.0.weight"]
        padding = weight.shape[-1] // 2
        return F.leaky_relu(F.conv2d(x, weight, state[f"{name}.0.bias"], stride, padding), 0.1)

    # Beyond the border is our mean, see below; padded by hand, so that only the rest is zero.
    weight, bias = state["conv1.0.weight"], state["conv1.0.bias"]
    maps = {2: layer(F.leaky_relu(F.conv2d(pair, weight, bias, 2), 0.1), "conv2", 2)}
    for i in (3, 4, 5, 6):
        maps[i] = layer(layer(maps[i - 1], f"conv{i}", 2), f"conv{i}_1", 1)
    joined, flows = maps[6], []
    for i in (5, 4, 3, 2):
        flow = F.conv2d(joined, state[f"predict_flow{i + 1}.weight"], padding=1)
        flows.append(flow)
        size = maps[i].shape[-2:]
        up = F.conv_transpose2d(flow, state[f"upsampled_flow{i + 1}_to_{i}.weight"], None, 2, 1)
        wide = F.leaky_relu(
            F.conv_transpose2d(joined, state[f"deconv{i}.0.weight"], None, 2, 1), 0.1
        )
        crop = (..., slice(size[0]), slice(size[1]))
        joined = torch.cat((maps[i], wide[crop], up[crop]), 1)
    # In Deep Feature Flow, the last prediction is made on the map pooled to stride 16.
    pooled = F.avg_pool2d(joined, 2, 2)
    return [*flows, F.conv2d(pooled, state["predict_flow2.weight"], padding=1)]


@pytest.mark.parametrize("div_flow", [20, "5"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_flows_are_those_of_the_network_as_its_own_code_computes_it(channels, div_flow):
    torch.manual_seed(3)
    state = {
        n: v + 0.1 * torch.randn(v.shape) for n, v in theirs(network(biases=False), PYTORCH).items()
    }
    converted = convert_flownet(state, "x.pth", div_flow, channels)
    taken = FlowNet(width=0.125)
    load = {k.removeprefix("flow_network."): v for k, v in converted.state.items()}
    taken.load_state_dict(load, strict=False)

    current, key = frames()
    half = F.avg_pool2d(torch.cat((current, key), 1), 2)
    ours, their = torch.tensor(MEAN).repeat(2), torch.tensor(PYTORCH.mean).repeat(2)
    padded = F.pad(half - ours.view(1, 6, 1, 1), (3, 3, 3, 3)) + (ours - their).view(1, 6, 1, 1)
    if channels == "bgr":
        padded = padded[:, [2, 1, 0, 5, 4, 3]]
    with torch.no_grad():
        flows, levels = flownets(state, padded), taken.pyramid(current, key)
    assert levels[0].abs().max() > 0.01
    for level, flow in zip(levels, flows, strict=True):
        pixels = float(div_flow) * flow
        torch.testing.assert_close(level * FLOW_UNIT, pixels, atol=1e-3, rtol=1e-3)


def test_batch_norms_are_folded(tmp_path):
    torch.manual_seed(2)
    state = theirs(network(biases=False), PYTORCH)
    plain = dict(state)
    for name in ENCODER:
        channels = len(plain.pop(f"{name}.0.bias"))
        norm = {
            "weight": torch.rand(channels) + 0.5,
            "bias": torch.randn(channels),
            "running_mean": torch.randn(channels),
            "running_var": torch.rand(channels) + 0.5,
            "num_batches_tracked": torch.tensor(7),
        }
        plain |= {f"{name}.1.{kind}": value for kind, value in norm.items()}
    converted = convert_flownet(plain, "x.pth")
    assert converted.left_over == [f"{name}.1.num_batches_tracked" for name in ENCODER]
    assert converted.used["conv4.1.running_var"] == "flow_network.encoder.conv4.weight"
    x = torch.randn(1, 16, 12, 12)
    norm = [plain[f"conv3.1.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    wanted = F.batch_norm(F.conv2d(x, plain["conv3.0.weight"], None, 2, 2), *norm)
    weight = converted.state["flow_network.encoder.conv3.weight"]
    bias = converted.state["flow_network.encoder.conv3.bias"]
    torch.testing.assert_close(F.conv2d(x, weight, bias, 2, 2), wanted, atol=1e-5, rtol=1e-4)
    load_weights(network().flow_network, written(tmp_path, plain))
    del plain["conv4.1.running_var"]
    with pytest.raises(ValueError, match=r"lacks 1 of its tensors \(conv4\.1\.running_var\)"):
        load_weights(network().flow_network, written(tmp_path, plain))


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda n: n.title)
def test_a_tensor_missing_renamed_added_or_of_another_shape(naming, tmp_path):
    whole = theirs(network(), naming)
    for position, name in enumerate(whole):
        if name == "Convolution5_scale.weight":
            continue  # FGFA's FlowNetS has none
        without = {k: v for k, v in whole.items() if k != name}
        with pytest.raises(ValueError, match=rf"x\.pth .*lacks 1 .*\({re.escape(name)}\): give"):
            convert_flownet(without, "x.pth")
        renamed = without | {f"odd_{name}": whole[name]}
        with pytest.raises(ValueError, match=rf"\({re.escape(name)}\) and has odd_"):
            convert_flownet(renamed, "x.pth")
        if position % 5 == 0:
            wrong = whole | {name: whole[name][1:]}
            with pytest.raises(ValueError, match=r"x\.pth .*another network.* there, and wanted"):
                convert_flownet(wrong, "x.pth")
    name = list(whole)[4]
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is \(3, 3\) there, and wanted is \("):
        convert_flownet(whole | {name: torch.zeros(3, 3)}, "x.pth")
    added = convert_flownet(whole | {"conv7.weight": torch.zeros(2)}, "x.pth")
    assert added.left_over == ["conv7.weight"]
    assert list(added.used) == list(whole)
    path = written(tmp_path, whole | {"conv7.weight": torch.zeros(2)})
    report = load_weights(network().flow_network, path)
    scale = SCALE if naming is MEGA else ()
    assert sorted(report.left_over) == sorted(("conv7.weight", *scale))


def test_other_networks_are_refused_in_one_message(tmp_path):
    flownetc = theirs(network(), PYTORCH) | {"conv_redir.0.weight": torch.zeros(4, 32, 1, 1)}
    with pytest.raises(ValueError, match=r"flownet\.pth holds FlowNetC.*give a checkpoint of Flow"):
        load_weights(network().flow_network, written(tmp_path, flownetc))
    resnet = written(tmp_path, ResNet(18, channels=16).state_dict())
    with pytest.raises(ValueError, match=r"another network than this FlowNet: nothing fits"):
        load_weights(network().flow_network, resnet)
    whole = written(tmp_path, theirs(network(), PYTORCH))
    with pytest.raises(ValueError, match=r"conv1\.weight is \(8, 6, 7, 7\) there and \(16, 6, 7, "):
        load_weights(FlowNet(width=0.25), whole)
    with pytest.raises(ValueError, match="another network than this FlowNetInception"):
        load_weights(FlowNetInception(), whole)
    with pytest.raises(ValueError, match="another network than this ResNet"):
        load_weights(ResNet(18), whole)


@pytest.mark.parametrize("div_flow", ["many", 0, -1, [20]])
def test_a_senseless_unit_of_flow_is_refused(div_flow, tmp_path):
    file = {"state_dict": theirs(network(), PYTORCH), "div_flow": div_flow}
    with pytest.raises(ValueError, match=r"flownet\.pth says div_flow = .*wanted the positive"):
        load_weights(network(), written(tmp_path, file))


def test_our_own_names_are_no_other_codes():
    state = {f"model.{k}": v for k, v in network().state_dict().items()}
    assert convert_flownet(state, "x.pth") is None
    assert convert_flownet(ResNet(18).state_dict(), "x.pth") is None


def test_the_script_converts_and_reports_each_tensor(tmp_path, capsys):
    whole = network(biases=False)
    state = theirs(whole, PYTORCH) | {"conv7.weight": torch.zeros(2)}
    source = written(tmp_path, {"state_dict": state, "div_flow": 20}, "flownets.pth.tar")
    target = tmp_path / "flownet.pth"
    assert convert_weights([str(source), str(target)]) == 0
    out = capsys.readouterr().out
    assert "FlowNetS as in FlowNetPytorch, whose input is RGB" in out
    assert "used       deconv5.0.weight -> flow_network.decoder.deconvolutions.0.weight" in out
    assert "left over  conv7.weight" in out and "33 arrays used, 1 left over" in out
    taken = network(seed=4)
    load_weights(taken.flow_network, target)
    with torch.no_grad():
        found, wanted = (m.flow_network(*frames()).field for m in (taken, whole))
    torch.testing.assert_close(found, wanted, atol=1.6e-4, rtol=1e-4)  # 1e-5 feature pixels

    assert convert_weights([str(source), str(target), "--channels", "bgr"]) == 0
    swapped = torch.load(target, weights_only=True)["flow_network.encoder.conv1.weight"]
    assert torch.equal(swapped, whole.flow_network.encoder.conv1.weight[:, [2, 1, 0, 5, 4, 3]])

    other = written(tmp_path, ResNet(18, channels=16).state_dict(), "resnet.pth")
    assert convert_weights([str(other), str(target)]) == 1
    assert "holds no FlowNetS" in capsys.readouterr().err
    assert convert_weights([str(source), str(tmp_path / "x.ckpt")]) == 1
    assert "no detection head" in capsys.readouterr().err
