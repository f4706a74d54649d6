import copy

import pytest
import torch
import torch.nn.functional as F
from levels import BothLevels, Pyramid
from torch import nn

from dff.inference.deploy.deployment import deploy
from dff.inference.deploy.packed import (
    FoldedConv2d,
    InterleavedDeconvolution,
    PackedConv2d,
    SpaceToBatch,
    pack,
)
from dff.inference.tasks.choice import tasks_of
from dff.inference.tasks.segmentation import Segmentation
from dff.models import build
from dff.models.analysis.clockwork import Clockwork
from dff.models.contracts import PreparedKey
from dff.models.dff import DeepFeatureFlow
from dff.models.flow.codec import CodecFlow
from dff.models.flow.flownet import FlowNet
from dff.models.flow.from_previous import Trail

PACKS = torch.backends.mkldnn.is_available()


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def made(flow="flownet_half", heads=("segmentation",), depth="resnet18", **settings):
    torch.manual_seed(3)
    features = build.feature_network(depth, 48, **settings)
    tasks = tasks_of({"heads": dict.fromkeys(heads, 1.0)})
    model = build.deep_feature_flow(features, flow, list(tasks.values())).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that folding cannot overlook
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    if hasattr(model.flow_network, "decoder"):
        nn.init.normal_(model.scale_layers[0].weight, std=0.02)
        for prediction in (
            *model.flow_network.decoder.predictions,
            model.flow_network.decoder.flow,
        ):
            nn.init.normal_(prediction.weight, std=0.02)  # else the flow is next to nothing
    return model


def frames(height=101, width=163):
    return torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(5)).unbind()


