"""Networks of timm as feature networks; random weights, no download."""

import sys

import pytest
import torch

from dff.inference.deploy.deployment import deploy
from dff.inference.recognizer import stream
from dff.inference.tasks.choice import tasks_of
from dff.models import build
from dff.models.schedule import FixedSchedule
from dff.models.weights.pretrained import load_feature_network

timm = pytest.importorskip("timm", reason="timm is an extra: pip install 'dff[timm]'")

NETWORKS = {
    "resnet10t": (16, [4, 8, 16, 16]),  # dilated
    "tf_efficientnet_lite0": (16, [4, 8, 16, 16]),  # depthwise convolutions
    "convnext_atto": (16, [4, 8, 16, 16]),  # layer norm
    "swin_tiny_patch4_window7_224": (16, [4, 8, 16, 32]),  # channels last, stride 32 at the end
    "pvt_v2_b0": (16, [4, 8, 16, 32]),  # takes no output_stride
    "vit_tiny_patch16_224": (16, [16]),
    "vit_small_patch14_dinov2": (14, [14]),  # another stride than 16
}


def model_of(name, **settings):
    torch.manual_seed(0)
    settings = {"feature_network": f"timm:{name}", "feature_channels": 16, **settings}
    settings = {"flow_network": "flownet_half", "num_classes": 5, **settings}
    return build.networks(settings, list(tasks_of(settings).values()))


@pytest.mark.parametrize("name", NETWORKS)
def test_each_kind_gives_its_stride_trains_whole_and_is_deployed(name):
    stride, reductions = NETWORKS[name]
    model = model_of(name, batch_norm="trained")
    network = model.feature_network
    assert (network.strides, network._strides) == ((stride,), reductions)
    key, current = torch.rand(2, 2, 3, 70, 101)
    features = model(key, current, torch.tensor([0, 3]))
    assert features.shape == (2, 16, -(-70 // stride), -(-101 // stride))
    loss = model.losses(features, {"mask": torch.randint(0, 5, (2, 70, 101))})["segmentation"]
    sum(loss.values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == [], "DDP would miss a gradient"
    model.eval()
    with torch.inference_mode():
        each = model.predict(model.encode(key), (70, 101))["segmentation"]
        found = [p["segmentation"] for p in stream(model, key.split(1), FixedSchedule(1))]
        assert (torch.cat(found) == each).float().mean() > 0.999
        features, deployed = model.encode(key), deploy(model).encode(key)
        assert (deployed - features).abs().max() < 1e-4 * features.abs().max()


def test_a_frame_of_any_size_gives_what_its_padding_to_the_stride_gives():
    network = model_of("tf_efficientnet_lite0").feature_network.eval()
    frame = torch.rand(1, 3, 90, 125)
    mean = network.normalize.mean.expand(1, 3, 96, 128).clone()
    mean[..., :90, :125] = frame
    with torch.no_grad():
        torch.testing.assert_close(network(frame), network(mean))


def test_mean_and_deviation_are_those_of_the_network():
    for name, mean in (("tf_efficientnet_lite0", 0.5), ("resnet10t", 0.485)):
        normalize = model_of(name).feature_network.normalize
        assert normalize.mean[0, 0].item() == pytest.approx(mean)


def test_frozen_batch_norms_keep_their_statistics():
    network = model_of("resnet10t").feature_network.train()
    before = network.backbone.state_dict()["bn1.running_mean"].clone()
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    assert torch.equal(network.backbone.state_dict()["bn1.running_mean"], before)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_file_in_timms_naming_is_taken_whole(name, suffix, tmp_path):
    torch.manual_seed(7)
    whole, path = timm.create_model(name), tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(whole.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(whole.state_dict(), path)
    network = model_of(name).feature_network
    told = load_feature_network(network, path)
    assert told.startswith(f"weights of timm:{name}; their licence: ")
    ours = network.backbone.state_dict()
    theirs = whole.state_dict()
    first = next(iter(ours))
    assert torch.equal(ours[first], theirs[first.removeprefix("model.")])
    same = [n for n, v in ours.items() if torch.equal(v, theirs[n.removeprefix("model.")])]
    assert len(same) == len(ours)


def test_weights_of_our_own_training_are_taken_with_the_layers_behind(tmp_path):
    first, second = model_of("resnet10t"), model_of("resnet10t", feature_channels=16)
    torch.nn.init.ones_(first.feature_network.reduce.weight)
    state = {f"model.{name}": value for name, value in first.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    load_feature_network(second.feature_network, tmp_path / "model.ckpt")
    assert (second.feature_network.reduce.weight == 1).all()


def test_what_cannot_be_had_is_told_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no network 'resnet51': the nearest are .*resnet50"):
        model_of("resnet51")
    with pytest.raises(ValueError, match="timm:beit_base_patch16_224 takes images of one size"):
        model_of("beit_base_patch16_224")
    with pytest.raises(ValueError, match=r"'vit': wanted one of resnet18.*timm:NAME"):
        build.whole_feature_network({"feature_network": "vit"})
    with pytest.raises(ValueError, match=r"task_layers 5 cuts a ResNet .*timm:resnet10t: take"):
        model_of("resnet10t", task_layers=5)
    network = model_of("resnet10t").feature_network
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=r"vit\.pth holds weights of another network than timm:re"):
        load_feature_network(network, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match="weights timm for a ResNet of the paper"):
        load_feature_network(build.feature_network("resnet18", 16), "timm")
    monkeypatch.setattr(timm, "create_model", _no_network)
    with pytest.raises(
        ConnectionError, match=r"cannot load the weights of resnet10t .no route.: do"
    ):
        load_feature_network(network, "timm")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"not installed: pip install 'dff\[timm\]'"):
        model_of("resnet10t")


def _no_network(name, pretrained=False, **_):
    if pretrained:
        raise OSError("no route")


def test_blocks_of_a_transformer_are_counted_from_the_features():
    depths = dict(model_of("vit_tiny_patch16_224").feature_network.depths())
    assert depths["reduce.weight"] == depths["backbone.model.norm.weight"] == 0
    assert depths["backbone.model.blocks.11.norm1.weight"] == 1
    assert depths["backbone.model.blocks.0.norm1.weight"] == 12
    assert depths["backbone.model.patch_embed.proj.weight"] == 13
    with pytest.raises(ValueError, match="layer_decay for timm:resnet10t: wanted a transformer"):
        dict(model_of("resnet10t").feature_network.depths())
