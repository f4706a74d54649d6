"""Shallow feature flow: a classical flow in training, in evaluation, and in a trained model."""

import importlib
import json
import sys

import pytest
import torch
from small import SMALL

from dff.lit.checkpoints import load_model
from dff.lit.evaluation.predictor import VideoPredictor
from dff.lit.optimization.optimizers import freeze
from dff.models.flow.classical import DISFlow


@pytest.fixture
def checkpoint(small_module, small_streets, trainer, tmp_path):
    """The checkpoint of a model with a flow network, after one step."""
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(small_module(), small_streets())
    run.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def run_script(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dff", name, *map(str, arguments)])
    return importlib.import_module(f"dff.commands.{name}").main(sys.argv[2:])


def test_training_with_a_classical_flow_and_the_factors_of_a_flow_network(
    small_module, small_streets, trainer, tmp_path
):
    """The configs' factors for the flow network are no hindrance; its checkpoint loads."""
    factors = {"flow_network": 0.1, "scale_layers": 0.02}
    module = small_module(flow_network="dis_fast", lr_factors=factors)
    before = {name: value.clone() for name, value in module.model.named_parameters()}
    run = trainer(max_steps=2, limit_val_batches=0)
    run.fit(module, small_streets())
    assert not any(name.startswith("flow_network") for name in before)
    moved = [not torch.equal(v, before[n]) for n, v in module.model.named_parameters()]
    assert sum(moved) > 0.9 * len(moved)
    run.save_checkpoint(tmp_path / "model.ckpt")
    assert isinstance(load_model(tmp_path / "model.ckpt").model.flow_network, DISFlow)


def test_a_misspelt_part_beside_a_classical_flow_is_still_refused(small_module):
    with pytest.raises(ValueError, match="no parameter is called 'flow_netwrk'"):
        freeze(small_module(flow_network="dis_fast").model, {"flow_netwrk": 0.1})


def test_flow_weights_are_refused_with_the_cure(small_module, small_streets, trainer, tmp_path):
    module = small_module(flow_network="dis_fast", flow_weights=str(tmp_path / "flow.ckpt"))
    with pytest.raises(ValueError, match=r"flow\.ckpt for DISFlow, .*leave out --model\.flow_wei"):
        trainer(max_steps=1).fit(module, small_streets())


def test_a_classical_flow_takes_the_place_of_the_trained_one(checkpoint, tmp_path):
    trained, shallow = load_model(checkpoint), load_model(checkpoint, "dis_medium")
    assert shallow.model.flow_network.preset == "medium" and not shallow.training
    for part in ("feature_network", "heads"):
        expected = getattr(trained.model, part).state_dict()
        for name, value in getattr(shallow.model, part).state_dict().items():
            assert torch.equal(value, expected[name])
    # Saved, it is a model of its own.
    state = torch.load(checkpoint, weights_only=True)
    state["hyper_parameters"] = dict(shallow.hparams)
    state["state_dict"] = shallow.state_dict()
    torch.save(state, tmp_path / "shallow.ckpt")
    assert isinstance(load_model(tmp_path / "shallow.ckpt").model.flow_network, DISFlow)


def test_a_network_without_weights_does_not_take_its_place(checkpoint):
    with pytest.raises(ValueError, match=r"'flownet' in place of .* nothing to learn, zero, dis_"):
        load_model(checkpoint, "flownet")


def test_the_predictor_says_that_the_flow_is_not_counted(
    checkpoint, small_streets, trainer, capsys
):
    predictor = VideoPredictor([1, 2], ablations=True, rounds=1)
    run = trainer(callbacks=[predictor], limit_val_batches=1)
    run.validate(load_model(checkpoint, "dis_fast"), small_streets(), verbose=False)
    assert "the classical flow is not counted in FLOPs" in capsys.readouterr().out
    report = predictor.report
    assert report["one_over_r_flops"] is None
    rows = report["rows"]
    assert rows[1]["miou_mean"] == pytest.approx(rows[1]["no_scale_miou_mean"])  # it is 1
    assert rows[1]["epe"] < rows[1]["epe_zero"]


def test_evaluate_and_predict_take_it_by_name(
    checkpoint, streets_root, tmp_path, monkeypatch, capsys
):
    frames = streets_root / "leftImg8bit_sequence" / "val" / "streets"
    arguments = [checkpoint, frames, "--output", tmp_path / "out", "--accelerator", "cpu"]
    with_flow = [*arguments, "--flow_network", "dis_fast"]
    for given, finished in ((with_flow, False), (with_flow, True), (arguments, False)):
        capsys.readouterr()
        assert run_script("predict", monkeypatch, *given) == 0
        assert ("finished already" in capsys.readouterr().out) is finished
        (report,) = (tmp_path / "out").glob("*.json")
        settings = json.loads(report.read_text())["settings"]
        assert settings["flow_network"] == ("dis_fast" if given is with_flow else None)
    data = [f"--data.{name}={value}" for name, value in SMALL.items()]
    run_script(
        "evaluate",
        monkeypatch,
        *(
            checkpoint,
            "--flow_network=dis_fast",
            "--data=Streets",
            f"--data.root={streets_root}",
        ),
        *(*data, "--data.val_every=6", "--data.num_workers=0", "--key_durations=[1,2]"),
        *("--output", tmp_path / "evaluated", "--accelerator=cpu"),
    )
    assert "the classical flow is not counted" in capsys.readouterr().out
