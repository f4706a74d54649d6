"""What a training keeps: its best and its last checkpoint, each of them whole and finite."""

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dff.data.files.whole_files import in_words, whole_file


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint that it replaces.

    Lightning writes to the system's folder for temporary files and copies from there, which leaves
    half a checkpoint where the copy is cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes a file of this machine; addresses are left to Lightning.

        Raises:
            OSError: It cannot be written; an older checkpoint of this name is still there.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            _write(checkpoint, part)


def _write(checkpoint: dict[str, Any], part: Path) -> None:
    with part.open("wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:  # torch hides what the system said behind its own words
            reason: BaseException | None = error
            while reason is not None and not isinstance(reason, OSError):
                reason = reason.__context__
            if reason is None:
                raise
            raise reason from None
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name and nothing in it


class Checkpoints(ModelCheckpoint):
    """ModelCheckpoint that loses no step, and keeps nothing that is not finite.

    Lightning's last checkpoint is of the last validation: of a training that ends between two of
    them, it loses the steps since, and with them the end of a learning-rate schedule.
    """

    _begun: int | None = None
    """Steps that were done when this training began; None before it has."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Sees to it that checkpoints are whole, unless the trainer was given a way of its own."""
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        self._begun = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What stops a training before its first step leaves no checkpoint."""
        super().on_train_start(trainer, pl_module)
        self._begun = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the last step, where no validation has."""
        super().on_train_end(trainer, pl_module)
        if self.save_last and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Saves the newest step, and adds to the error where it is.

        One of several processes may fail alone, and would wait here for ever for the others. So the
        first one saves by itself, and they meet only after what stops them all.
        """
        stepped = self._begun not in (None, trainer.global_step)
        if not stepped or not self._should_save_on_exception(trainer):
            return
        if trainer.is_global_zero:
            exception.add_note(self._save_by_itself(trainer))
        if isinstance(exception, KeyboardInterrupt | SIGTERMException):
            trainer.strategy.barrier()

    def _save_by_itself(self, trainer: L.Trainer) -> str:
        step = f"the state after step {trainer.global_step}"
        if not _finite(trainer.lightning_module):
            return f"{step} is not finite, and was not saved"
        path = Path(self.last_model_path or self._free_name(trainer))
        if self.save_last:
            self.last_model_path = str(path)  # the checkpoint holds it
        try:
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(self.save_weights_only)
            trainer.strategy.save_checkpoint(checkpoint, path)
        except OSError as error:
            return f"{step} could not be saved ({in_words(error)})"
        self._last_global_step_saved = trainer.global_step
        return f"{step} is in {path}"

    def _free_name(self, trainer: L.Trainer) -> str:
        metrics = self._monitor_candidates(trainer)
        name = self.CHECKPOINT_NAME_LAST if self.save_last else None
        file, version = self.format_checkpoint_name(metrics, name), self.STARTING_VERSION
        while os.path.exists(file):
            file = self.format_checkpoint_name(metrics, name, ver=version)
            version += 1
        return file

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        # The first process decides for all: what it holds is what is saved.
        if not trainer.strategy.broadcast(_finite(trainer.lightning_module)):
            raise FloatingPointError(
                f"the weights after step {trainer.global_step} are not finite, and were not saved: "
                "begin again with a lower --model.lr"
            )
        super()._save_checkpoint(trainer, filepath)


def _finite(module: L.LightningModule) -> bool:
    tensors = [*module.parameters(), *module.buffers()]
    return all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point())
