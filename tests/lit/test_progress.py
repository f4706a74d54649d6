"""What counts as waiting for data."""

from types import SimpleNamespace

import pytest
import torch

from dff.lit import progress


def test_validation_and_saving_are_no_wait_for_data(monkeypatch):
    now, logged = [0.0], {}
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trainer = SimpleNamespace(global_step=0, log_every_n_steps=4, world_size=1)
    module = SimpleNamespace(log_dict=logged.update)
    batch = {"gap": torch.zeros(2)}
    throughput = progress.Throughput()
    throughput.on_train_epoch_start(trainer, module)

    def step(wait, work):
        now[0] += wait
        throughput.on_train_batch_start(trainer, module, batch, 0)
        now[0] += work
        trainer.global_step += 1
        throughput.on_train_batch_end(trainer, module, None, batch, 0)

    step(100, 3)  # the first batch of an epoch: loader processes start
    step(1, 3)
    throughput.on_save_checkpoint(trainer, module, {})
    step(100, 3)
    throughput.on_validation_start(trainer, module)
    step(100, 3)
    assert logged["train/data_wait"] == pytest.approx(1 / 13)
    assert logged["train/pairs_per_second"] == pytest.approx(8 / 13)
