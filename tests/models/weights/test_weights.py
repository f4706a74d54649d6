import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from small import SHARED
from torch import nn

from dff.commands.convert import main as convert_weights
from dff.models.backbones.resnet import ResNet
from dff.models.flow.flownet import FlowNet
from dff.models.weights.load import from_official, load_heads, load_weights, official_name
from dff.models.weights.mxnet import V1, V3, read_params, write_params

REFERENCE = SHARED / "reference"
TYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]


class Whole(nn.Module):
    """Stands for a DeepFeatureFlow: the two names are all that the importer goes by."""

    def __init__(self):
        super().__init__()
        self.feature_network = ResNet(18, channels=16)
        self.flow_network = FlowNet(width=0.125)
        self.scale_layers = nn.ModuleList([nn.Conv2d(self.flow_network.context_channels, 16, 1)])
        self.heads = nn.ModuleDict({"segmentation": nn.Conv2d(16, 3, 1)})


def official(shape_of):
    """Official name -> array, for the names of a network's tensors (ours -> shape)."""
    return {name: np.full(shape, 0.5, np.float32) for name, shape in shape_of.items()}


def saved(tmp_path, state, name="weights.pth"):
    path = tmp_path / name
    torch.save(state, path)
    return path


def changed(module):
    """A state dict that differs from the module's in every floating tensor."""
    return {k: v + 1 if v.is_floating_point() else v for k, v in module.state_dict().items()}


def same(module, state):
    own = module.state_dict()
    return all(torch.equal(own[name], state[name]) for name in state if name in own)


@pytest.mark.parametrize("dtype", TYPES)
def test_params_survive_writing_and_reading(tmp_path, dtype):
    arrays = {"arg:a": np.arange(24).reshape(2, 3, 4).astype(dtype), "aux:é": np.ones(1, dtype)}
    write_params(tmp_path / "x.params", arrays)
    back = read_params(tmp_path / "x.params")
    assert list(back) == list(arrays)
    assert all(back[n].dtype == arrays[n].dtype for n in arrays)
    assert all(np.array_equal(back[n], arrays[n]) for n in arrays)


@pytest.mark.parametrize("layout", ["v1", "v3", "legacy"])
def test_all_layouts_are_read(tmp_path, layout):
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    head = {
        "v1": struct.pack("<IIqq", V1, 2, 2, 3),
        "v3": struct.pack("<Iiiqq", V3, 0, 2, 2, 3),
        "legacy": struct.pack("<III", 2, 2, 3),
    }[layout]
    record = head + struct.pack("<iii", 1, 0, 0) + data.tobytes()
    path = tmp_path / "x.params"
    path.write_bytes(
        struct.pack("<QQQ", 0x112, 0, 1) + record + struct.pack("<QQ", 1, 5) + b"arg:a"
    )
    assert np.array_equal(read_params(path)["arg:a"], data)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference vectors at {REFERENCE}")
@pytest.mark.parametrize("name", ["tiny.params", "tiny_legacy.params"])
def test_files_that_mxnet_wrote(name):
    expected = np.load(REFERENCE / "tiny.npz")
    arrays = read_params(REFERENCE / name)
    assert set(arrays) == set(expected.files)
    assert all(np.array_equal(arrays[n], expected[n]) for n in expected.files)


def test_a_file_cut_short_anywhere_is_refused_by_name(tmp_path):
    path = tmp_path / "x.params"
    write_params(path, {"arg:a": np.zeros((2, 3), np.float32), "aux:b": np.zeros(2, np.float32)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"x\.params (is no|cannot be read).*(give|again)"):
            read_params(path)
    path.write_bytes(whole + b"0")
    with pytest.raises(ValueError, match="1 bytes follow"):
        read_params(path)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (struct.pack("<Iiiqq", V3, 0, 2, 2**40, 2**40) + bytes(12), "cut short"),
        (struct.pack("<Iiiq", V3, 0, 1, -4) + bytes(12), "shape"),
        (struct.pack("<Iii", V3, 0, 2**30), "dimensions"),
        (struct.pack("<Iii", V3, 1, 1) + bytes(40), "sparse"),
        (struct.pack("<IIqiii", V1, 1, 1, 1, 0, 99) + bytes(4), "unknown type 99"),
    ],
)
def test_lengths_and_types_of_a_file_are_not_believed(tmp_path, record, reason):
    path = tmp_path / "x.params"
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + record)
    with pytest.raises(ValueError, match=reason):
        read_params(path)


