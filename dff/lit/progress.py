"""What a training step spends its time on, and what slows it down."""

import os
import time
from typing import Any

import lightning as L
import torch


class Throughput(L.Callback):
    """Logs pairs per second over all devices, and the share of time spent waiting for data.

    Says once where a training on a CPU has more threads than cores are free. On a GPU, which works
    on while the next batch is waited for, the share is at most what is told.
    """

    def __init__(self) -> None:
        self._told = False
        self._clear()

    def _clear(self) -> None:
        self._waited = self._worked = 0.0
        self._pairs = 0
        self._ended: float | None = None
        self._started = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time between epochs is no wait for data."""
        self._ended = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The wait ends."""
        self._started = time.perf_counter()
        if self._ended is not None:
            self._waited += self._started - self._ended

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
    ) -> None:
        """The work ends; figures go out as often as the loggers ask."""
        # Lightning's Trainer has this attribute, and does not declare it
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        logs = every and trainer.global_step % every == 0
        if logs and torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ended = time.perf_counter()
        self._worked += self._ended - self._started
        self._pairs += len(batch["gap"]) * trainer.world_size
        if logs:
            total = self._waited + self._worked
            pl_module.log_dict(
                {
                    "train/pairs_per_second": self._pairs / total,
                    "train/data_wait": self._waited / total,
                }
            )
            if pl_module.device.type == "cpu" and not self._told:
                words = crowded(torch.get_num_threads(), os.cpu_count() or 1, system_load())
                self._told = words is not None
                if words:
                    trainer.print(words)
            ended = self._ended
            self._clear()
            self._ended = ended

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Nor is saving."""
        self._ended = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validation within an epoch is no wait for data."""
        self._ended = None


def system_load() -> float:
    """Processes and threads that run or wait for a core, over the last minute; 0 if unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # not on Windows


def crowded(threads: int, cores: int, load: float) -> str | None:
    """Says that fewer threads may be faster; None where the cores suffice.

    The threads of one operation wait for each other. Where one of them shares its core with another
    process, all wait for that one, and a step may take several times as long as with one thread.

    Args:
        threads: Of PyTorch in this process.
        cores: Of the machine.
        load: Threads of all processes that run or wait for a core, these included.
    """
    if threads < 2 or load < 1.25 * cores:  # it includes what has ended within the last minute
        return None
    free = min(max(int(cores - (load - threads)), 1), threads - 1)
    return (
        f"{threads} threads on {cores} cores that other processes use too (load {load:.1f}): "
        f"OMP_NUM_THREADS={free} before the command may be faster"
    )
