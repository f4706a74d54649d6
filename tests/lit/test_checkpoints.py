import os

import numpy as np
import pytest
import torch

from dff.lit.checkpoint_writer import Checkpoints
from dff.lit.checkpoints import check_continued, last_checkpoint, load_model
from dff.lit.flow import LitFlow
from dff.models.weights.mxnet import write_params


@pytest.fixture
def saved(small_module, small_streets, trainer, tmp_path):
    """A module and the checkpoint that a training of one step left."""
    weights = tmp_path / "features.pth"
    module = small_module()
    torch.save(module.model.feature_network.state_dict(), weights)
    module = small_module(weights=str(weights), task_layers=5)
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(module, small_streets())
    run.save_checkpoint(tmp_path / "model.ckpt")
    weights.unlink()  # a checkpoint needs no other file
    return module, tmp_path / "model.ckpt"


def test_a_checkpoint_is_all_that_prediction_needs(saved):
    module, file = saved
    loaded = load_model(file)
    assert not loaded.training
    assert loaded.hparams.task_layers == 5 and loaded.hparams.feature_channels == 16
    for name, value in module.model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[name]), name
    task = loaded.tasks["segmentation"]
    assert task.classes[0] == "road" and task.palette[0] == [128, 64, 128]


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.ckpt"):
        load_model(tmp_path / "absent.ckpt")


def test_what_is_no_checkpoint_of_a_model_is_refused_with_the_cure(tmp_path, saved):
    text = tmp_path / "text.ckpt"
    text.write_text("not a checkpoint\n")
    flow = tmp_path / "flow.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": dict(LitFlow("flownet_half").hparams)}, flow)
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"depth": 3}}, other)
    plain = tmp_path / "plain.ckpt"
    torch.save([1, 2], plain)
    for file, said in (
        (text, r"cannot be read as a checkpoint \(it is text"),
        (flow, "a flow network's checkpoint"),
        (other, "no checkpoint of this project"),
        (plain, "no checkpoint of this project"),
    ):
        with pytest.raises(ValueError, match=rf"{file.name} .*{said}.*dff fit"):
            load_model(file)


def test_a_checkpoint_cut_short_or_with_other_tensors_is_refused(tmp_path, saved):
    _, file = saved
    short = tmp_path / "short.ckpt"
    short.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"short\.ckpt cannot be read as a checkpoint"):
        load_model(short)
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, file)
    with pytest.raises(ValueError, match=r"model\.ckpt does not fit this version"):
        load_model(file)


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_model(tmp_path / "trap.ckpt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("steps", [2, 3])
def test_the_last_checkpoint_is_of_the_last_step(
    small_module, small_streets, trainer, tmp_path, steps
):
    """Validation comes after step 2 alone, and the best checkpoint is of that."""
    kept = Checkpoints(tmp_path, "{step}", monitor="val/miou", mode="max", save_last=True)
    run = trainer(
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        enable_checkpointing=True,
        callbacks=[kept],
    )
    run.fit(small_module(), small_streets())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == steps
    for name, value in run.lightning_module.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name]), name
    assert sorted(p.name for p in tmp_path.glob("*.ckpt")) == ["last.ckpt", "step=2.ckpt"]


def test_the_newest_last_checkpoint_of_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no last\.ckpt below .*leave out --ckpt_path"):
        last_checkpoint(tmp_path / "run")
    for age, version in enumerate(("version_1", "version_0")):
        folder = tmp_path / "run" / version / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        os.utime(folder / "last.ckpt", (age, age))
    assert last_checkpoint(tmp_path / "run").parts[-3] == "version_0"


def test_a_checkpoint_of_a_wrapped_model_is_as_good(
    saved, tmp_path, small_module, small_streets, trainer
):
    module, file = saved
    checkpoint = torch.load(file, weights_only=True)
    state, wrapped = checkpoint["state_dict"], tmp_path / "wrapped.ckpt"
    for wrapper in ("_orig_mod.model.", "module.model.", "model._orig_mod."):
        checkpoint["state_dict"] = {wrapper + k.removeprefix("model."): state[k] for k in state}
        torch.save(checkpoint, wrapped)
        loaded = load_model(wrapped).model.state_dict()
        assert all(torch.equal(value, loaded[n]) for n, value in module.model.state_dict().items())
        check_continued(wrapped, "LitDFF")
    again = small_module(task_layers=5)
    trainer(max_steps=1, limit_val_batches=0).fit(again, small_streets(), ckpt_path=wrapped)
    assert all(torch.equal(value, again.state_dict()[n]) for n, value in state.items())


def test_weights_that_are_no_numbers_are_told(saved):
    _, file = saved
    checkpoint = torch.load(file, weights_only=True)
    name = next(n for n in checkpoint["state_dict"] if n.endswith("conv1.weight"))
    checkpoint["state_dict"][name][0, 0, 0, 0] = float("nan")
    torch.save(checkpoint, file)
    for read in (load_model, lambda file: check_continued(file, "LitDFF")):
        with pytest.raises(
            ValueError, match=rf"holds NaN in {name}, .* take an earlier checkpoint"
        ):
            read(file)


def test_weights_where_a_checkpoint_is_wanted_are_told_their_way(tmp_path):
    file = tmp_path / "dff-0000.params"
    write_params(file, {"arg:conv1_weight": np.zeros((64, 3, 7, 7), np.float32)})
    with pytest.raises(ValueError, match=r"holds weights of MXNet.*dff convert .*params mo"):
        load_model(file)
    with pytest.raises(ValueError, match=r"holds weights of MXNet.*by --model\.weights .*params"):
        check_continued(file, "LitDFF")
