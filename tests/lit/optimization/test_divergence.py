"""A training that comes apart ends where it did, and what it keeps is finite."""

import math

import pytest
import torch

from dff.lit.checkpoint_writer import Checkpoints
from dff.lit.flow import LitFlow
from dff.lit.optimization.divergence import SKIPPED, StopsAtNaN
from dff.lit.visualization.panels import Panels


def spoil(module, batches, what):
    """Makes the loss of a module NaN, or its gradient, after so many batches."""
    forward, seen = module.training_step, []

    def step(batch, batch_idx):
        loss = forward(batch, batch_idx)
        seen.append(batch_idx)
        if len(seen) <= batches:
            return loss
        if what == "gradient":
            loss.register_hook(lambda gradient: gradient * math.nan)
            return loss
        for name in list(getattr(module, "losses", {}))[:1]:
            module.losses[name] = module.losses[name] * math.nan
        return loss * {"nan": math.nan, "inf": math.inf}[what]

    module.training_step = step


def kept(folder):
    (file,) = folder.glob("last.ckpt")
    return torch.load(file, weights_only=True)


def fit(module, data, trainer, folder, **settings):
    run = trainer(
        enable_checkpointing=True,
        callbacks=[
            StopsAtNaN(),
            Panels(1),
            Checkpoints(folder, save_last=True, save_on_exception=True, monitor=None),
        ],
        **{"max_steps": 6, "limit_val_batches": 0, **settings},
    )
    run.fit(module, data)
    return run


HEADS = {
    "detection": ({"detection": 1.0}, "rpn_class nan"),
    "joint": ({"segmentation": 1.0, "detection": 1.0}, "segmentation nan"),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_loss_that_is_not_finite_ends_the_training_before_its_step(
    head, small_module, small_streets, trainer, tmp_path
):
    heads, said = HEADS[head]
    data = small_streets(with_boxes="detection" in heads)
    module = small_module(heads=heads, num_box_classes=8, lr=1e-3)
    spoil(module, 3, "nan")
    with pytest.raises(FloatingPointError, match=r"^step 4 would spoil") as told:
        fit(module, data, trainer, tmp_path)
    words = str(told.value)
    assert said in words and "learning rate" in words and "a lower --model.lr" in words
    assert told.value.__notes__ == [f"the state after step 3 is in {tmp_path / 'last.ckpt'}"]
    saved = kept(tmp_path)
    assert saved["global_step"] == 3
    for name, value in saved["state_dict"].items():
        assert value.isfinite().all(), name


@pytest.mark.parametrize(
    ("what", "said", "precision"),
    [("inf", "its loss", "32-true"), ("gradient", "its gradient", "bf16-mixed")],
)
def test_a_flow_network_likewise(what, said, precision, small_streets, trainer, tmp_path):
    module = LitFlow("flownet_half", optimizer="sgd")
    spoil(module, 1, what)
    with pytest.raises(FloatingPointError, match=rf"step 2 .*{said} is not finite") as told:
        fit(module, small_streets(with_flow=True), trainer, tmp_path, precision=precision)
    assert ("--trainer.precision 32-true" in str(told.value)) == (precision != "32-true")
    assert "--model.optimizer adamw" in str(told.value)
    assert kept(tmp_path)["global_step"] == 1


def test_each_batch_of_a_step_counts(small_module, small_streets, trainer, tmp_path):
    """The first of three is NaN; the step after them is the one that would be spoilt."""
    module = small_module()
    spoil(module, 3, "nan")
    with pytest.raises(FloatingPointError, match=r"^step 2 would spoil"):
        fit(module, small_streets(), trainer, tmp_path, accumulate_grad_batches=3)
    assert kept(tmp_path)["global_step"] == 1


def test_running_statistics_are_those_of_the_step_before(
    small_module, small_streets, trainer, tmp_path
):
    """The forward pass moves them before anybody knows that its loss is NaN."""
    module = small_module()
    layer = module.model.feature_network.bn1
    before = []
    forward = module.training_step

    def step(batch, batch_idx):
        before.append(layer.running_var.clone())
        if len(before) == 3:
            batch["current"] = batch["current"] * math.inf
        return forward(batch, batch_idx)

    module.training_step = step
    with pytest.raises(FloatingPointError, match=r"^step 3 "):
        fit(module, small_streets(), trainer, tmp_path)
    name = "model.feature_network.bn1.running_var"
    assert torch.equal(kept(tmp_path)["state_dict"][name], before[2])
    assert not torch.equal(before[2], before[1])


def test_weights_that_are_not_finite_to_begin_with_are_named(
    small_module, small_streets, trainer, tmp_path
):
    module = small_module()
    with torch.no_grad():
        module.model.scale_layers[0].bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"not finite before it \(scale_layers\.0\)"):
        fit(module, small_streets(), trainer, tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))


def test_the_scaler_of_float16_may_skip_some_steps_but_not_all(
    small_module, small_streets, trainer, tmp_path
):
    """On a CPU float16 has no scaler, so the trainer is given one that counts."""
    guard = StopsAtNaN()
    module = small_module()
    run = trainer(max_steps=1, limit_val_batches=0, callbacks=[guard])
    run.fit(module, small_streets())
    run.precision_plugin.scaler = object()
    optimizer = run.optimizers[0]
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, math.inf)
    for _ in range(SKIPPED - 1):
        guard.on_before_optimizer_step(run, module, optimizer)
    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        guard.on_before_optimizer_step(run, module, optimizer)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    guard.on_before_optimizer_step(run, module, optimizer)
    assert guard._skipped == 0


def test_validation_that_is_not_finite_ends_it_before_pictures_and_checkpoint(
    small_module, small_streets, trainer, tmp_path
):
    module = small_module()
    layer = module.model.feature_network.bn1

    def break_it(*_):
        layer.eps = math.nan if not layer.training else 1e-5

    layer.register_forward_pre_hook(break_it)
    settings = {"limit_val_batches": 1, "val_check_interval": 2, "check_val_every_n_epoch": None}
    with pytest.raises(FloatingPointError, match=r"^validation after step 2: what the networks"):
        fit(module, small_streets(), trainer, tmp_path, **settings)
    assert kept(tmp_path)["global_step"] == 2
    assert not list(tmp_path.glob("**/*.png"))


def test_no_checkpoint_holds_what_is_not_finite(small_module, small_streets, trainer, tmp_path):
    module = small_module()
    run = fit(module, small_streets(), trainer, tmp_path, max_steps=1)
    before = (tmp_path / "last.ckpt").read_bytes()
    with torch.no_grad():
        module.model.scale_layers[0].bias.fill_(math.inf)
    keeper = next(c for c in run.callbacks if isinstance(c, Checkpoints))
    with pytest.raises(FloatingPointError, match="weights after step 1 are not finite"):
        keeper._save_checkpoint(run, str(tmp_path / "last.ckpt"))
    assert (tmp_path / "last.ckpt").read_bytes() == before
