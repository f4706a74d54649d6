"""Prediction by a Lightning trainer, on several devices: its results handed to a writer."""

from typing import Any

import lightning as L
import torch

from dff.data.video.clips import Clip
from dff.inference.engine import Result
from dff.inference.results.writer import ResultWriter


class PredictionWriter(L.Callback):
    """Hands what `LitDFF.predict_step` finds to a `ResultWriter`.

    Args:
        writer: Writes the results of this process's videos.
    """

    def __init__(self, writer: ResultWriter) -> None:
        self.writer = writer

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fails now, not after an hour, where nothing can be written."""
        self.writer.prepare()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Result,
        batch: Clip,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hands over the results of one clip."""
        self.writer.put(outputs)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Waits until all is written."""
        self.writer.finish()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Removes what an interrupted run has begun."""
        self.writer.cancel()


def gather_failures(trainer: L.Trainer, failed: dict[str, str]) -> dict[str, str]:
    """The failures of all processes, in each of them."""
    if trainer.world_size == 1:
        return failed
    gathered: list[dict[str, Any] | None] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, failed)
    return {name: reason for share in gathered if share for name, reason in share.items()}
