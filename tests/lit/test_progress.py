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
    module = SimpleNamespace(log_dict=logged.update, device=torch.device("cuda"))
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


@pytest.mark.parametrize(
    ("threads", "cores", "load", "wanted"),
    [
        (2, 2, 3.1, 1),  # one of two cores is busy
        (2, 2, 2.4, None),  # what ended a minute ago counts, too
        (1, 2, 6.0, None),  # there is nothing to lower
        (16, 16, 20.5, 11),
        (16, 16, 60.0, 1),
        (8, 16, 40.0, 1),
        (16, 16, 18.0, None),
    ],
)
def test_as_many_threads_as_cores_are_free(threads, cores, load, wanted):
    said = progress.crowded(threads, cores, load)
    assert (said is None) == (wanted is None)
    if said:
        assert said.startswith(f"{threads} threads on {cores} cores that other processes use too")
        assert f"(load {load:.1f}): OMP_NUM_THREADS={wanted} before" in said


@pytest.mark.parametrize(
    ("device", "load", "times"), [("cpu", 3, 1), ("cpu", 2, 0), ("cuda", 3, 0)]
)
def test_crowded_cores_are_told_once(device, load, times, monkeypatch):
    monkeypatch.setattr(progress, "system_load", lambda: loads.pop(0))
    monkeypatch.setattr(progress.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loads, told = [1.0, load, load, load], []
    trainer = SimpleNamespace(global_step=0, log_every_n_steps=1, world_size=1, print=told.append)
    module = SimpleNamespace(log_dict=lambda figures: None, device=torch.device(device))
    throughput = progress.Throughput()
    for _ in range(4):
        throughput.on_train_batch_start(trainer, module, None, 0)
        throughput.on_train_batch_end(trainer, module, None, {"gap": torch.zeros(2)}, 0)
    assert len(told) == times and all("load 3.0" in words for words in told)
