"""LitDFF and LitFlow in training: what learns, what stays, what travels in a checkpoint."""

import warnings
from types import SimpleNamespace

import lightning as L
import pytest
import torch

from dff.inference.engine import Engine
from dff.lit.checkpoints import load_model
from dff.lit.flow import LitFlow, cell_means, weighted_error
from dff.lit.module import LitDFF
from dff.models.schedule import FixedSchedule


def test_training_lowers_the_loss_and_logs_its_parts(small_module, small_streets, trainer):
    module, fit = small_module(lr=2e-3), trainer(max_steps=12)
    losses = []
    module.log = lambda name, value, **_: (
        losses.append(float(value.detach())) if name == "train/loss" else 0
    )
    fit.fit(module, small_streets(gap_0_share=0.5), ckpt_path=None)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_bf16_trains(small_module, small_streets, trainer):
    module, fit = small_module(), trainer(max_steps=2, precision="bf16-mixed", limit_val_batches=1)
    fit.fit(module, small_streets())
    assert all(torch.isfinite(p).all() for p in module.parameters())


@pytest.mark.parametrize(("algorithm", "largest"), [("norm", 1e-3), ("value", 1e-4)])
def test_gradients_are_clipped_for_the_fused_optimiser_too(
    small_module, small_streets, trainer, algorithm, largest
):
    module = small_module(optimizer="adamw", weight_decay=0.0)
    seen = []

    class Watch(L.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            if gradients:
                flat = torch.cat([g.flatten() for g in gradients])
                seen.append(flat.norm() if algorithm == "norm" else flat.abs().max())

    clipping = {"gradient_clip_val": largest, "gradient_clip_algorithm": algorithm}
    fit = trainer(max_steps=2, limit_val_batches=0, callbacks=[Watch()], **clipping)
    fit.fit(module, small_streets())
    assert fit.optimizers[0].param_groups[0]["fused"]
    assert seen and max(seen) <= 1.001 * largest


def test_prediction_runs_on_a_rewritten_copy(small_module):
    module = small_module()
    assert module.deploy("64-true") is module.model
    for precision, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)):
        model = module.deploy(precision)
        with torch.inference_mode():
            assert model.encode(torch.rand(1, 3, 64, 96)).dtype == dtype
    module._engine = [Engine(model, FixedSchedule(2))]
    assert not [name for name in module.state_dict() if "_engine" in name]


def test_a_factor_of_0_freezes_weights_and_statistics(small_module, small_streets, trainer):
    module = small_module(lr_factors={"feature_network": 0.0, "scale_layers.0.bias": 0})
    before = {k: v.clone() for k, v in module.model.state_dict().items()}
    trainer(max_steps=2, limit_val_batches=0).fit(module, small_streets(gaps=(1, 4)))
    after = module.model.state_dict()
    still = {k for k in before if torch.equal(before[k], after[k])}
    assert {k for k in before if k.startswith("feature_network.")} <= still
    assert "scale_layers.0.bias" in still
    assert "scale_layers.0.weight" not in still
    assert "heads.segmentation.scores.weight" not in still


def rates(module):
    """Learning rate of each parameter that is trained, over that of the module."""
    module.trainer = SimpleNamespace(estimated_stepping_batches=10)
    groups = module.configure_optimizers()["optimizer"].param_groups
    names = {p: name for name, p in module.model.named_parameters()}
    return {
        names[p]: group["max_lr"] / module.hparams.lr for group in groups for p in group["params"]
    }