@pytest.mark.parametrize(
    ("flow", "settings"),
    [
        ("flownet", {}),
        ("flownet_half", {"depth": "resnet50", "stride_in": "second"}),
        ("flownet_half", {"batch_norm": "trained", "normalization": "torchvision"}),
        ("flownet_inception", {}),
        ("light", {}),
        ("dis_fast", {}),
    ],
)
@torch.inference_mode()
def test_a_deployed_model_gives_what_the_model_gives(flow, settings):
    model, (key, current) = made(flow, **settings), frames()
    deployed = deploy(model)
    features = model.encode(key)
    torch.testing.assert_close(deployed.encode(key), features, rtol=0, atol=1e-4 * features.max())
    carried = model.propagate(features, key, current)
    assert not torch.allclose(carried, features, atol=0.05 * float(features.max()))
    found = deployed.propagate(features, key, current)
    torch.testing.assert_close(found, carried, rtol=0, atol=1e-4 * carried.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_features_of_several_levels_are_deployed(dtype):
    torch.manual_seed(3)
    model = DeepFeatureFlow(Pyramid(), FlowNet(width=0.25), {"both": BothLevels()}).eval()
    for layer in model.scale_layers:
        nn.init.normal_(layer.weight, std=0.02)
    nn.init.normal_(model.flow_network.decoder.flow.weight, std=0.02)
    deployed, (key, current) = deploy(model, dtype), frames()
    found, features = deployed.encode(key), model.encode(key)
    carried = model.propagate(features, key, current)
    moved = deployed.propagate(found, key, current)
    bound = 1e-4 if dtype == torch.float32 else 0.03
    for level in range(2):
        assert found[level].dtype == moved[level].dtype == dtype
        assert not torch.allclose(carried[level], features[level], atol=0.05)
        torch.testing.assert_close(moved[level].float(), carried[level], rtol=0, atol=bound)
    results = [m.predict(c, (101, 163))["both"] for m, c in ((deployed, moved), (model, carried))]
    torch.testing.assert_close(results[0].float(), results[1], rtol=0, atol=bound)


@pytest.mark.parametrize("rewritten", [False, True])
@pytest.mark.parametrize("flow", ["flownet_half", "flownet_inception", "light"])
@torch.inference_mode()
def test_what_is_made_of_a_key_frame_serves_all_frames_after_it(flow, rewritten):
    model, (key, current) = made(flow), frames()
    deployed = deploy(model) if rewritten else model
    prepared, size = deployed.prepare(key), (7, 11)
    assert isinstance(prepared, PreparedKey) and prepared.shape == key.shape
    before = copy.deepcopy(prepared.parts)
    for frame in (current, current.flip(3)):
        expected = model.flow_network(frame, key)
        for given in (prepared, key):
            found = deployed.flow_network(frame, given)
            # 1e-4 pixels of the features
            torch.testing.assert_close(found.field, expected.field, rtol=0, atol=1.6e-3)
            torch.testing.assert_close(found.context, expected.context, rtol=0, atol=1e-4)
            scale, own = deployed.scale_field(found, size), model.scale_field(expected, size)
            torch.testing.assert_close(scale, own, rtol=0, atol=1e-4)
    torch.testing.assert_close(prepared.parts, before, rtol=0, atol=0)
    two = deployed.prepare(key.expand(2, -1, -1, -1))
    found = deployed.flow_network(torch.cat((current, current.flip(3))), two).field
    torch.testing.assert_close(found[1:], expected.field, rtol=0, atol=1.6e-3)


@torch.inference_mode()
def test_a_prepared_key_frame_of_another_size_is_refused():
    deployed = deploy(made("flownet_inception"))
    key, current = frames()[0], frames(height=128)[0]
    with pytest.raises(ValueError, match=r"128, 163\), key frame of shape \(1, 3, 101, 163\)"):
        deployed.flow_network(current, deployed.prepare(key))


@torch.inference_mode()
def test_detections_are_those_of_the_model():
    model, (key, _) = made(heads=("segmentation", "detection"), batch_norm="trained"), frames()
    features = model.encode(key)
    size = tuple(key.shape[-2:])
    plain, deployed = (m.predict(features, size) for m in (model, deploy(model)))
    torch.testing.assert_close(deployed["detection"], plain["detection"], rtol=1e-3, atol=1e-3)
    assert (deployed["segmentation"] != plain["segmentation"]).float().mean() < 1e-3


@pytest.mark.parametrize("task_layers", [0, 5, 12, 21])
@torch.inference_mode()
def test_every_split_point_is_deployed(task_layers):
    torch.manual_seed(2)
    features = build.feature_network("resnet18", 32)
    model = build.deep_feature_flow(
        features, "flownet_inception", [Segmentation()], task_layers
    ).eval()
    deployed, (key, current) = deploy(model), frames()
    held = deployed.encode(key)
    before = held.clone()
    carried = deployed.propagate(held, key, current)
    plain = model.propagate(model.encode(key), key, current)
    expected, found = (m.tail(c) for m, c in ((model, plain), (deployed, carried)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(held, before)  # the next frame needs them as they were


@torch.inference_mode()
def test_in_bfloat16_it_is_no_farther_from_the_truth_than_autocast():
    model, (key, current) = made("flownet_half", batch_norm="trained"), frames()
    deployed = deploy(model, torch.bfloat16)
    features = model.encode(key)
    with torch.autocast("cpu", torch.bfloat16):
        usual = model.encode(key)
        usual_flow = model.flow_network(current, key).field
    flow = model.flow_network(current, key).field
    found, found_flow = deployed.encode(key), deployed.flow_network(current, key).field
    assert found.dtype == torch.bfloat16 and found_flow.dtype == torch.float32
    assert (found - features).norm() < 1.2 * (usual - features).norm()
    assert (found_flow - flow).norm() < 1.2 * (usual_flow - flow).norm()


def test_the_model_itself_stays_as_it_is():
    model = made()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert deploy(model, torch.bfloat16).warp_method == "gather"  # the fast one of a CPU
    assert model.warp_method == "grid_sample"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_nothing_is_left_unpacked():
    deployed = deploy(made("flownet_inception", ("segmentation", "detection")))
    plain = nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d
    assert not [name for name, m in deployed.named_modules() if isinstance(m, plain)]


def test_another_type_is_refused():
    with pytest.raises(ValueError, match=r"float64: wanted .*, bfloat16 or float16"):
        deploy(made(), torch.float64)


@pytest.mark.parametrize("slope", [1.0, 0.0, 0.1])
@pytest.mark.parametrize("added", [False, True])
@torch.inference_mode()
def test_a_packed_convolution_is_the_convolution(slope, added):
    layer = nn.Conv2d(5, 7, 3, 2, padding=2, dilation=2)
    x = random(2, 5, 13, 18)
    expected = layer(x)
    more = random(*expected.shape) if added else None
    expected = expected + more if added else expected
    expected = torch.maximum(expected, slope * expected)
    packed = pack(layer, torch.float32, slope)
    before = None if more is None else more.clone()
    for _ in range(2):  # the first call packs, the second has it
        torch.testing.assert_close(packed(x, more), expected, rtol=1e-5, atol=1e-5)
    assert more is None or torch.equal(more, before)
    assert packed(x).is_contiguous(memory_format=torch.channels_last)
    # another size than the one it was packed for
    torch.testing.assert_close(packed(x[:1, :, :9])[0, :, 0, 0], packed(x[:, :, :9])[0, :, 0, 0])


@pytest.mark.skipif(not PACKS, reason="no oneDNN")
@torch.inference_mode()
def test_weights_are_packed_where_onednn_is_there():
    # without this, a changed name in torch would cost the speed and nobody would see it
    packed = pack(nn.Conv2d(16, 16, 3), torch.float32)
    packed(random(1, 16, 8, 8))
    assert packed._packed is not None


@torch.inference_mode()
def test_without_onednn_the_results_are_the_same(monkeypatch):
    model, (key, _) = made("flownet_inception"), frames()
    features = deploy(model).encode(key)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    torch.testing.assert_close(deploy(model).encode(key), features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(12, 18), (13, 20), (5, 7), (1, 1)])
@torch.inference_mode()
def test_space_to_batch_is_the_dilated_convolution(height, width):
    layer = nn.Conv2d(3, 4, 3, padding=6, dilation=6).to(torch.bfloat16)
    packed = pack(layer, torch.bfloat16, 0.0)
    assert isinstance(packed, SpaceToBatch)
    x = random(2, 3, height, width)
    expected = F.relu(
        F.conv2d(x.bfloat16().float(), layer.weight.float(), layer.bias.float(), 1, 6, 6)
    )
    torch.testing.assert_close(packed(x).float(), expected, rtol=0.01, atol=0.01)


def test_only_slow_dilations_are_rewritten():
    def kind(dilation, dtype):
        return type(pack(nn.Conv2d(3, 4, 3, padding=dilation, dilation=dilation), dtype))

    assert kind(2, torch.bfloat16) is PackedConv2d  # has a fast path
    assert kind(6, torch.float32) is PackedConv2d
    assert kind(6, torch.bfloat16) is SpaceToBatch
    strided = nn.Conv2d(3, 4, 3, stride=2, padding=6, dilation=6)
    assert type(pack(strided, torch.bfloat16)) is PackedConv2d


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(5, 8), (1, 3), (1, 1)])
@torch.inference_mode()
def test_a_folded_convolution_is_the_convolution(height, width, bias):
    layer = nn.Conv2d(6, 2, 3, padding=1, bias=bias)
    folded = pack(layer, torch.float32)
    assert isinstance(folded, FoldedConv2d)
    x = random(2, 6, height, width)
    torch.testing.assert_close(folded(x), layer(x), rtol=1e-5, atol=1e-5)


