"""A run that was stopped goes on to the same weights as one that never stopped."""

import lightning as L
import pytest
import torch

from dff.lit.checkpoint_writer import Checkpoints
from dff.lit.checkpoints import last_checkpoint

STEPS = 10


class PowerCut(L.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


def checkpoints(folder):
    return Checkpoints(folder, save_last=True, save_on_exception=True, every_n_train_steps=4)


def train(small_module, small_streets, trainer, callbacks, ckpt_path=None):
    module = small_module(lr=1e-3)
    run = trainer(
        max_steps=STEPS, limit_val_batches=0, enable_checkpointing=True, callbacks=callbacks
    )
    # 24 labelled frames: an epoch is 6 batches, and the run ends in the second
    run.fit(module, small_streets(batch_size=4, colour=0.2, flip=0.5), ckpt_path=ckpt_path)
    return module.state_dict()


@pytest.fixture(scope="module")
def weights():
    return {}


@pytest.mark.parametrize("stop", [2, 4, 6, 8])
def test_stopped_and_continued_equals_never_stopped(
    stop, weights, small_module, small_streets, trainer, tmp_path
):
    parts = small_module, small_streets, trainer
    if not weights:
        weights |= train(*parts, [checkpoints(tmp_path / "whole")])
    with pytest.raises(RuntimeError, match="power cut"):
        train(*parts, [checkpoints(tmp_path / "run"), PowerCut(stop)])
    last = last_checkpoint(tmp_path / "run")
    assert torch.load(last, weights_only=True)["global_step"] == stop
    continued = train(*parts, [checkpoints(tmp_path / "run")], ckpt_path=str(last))
    assert continued.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(continued[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_more_epochs_for_a_finished_run(optimizer, small_module, small_streets, trainer, tmp_path):
    """One cycle is over, and is refused before a step; a rate with milestones goes on."""

    def fit(epochs, ckpt_path=None):
        run = trainer(
            max_epochs=epochs,
            limit_train_batches=2,
            limit_val_batches=0,
            enable_checkpointing=True,
            callbacks=[checkpoints(tmp_path)],
        )
        run.fit(small_module(optimizer=optimizer), small_streets(), ckpt_path=ckpt_path)
        return run.global_step

    assert fit(1) == 2
    before = sorted(p.name for p in tmp_path.iterdir())
    last = str(last_checkpoint(tmp_path))
    assert fit(1, last) == 2  # nothing is left to do
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    if optimizer == "sgd":
        assert fit(2, last) == 4
        return
    with pytest.raises(ValueError, match=r"one cycle of 2 steps, of which 2 .* has 4: set") as told:
        fit(2, last)
    assert not hasattr(told.value, "__notes__")  # no checkpoint was saved on the way out
    assert sorted(p.name for p in tmp_path.iterdir()) == before