@pytest.mark.parametrize(
    ("factors", "weight", "bias"),
    [
        ({}, 1, 1),
        ({"flow_network": 0.1}, 0.1, 0.1),  # they follow the flow network
        ({"flow_network": 0.1, "scale_layers": 0.5}, 0.5, 0.5),
        ({"flow_network": 0.1, "scale_layers.0.bias": 0.5}, 0.1, 0.5),
        ({"flow_network.decoder": 0.1}, 0.1, 0.1),
        ({"flow_network.encoder": 0.1}, 1, 1),
        ({"scale_layers": 2.0}, 2, 2),
        ({"flow_network": 0.1, "flow_network.decoder.scale": 0.5}, 0.5, 0.5),  # the old name
        ({"flow_network": 0.1, "flow_network.decoder.scale.bias": 0.5}, 0.1, 0.5),
        ({"flow_network.decoder.scale": 0.5, "scale_layers": 0.25}, 0.25, 0.25),
    ],
)
@pytest.mark.filterwarnings("ignore:lr_factors")
def test_scale_layers_follow_the_flow_network_unless_they_have_a_factor(
    small_module, factors, weight, bias
):
    found = rates(small_module(lr_factors=factors))
    scale = (found["scale_layers.0.weight"], found["scale_layers.0.bias"])
    assert scale == (pytest.approx(weight), pytest.approx(bias))
    encoder = factors.get("flow_network", factors.get("flow_network.encoder", 1))
    assert found["flow_network.encoder.conv1.weight"] == pytest.approx(encoder)
    assert found["heads.segmentation.scores.weight"] == pytest.approx(1)


@pytest.mark.parametrize("flow_network", ["flownet_half", "dis_fast"])
def test_the_old_name_of_the_scale_layer_works_and_the_new_one_is_told(small_module, flow_network):
    factors = {"flow_network.decoder.scale.bias": 0.0}
    said = r"flow_network\.decoder\.scale\.bias is called scale_layers\.0\.bias now"
    with pytest.warns(UserWarning, match=said):
        module = small_module(lr_factors=factors, flow_network=flow_network)
    for name, parameter in module.model.named_parameters():
        assert parameter.requires_grad != (name == "scale_layers.0.bias")
    with warnings.catch_warnings(action="error"):
        small_module(lr_factors={"scale_layers.0.bias": 0.0}, flow_network=flow_network)


def test_a_fixed_flow_network_fixes_its_scale_layers(small_module):
    module = small_module(lr_factors={"flow_network": 0.0})
    fixed = {n.split(".")[0] for n, p in module.model.named_parameters() if not p.requires_grad}
    assert fixed == {"flow_network", "scale_layers"}
    assert not any(name.startswith(tuple(fixed)) for name in rates(module))
    module = small_module(lr_factors={"flow_network": 0.0, "scale_layers": 1.0})
    assert module.model.scale_layers[0].weight.requires_grad


def test_a_scale_layer_that_there_is_not_is_refused(small_module):
    with pytest.raises(ValueError, match=r"no parameter is called 'scale_layers\.7'; parts are .*"):
        small_module(lr_factors={"scale_layers.7": 0.1})


def test_a_training_from_before_the_scale_layer_was_the_models_goes_on(
    small_module, small_streets, trainer, tmp_path
):
    settings = {"optimizer": "sgd", "lr": 1e-3, "lr_factors": {"scale_layers": 0.5}}
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(module := small_module(**settings), small_streets())
    run.save_checkpoint(tmp_path / "new.ckpt")
    saved = torch.load(tmp_path / "new.ckpt", weights_only=True)
    old, new = "flow_network.decoder.scale.", "scale_layers.0."
    saved["state_dict"] = {n.replace(new, old): v for n, v in saved["state_dict"].items()}
    saved["hyper_parameters"]["lr_factors"] = {"flow_network.decoder.scale": 0.5}
    torch.save(saved, tmp_path / "old.ckpt")
    with pytest.warns(UserWarning, match="the old name still works"):
        loaded = load_model(tmp_path / "old.ckpt")
    state = module.model.state_dict()
    assert state["scale_layers.0.weight"].abs().max() > 0
    assert all(torch.equal(state[n], v) for n, v in loaded.model.state_dict().items())

    after = []
    for name in ("new", "old"):
        again = small_module(**settings)
        more = trainer(max_steps=2, limit_val_batches=0)
        more.fit(again, small_streets(), ckpt_path=str(tmp_path / f"{name}.ckpt"))
        assert more.global_step == 2
        after.append(again.model.state_dict())
    assert all(torch.equal(after[0][n], v) for n, v in after[1].items())
    assert not torch.equal(after[1]["scale_layers.0.weight"], state["scale_layers.0.weight"])