def test_official_names():
    names = {
        "conv1_weight": "feature_network.conv1.weight",
        "bn_conv1_moving_var": "feature_network.bn1.running_var",
        "res2a_branch1_weight": "feature_network.layer1.0.downsample.0.weight",
        "bn2a_branch1_gamma": "feature_network.layer1.0.downsample.1.weight",
        "res4b22_branch2a_weight": "feature_network.layer3.22.conv1.weight",
        "res4f_branch2b_weight": "feature_network.layer3.5.conv2.weight",
        "bn5c_branch2c_beta": "feature_network.layer4.2.bn3.bias",
        "feat_conv_3x3_bias": "feature_network.reduce.bias",
        "flow_conv1_bias": "flow_network.encoder.conv1.bias",
        "conv6_1_weight": "flow_network.encoder.conv6_1.weight",
        "deconv2_weight": "flow_network.decoder.deconvolutions.3.weight",
        "Convolution1_weight": "flow_network.decoder.predictions.0.weight",
        "upsample_flow6to5_bias": "flow_network.decoder.upsamplings.0.bias",
        "Convolution5_weight": "flow_network.decoder.flow.weight",
        "Convolution5_scale_weight": "scale_layers.0.weight",
    }
    assert {name: official_name(name) for name in names} == names
    assert official_name("rpn_cls_score_weight") == "heads.detection.rpn.scores.weight"
    others = ["rfcn_bbox_weight_test", "fc1000_bias", "conv7_weight"]
    assert [official_name(name) for name in others] == [None] * 3


def test_official_arrays_reach_the_network_whole_or_not_at_all(tmp_path):
    arrays = {
        "arg:rfcn_cls_weight_test": np.zeros((1, 1), np.float32),
        "arg:conv1_weight": np.ones((64, 3, 7, 7), np.float32),
    }
    state, left_over = from_official(arrays)
    assert set(state) == {"feature_network.conv1.weight"}
    assert left_over == ["arg:rfcn_cls_weight_test"]
    write_params(tmp_path / "x.params", arrays)
    network = ResNet(50)
    before = network.conv1.weight.clone()
    with pytest.raises(ValueError, match=r"x\.params.*lacks \d+ tensors \(bn1\.weight"):
        load_weights(network, tmp_path / "x.params")
    assert torch.equal(network.conv1.weight, before)


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_state_dict_loads_all_but_its_classifier(tmp_path, depth):
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    network = ResNet(depth, stride_in="second", normalization="torchvision")
    report = load_weights(network, saved(tmp_path, changed(theirs)))
    assert report.missing == ("reduce.weight", "reduce.bias")
    assert report.left_over == ("fc.weight", "fc.bias")
    assert len(report.used) == len(theirs.state_dict()) - 2
    assert same(network, changed(theirs))
    assert "2 missing (reduce.weight, reduce.bias), 2 left over" in str(report)


@pytest.mark.parametrize("prefix", ["", "feature_network.", "model.feature_network._orig_mod."])
def test_a_network_is_found_in_the_checkpoint_that_holds_it(tmp_path, prefix):
    network = ResNet(18, channels=16)
    state = changed(network)
    holder = {prefix + name: value for name, value in state.items()}
    holder["model.flow_network.encoder.conv1.weight"] = torch.zeros(64, 6, 7, 7)
    path = saved(tmp_path, {"epoch": 3, "state_dict": holder}, "last.ckpt")
    report = load_weights(network, path)
    assert same(network, state)
    assert report.left_over == ("model.flow_network.encoder.conv1.weight",)
    assert report.missing == ()


def test_a_whole_model_may_lack_its_heads_but_not_a_network(tmp_path):
    model = Whole()
    state = {k: v for k, v in changed(model).items() if not k.startswith("heads")}
    report = load_weights(model, saved(tmp_path, state))
    assert report.missing == ("heads.segmentation.weight", "heads.segmentation.bias")
    with pytest.raises(ValueError, match="load the file into the part of the model"):
        load_weights(model, saved(tmp_path, {k: v for k, v in state.items() if "flow" not in k}))