def test_only_convolutions_of_few_outputs_are_folded():
    def kind(outputs=2, dtype=torch.float32, slope=1.0, padding=1, **settings):
        return type(pack(nn.Conv2d(6, outputs, 3, padding=padding, **settings), dtype, slope))

    assert kind() is FoldedConv2d
    others = ({"outputs": 8}, {"dtype": torch.bfloat16}, {"slope": 0.1}, {"padding": 0})
    others += ({"stride": 2}, {"padding": 2, "dilation": 2})
    assert all(kind(**other) is PackedConv2d for other in others)


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_an_interleaved_deconvolution_is_the_deconvolution(bias):
    layer = nn.ConvTranspose2d(6, 5, 4, 2, bias=bias)
    x = random(2, 6, 4, 7)
    found = InterleavedDeconvolution(layer, torch.float32, 0.1)(x)
    torch.testing.assert_close(found, F.leaky_relu(layer(x), 0.1), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="wanted one group"):
        pack(nn.Conv2d(4, 4, 3, groups=2), torch.float32)


@torch.inference_mode()
def test_where_torch_compile_fails_the_networks_run_without_it(monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("no compiler is found\nand more lines")

    monkeypatch.setattr(torch, "compile", no_compiler)
    model, (key, current) = made(), frames()
    deployed = deploy(model, compiled=True)
    features = deploy(model).encode(key)
    with pytest.warns(
        UserWarning, match=r"torch.compile failed \(no compiler is found\), so ResNet"
    ):
        found = deployed.encode(key)
    torch.testing.assert_close(found, features, rtol=1e-4, atol=1e-4)
    with pytest.warns(UserWarning, match="FlowNet runs without it"):
        deployed.propagate(features, key, current)
    assert torch.equal(deployed.encode(key), found)  # and says so once


@pytest.mark.parametrize("flow_from", ["warm", "chain"])
@torch.inference_mode()
def test_flow_by_way_of_the_frame_before_is_compiled_too(monkeypatch, flow_from):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    model, (key, current) = made(), frames()
    model.flow_from = flow_from
    trail = Trail(key, torch.zeros(1, 2, *model.find_flow(key, current).field.shape[-2:]))
    expected = deploy(model).find_flow(key, current, trail).field
    found = deploy(model, compiled=True).find_flow(key, current, trail).field
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_compiled_model_still_takes_its_flow_from_the_file():
    model = made()
    model.use_flow(CodecFlow())
    assert deploy(model, compiled=True).from_file


@pytest.mark.parametrize("refreshed", [0, 2, 3, 4])
@torch.inference_mode()
def test_clockwork_is_deployed_alike(refreshed):
    model, (key, current) = Clockwork(made(depth="resnet50"), refreshed), frames()
    deployed = deploy(model)
    assert (deployed.model.warp_method, model.model.warp_method) == ("gather", "grid_sample")
    held = model.encode(key)
    found = deployed.propagate(deployed.encode(key), key, current)
    expected = model.propagate(held, key, current)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(held.abs().max()))
