import pytest
import torch

from dff.inference.model import load
from dff.inference.per_frame import load_per_frame
from dff.lit.checkpoints import load_model
from dff.lit.datamodules.video_frames import VideoFrames
from dff.lit.distillation import LitDistillation


@pytest.fixture
def saved(small_module, small_streets, trainer, tmp_path):
    """Saves a small teacher: saved(heads=..., ...)."""

    def make(**settings):
        module = small_module(**settings)
        fit = trainer(max_steps=1, limit_val_batches=0)
        data = small_streets(with_boxes="detection" in (settings.get("heads") or {}))
        fit.fit(module, data)
        # a task network and a flow that say something
        torch.manual_seed(1)
        if "segmentation" in module.model.heads:
            torch.nn.init.normal_(module.model.heads["segmentation"].scores.weight, std=0.5)
        file = tmp_path / "teacher.ckpt"
        fit.save_checkpoint(file)
        return str(file)

    return make


@pytest.fixture
def videos(streets_root):
    """The same drawn streets without their labels."""

    def make(**settings):
        root = str(streets_root / "leftImg8bit_sequence")
        usual = {"batch_size": 2, "num_workers": 0, "val_frames_per_video": 3, "val_gaps": (1, 4)}
        return VideoFrames(root, **{**usual, **settings})

    return make


def test_distances_shrink_and_what_is_fixed_does_not_move(saved, videos, trainer):
    module = LitDistillation(saved(), lr=1e-3, lr_factors={"scale_layers": 0.02})
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    losses = []
    module.log = lambda name, value, **_: (
        losses.append(float(value.detach())) if name == "train/loss" else 0
    )
    trainer(max_steps=16, limit_val_batches=0).fit(module, videos(seed=1))
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    changed = {n for n, v in module.model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed and {name.split(".")[0] for name in changed} == {"flow_network", "scale_layers"}


def test_the_network_agrees_with_itself(saved, videos, trainer, capsys):
    """Features that were propagated without any loss have no distance; copies at gap 0 agree."""
    module = LitDistillation(saved())
    features = torch.rand(2, 16, 4, 6)
    assert all(abs(float(d)) < 1e-5 for d in module.distances(features, features).values())
    assert all(float(d) > 0.01 for d in module.distances(features, features.flip(1)).values())
    assert set(module.distances(features, features)) == {"features", "segmentation"}
    module.label_weight = 0.0
    assert set(module.distances(features, features)) == {"features"}
    fit = trainer(max_steps=1)
    fit.validate(module, videos(val_gaps=(0, 4)), verbose=False)
    found = fit.callback_metrics
    assert found["val/copied_gap_0"] == 1.0 > found["val/copied_gap_4"]
    assert found["val/agreement_gap_4"] == found["val/before_gap_4"]  # nothing is trained yet


def test_what_is_saved_is_an_ordinary_model(saved, videos, trainer, tmp_path):
    teacher = saved(flow_network="zero")
    with pytest.raises(ValueError, match=r"flow zero learns nothing: set --model\.flow_network"):
        LitDistillation(teacher)
    module = LitDistillation(teacher, flow_network="flownet_half", lr=1e-3)
    fit = trainer(max_steps=2, limit_val_batches=2, val_check_interval=2)
    fit.fit(module, videos())
    found = fit.callback_metrics
    assert found["val/agreement_gap_4"] != found["val/before_gap_4"]
    fit.save_checkpoint(tmp_path / "student.ckpt")
    student = load_model(tmp_path / "student.ckpt")
    assert student.hparams.flow_network == "flownet_half"
    assert list(student.tasks["segmentation"].classes) == list(
        load_model(teacher).tasks["segmentation"].classes
    )
    for name, value in module.model.state_dict().items():
        assert torch.equal(value, student.model.state_dict()[name])
    assert len(load(tmp_path / "student.ckpt").networks.channels) == 1


def test_boxes_learn_by_their_features(saved, videos, trainer):
    settings = {"proposals": 20, "pre_nms": 50, "max_detections": 5}
    teacher = saved(heads={"detection": 1.0}, num_box_classes=8, detection=settings)
    fit = trainer(max_steps=1, limit_val_batches=1, val_check_interval=1)
    module = LitDistillation(teacher)
    fit.fit(module, videos())
    assert "val/agreement" in fit.callback_metrics
    assert set(module.distances(torch.rand(1, 16, 4, 6), torch.rand(1, 16, 4, 6))) == {"features"}


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large"])
def test_a_model_by_its_name_teaches_and_uses_what_was_learned(
    name, videos, trainer, tmp_path, capsys
):
    spec = f"torchvision:{name}"
    module = LitDistillation(spec, random_weights=True, flow_network="flownet_half", lr=1e-3)
    torch.nn.init.constant_(module.model.scale_layers[0].bias, 1.25)  # to be told from a new one
    before = {n: v.clone() for n, v in module.model.state_dict().items()}
    losses = []
    module.log_dict = lambda found, **_: losses.append(set(found))
    fit = trainer(max_steps=2, limit_val_batches=1, val_check_interval=2)
    fit.fit(module, videos(val_batch_size=1))
    assert "val/agreement" in fit.callback_metrics
    boxes = {"train/loss_features"}
    assert losses[0] == (boxes if "ssd" in name else boxes | {"train/loss_segmentation"})
    changed = {n for n, v in module.model.state_dict().items() if not torch.equal(v, before[n])}
    assert {n.split(".")[0] for n in changed} == {"flow_network", "scale_layers"}
    file = tmp_path / "flow.ckpt"
    fit.save_checkpoint(file)
    saved = torch.load(file, weights_only=True)["state_dict"]
    assert {n.split(".")[1] for n in saved} == {"flow_network", "scale_layers"}
    with pytest.raises(ValueError, match=f"trained for {spec}: give --model {spec} --flow_network"):
        load(file)
    own = load_per_frame(spec, random=True, flow_network="flownet_half", flow_weights=file)
    for given, wanted in zip(own.networks.scale_layers, module.model.scale_layers, strict=True):
        assert torch.allclose(given.bias, wanted.bias)
    key, current = torch.rand(2, 1, 3, 96, 128)
    with torch.inference_mode():
        module.eval()
        flows = [m.find_flow(key, current).field for m in (own.networks, module.model)]
    assert (flows[0] - flows[1]).abs().max() < 1e-3
    with pytest.raises(ValueError, match="a flow network needs those that it was trained to"):
        load_per_frame(spec, random=True, flow_network="flownet_half")


def test_a_teacher_that_is_none_is_refused(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        LitDistillation(str(tmp_path / "nowhere.ckpt"))
    (tmp_path / "wrong.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"wrong\.ckpt"):
        LitDistillation(str(tmp_path / "wrong.ckpt"))
    with pytest.raises(ValueError, match="go with a model by its name, and the teacher is"):
        LitDistillation(saved(), random_weights=True)
    with pytest.raises(ValueError, match=r"flow zero learns nothing: set --model\.flow_network"):
        LitDistillation("torchvision:lraspp_mobilenet_v3_large", random_weights=True)
    with pytest.raises(ValueError, match="wanted numbers from 0, not both 0"):
        LitDistillation(saved(), label_weight=0.0, feature_weight=0.0)