def test_a_wrong_shape_is_refused_by_name_with_both_shapes(tmp_path):
    network = ResNet(18, channels=16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = saved(tmp_path, changed(ResNet(18, channels=24)))
    wanted = r"weights\.pth.*reduce\.weight is \(24, 512, 3, 3\) there and \(16, 512, 3, 3\) here"
    with pytest.raises(ValueError, match=wanted):
        load_weights(network, path)
    assert same(network, before)


@pytest.mark.parametrize(("file", "network"), [(34, 18), (18, 34)])
def test_a_shallower_or_deeper_network_is_refused(tmp_path, file, network):
    path = saved(tmp_path, ResNet(file, channels=16).state_dict())
    with pytest.raises(ValueError, match=r"another network than this ResNet.*layer1\.2\.conv1"):
        load_weights(ResNet(network, channels=16), path)


def test_another_network_another_file_or_none_are_refused_with_the_cure(tmp_path):
    flow = FlowNet(width=0.125)
    with pytest.raises(ValueError, match=r"nothing fits .*give the file of this network"):
        load_weights(flow, saved(tmp_path, ResNet(18, channels=16).state_dict()))
    text = tmp_path / "notes.txt"
    text.write_text("what I did today")
    with pytest.raises(ValueError, match=r"notes\.txt cannot be read as weights.*torch\.save"):
        load_weights(flow, text)
    with pytest.raises(ValueError, match=r"holds no state dict: save network\.state_dict"):
        load_weights(flow, saved(tmp_path, {"epoch": 1}))
    with pytest.raises(FileNotFoundError, match=r"no weights at .*gone\.pth: give"):
        load_weights(flow, tmp_path / "gone.pth")
    with pytest.raises(ValueError, match="torchvision has no weights 'resnet5000'"):
        load_weights(flow, "torchvision:resnet5000")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    with pytest.raises(ValueError, match="plain tensors"):
        load_weights(ResNet(18), saved(tmp_path, {"conv1.weight": Trap()}))
    assert not (tmp_path / "sprung").exists()


def test_torchvision_by_name_and_without_a_network(monkeypatch):
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    state = changed(torchvision.models.resnet18(weights=None))
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: state)
    network = ResNet(18, channels=16, stride_in="second", normalization="torchvision")
    load_weights(network, "torchvision:resnet18")
    assert same(network, state)
    with pytest.warns(UserWarning, match="expect stride_in='second' and normalization='torchv"):
        load_weights(ResNet(18, channels=16), "torchvision:ResNet18_Weights.IMAGENET1K_V1")

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(type(weights), "get_state_dict", offline)
    with pytest.raises(ConnectionError, match=r"no route to host.*give the file instead"):
        load_weights(network, "torchvision:resnet18")


def test_script_converts_and_reports_each_array(tmp_path, capsys):
    arrays = {
        "arg:conv1_weight": np.ones((64, 3, 7, 7), np.float32),
        "arg:flow_conv1_bias": np.ones(64, np.float32),
        "arg:rfcn_bbox_bias": np.ones(4, np.float32),
        "arg:rfcn_bbox_bias_test": np.ones(4, np.float32),
    }
    source, target = tmp_path / "x.params", tmp_path / "x.pth"
    write_params(source, arrays)
    assert convert_weights([str(source), str(target)]) == 0
    state = torch.load(target, weights_only=True)
    assert set(state) == {
        "feature_network.conv1.weight",
        "flow_network.encoder.conv1.bias",
        "heads.detection.deltas.bias",
    }
    out = capsys.readouterr().out
    assert "left over  arg:rfcn_bbox_bias_test" in out and "3 arrays used, 1 left over" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.params", "x.pth"]

    write_params(source, {"arg:fc1000_bias": np.ones(4, np.float32)})
    assert convert_weights([str(source), str(target)]) == 1
    assert "no array of ResNet or FlowNet" in capsys.readouterr().err
    assert set(torch.load(target, weights_only=True)) == set(state)
    assert convert_weights([str(tmp_path / "gone.params"), str(target)]) == 1


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_head_is_taken_whole_or_not_at_all(tmp_path, prefix):
    theirs = nn.ModuleDict({"segmentation": nn.Conv2d(4, 3, 1), "detection": nn.Conv2d(4, 5, 1)})
    state = {f"{prefix}heads.{name}": value for name, value in changed(theirs).items()}
    path = saved(tmp_path, state)
    ours = nn.ModuleDict({"segmentation": nn.Conv2d(4, 3, 1), "detection": nn.Conv2d(4, 9, 1)})
    before = {name: value.clone() for name, value in ours["detection"].state_dict().items()}
    assert load_heads(ours, path) == ["segmentation"]
    assert same(ours["segmentation"], changed(theirs["segmentation"]))
    assert same(ours["detection"], before)
    assert load_heads(ours, "torchvision:resnet50") == []


def test_a_checkpoint_needs_a_detection_head(tmp_path, capsys):
    source, target = tmp_path / "x.params", tmp_path / "x.ckpt"
    write_params(source, {"arg:conv1_weight": np.ones((64, 3, 7, 7), np.float32)})
    assert convert_weights([str(source), str(target)]) == 1
    assert "no detection head" in capsys.readouterr().err and not target.exists()
    arrays = {"arg:conv1_weight": np.ones((64, 3, 7, 7), np.float32)}
    arrays["arg:rfcn_cls_bias"] = np.ones(31 * 49, np.float32)
    write_params(source, arrays)
    assert convert_weights([str(source), str(target)]) == 1
    assert "lacks" in capsys.readouterr().err and not target.exists()
