"""Per-frame models as they are: random weights, no download."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision import models

from dff.inference.recognizer import stream
from dff.models.build import flow_network
from dff.models.per_frame.model import EncodedByModel, as_deep_feature_flow
from dff.models.per_frame.named import per_frame_model
from dff.models.schedule import FixedSchedule

SIZE = (120, 170)


def frames(count=2, size=SIZE):
    patches = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(patches, size=size)


def random_weights(name, **settings):
    torch.manual_seed(0)
    return models.get_model(name, weights=None, weights_backbone=None, **settings).eval()


def networks(spec, flow="zero"):
    return as_deep_feature_flow(
        per_frame_model(spec, random=True), flow_network(flow), "task", frames(1, (96, 128))
    ).eval()


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
@torch.inference_mode()
def test_key_duration_1_is_the_segmentation_model_itself(name):
    model, image = networks(f"torchvision:{name}"), frames()
    own = random_weights(name)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    expected = own((image - mean) / std)["out"].argmax(1)
    found = torch.cat([p["task"] for p in stream(model, image.split(1), FixedSchedule(1))])
    assert torch.equal(found, expected.byte())
    assert all(8 * 2**i in (8, 16) for i in range(len(model.strides)))


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "ssd300_vgg16"])
@torch.inference_mode()
def test_key_duration_1_is_the_detector_itself(name):
    model, image = networks(f"torchvision:{name}"), frames(1)
    (own,) = random_weights(name)([image[0]])
    (found,) = stream(model, [image], FixedSchedule(1))
    rows = found["task"][0]
    rows = rows[rows[:, 5] >= 0]
    assert len(rows) == len(own["boxes"]) > 0
    boxes = torch.cat([rows[:, :2], rows[:, 2:4] + 1], 1)
    torch.testing.assert_close(boxes, own["boxes"], rtol=0, atol=1e-3)
    torch.testing.assert_close(rows[:, 4], own["scores"])


@torch.inference_mode()
def test_carried_results_have_the_models_form_at_any_size_and_flow():
    for spec in (
        "torchvision:ssdlite320_mobilenet_v3_large",
        "torchvision:lraspp_mobilenet_v3_large",
    ):
        model = networks(spec, "dis_ultrafast")
        for size in ((120, 170), (97, 131)):
            found = list(stream(model, frames(3, size).split(1), FixedSchedule(3)))
            assert len(found) == 3 and all(torch.isfinite(p["task"].float()).all() for p in found)


@torch.inference_mode()
def test_levels_of_a_model_that_resizes_move_by_their_own_strides():
    """A shift of the picture by 24 pixels of the frame, whatever the model makes of its size."""
    model = networks("torchvision:ssdlite320_mobilenet_v3_large")
    image = frames(1, (160, 240))
    model.encode(image)
    strides = model.feature_network.strides_for((160, 240))
    assert strides[0] == (16 * 160 / 320, 16 * 240 / 320)
    assert strides[1] == (32 * 160 / 320, 32 * 240 / 320)


def test_transformers_models_come_with_their_processor():
    pytest.importorskip("transformers", reason="an extra: pip install 'dff[transformers]'")
    model = per_frame_model("transformers:segformer", random=True)
    own, image = model.model, frames(1)
    picture = (image[0] * 255).round().byte()
    inputs = model.processor(images=[picture], return_tensors="pt")
    with torch.inference_mode():
        expected = model.processor.post_process_semantic_segmentation(
            own(**inputs), target_sizes=[SIZE]
        )[0]
        features = model.encode(image)
        found = model.decode(features, SIZE, SIZE)[0]
    assert (found == expected).float().mean() > 0.999
    assert model.strides_for(SIZE, [(128, 128)]) == [(4 * 120 / 512, 4 * 170 / 512)]


FACTORY = """
import torch

class Own:
    names = ["ground", "sky"]

    def encode(self, image):
        return torch.nn.functional.avg_pool2d(image, 8, ceil_mode=True)

    def decode(self, maps, size):
        large = torch.nn.functional.interpolate(maps[:, :2], size=size)
        return large.argmax(1)

def make(): return Own()
def broken(): raise RuntimeError("no weights here")
def empty(): return object()
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text(FACTORY)
    (tmp_path / "unfinished.py").write_text("names = []\ndef make(:\n")
    (tmp_path / "failing.py").write_text("\n\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_model", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


@pytest.mark.usefixtures("own_module")
@torch.inference_mode()
def test_a_model_of_ones_own_comes_from_a_factory():
    model = networks("module:my_model:make")
    assert model.strides == (8,) and list(model.feature_network.model.names) == ["ground", "sky"]
    found = list(stream(model, frames().split(1), FixedSchedule(2)))
    assert found[1]["task"].shape == (1, *SIZE) and found[1]["task"].dtype == torch.uint8


@pytest.mark.usefixtures("own_module")
def test_what_is_wrong_with_a_model_is_told_in_a_sentence(tmp_path):
    for spec, error, words in (
        ("resnet50", ValueError, "wanted torchvision:NAME, transformers:NAME or module:"),
        ("torchvision:deeplab_resnet101", ValueError, "nearest are deeplabv3_resnet101"),
        ("module:my_model:broken", ValueError, r"broken\(\) raised RuntimeError: no weights here"),
        ("module:my_model:empty", ValueError, r"\(object\) has no encode and no decode: wanted"),
        ("module:my_model:gone", ValueError, "my_model has no gone"),
        ("module:unfinished:make", ValueError, r"unfinished\.py, line 2, is no Python"),
        ("module:failing:make", ValueError, r"failing\.py, line 3, raised ZeroDivisionError: divi"),
        ("module:other_model:make", ValueError, "No module named 'other_model': run the command"),
        ("module:my_model", ValueError, "wanted module:package.file:factory"),
    ):
        with pytest.raises(error, match=words):
            per_frame_model(spec, random=True)
    torch.save(random_weights("fcn_resnet50").state_dict(), tmp_path / "fcn.pth")
    with pytest.raises(ValueError, match=r"fcn\.pth holds the weights of another model"):
        per_frame_model("torchvision:lraspp_mobilenet_v3_large", tmp_path / "fcn.pth")


def test_weights_of_a_file_and_of_other_classes_are_taken(tmp_path):
    own = random_weights("lraspp_mobilenet_v3_large")
    torch.nn.init.ones_(own.classifier.high_classifier.bias)
    torch.save(own.state_dict(), tmp_path / "lraspp.pth")
    model = per_frame_model("torchvision:lraspp_mobilenet_v3_large", tmp_path / "lraspp.pth")
    assert (model.model.classifier.high_classifier.bias == 1).all()
    torch.manual_seed(0)
    five = models.get_model("fcn_resnet50", weights=None, weights_backbone=None, num_classes=5)
    torch.save(five.state_dict(), tmp_path / "five.pth")
    assert list(per_frame_model("torchvision:fcn_resnet50", tmp_path / "five.pth").names) == []


def test_maps_that_change_from_frame_to_frame_are_refused():
    calls = []

    def encode(image):
        calls.append(1)
        return torch.zeros(len(image), 4, 4 + len(calls) // 2, 4)

    encoder = EncodedByModel(SimpleNamespace(encode=encode), torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"4 x 4 x 4 for a frame of 64 x 64.* now 4 x 5 x 4: what"):
        encoder(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"encode gave \['str'\]: wanted one map"):
        EncodedByModel(SimpleNamespace(encode=lambda _: "maps"), torch.zeros(1, 3, 64, 64))