def test_validation_gives_the_miou_of_each_gap(small_module, small_streets, trainer):
    module, run = small_module(), trainer()
    metrics = run.validate(module, small_streets(), verbose=False)[0]
    assert {"val/miou", "val/miou_gap_0", "val/miou_gap_4"} <= metrics.keys()
    mean = (metrics["val/miou_gap_0"] + metrics["val/miou_gap_4"]) / 2
    assert metrics["val/miou"] == pytest.approx(mean, abs=1e-6)


def test_data_of_other_classes_is_refused(small_module, small_streets, trainer):
    said = r"model has 5 classes and the data 19"
    with pytest.raises(ValueError, match=rf"{said}.*set --model\.num_classes 19, or take data"):
        trainer().fit(small_module(num_classes=5), small_streets())
    # evaluate.py has no settings of the model: a checkpoint's is what it is
    with pytest.raises(ValueError, match=rf"{said} \(Streets\): take data of the .* with --data$"):
        trainer().validate(small_module(num_classes=5), small_streets())


def test_an_unknown_head_is_refused(small_module):
    with pytest.raises(ValueError, match="heads"):
        small_module(heads={"depth": 1.0})


def test_flow_pre_training_learns_and_hands_over_all_but_the_scale_field(
    small_module, small_streets, trainer, tmp_path
):
    data = small_streets(with_flow=True, gaps=(1, 4), val_gaps=[4])
    flow, run = LitFlow("flownet_half", lr=1e-3, object_weight=5, soften=8), trainer(max_steps=10)
    assert not any("scale" in name for name in flow.state_dict())
    first = trainer().validate(flow, data, verbose=False)[0]
    run.fit(flow, data)
    last = run.validate(flow, data, verbose=False)[0]
    assert last["val/epe_gap_4"] != first["val/epe_gap_4"]
    assert last["val/epe_zero"] == first["val/epe_zero"] > 0

    file = tmp_path / "flow.ckpt"
    run.save_checkpoint(file)
    module = small_module(flow_weights=str(file), lr=0.0)
    trainer(max_steps=1, limit_val_batches=0).fit(module, small_streets())
    taken = module.model.flow_network
    assert torch.equal(taken.encoder.conv3.weight, flow.flow_network.encoder.conv3.weight)
    scale = module.model.scale_layers[0]
    assert scale.weight.abs().max() == 0 and (scale.bias == 1).all()


def test_weighted_error_is_in_units_of_20_half_size_pixels():
    truth = torch.zeros(1, 2, 32, 32)
    truth[:, 0] = 40.0  # image pixels = 20 of the half-size image = 1 unit
    level = torch.zeros(1, 2, 4, 4)
    weight = torch.ones(1, 32, 32)

    def error():
        return weighted_error(level, *cell_means(truth, weight)).item()

    assert error() == pytest.approx(1.0)
    level[:, 0] = 1.0
    assert error() == pytest.approx(0.0)
    truth[..., 10:] = float("inf")  # unknown there
    weight[..., 10:] = 0
    assert error() == pytest.approx(0.0)


def test_weights_of_the_feature_network_are_taken_where_training_begins(
    small_module, small_streets, trainer, tmp_path
):
    source = small_module().model.feature_network
    torch.nn.init.constant_(source.layer1[0].conv1.weight, 0.25)
    torch.save(source.state_dict(), tmp_path / "features.pth")
    module = small_module(weights=str(tmp_path / "features.pth"), task_layers=5, lr=0.0)
    trainer(max_steps=1, limit_val_batches=0).fit(module, small_streets())
    names = dict(module.model.named_parameters())
    assert (names["feature_network.layer1.0.conv1.weight"] == 0.25).all()


def test_hyperparameters_are_plain_so_that_checkpoints_reload(small_module):
    module = small_module(lr_factors={"flow_network": 0.1})
    again = LitDFF(**module.hparams)
    assert dict(again.hparams) == dict(module.hparams)
